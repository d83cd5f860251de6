//! Carries the core's actions out: the one task that owns the station's state.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::info;
use uuid::Uuid;

use super::{
    core::{Action, BoxToCompare, Core, Event, Look, NewScan, Now, RowsSay, ScannerRecord},
    lamp_feed::LampFeed,
    news::{Announcer, News},
    tally::Tally,
    unrecorded::Unrecorded,
};
use crate::{
    journal::Journal,
    label::Candidates,
    readiness::{
        Passed, Purpose, Source,
        asking::{ask_by_rows, ask_for_scan},
        evidence::{Answer, By, RowTerms},
    },
    record::{RawScan, Record},
    runtime::{
        clock::{Boot, ClockWatch, Moment},
        name::Name,
        pulse::{self, Pulse},
    },
    scanner::Scan,
};

/// Shows a result; never waits for its reader.
pub type Print = Box<dyn Fn(&Record) + Send + Sync>;

/// The ends of the channels that the driver works with. Only the wiring makes them.
pub struct Ends {
    /// Scans come in.
    pub scans: mpsc::Receiver<Scan>,
    /// Boxes that waited when an earlier run ended, with their age, a few at a time.
    pub waited: mpsc::Receiver<Vec<(Record, Duration)>>,
    /// Who is asked.
    pub sources: Arc<[Source]>,
    /// The sources that only may object.
    pub outside: Arc<BTreeSet<Name>>,
    /// Complete passes over a source's list.
    pub passes: mpsc::Receiver<Passed>,
    /// What remembers.
    pub journal: Journal,
    /// What each lane shows.
    pub lanes: BTreeMap<Name, LampFeed>,
    /// Results for the terminal.
    pub results: Print,
    /// What happens, for the page.
    pub news: Announcer,
    /// What was answered, in numbers.
    pub tally: Arc<Tally>,
    /// Scans that could not be recorded, on their way to the publisher.
    pub unrecorded: Unrecorded,
    /// What the station knows of itself.
    pub report: watch::Sender<Report>,
    /// Who says whether the clock is synchronised.
    pub clock: ClockWatch,
    /// Ends the station once every scan is answered and no scanner can bring another.
    pub stop: watch::Receiver<bool>,
    /// The sign of life of the driver's loop.
    pub pulse: Pulse,
}

impl Drop for Ends {
    /// A station that is gone leaves dark lamps.
    fn drop(&mut self) {
        for lane in self.lanes.values() {
            lane.end();
        }
    }
}

/// What the station knows of itself, for health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Boxes that are asked again by themselves.
    pub waiting: usize,
    /// What was seen of each scanner.
    pub scanners: BTreeMap<Name, ScannerRecord>,
    /// Every scan so far is answered and recorded.
    pub idle: bool,
}

impl Report {
    /// What `core` knows now.
    pub fn of(core: &Core) -> Self {
        Self {
            waiting: core.waiting(),
            scanners: core.scanners().clone(),
            idle: core.is_idle(),
        }
    }

    /// Takes over what `core` knows now; `false`: nothing is new.
    fn update(&mut self, core: &Core) -> bool {
        let same = self.waiting == core.waiting()
            && self.idle == core.is_idle()
            && self.scanners == *core.scanners();
        if !same {
            *self = Self::of(core);
        }
        !same
    }
}

/// Runs the station until it is stopped, the scanners' channel has closed and every scan is answered.
pub async fn run(mut core: Core, mut ends: Ends) {
    let (events, mut happened) = mpsc::channel::<Event>(1024);
    let mut places: HashMap<Uuid, OwnedSemaphorePermit> = HashMap::new();
    let (mut scans_open, mut restoring) = (true, true);
    loop {
        ends.pulse.beat();
        ends.report.send_if_modified(|report| report.update(&core));
        if !scans_open && core.is_idle() && *ends.stop.borrow() {
            return;
        }
        let wake_in = core.wake_at().map(|at| at.since(Boot::now()));
        let wake = wake_in.map_or(pulse::next(), |time| {
            pulse::next().min(Instant::now() + time)
        });
        let mut caller: Option<(oneshot::Sender<Uuid>, Uuid)> = None;
        let event = tokio::select! {
            // Scans first: the lane goes dark before anything else is done.
            biased;
            scan = ends.scans.recv(), if scans_open => match scan {
                Some(scan) => {
                    let id = Uuid::now_v7();
                    let overloaded = scan.place.is_none();
                    places.extend(scan.place.map(|place| (id, place)));
                    caller = scan.caller.map(|caller| (caller, id));
                    Event::Scanned(NewScan { id, scanner: scan.scanner, at: scan.at, code: scan.code, overloaded })
                }
                None => { scans_open = false; continue }
            },
            Some(event) = happened.recv() => event,
            Ok(()) = ends.stop.changed() => continue,
            waited = ends.waited.recv(), if restoring => {
                match waited {
                    Some(boxes) => core.restore(boxes, Boot::now()),
                    None => { restoring = false; core.restored() }
                }
                continue
            }
            Some(passed) = ends.passes.recv() => Event::Passed(passed),
            () = sleep_until(wake) => Event::Timer,
        };
        let now = Now {
            moment: Moment::now(),
            clock_synced: ends.clock.synced(),
        };
        for action in core.handle(event, now) {
            match &action {
                Action::Finished(id) => _ = places.remove(id),
                Action::Joined { scan, newest } => {
                    places.remove(scan);
                    caller = caller.map(|(caller, _)| (caller, *newest));
                }
                _ => {}
            }
            carry_out(action, &ends, &events);
        }
        if let Some((caller, id)) = caller {
            let _ = caller.send(id);
        }
    }
}

fn scanned(raw: &RawScan) -> News {
    News::Scanned {
        lane: raw.lane.clone(),
        at: Boot::now(),
        bytes: raw.bytes.as_slice().into(),
    }
}

fn carry_out(action: Action, ends: &Ends, events: &mpsc::Sender<Event>) {
    match action {
        Action::Show(lane, status) => {
            if let Some(feed) = ends.lanes.get(&lane) {
                feed.show(status);
            }
            ends.news.announce(|| News::Lane(lane, status));
        }
        Action::Journal(raw) => {
            ends.news.announce(|| scanned(&raw));
            ends.journal.scanned(raw);
        }
        Action::Ask {
            question,
            candidates,
            purpose,
            rows,
        } => ask(question, candidates, (purpose, rows), ends, events),
        Action::LookAtRows { look, boxes } => {
            let (sources, events) = (Arc::clone(&ends.sources), events.clone());
            tokio::spawn(look_at_rows(sources, look, boxes, events));
        }
        Action::Record { batch, records } => {
            let (journal, events) = (ends.journal.clone(), events.clone());
            tokio::spawn(async move {
                let recorded = journal.record(records).await.ok();
                let _ = events.send(Event::Recorded { batch, recorded }).await;
            });
        }
        Action::Tell { record, took } => {
            tell(&record);
            (ends.results)(&record);
            ends.tally.count(&record, took);
            ends.news.announce(|| News::Told(Arc::new(record)));
        }
        Action::Unrecorded(record) => ends.unrecorded.push(record),
        Action::Finished(_) | Action::Joined { .. } => {}
    }
}

/// Hands the answers of one question to the core.
fn answers_of(
    question: Uuid,
    events: mpsc::Sender<Event>,
) -> impl Fn(Answer) + Clone + Send + Sync + 'static {
    move |answer| {
        let events = events.clone();
        tokio::spawn(async move {
            let _ = events.send(Event::Answered { question, answer }).await;
        });
    }
}

/// Looks up the rows of boxes, one after the other: scans go first.
async fn look_at_rows(
    sources: Arc<[Source]>,
    look: Look,
    boxes: Vec<BoxToCompare>,
    events: mpsc::Sender<Event>,
) {
    let mut said = Vec::with_capacity(boxes.len());
    for one in boxes {
        let mut answers = Vec::new();
        for source in sources.iter() {
            answers.extend(match &look {
                Look::Greens(name) if source.name() == name => {
                    source.row(&one.candidates, &one.terms, By::Row).await
                }
                Look::Greens(_) => None,
                Look::Waiting => source.word(&one.candidates, &one.terms).await,
            });
        }
        said.push(RowsSay {
            record: one.record,
            serial: one.serial,
            answers,
        });
    }
    let _ = events.send(Event::RowsSay { look, said }).await;
}

fn ask(
    question: Uuid,
    candidates: Candidates,
    (purpose, rows): (Purpose, Option<RowTerms>),
    ends: &Ends,
    events: &mpsc::Sender<Event>,
) {
    let hand = answers_of(question, events.clone());
    let sources = Arc::clone(&ends.sources);
    match rows {
        Some(terms) if purpose == Purpose::Scan => {
            let outside = Arc::clone(&ends.outside);
            tokio::spawn(async move {
                ask_for_scan(&sources, &outside, &candidates, &terms, hand).await;
            });
        }
        Some(terms) => ask_by_rows(&sources, &candidates, &terms, hand),
        None => {
            for source in sources.iter() {
                let (source, candidates, hand) = (source.clone(), candidates.clone(), hand.clone());
                tokio::spawn(async move { hand(source.ask(&candidates, purpose).await) });
            }
        }
    }
}

/// One line in the log for every finished scan and every change.
fn tell(record: &Record) {
    let serial = record.serial.as_ref().map_or("-", |serial| serial.as_str());
    let (verdict, reason) = (record.reason.verdict().code(), record.reason.code());
    match &record.change {
        None => {
            info!(id = %record.id, lane = %record.lane, scanner = %record.scanner, serial, verdict, reason, took_ms = record.took_ms, "scan")
        }
        Some(change) => {
            info!(id = %record.id, scan = %change.scan, serial, verdict, reason, cause = change.cause.code(), "change")
        }
    }
}
