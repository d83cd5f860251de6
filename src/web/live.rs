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
    shapes::{Beat, BothShelves, DemoBox, InputBox, Made, State, Station, Today},
};
use crate::{
    health::Health,
    journal::{Journal, reader::Day},
    publisher::{State as BrokerState, message},
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
        let first = framed("state", &self.state_of(&mut shared));
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
            scan: self.about.scan.clone(),
            demo: &self.about.demo,
            lanes: board.lanes().collect(),
            shelves: board.shelves.both(self.about.asked_for, now),
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
        let (mut beat_at, mut shelves_at) = (Instant::now(), Instant::now());
        let mut restored = Some(restoring::restore(&feeds.journal, feeds.clock));
        loop {
            feeds.pulse.beat();
            let turns = self.lock().board.turns_at();
            let turns = turns.map(|at| Instant::now() + at.since(Boot::now()));
            let beat = (self.readers() > 0).then_some(beat_at);
            let wake = [turns, beat].into_iter().flatten();
            let wake = wake.fold(pulse::next(), Instant::min);
            let mut shared_news = None;
            let (mut health_changed, mut today_changed) = (false, false);
            tokio::select! {
                biased;
                news = feeds.news.recv() => match news {
                    Ok(news) => shared_news = Some(news),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.resync(&feeds.lamps);
                        restored = Some(restoring::restore(&feeds.journal, feeds.clock));
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Ok(()) = health.changed() => health_changed = true,
                Ok(()) = link.changed() => health_changed = true,
                Ok(()) = today.changed() => today_changed = true,
                found = next_of(&mut restored) => match found {
                    Some(found) => self.restore(&found),
                    None => {
                        restored = None;
                        self.tell_all();
                    }
                },
                () = sleep_until(wake) => {}
            }
            let mut shared = self.lock();
            let now = Moment::now();
            let Shared { board, readers } = &mut *shared;
            board.unable = self.health.borrow().unable.is_some();
            let new = shared_news.and_then(|news| board.hear(&news, now));
            // The answer stands in the list before its lane lights.
            tell(readers, now.boot, new.as_slice());
            tell(readers, now.boot, &board.look(now.boot));
            if health_changed && !readers.is_empty() {
                send(readers, now.boot, "health", &self.station());
            }
            if today_changed && let Some(day) = today.borrow().as_deref() {
                send(readers, now.boot, "today", &Today::of(day));
            }
            let at = Instant::now();
            if board.shelves_changed && at >= shelves_at {
                board.shelves_changed = false;
                shelves_at = at + SHELVES;
                if !readers.is_empty() {
                    let shelves: BothShelves = board.shelves.both(self.about.asked_for, now.boot);
                    send(readers, now.boot, "shelves", &shelves);
                }
            }
            if at >= beat_at {
                beat_at = at + BEAT;
                board.shelves_changed |= board.shelves.forget_old(now.boot);
                let build = &assets().build;
                send(readers, now.boot, "beat", &Beat { build });
                let_go_of_the_silent(readers, now.boot);
            }
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

    /// Every page gets the whole state.
    fn tell_all(&self) {
        let mut shared = self.lock();
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
    let data = framed(event, &json(&Made { now_ms, what }));
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
