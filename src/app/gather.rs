//! Health, gathered from all parts, and the watchdog that is fed while they all answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    health::{Health, JournalHealth, ScannerHealth, SourceHealth, Unable},
    indicator,
    journal::Journal,
    publisher,
    reason::Reason,
    runtime::{
        clock::ClockWatch,
        name::Name,
        pulse::{Pulse, Pulses},
        stream::{LOG, RESULTS},
        systemd::Systemd,
    },
    scanner,
    station::{driver::Report, ring::Ring},
};

/// How often the parts are looked at. A lamp that says *unable* may be this late; a dashboard hears of it within a minute.
const LOOK: Duration = Duration::from_millis(250);
/// Days before its end on which a credential's expiry is announced.
const ANNOUNCED_DAYS: i64 = 30;
/// How often the pulses are looked at where no systemd says how often.
const WATCH: Duration = Duration::from_secs(3);

/// What every part says of itself.
pub(super) struct Parts {
    pub(super) scanners: BTreeMap<Name, watch::Receiver<scanner::State>>,
    pub(super) lamps: BTreeMap<Name, watch::Receiver<indicator::State>>,
    pub(super) sources: BTreeMap<Name, watch::Receiver<SourceHealth>>,
    pub(super) required: BTreeSet<Name>,
    pub(super) broker: watch::Receiver<publisher::State>,
    pub(super) journal: watch::Receiver<JournalHealth>,
    pub(super) station: watch::Receiver<Report>,
    pub(super) clock: ClockWatch,
    pub(super) faulted: Ring,
    /// Lanes that two scanners share.
    pub(super) shared_lanes: bool,
}

impl Parts {
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
        let scanner_health = |(name, state): (&Name, &watch::Receiver<scanner::State>)| {
            let proven = station.scanners.get(name).is_some_and(|seen| seen.proven);
            let state = state.borrow();
            (
                name.clone(),
                ScannerHealth {
                    state: state.code().to_owned(),
                    proven,
                    unended: *state == scanner::State::Unended,
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
                .map(|(lane, state)| (lane.clone(), state.borrow().code().to_owned()))
                .collect(),
            sources,
            broker: broker.link.code().to_owned(),
            nobody_listens: broker.nobody_listens,
            journal,
            unheard_faults: self.faulted.dropped(),
            clock_synced: self.clock.synced(),
            waiting: station.waiting,
            log_dropped: LOG.dropped(),
            results_dropped: RESULTS.dropped(),
        }
    }

    fn unable(
        &self,
        sources: &BTreeMap<Name, SourceHealth>,
        journal: &JournalHealth,
    ) -> Option<Unable> {
        if journal.state != "ok" {
            return Some(Unable::Reason(Reason::JournalFault));
        }
        let failing = sources
            .iter()
            .filter(|(name, _)| self.required.contains(name))
            .find_map(|(_, health)| health.failing);
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

/// Keeps health and the *unable* signal true; never ends.
pub(super) async fn run(
    parts: Parts,
    journal: Journal,
    health: watch::Sender<Health>,
    unable: watch::Sender<bool>,
    pulse: Pulse,
) {
    let mut announced = Announced::default();
    let mut noted = BTreeMap::new();
    loop {
        pulse.beat();
        let now = parts.gather();
        announced.say(&now);
        for (name, scanner) in &now.scanners {
            // At the start, too: what was noted of an earlier run may be mended.
            if noted.insert(name.clone(), scanner.unended) != Some(scanner.unended) {
                journal.unended(name, scanner.unended);
            }
        }
        unable.send_if_modified(|before| {
            std::mem::replace(before, now.unable.is_some()) != now.unable.is_some()
        });
        health.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        tokio::time::sleep(LOOK).await;
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

/// Feeds systemd's watchdog while every part has given a sign of life since it was fed last.
///
/// Three parts are not asked, for they may rightly block for ever, and a restart would mend none of them:
/// - the journal's thread: a disk that hangs is a state (unable, `journal_fault`) that lamps and dashboards show;
/// - the threads that write the log and the result lines, and the one that reads standard input: a terminal may be stopped, and nobody need type.
pub(super) async fn watchdog(systemd: Systemd, pulses: Pulses, health: watch::Receiver<Health>) {
    let (mut status, mut hanging) = (String::new(), Vec::new());
    loop {
        let silent = pulses.silent();
        systemd.catch_up();
        if silent.is_empty() {
            systemd.alive();
        } else if silent != hanging {
            warn!(
                parts = silent.join(", "),
                "no sign of life; systemd will restart the agent if this lasts"
            );
        }
        hanging = silent;
        let now = story(&health.borrow());
        if now != status && systemd.status(&now) {
            status = now;
        }
        tokio::time::sleep(systemd.watchdog_interval().unwrap_or(WATCH)).await;
    }
}

/// The line that `systemctl status` shows.
fn story(health: &Health) -> String {
    let able = match health.unable {
        Some(why) => format!("cannot answer: {}", why.code()),
        None => "ready for scans".to_owned(),
    };
    format!(
        "{able}; broker {}, {} unsent, {} boxes waiting",
        health.broker, health.journal.unsent, health.waiting
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use std::{sync::mpsc, thread};

    use uuid::Uuid;

    use super::*;
    use crate::station::core::ScannerRecord;

    /// A station with one scanner, one required source and one that only may object; each sender is what that part says.
    struct Bench {
        scanner: watch::Sender<scanner::State>,
        sources: BTreeMap<&'static str, watch::Sender<SourceHealth>>,
        broker: watch::Sender<publisher::State>,
        journal: watch::Sender<JournalHealth>,
        station: watch::Sender<Report>,
        parts: Parts,
    }

    impl Bench {
        fn new() -> Self {
            let name = |text: &str| Name::new(text).unwrap();
            let well = SourceHealth {
                failing: None,
                since: None,
                as_of: None,
                credential_days: None,
                quota_left: None,
                quota_limit: None,
            };
            let scanner = watch::Sender::new(scanner::State::Ok);
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
                broker: broker.subscribe(),
                journal: journal.subscribe(),
                station: station.subscribe(),
                clock: ClockWatch::Fixed { synced: true },
                faulted: Ring::new(1),
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
            .send_modify(|broker| broker.link = publisher::Link::Away("refused".to_owned()));
        assert_eq!(
            bench.reason(),
            None,
            "a broker that is away keeps no scan from its answer"
        );
        for state in [
            scanner::State::Absent(String::new()),
            scanner::State::NoRight,
            scanner::State::Busy,
            scanner::State::Ended,
        ] {
            bench.scanner.send_replace(state);
            assert_eq!(bench.reason(), Some("no_scanner"));
        }
        bench.source("kandji", |source| source.failing = Some(Reason::Timeout));
        assert_eq!(bench.reason(), Some("timeout"));
        bench
            .journal
            .send_modify(|journal| journal.state = "read_only".to_owned());
        assert_eq!(bench.reason(), Some("journal_fault"));
        bench
            .journal
            .send_modify(|journal| journal.state = "ok".to_owned());
        bench.source("kandji", |source| source.failing = None);
        for state in [
            scanner::State::Starting,
            scanner::State::Unended,
            scanner::State::Ok,
        ] {
            bench.scanner.send_replace(state);
            assert_eq!(bench.reason(), None);
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

    /// Is the watchdog fed within that time?
    fn fed(hears: &mpsc::Receiver<String>, within: Duration) -> bool {
        let end = std::time::Instant::now() + within;
        while let Ok(word) =
            hears.recv_timeout(end.saturating_duration_since(std::time::Instant::now()))
        {
            if word == "WATCHDOG=1" {
                return true;
            }
        }
        false
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_thread_that_hangs_stops_the_feeding_until_it_goes_on() {
        const LIMIT: Duration = Duration::from_millis(600);
        let pulses = Pulses::default();
        let (well, hanging) = (pulses.pulse("station"), pulses.pulse("scanner left"));
        let turns = |pulse: Pulse, stuck: Option<(mpsc::Receiver<()>, mpsc::Receiver<()>)>| {
            thread::spawn(move || {
                loop {
                    pulse.beat();
                    thread::sleep(Duration::from_millis(5));
                    match &stuck {
                        // Until it is told to go on, it is where a driver would never return from.
                        Some((hang, go_on)) if hang.try_recv().is_ok() => go_on.recv().unwrap(),
                        _ => {}
                    }
                }
            })
        };
        let ((hang, hangs), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        turns(well, None);
        turns(hanging, Some((hangs, goes_on)));
        let (systemd, hears) = Systemd::double(LIMIT);
        let (_health, seen) = watch::channel(Bench::new().parts.gather());
        tokio::spawn(watchdog(systemd, pulses, seen));
        tokio::task::spawn_blocking(move || {
            for _ in 0..5 {
                assert!(fed(&hears, LIMIT * 20), "all parts answer");
            }
            hang.send(()).unwrap();
            // It may have answered just before; from then on nothing comes.
            while fed(&hears, LIMIT) {}
            assert!(!fed(&hears, LIMIT * 3), "a part hangs");
            go_on.send(()).unwrap();
            assert!(fed(&hears, LIMIT * 20), "all parts answer again");
        })
        .await
        .unwrap();
    }
}
