//! Health, gathered from all parts as they change, and the lamps' *unable*.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    health::{
        Health, JournalCondition, JournalHealth, ScannerHealth, SourceHealth, Unable, WebCondition,
    },
    indicator,
    journal::reader::Day,
    publisher,
    readiness::replica::rule::leaves_its_place,
    reason::Reason,
    runtime::{
        clock::ClockWatch,
        name::Name,
        pulse::{self, Pulse},
        stream::{LOG, RESULTS},
    },
    scanner::ScannerState,
    station::{driver::Report, lamp_feed::LampFeed, unrecorded::Unrecorded},
};

/// What changes within this time is gathered together. A lamp that says *unable* may be this late.
const TOGETHER: Duration = Duration::from_millis(50);
/// Days before its end on which a credential's expiry is announced.
const ANNOUNCED_DAYS: i64 = 30;

/// What every part says of itself.
pub(super) struct Parts {
    pub(super) scanners: BTreeMap<Name, watch::Receiver<ScannerState>>,
    pub(super) lamps: BTreeMap<Name, watch::Receiver<indicator::LampState>>,
    pub(super) sources: BTreeMap<Name, watch::Receiver<SourceHealth>>,
    pub(super) required: BTreeSet<Name>,
    /// Those that answer from their last complete pass whatever the next one ends in.
    pub(super) by_pass: BTreeSet<Name>,
    pub(super) broker: watch::Receiver<publisher::State>,
    pub(super) journal: watch::Receiver<JournalHealth>,
    pub(super) station: watch::Receiver<Report>,
    pub(super) today: watch::Receiver<Option<Arc<Day>>>,
    pub(super) web: Option<watch::Receiver<WebCondition>>,
    pub(super) clock: ClockWatch,
    pub(super) unrecorded: Unrecorded,
    /// Lanes that two scanners share.
    pub(super) shared_lanes: bool,
}

/// One part's next change.
type Next<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

fn next<T: Send + Sync>(part: &mut watch::Receiver<T>) -> Next<'_> {
    Box::pin(async {
        if part.changed().await.is_err() {
            // The part has ended, and stays as it is.
            pending::<()>().await;
        }
    })
}

/// When more of the journal than its rows has changed since `known`.
fn journal_state<'a>(
    part: &'a mut watch::Receiver<JournalHealth>,
    known: &JournalHealth,
) -> Next<'a> {
    let without_rows = |health: &JournalHealth| JournalHealth {
        unsent: 0,
        seq: 0,
        ..health.clone()
    };
    let known = without_rows(known);
    Box::pin(async move {
        while without_rows(&part.borrow_and_update()) == known {
            if part.changed().await.is_err() {
                // The part has ended, and stays as it is.
                return pending().await;
            }
        }
    })
}

impl Parts {
    /// Resolves when a part has changed since [`Self::seen`] and [`Self::gather`], which gave `known`. What changes with every scan
    /// is left to the next look.
    async fn changed(&mut self, known: &JournalHealth) {
        let mut all: Vec<Next<'_>> = vec![
            next(&mut self.broker),
            journal_state(&mut self.journal, known),
        ];
        all.extend(self.web.as_mut().map(next));
        all.extend(self.scanners.values_mut().map(next));
        all.extend(self.lamps.values_mut().map(next));
        all.extend(self.sources.values_mut().map(next));
        poll_fn(|context| {
            if all
                .iter_mut()
                .any(|part| part.as_mut().poll(context).is_ready())
            {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// What the parts say now is known.
    fn seen(&mut self) {
        self.broker.mark_unchanged();
        self.web
            .iter_mut()
            .for_each(watch::Receiver::mark_unchanged);
        self.journal.mark_unchanged();
        self.scanners
            .values_mut()
            .for_each(watch::Receiver::mark_unchanged);
        self.lamps
            .values_mut()
            .for_each(watch::Receiver::mark_unchanged);
        self.sources
            .values_mut()
            .for_each(watch::Receiver::mark_unchanged);
    }

    /// The station's health now.
    pub(super) fn gather(&self) -> Health {
        let station = self.station.borrow().clone();
        let journal = self.journal.borrow().clone();
        let broker = self.broker.borrow().clone();
        let sources: BTreeMap<Name, SourceHealth> = self
            .sources
            .iter()
            .map(|(name, health)| (name.clone(), health.borrow().clone()))
            .collect();
        let scanner_health = |(name, state): (&Name, &watch::Receiver<ScannerState>)| {
            let proven = station.scanners.get(name).is_some_and(|seen| seen.proven);
            let state = state.borrow();
            (
                name.clone(),
                ScannerHealth {
                    state: state.condition(),
                    proven,
                    unended: *state == ScannerState::Unended,
                },
            )
        };
        Health {
            unable: self.unable(&sources, &journal),
            alarms: self.alarms(&station, &journal, &broker, &sources),
            scanners: self.scanners.iter().map(scanner_health).collect(),
            lamps: self
                .lamps
                .iter()
                .map(|(lane, state)| (lane.clone(), state.borrow().condition()))
                .collect(),
            sources,
            broker: broker.link.condition(),
            nobody_listens: broker.nobody_listens,
            journal,
            unheard_faults: self.unrecorded.dropped(),
            web: self.web.as_ref().map(|web| *web.borrow()),
            clock_synced: self.clock.synced(),
            waiting: station.waiting,
            today: self.today.borrow().as_ref().map(|day| day.boxes.clone()),
            log_dropped: LOG.dropped(),
            results_dropped: RESULTS.dropped(),
        }
    }

    fn unable(
        &self,
        sources: &BTreeMap<Name, SourceHealth>,
        journal: &JournalHealth,
    ) -> Option<Unable> {
        if journal.state != JournalCondition::Ok {
            return Some(Unable::Reason(Reason::JournalFault));
        }
        let failing = sources
            .iter()
            .filter(|(name, _)| self.required.contains(name))
            .find_map(|(name, health)| {
                let covered = |reason: &Reason| {
                    let speaks = self.by_pass.contains(name) || leaves_its_place(*reason);
                    health.rows_answer && speaks
                };
                health.failing.filter(|reason| !covered(reason))
            });
        if let Some(reason) = failing {
            return Some(Unable::Reason(reason));
        }
        (!self
            .scanners
            .values()
            .any(|scanner| scanner.borrow().is_there()))
        .then_some(Unable::NoScanner)
    }

    fn alarms(
        &self,
        station: &Report,
        journal: &JournalHealth,
        broker: &publisher::State,
        sources: &BTreeMap<Name, SourceHealth>,
    ) -> Vec<&'static str> {
        let expiring = sources
            .values()
            .filter_map(|health| health.credential_days)
            .any(|days| days <= ANNOUNCED_DAYS);
        [
            (
                "not_found_streak",
                station.scanners.values().any(|seen| seen.is_suspect()),
            ),
            ("journal_salvaged", journal.salvaged),
            ("session_taken_over", broker.session_taken_over),
            ("credential_expiring", expiring),
            ("two_readers_one_lane", self.shared_lanes),
        ]
        .into_iter()
        .filter_map(|(alarm, on)| on.then_some(alarm))
        .collect()
    }
}

/// Keeps health and the lamps' *unable* true; never ends. `unended` is given each scanner whose codes begin or cease to arrive without
/// an end key.
///
/// Whether the clock is synchronised is looked at with each sign of life, because the kernel tells nobody (a timer that ends when the clock is
/// set does not tell of one that is right already), and how many lines were dropped, too: to be woken for each would wake more often, not less.
pub(super) async fn run(
    mut parts: Parts,
    unended: impl Fn(&Name, bool),
    health: watch::Sender<Health>,
    lamps: Vec<LampFeed>,
    pulse: Pulse,
) {
    let mut announced = Announced::default();
    let mut noted = BTreeMap::new();
    loop {
        pulse.beat();
        parts.seen();
        let now = parts.gather();
        for lane in &lamps {
            lane.unable(now.unable.is_some());
        }
        announced.say(&now);
        for (name, scanner) in &now.scanners {
            // At the start, too: what was noted of an earlier run may be mended.
            if noted.insert(name.clone(), scanner.unended) != Some(scanner.unended) {
                unended(name, scanner.unended);
            }
        }
        let journal = now.journal.clone();
        health.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        tokio::select! {
            () = parts.changed(&journal) => sleep(TOGETHER).await,
            () = sleep_until(pulse::next()) => {}
        }
    }
}

/// Says each change of state once in the log.
#[derive(Default)]
struct Announced {
    unable: Option<Unable>,
    alarms: Vec<&'static str>,
    unheard_faults: bool,
    results_dropped: bool,
    /// Days of the step that was said last, for each source whose credential expires soon.
    steps: BTreeMap<Name, i64>,
}

impl Announced {
    fn say(&mut self, health: &Health) {
        if self.unable != health.unable {
            match health.unable {
                Some(why) => warn!(reason = why.code(), "the station can answer no scan now"),
                None => info!("the station can answer again"),
            }
            self.unable = health.unable;
        }
        for alarm in health
            .alarms
            .iter()
            .filter(|alarm| !self.alarms.contains(alarm))
        {
            warn!(alarm, "alarm");
        }
        self.alarms.clone_from(&health.alarms);
        if health.unheard_faults > 0 && !std::mem::replace(&mut self.unheard_faults, true) {
            warn!(
                "more scans without the journal than are kept for the broker: the oldest are not published"
            );
        }
        if health.results_dropped > 0 && !std::mem::replace(&mut self.results_dropped, true) {
            warn!(
                "standard output is not read: result lines are dropped (records and messages are not)"
            );
        }
        for (name, days) in self.expiring(&health.sources) {
            warn!(source = %name, days, "a credential of this source, or its own token with Apple, expires soon: renew it");
        }
    }

    /// Sources whose credential has come to a step that was not said yet, and its days. One that was renewed begins anew.
    fn expiring(&mut self, sources: &BTreeMap<Name, SourceHealth>) -> Vec<(Name, i64)> {
        let mut new = Vec::new();
        for (name, source) in sources {
            let Some(days) = source.credential_days else {
                continue;
            };
            match [1, 7, 14, ANNOUNCED_DAYS]
                .into_iter()
                .find(|step| days <= *step)
            {
                Some(step) if self.steps.insert(name.clone(), step) != Some(step) => {
                    new.push((name.clone(), days))
                }
                Some(_) => {}
                None => _ = self.steps.remove(name),
            }
        }
        new
    }
}

/// The health of a station without parts.
#[cfg(test)]
pub(super) fn nothing_wrong() -> Health {
    tests::Bench::new().parts.gather()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use uuid::Uuid;

    use super::*;
    use crate::{runtime::clock::Boot, station::core::ScannerRecord};

    /// A station with one scanner, one required source and one that only may object; each sender is what that part says.
    pub(super) struct Bench {
        scanner: watch::Sender<ScannerState>,
        sources: BTreeMap<&'static str, watch::Sender<SourceHealth>>,
        broker: watch::Sender<publisher::State>,
        journal: watch::Sender<JournalHealth>,
        station: watch::Sender<Report>,
        pub(super) parts: Parts,
    }

    impl Bench {
        pub(super) fn new() -> Self {
            let name = |text: &str| Name::new(text).unwrap();
            let well = SourceHealth::default();
            let scanner = watch::Sender::new(ScannerState::Ok);
            let sources: BTreeMap<_, _> = ["kandji", "business"]
                .map(|source| (source, watch::Sender::new(well.clone())))
                .into();
            let broker = watch::Sender::new(publisher::State::starting());
            let journal = watch::Sender::new(JournalHealth::sound(Uuid::nil()));
            let station = watch::Sender::new(Report {
                waiting: 0,
                scanners: BTreeMap::new(),
                idle: true,
            });
            let parts = Parts {
                scanners: [(name("left"), scanner.subscribe())].into(),
                lamps: BTreeMap::new(),
                sources: sources
                    .iter()
                    .map(|(source, health)| (name(source), health.subscribe()))
                    .collect(),
                required: [name("kandji")].into(),
                by_pass: BTreeSet::new(),
                broker: broker.subscribe(),
                journal: journal.subscribe(),
                station: station.subscribe(),
                today: watch::channel(None).1,
                web: None,
                clock: ClockWatch::Fixed { synced: true },
                unrecorded: Unrecorded::new(1),
                shared_lanes: false,
            };
            Self {
                scanner,
                sources,
                broker,
                journal,
                station,
                parts,
            }
        }

        fn source(&self, source: &str, change: impl FnOnce(&mut SourceHealth)) {
            self.sources[source].send_modify(change);
        }

        fn not_found(&self, in_a_row: u32) {
            let seen = ScannerRecord {
                proven: false,
                not_found_in_a_row: in_a_row,
            };
            self.station
                .send_modify(|report| _ = report.scanners.insert(Name::new("left").unwrap(), seen));
        }

        fn alarms(&self) -> Vec<&'static str> {
            self.parts.gather().alarms
        }

        fn reason(&self) -> Option<&'static str> {
            self.parts.gather().unable.map(Unable::code)
        }
    }

    #[test]
    fn each_alarm_is_there_while_its_cause_is() {
        let mut bench = Bench::new();
        assert_eq!(bench.alarms(), [""; 0]);

        bench.not_found(4);
        assert_eq!(
            bench.alarms(),
            [""; 0],
            "four strange boxes may be four strange boxes"
        );
        bench.not_found(5);
        assert_eq!(bench.alarms(), ["not_found_streak"]);
        bench.not_found(0);

        bench.journal.send_modify(|journal| journal.salvaged = true);
        assert_eq!(bench.alarms(), ["journal_salvaged"]);
        bench
            .journal
            .send_modify(|journal| journal.salvaged = false);

        bench
            .broker
            .send_modify(|broker| broker.session_taken_over = true);
        assert_eq!(bench.alarms(), ["session_taken_over"]);
        bench
            .broker
            .send_modify(|broker| broker.session_taken_over = false);

        // A source that is not required can expire as well.
        for (days, alarms) in [
            (31, vec![]),
            (30, vec!["credential_expiring"]),
            (-1, vec!["credential_expiring"]),
            (365, vec![]),
        ] {
            bench.source("business", |source| source.credential_days = Some(days));
            assert_eq!(bench.alarms(), alarms, "{days} days left");
        }

        bench.parts.shared_lanes = true;
        assert_eq!(bench.alarms(), ["two_readers_one_lane"]);
        assert_eq!(bench.reason(), None, "no alarm makes a station unable");
    }

    #[test]
    fn a_station_is_unable_by_its_journal_a_required_source_or_the_want_of_a_scanner() {
        let bench = Bench::new();
        assert_eq!(bench.reason(), None);
        bench.source("business", |source| source.failing = Some(Reason::Offline));
        assert_eq!(bench.reason(), None, "it is not required");
        bench
            .broker
            .send_modify(|broker| broker.link = publisher::LinkState::Away("refused".to_owned()));
        assert_eq!(
            bench.reason(),
            None,
            "a broker that is away keeps no scan from its answer"
        );
        for state in [
            ScannerState::Absent(String::new()),
            ScannerState::NoRight,
            ScannerState::Busy,
            ScannerState::Ended,
        ] {
            bench.scanner.send_replace(state);
            assert_eq!(bench.reason(), Some("no_scanner"));
        }
        bench.source("kandji", |source| source.failing = Some(Reason::Timeout));
        assert_eq!(bench.reason(), Some("timeout"));
        bench
            .journal
            .send_modify(|journal| journal.state = JournalCondition::ReadOnly);
        assert_eq!(bench.reason(), Some("journal_fault"));
        bench
            .journal
            .send_modify(|journal| journal.state = JournalCondition::Ok);
        bench.source("kandji", |source| source.failing = None);
        for state in [
            ScannerState::Starting,
            ScannerState::Unended,
            ScannerState::Ok,
        ] {
            bench.scanner.send_replace(state);
            assert_eq!(bench.reason(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unable_shows_on_every_lane() {
        let bench = Bench::new();
        let lamps = [(); 2].map(|()| LampFeed::dark(Boot::now()));
        let (health, _seen) = watch::channel(bench.parts.gather());
        let quiet = |_: &Name, _| {};
        let run = run(bench.parts, quiet, health, lamps.to_vec(), Pulse::default());
        let all = |unable: bool| lamps.iter().all(|lane| lane.now().unable == unable);
        let look = async {
            // In between, too: nothing that is looked at now and then would be as quick.
            for pause in [40, 180, 330, 570] {
                sleep(Duration::from_millis(pause)).await;
                assert!(all(false));
                bench.sources["kandji"]
                    .send_modify(|source| source.failing = Some(Reason::Timeout));
                sleep(Duration::from_millis(100)).await;
                assert!(all(true));
                bench.sources["kandji"].send_modify(|source| source.failing = None);
                sleep(Duration::from_millis(100)).await;
                assert!(all(false));
            }
        };
        tokio::select! {
            () = run => {}
            () = look => {}
        }
    }

    #[test]
    fn an_expiry_is_announced_once_at_each_step_and_anew_after_a_renewal() {
        let bench = Bench::new();
        let mut announced = Announced::default();
        let mut said = Vec::new();
        for days in [
            40, 31, 30, 29, 15, 14, 14, 8, 7, 2, 1, 0, -1, 365, 30, 29, 365, 12,
        ] {
            bench.source("kandji", |source| source.credential_days = Some(days));
            said.extend(
                announced
                    .expiring(&bench.parts.gather().sources)
                    .into_iter()
                    .map(|(_, days)| days),
            );
            // A service that is away for a while tells no days; that is no renewal.
            bench.source("kandji", |source| source.credential_days = None);
            assert_eq!(announced.expiring(&bench.parts.gather().sources), []);
        }
        assert_eq!(said, [30, 14, 7, 1, 30, 12]);
    }
}
