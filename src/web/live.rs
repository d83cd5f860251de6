//! Keeps the board up and tells the pages that are open: one task, which nobody waits for.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use tokio::{
    sync::{Notify, broadcast, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    assets::assets,
    board::{Board, LaneSettings, New},
    problems,
    restoring::{self, Restored},
    shapes::{Beat, DemoBox, InputBox, Made, State, Station, Today},
};
use crate::{
    health::Health,
    journal::{Journal, reader::Day},
    publisher::{State as BrokerState, message},
    readiness::kind::Mdm,
    runtime::{
        clock::{Boot, ClockWatch, Moment},
        name::Name,
        pulse::{self, Pulse},
    },
    station::{lamp_feed::LampFeed, news::News},
};

/// Events that wait for one page.
const QUEUE: usize = 256;
/// A page that has taken nothing for so long, though something waits, is let go.
const PATIENCE: Duration = Duration::from_secs(5);
const BEAT: Duration = Duration::from_secs(1);
/// The shelves are sent at most so often.
const SHELVES: Duration = Duration::from_secs(1);

/// What the page is about, and does not change.
#[derive(Debug)]
pub(super) struct About {
    pub(super) meta: message::Meta,
    pub(super) mdm: Option<Mdm>,
    pub(super) scan: Option<InputBox>,
    pub(super) demo: Vec<DemoBox>,
    /// For how long a box is asked again by itself.
    pub(super) asked_for: Duration,
}

/// The board with whoever looks at it.
#[derive(Debug)]
pub(super) struct Live {
    shared: Mutex<Shared>,
    about: About,
    health: watch::Receiver<Health>,
    link: watch::Receiver<BrokerState>,
    today: watch::Receiver<Option<Arc<Day>>>,
}

#[derive(Debug)]
struct Shared {
    board: Board,
    readers: Vec<Reader>,
}

/// One open page, seen from the task.
#[derive(Debug)]
struct Reader {
    queue: mpsc::Sender<Bytes>,
    taken: Arc<AtomicU64>,
    let_go: Arc<Notify>,
}

/// Where the task hears of the station.
#[derive(Debug)]
pub(super) struct Feeds {
    pub(super) news: broadcast::Receiver<News>,
    pub(super) lamps: Vec<(Name, LampFeed)>,
    /// What the journal holds is read from here, at the start and after news were missed.
    pub(super) journal: Journal,
    pub(super) clock: ClockWatch,
    pub(super) pulse: Pulse,
}

/// What has happened since the last look.
#[derive(Debug, Default)]
struct Changed {
    news: Option<News>,
    health: bool,
    today: bool,
}

/// When something is sent again at the earliest.
#[derive(Clone, Copy, Debug)]
struct Due {
    beat: Instant,
    shelves: Instant,
}

impl Due {
    fn now() -> Self {
        let now = Instant::now();
        Self {
            beat: now,
            shelves: now,
        }
    }
}

impl Live {
    pub(super) fn new(
        about: About,
        lanes: &[LaneSettings],
        health: watch::Receiver<Health>,
        link: watch::Receiver<BrokerState>,
        today: watch::Receiver<Option<Arc<Day>>>,
    ) -> Self {
        Self {
            shared: Mutex::new(Shared {
                board: Board::new(lanes, Boot::now()),
                readers: Vec::new(),
            }),
            about,
            health,
            link,
            today,
        }
    }

    /// The whole state now, as JSON.
    pub(super) fn state(&self) -> Vec<u8> {
        self.state_of(&mut self.lock())
    }

    /// Opens a page: the whole state first, then every event. `let_go` is notified when it is too far behind.
    pub(super) fn connect(&self, let_go: Arc<Notify>) -> Events {
        let mut shared = self.lock();
        let state = framed("state", &self.state_of(&mut shared));
        let first = [state, beat(Boot::now())].concat().into();
        let (queue, events) = mpsc::channel(QUEUE);
        let taken = Arc::new(AtomicU64::new(Boot::now().as_millis()));
        shared.readers.push(Reader {
            queue,
            taken: Arc::clone(&taken),
            let_go,
        });
        Events {
            first: Some(first),
            events,
            taken,
        }
    }

    /// Open pages.
    pub(super) fn readers(&self) -> usize {
        let mut shared = self.lock();
        shared.readers.retain(|reader| !reader.queue.is_closed());
        shared.readers.len()
    }

    fn state_of(&self, shared: &mut Shared) -> Vec<u8> {
        let now = Boot::now();
        let board = &mut shared.board;
        board.unable = self.health.borrow().unable.is_some();
        // What turned meanwhile is an event for the pages that are open already.
        let new = board.look(now);
        tell(&mut shared.readers, now, &new);
        let board = &shared.board;
        let state = State {
            v: 1,
            build: &assets().build,
            version: &self.about.meta.version,
            now_ms: now.as_millis(),
            site: self.about.meta.site.as_str(),
            name: self.about.meta.station.as_str(),
            mdm: self.about.mdm.map(|mdm| mdm.vendor),
            scan: self.about.scan.clone(),
            demo: &self.about.demo,
            lanes: board.lanes().collect(),
            shelves: board
                .shelves
                .both(self.about.mdm, self.about.asked_for, now),
            today: self.today.borrow().as_deref().map(Today::of),
            answers: board.answers().collect(),
            station: self.station(),
        };
        json(&state)
    }

    /// The station with what is wrong now.
    fn station(&self) -> Station {
        let health = self.health.borrow().clone();
        let refused = self.link.borrow().refused_topic.clone();
        let now = jiff::Timestamp::now();
        let meta = &self.about.meta;
        let message = message::health(&health, refused.as_deref(), &meta.version, now);
        problems::station(&health, refused.as_deref(), &message, meta)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the station; ends when its news do.
    pub(super) async fn follow(&self, mut feeds: Feeds) {
        let mut health = self.health.clone();
        let mut link = self.link.clone();
        // Read at most every 5 s.
        let mut today = self.today.clone();
        let mut due = Due::now();
        let mut restored = Some(restoring::restore(&feeds.journal, feeds.clock));
        loop {
            feeds.pulse.beat();
            let wake = self.wake(due);
            let mut new = Changed::default();
            tokio::select! {
                biased;
                news = feeds.news.recv() => match news {
                    Ok(news) => new.news = Some(news),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        // What is in the ring is in the journal, too.
                        feeds.news = feeds.news.resubscribe();
                        self.resync(&feeds.lamps);
                        restored = Some(restoring::restore(&feeds.journal, feeds.clock));
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Ok(()) = health.changed() => new.health = true,
                Ok(()) = link.changed() => new.health = true,
                Ok(()) = today.changed() => new.today = true,
                found = next_of(&mut restored) => match found {
                    Some(found) => self.restore(&found),
                    None => {
                        restored = None;
                        self.restored();
                    }
                },
                () = sleep_until(wake) => {}
            }
            self.tell(&new, &mut due);
        }
    }

    /// When something is to be done, as far as nothing happens.
    fn wake(&self, due: Due) -> Instant {
        let beat = (self.readers() > 0).then_some(due.beat);
        let board = &self.lock().board;
        let turns = board.turns_at();
        let turns = turns.map(|at| Instant::now() + at.since(Boot::now()));
        let shelves = board.shelves_changed.then_some(due.shelves);
        let wake = [turns, beat, shelves].into_iter().flatten();
        wake.fold(pulse::next(), Instant::min)
    }

    /// Tells every open page what is new.
    fn tell(&self, new: &Changed, due: &mut Due) {
        let mut shared = self.lock();
        let (now, at) = (Moment::now(), Instant::now());
        let Shared { board, readers } = &mut *shared;
        board.unable = self.health.borrow().unable.is_some();
        let told = new.news.as_ref().and_then(|news| board.hear(news, now));
        // The answer stands in the list before its lane lights.
        tell(readers, now.boot, told.as_slice());
        tell(readers, now.boot, &board.look(now.boot));
        if new.health && !readers.is_empty() {
            send(readers, now.boot, "health", &self.station());
        }
        if new.today
            && let Some(day) = self.today.borrow().as_deref()
        {
            send(readers, now.boot, "today", &Today::of(day));
        }
        if board.shelves_changed && at >= due.shelves {
            board.shelves_changed = false;
            due.shelves = at + SHELVES;
            if !readers.is_empty() {
                let shelves = board
                    .shelves
                    .both(self.about.mdm, self.about.asked_for, now.boot);
                send(readers, now.boot, "shelves", &shelves);
            }
        }
        if at >= due.beat {
            due.beat = at + BEAT;
            board.shelves_changed |= board.shelves.forget_old(now.boot);
            spread(readers, &beat(now.boot));
            let_go_of_the_silent(readers, now.boot);
        }
    }

    /// News were missed: the lamps are what they are, and the rest is read anew.
    fn resync(&self, lamps: &[(Name, LampFeed)]) {
        let mut shared = self.lock();
        let statuses = lamps
            .iter()
            .map(|(name, feed)| (name.clone(), feed.now().status));
        shared.board.resync(statuses);
    }

    /// All of the journal is read: every page gets the whole state.
    fn restored(&self) {
        let mut shared = self.lock();
        shared.board.shelves.all_restored();
        if shared.readers.is_empty() {
            return;
        }
        let state = framed("state", &self.state_of(&mut shared));
        shared
            .readers
            .retain(|reader| reader.queue.try_send(state.clone()).is_ok() || reader.forget());
    }

    fn restore(&self, restored: &Restored) {
        let now = Moment::now();
        let mut shared = self.lock();
        let board = &mut shared.board;
        match restored {
            Restored::Answers(records) => board.restore_answers(records, now),
            Restored::Boxes(records) => board.restore_boxes(records, now),
        }
    }
}

/// What is read next; never, if nothing is.
async fn next_of(restored: &mut Option<mpsc::Receiver<Restored>>) -> Option<Restored> {
    match restored {
        Some(restored) => restored.recv().await,
        None => std::future::pending().await,
    }
}

impl Reader {
    /// It is too far behind; always `false`.
    fn forget(&self) -> bool {
        self.let_go.notify_one();
        false
    }
}

fn tell(readers: &mut Vec<Reader>, now: Boot, news: &[New]) {
    for new in news {
        match new {
            New::Lane(lane) => send(readers, now, "lane", lane),
            New::Answer(answer) => send(readers, now, "answer", answer),
            New::Change(change) => send(readers, now, "change", change),
        }
    }
}

/// Sends one event to every page. One whose queue is full is let go.
fn send(readers: &mut Vec<Reader>, now: Boot, event: &str, what: &impl Serialize) {
    if readers.is_empty() {
        return;
    }
    let now_ms = now.as_millis();
    spread(readers, &framed(event, &json(&Made { now_ms, what })));
}

/// A sign of life.
fn beat(now: Boot) -> Bytes {
    let (now_ms, build) = (now.as_millis(), &assets().build);
    let what = &Beat { build };
    framed("beat", &json(&Made { now_ms, what }))
}

fn spread(readers: &mut Vec<Reader>, data: &Bytes) {
    readers.retain(|reader| match reader.queue.try_send(data.clone()) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(_)) => reader.forget(),
    });
}

fn let_go_of_the_silent(readers: &mut Vec<Reader>, now: Boot) {
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    readers.retain(|reader| {
        let waits = reader.queue.capacity() < QUEUE;
        let silent = now
            .as_millis()
            .saturating_sub(reader.taken.load(Ordering::Relaxed));
        !(waits && silent > patience) || reader.forget()
    });
}

fn framed(event: &str, json: &[u8]) -> Bytes {
    // JSON has no line breaks.
    [b"event: ", event.as_bytes(), b"\ndata: ", json, b"\n\n"]
        .concat()
        .into()
}

/// These types have string keys and finite numbers only, so serialising cannot fail.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The events of one page, as the body of its answer.
#[derive(Debug)]
pub(super) struct Events {
    first: Option<Bytes>,
    events: mpsc::Receiver<Bytes>,
    taken: Arc<AtomicU64>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.taken.store(Boot::now().as_millis(), Ordering::Relaxed);
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let next = self.events.poll_recv(context);
        next.map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::{
        health::{JournalHealth, LinkCondition, SourceHealth, Unable},
        journal,
        label::Serial,
        reason::Reason,
        record::Record,
        station::{news::KEPT, status::LaneStatus},
    };

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn health() -> Health {
        Health {
            unable: None,
            alarms: Vec::new(),
            scanners: BTreeMap::new(),
            lamps: BTreeMap::new(),
            sources: BTreeMap::new(),
            broker: LinkCondition::Connected,
            nobody_listens: false,
            journal: JournalHealth::sound(Uuid::nil()),
            unheard_faults: 0,
            web: None,
            clock_synced: true,
            waiting: 0,
            today: None,
            log_dropped: 0,
            results_dropped: 0,
        }
    }

    fn live() -> Live {
        let meta = message::Meta {
            version: "1".to_owned(),
            site: name("a"),
            station: name("b"),
            epoch: Uuid::nil(),
            policy: String::new(),
            commands: false,
            lanes: vec![name("left")],
            scanners: Vec::new(),
            sources: Vec::new(),
        };
        let about = About {
            meta,
            mdm: None,
            scan: None,
            demo: Vec::new(),
            asked_for: Duration::from_hours(24),
        };
        let lane = LaneSettings {
            name: name("left"),
            ready_hold: Duration::from_secs(3),
            ready_limit: Duration::from_secs(4),
        };
        let (_, health) = watch::channel(health());
        let (_, link) = watch::channel(BrokerState::starting());
        let (_, today) = watch::channel(None);
        Live::new(about, &[lane], health, link, today)
    }

    fn record(nth: usize) -> Record {
        Record {
            serial: Serial::new(&format!("C02X{nth:08}")),
            ..Record::bare(
                Uuid::now_v7(),
                Timestamp::now(),
                name("left"),
                Reason::NotFound,
            )
        }
    }

    #[test]
    fn health_counts_the_problems_that_are_listed() {
        let failing = SourceHealth {
            failing: Some(Reason::Offline),
            ..SourceHealth::default()
        };
        let health = Health {
            unable: Some(Unable::Reason(Reason::Offline)),
            clock_synced: false,
            sources: [(name("kandji"), failing)].into(),
            ..health()
        };
        let link = BrokerState {
            refused_topic: Some("benchlight/v1/a/b/scan".to_owned()),
            ..BrokerState::starting()
        };
        let live = Live {
            health: watch::channel(health).1,
            link: watch::channel(link).1,
            ..live()
        };
        let state: Value = serde_json::from_slice(&live.state()).unwrap();
        let station = &state["station"];
        let problems = station["problems"].as_array().unwrap();
        let words: Vec<_> = problems.iter().map(|one| one["word"].clone()).collect();
        assert_eq!(words, ["offline", "refused_topic", "unsynced"]);
        assert_eq!(station["health"]["problems"], problems.len());
    }

    #[tokio::test]
    async fn news_that_were_missed_come_from_the_journal_and_the_lamps() {
        let folder = tempfile::tempdir().unwrap();
        let settings = journal::Settings {
            state_dir: folder.path().to_owned(),
            keep: Duration::from_hours(24),
            keep_raw: Duration::from_hours(24),
            max_bytes: 1 << 30,
        };
        let journal = Journal::open(&settings, "machine-1").unwrap();
        let all: Vec<Record> = (0..KEPT + 40).map(record).collect();
        journal.record(all.clone()).await.unwrap();
        let (announcer, news) = broadcast::channel(KEPT);
        let feed = LampFeed::dark(Boot::now());
        let live = live();
        let mut page = live.connect(Arc::default());
        // More than the ring holds, before the task hears any of it.
        for record in &all {
            let told = News::Told(Arc::new(record.clone()));
            announcer.send(told).unwrap();
        }
        feed.show(LaneStatus {
            scan: 7,
            ..LaneStatus::at_start(Boot::now())
        });
        let feeds = Feeds {
            news,
            lamps: vec![(name("left"), feed)],
            journal,
            clock: ClockWatch::Fixed { synced: true },
            pulse: Pulse::default(),
        };
        let state = async {
            loop {
                let event = page.events.recv().await.unwrap();
                let event = String::from_utf8(event.to_vec()).unwrap();
                if let Some(json) = event.strip_prefix("event: state\ndata: ") {
                    let state: Value = serde_json::from_str(json).unwrap();
                    if state["problem"]["total"] == all.len() {
                        return state;
                    }
                }
            }
        };
        let state = tokio::time::timeout(Duration::from_secs(20), async {
            tokio::select! {
                state = state => state,
                () = live.follow(feeds) => Value::Null,
            }
        });
        let state = state.await.unwrap();
        let newest = all.last().unwrap().id.to_string();
        assert_eq!(state["answers"][0]["id"], newest);
        assert_eq!(state["answers"].as_array().unwrap().len(), 50);
    }

    #[tokio::test]
    async fn a_page_whose_queue_is_full_or_that_takes_nothing_is_let_go() {
        let live = live();
        let let_go = Arc::new(Notify::new());
        let _page = live.connect(Arc::clone(&let_go));
        let now = Boot::now();
        for _ in 0..QUEUE {
            spread(&mut live.lock().readers, &beat(now));
        }
        assert_eq!(live.readers(), 1);
        spread(&mut live.lock().readers, &beat(now));
        assert_eq!(live.readers(), 0);
        let_go.notified().await;

        let _page = live.connect(Arc::clone(&let_go));
        let later = |seconds| now.plus(Duration::from_secs(seconds));
        let_go_of_the_silent(&mut live.lock().readers, later(60));
        assert_eq!(live.readers(), 1, "nothing waits for it");
        spread(&mut live.lock().readers, &beat(now));
        let_go_of_the_silent(&mut live.lock().readers, later(4));
        assert_eq!(live.readers(), 1);
        let_go_of_the_silent(&mut live.lock().readers, later(7));
        assert_eq!(live.readers(), 0);
        let_go.notified().await;
    }
}
