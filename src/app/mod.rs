//! The wiring: every channel and every task of the station on one page. Code order is dependency order.

mod gather;
mod tasks;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    config::Config,
    health::JournalHealth,
    indicator::{self, lines::Line},
    journal::{self, Journal},
    publisher::{self, message::Meta},
    readiness::{Source, http::Clocks},
    reason::Reason,
    record::Record,
    runtime::{
        clock::{Boot, ClockWatch},
        name::Name,
        pulse::Pulses,
        stream::RESULTS,
        systemd::Systemd,
    },
    scanner::{self, Outlet, SCANS_IN_PROGRESS},
    station::{
        core::{Core, LaneSettings},
        driver::{self, Report},
        ring::Ring,
        status::LaneStatus,
        waiting,
    },
};
use gather::Parts;
use tasks::Tasks;

/// A green is never lit later than this after the sources' deadline.
const READY_LIMIT: Duration = Duration::from_secs(2);
/// After the last scan of the last pipe: how long the outbox may take to empty.
const DRAIN: Duration = Duration::from_secs(10);
/// At a stop: how long scans under way may take to be answered and recorded.
const ANSWER_AT_STOP: Duration = Duration::from_millis(3_200);
/// At a stop: how long the last records may take to reach a broker that is there.
const SEND_AT_STOP: Duration = Duration::from_millis(500);
/// At a stop: how long lamps, publisher and result lines may take to end.
const PARTS_AT_STOP: Duration = Duration::from_millis(1_200);
/// The whole stop, and the last words of the log after it, take less than the 5 s that are promised.
const STOP: Duration = Duration::from_millis(4_500);
/// Scans that were answered `journal_fault`, kept until the broker can have them.
const FAULTED: usize = 256;

/// Why the station stopped as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// All scanners are streams that ended, all is answered, and sent or not to be sent in time.
    EndOfInput,
}

/// Runs the station until `asked_to_stop` resolves or, with `exit_at_eof`, all its streams have ended.
///
/// # Errors
/// A part that the station cannot do without could not start, or ended by itself; the text names it.
pub async fn run(config: Config, asked_to_stop: impl Future<Output = ()>) -> anyhow::Result<Ended> {
    let clock = ClockWatch::Kernel;
    let (stop_scanners, scanners_stop) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = Tasks::default();
    let pulses = Pulses::default();

    // What remembers. It is first to start and last to end.
    let journal = Journal::open(&config.journal, &journal::machine_id())?;
    let scanners = config
        .scanners
        .iter()
        .map(|scanner| scanner.name.clone())
        .collect();
    let (waited, proven) = remembered(
        &journal,
        clock,
        waiting::followed_for(config.policy.recheck_for),
        scanners,
    )
    .await;

    let thread = journal.clone();
    tasks.start("journal".to_owned(), async move { thread.ended().await });

    // Who is asked.
    let clocks = Clocks::keeping(clock, &config.journal.state_dir);
    let sources = config.sources.iter().map(|source| {
        Source::new(source.clone(), clocks.clone())
            .map_err(anyhow::Error::from)
            .with_context(|| format!("source {}", source.name))
    });
    let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
    for source in &sources {
        tasks.start(
            format!("source {}", source.name()),
            source
                .clone()
                .run(pulses.pulse(format!("source {}", source.name()))),
        );
    }

    // Lamps: one state for each lane, newest wins.
    let mut lanes = BTreeMap::new();
    let mut lamps = BTreeMap::new();
    let mut printing = BTreeMap::new();
    for lane in &config.lanes {
        let (status, shown) = watch::channel(LaneStatus::at_start(Boot::now()));
        let (state, state_seen) = watch::channel(indicator::State::None);
        lanes.insert(lane.name.clone(), status);
        lamps.insert(lane.name.clone(), state_seen);
        printing.insert(
            lane.name.clone(),
            matches!(lane.indicator, indicator::Settings::Terminal { .. }),
        );
        let limit = lane.policy.deadline + READY_LIMIT;
        let run = indicator::run(
            lane.indicator.clone(),
            lane.name.clone(),
            limit,
            shown,
            state,
            stopped.clone(),
            pulses.pulse(format!("lamps {}", lane.name)),
        );
        tasks.start(format!("lamps {}", lane.name), run);
    }
    let results = result_lines(printing).context("cannot start the thread for result lines")?;

    // The station itself.
    let (scans, scans_in) = mpsc::channel(SCANS_IN_PROGRESS * 8);
    let faulted = Ring::new(FAULTED);
    let (unable, unable_seen) = watch::channel(false);
    let lane_settings = config
        .lanes
        .iter()
        .map(|lane| LaneSettings {
            name: lane.name.clone(),
            policy: lane.policy.clone(),
        })
        .collect();
    let lane_of = config
        .scanners
        .iter()
        .map(|scanner| (scanner.name.clone(), scanner.lane.clone()))
        .collect();
    let mut core = Core::new(lane_settings, lane_of, Boot::now(), Uuid::now_v7);
    core.restore(waited, Boot::now());
    core.restore_proven(&proven);
    let (report, reported) = watch::channel(Report::of(&core));
    let ends = driver::Ends {
        scans: scans_in,
        sources: sources.clone(),
        journal: journal.clone(),
        lanes,
        results,
        faulted: faulted.clone(),
        unable: unable_seen,
        report,
        clock,
        stop: scanners_stop.clone(),
        pulse: pulses.pulse("station"),
    };
    tasks.start("station".to_owned(), driver::run(core, ends));

    // Health, gathered from all parts; the broker's state is a part of it.
    let (link, link_seen) = watch::channel(publisher::State::starting());
    let mut scanner_states = BTreeMap::new();
    let mut scanner_ends = Vec::new();
    for settings in &config.scanners {
        let (state, seen) = watch::channel(scanner::State::Starting);
        scanner_states.insert(settings.name.clone(), seen);
        scanner_ends.push((settings.clone(), state));
    }
    let parts = Parts {
        scanners: scanner_states.clone(),
        lamps,
        sources: sources
            .iter()
            .map(|source| (source.name().clone(), source.health()))
            .collect(),
        required: config
            .policy
            .sources
            .iter()
            .filter(|source| source.required)
            .map(|source| source.name.clone())
            .collect(),
        broker: link_seen.clone(),
        journal: journal.health(),
        station: reported.clone(),
        clock,
        faulted: faulted.clone(),
        shared_lanes: config.lanes.iter().any(|lane| {
            config
                .scanners
                .iter()
                .filter(|scanner| scanner.lane == lane.name)
                .count()
                > 1
        }),
    };
    let (health, health_seen) = watch::channel(parts.gather());
    let systemd = Systemd::from_environment();
    tasks.start(
        "health".to_owned(),
        gather::run(
            parts,
            journal.clone(),
            health,
            unable,
            pulses.pulse("health"),
        ),
    );
    tasks.start(
        "watchdog".to_owned(),
        gather::watchdog(systemd.clone(), pulses.clone(), health_seen.clone()),
    );

    // The fleet.
    let inputs = publisher::Inputs {
        journal: journal.clone(),
        health: health_seen,
        meta: meta(&config, &journal),
        faulted,
        stop: stopped,
        pulse: pulses.pulse("publisher"),
    };
    tasks.start(
        "publisher".to_owned(),
        publisher::run(config.mqtt.clone(), inputs, link),
    );

    // Scanners last: from here on people are answered.
    let mut answered = Vec::new();
    for (settings, state) in scanner_ends {
        let outlet = Outlet::new(settings.name.clone(), scans.clone());
        answered.push(outlet.all_answered());
        let name = format!("scanner {}", settings.name);
        let run = scanner::run(
            settings,
            outlet,
            state,
            scanners_stop.clone(),
            pulses.pulse(&name),
        );
        tasks.start_ending(name, run);
    }
    drop(scans);
    systemd.ready();
    info!(site = %config.site, station = %config.station, version = crate::VERSION, "benchlight is ready");

    let end_of_input = end_of_input(
        config.exit_at_eof,
        scanner_states,
        answered,
        reported,
        journal.health(),
    );
    let ended = tokio::select! {
        () = asked_to_stop => Ok(Ended::Asked),
        () = end_of_input => Ok(Ended::EndOfInput),
        name = tasks.one_ended() => Err(anyhow::anyhow!("{name} ended by itself; this is a fault of benchlight")),
    };
    systemd.stopping();
    let stopping = async {
        // Downstream: no more scans, the last answers, the last messages, dark lamps, then the journal.
        let _ = stop_scanners.send(true);
        tasks.end("station", ANSWER_AT_STOP).await;
        if link_seen.borrow().link == publisher::Link::Connected {
            let _ = timeout(
                SEND_AT_STOP,
                journal.health().wait_for(|journal| journal.unsent == 0),
            )
            .await;
        }
        let _ = stop.send(true);
        let printed = tokio::task::spawn_blocking(|| RESULTS.finish(PARTS_AT_STOP));
        tasks.end_all(&["lamps", "publisher"], PARTS_AT_STOP).await;
        if !printed.await.unwrap_or_default() {
            warn!(
                "standard output is not read: the last result lines are lost (records and messages are not)"
            );
        }
        journal.close().await;
    };
    if timeout(STOP, stopping).await.is_err() {
        warn!(
            "the station did not end in good order in time; what is not sent yet follows at the next start"
        );
    }
    indicator::held::extinguish();
    ended
}

/// What an earlier run left: the newest record of each serial number that may still be asked again, with its age, and the scanners
/// that had yielded a known serial number.
async fn remembered(
    journal: &Journal,
    clock: ClockWatch,
    followed_for: Duration,
    scanners: BTreeSet<Name>,
) -> (Vec<(Record, Duration)>, BTreeSet<Name>) {
    let mut reader = journal.reader();
    let (now, synced) = (Timestamp::now(), clock.synced());
    let reasons: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| waiting::is_asked_again(*reason))
        .collect();
    let reading = move || {
        let waited = reader.waiting(now, synced, followed_for, &reasons).unwrap_or_else(|error| {
            warn!(%error, "the boxes that waited before the start could not be read; scan them again");
            Vec::new()
        });
        let proofs = reader.proofs(&scanners).unwrap_or_default();
        (
            waited,
            proofs
                .into_iter()
                .filter_map(|(scanner, proof)| proof.map(|_| scanner))
                .collect(),
        )
    };
    tokio::task::spawn_blocking(reading)
        .await
        .unwrap_or_default()
}

fn meta(config: &Config, journal: &Journal) -> Meta {
    Meta {
        version: crate::VERSION.to_owned(),
        site: config.site.clone(),
        station: config.station.clone(),
        epoch: journal.epoch(),
        policy: config.policy.hash.clone(),
        lanes: config.lanes.iter().map(|lane| lane.name.clone()).collect(),
        scanners: config
            .scanners
            .iter()
            .map(|scanner| {
                (
                    scanner.name.clone(),
                    scanner.kind.code(),
                    scanner.lane.clone(),
                )
            })
            .collect(),
        sources: config
            .policy
            .sources
            .iter()
            .map(|source| (source.name.clone(), source.kind.code(), source.required))
            .collect(),
    }
}

/// Prints the results of the lanes that have a terminal.
fn result_lines(printing: BTreeMap<Name, bool>) -> io::Result<driver::Print> {
    if printing.values().any(|prints| *prints) {
        RESULTS.start(io::stdout())?;
    }
    Ok(Box::new(move |record| {
        if printing.get(&record.lane).copied().unwrap_or_default() {
            RESULTS.push(format!("{}\n", Line::of(record)).as_bytes());
        }
    }))
}

/// Resolves when every scanner is a stream that ended, every scan is answered, and every row sent or given its time.
async fn end_of_input(
    exit_at_eof: bool,
    scanners: BTreeMap<Name, watch::Receiver<scanner::State>>,
    answered: Vec<impl Future<Output = ()>>,
    mut report: watch::Receiver<Report>,
    mut journal: watch::Receiver<JournalHealth>,
) {
    if !exit_at_eof {
        return std::future::pending().await;
    }
    for mut scanner in scanners.into_values() {
        // A channel that closes belongs to a scanner that has ended, too.
        let _ = scanner
            .wait_for(|state| *state == scanner::State::Ended)
            .await;
    }
    // A scan keeps its place until it is answered and recorded: when all are free, none is on its way.
    for scanner in answered {
        scanner.await;
    }
    let _ = report.wait_for(|report| report.idle).await;
    let _ = timeout(DRAIN, journal.wait_for(|journal| journal.unsent == 0)).await;
}
