//! The wiring: every channel and every task of the station on one page. Code order is dependency order.

mod filling;
mod health;
mod page;
mod restored;
mod scan_thread;
mod tasks;
mod today;
mod watchdog;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    config::{Config, Lane},
    health::{Health, JournalHealth, WebCondition},
    indicator::{self, lines::Form},
    journal::{Journal, reader::Day},
    publisher::{self, message::Meta},
    readiness::{
        self, Passed, Source,
        http::Clocks,
        replica::store::{self, Store},
    },
    runtime::{
        clock::{Boot, ClockWatch},
        machine,
        name::Name,
        pulse::Pulses,
        stream::RESULTS,
        systemd::Systemd,
    },
    scanner::{self, SCANS_IN_PROGRESS, Scan, ScanSender, ScannerKind, ScannerState},
    station::{
        core::{Core, LaneSettings},
        driver::{self, Report},
        lamp_feed::LampFeed,
        news::Announcer,
        tally::Tally,
        unrecorded::Unrecorded,
    },
    web,
};
use page::{ForPage, tally};
use restored::{proven, waited};
use scan_thread::ScanThread;
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
const UNRECORDED: usize = 256;

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
    let mut parts = Wiring::new(config)?;
    let journal = parts.journal()?;
    let (passed, passes) = mpsc::channel(8);
    let sources = parts.sources(&passed)?;
    let lamps = parts.lamps()?;
    let station = parts.station(&journal, &sources, &lamps, passes).await;
    let (states, scanners) = parts.scanner_states();
    let (link, link_seen) = watch::channel(publisher::State::starting());
    let today = parts.today(&journal);
    let (page, page_seen) = watch::channel(WebCondition::Starting);
    let feeds = lamps
        .iter()
        .map(|lamps| (lamps.lane.clone(), lamps.feed.clone()))
        .collect();
    let health = parts.health(Gathered {
        journal: &journal,
        sources: &sources,
        lamps,
        station: &station,
        scanners: &scanners,
        link: link_seen.clone(),
        today: today.clone(),
        page: parts.config.web.is_some().then_some(page_seen),
    });
    parts.publisher(&journal, health.clone(), station.unrecorded.clone(), link);
    // Scanners last: from here on people are answered.
    let (answered, input_box) = parts.scanners(states, &station.scans);
    parts.page(
        page,
        ForPage {
            journal: &journal,
            health,
            link: link_seen.clone(),
            today: today.clone(),
            lamps: feeds,
            station: &station,
            input_box,
        },
    );
    drop(station.scans);
    parts.systemd.ready();
    info!(site = %parts.config.site, station = %parts.config.station, version = crate::VERSION, "benchlight is ready");

    let end_of_input = end_of_input(
        parts.config.exit_at_eof,
        parts.streams(scanners),
        answered,
        station.report,
        journal.health(),
    );
    let ended = tokio::select! {
        () = asked_to_stop => Ok(Ended::Asked),
        () = end_of_input => Ok(Ended::EndOfInput),
        name = parts.tasks.one_ended() => Err(anyhow::anyhow!("{name} ended by itself; this is a fault of benchlight")),
    };
    parts.systemd.stopping();
    parts.stop_in_time(&journal, link_seen).await;
    indicator::held::extinguish();
    ended
}

/// What every part is made of and runs on.
struct Wiring {
    config: Config,
    clock: ClockWatch,
    tasks: Tasks,
    pulses: Pulses,
    scan_thread: ScanThread,
    systemd: Systemd,
    /// Ends the scanners, and with them the station.
    stop_scanners: watch::Sender<bool>,
    /// Ends everything downstream of the station.
    stop: watch::Sender<bool>,
}

/// One lane's lamps.
struct Lamps {
    lane: Name,
    feed: LampFeed,
    state: watch::Receiver<indicator::LampState>,
}

/// The station's other ends.
struct Station {
    scans: mpsc::Sender<Scan>,
    report: watch::Receiver<Report>,
    unrecorded: Unrecorded,
    news: Announcer,
    tally: Arc<Tally>,
}

type ScannerStates = BTreeMap<Name, watch::Receiver<ScannerState>>;

/// Whom health asks.
struct Gathered<'a> {
    journal: &'a Journal,
    sources: &'a [Source],
    lamps: Vec<Lamps>,
    station: &'a Station,
    scanners: &'a ScannerStates,
    link: watch::Receiver<publisher::State>,
    today: watch::Receiver<Option<Arc<Day>>>,
    page: Option<watch::Receiver<WebCondition>>,
}

impl Wiring {
    fn new(config: Config) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            clock: ClockWatch::Kernel,
            tasks: Tasks::default(),
            pulses: Pulses::default(),
            scan_thread: ScanThread::start().context("cannot start the thread for scans")?,
            systemd: Systemd::from_environment(),
            stop_scanners: watch::Sender::new(false),
            stop: watch::Sender::new(false),
        })
    }

    /// What remembers: first to start and last to end.
    fn journal(&mut self) -> anyhow::Result<Journal> {
        let journal = Journal::open(&self.config.journal, &machine::identity())?;
        let thread = journal.clone();
        self.tasks
            .start("journal".to_owned(), async move { thread.ended().await });
        Ok(journal)
    }

    /// Who is asked. `passed` hears of each complete pass of a replica.
    fn sources(&mut self, passed: &mpsc::Sender<Passed>) -> anyhow::Result<Vec<Source>> {
        let state_dir = &self.config.journal.state_dir;
        let clocks = Clocks::keeping(self.clock, state_dir);
        let kept = |settings: &readiness::Settings| settings.replica.is_on();
        let with_replica = self.config.sources.iter().filter(|source| kept(source));
        let names = with_replica.map(|source| source.name.clone()).collect();
        let store = Store::of(&store::path(state_dir), names);
        let mut sources = Vec::new();
        for settings in &self.config.sources {
            let source = match &store {
                Some(store) => Source::with_replica(settings.clone(), clocks.clone(), store),
                None => Source::new(settings.clone(), clocks.clone()),
            };
            let source = source.with_context(|| format!("source {}", settings.name))?;
            let name = format!("source {}", source.name());
            let run = source.clone().run(self.pulses.pulse(&name));
            self.tasks.start_on(&self.scan_thread, name, run);
            if kept(settings) {
                // Not on the scans' thread: reading a page must not delay one.
                let name = format!("replica {}", source.name());
                let passes = source
                    .clone()
                    .run_passes(passed.clone(), self.pulses.pulse(&name));
                self.tasks.start(name, passes);
            }
            sources.push(source);
        }
        Ok(sources)
    }

    /// What shows: lamps, and result lines for the lanes that have a terminal.
    fn lamps(&mut self) -> anyhow::Result<Vec<Lamps>> {
        let mut all = Vec::new();
        for lane in &self.config.lanes {
            let feed = LampFeed::dark(Boot::now());
            let (state, state_seen) = watch::channel(indicator::LampState::None);
            let name = format!("lamps {}", lane.name);
            let run = indicator::run(
                lane.indicator.clone(),
                lane.name.clone(),
                lane.policy.deadline + READY_LIMIT,
                feed.clone(),
                state,
                self.stop.subscribe(),
                self.pulses.pulse(&name),
            );
            self.tasks.start(name, run);
            all.push(Lamps {
                lane: lane.name.clone(),
                feed,
                state: state_seen,
            });
        }
        if self.config.lanes.iter().any(prints) {
            RESULTS
                .start(io::stdout())
                .context("cannot start the thread for result lines")?;
        }
        Ok(all)
    }

    /// The station itself.
    async fn station(
        &mut self,
        journal: &Journal,
        sources: &[Source],
        lamps: &[Lamps],
        passes: mpsc::Receiver<Passed>,
    ) -> Station {
        let config = &self.config;
        let (scans, scans_in) = mpsc::channel(SCANS_IN_PROGRESS * 8);
        let lanes = config.lanes.iter().map(|lane| LaneSettings {
            name: lane.name.clone(),
            policy: lane.policy.clone(),
        });
        let lane_of = config
            .scanners
            .iter()
            .map(|scanner| (scanner.name.clone(), scanner.lane.clone()));
        let mut core = Core::new(
            lanes.collect(),
            lane_of.collect(),
            Boot::now(),
            Uuid::now_v7,
        );
        core.restore_proven(&proven(config, journal).await);
        let (report, reported) = watch::channel(Report::of(&core));
        let unrecorded = Unrecorded::new(UNRECORDED);
        let news = Announcer::default();
        let tally = Arc::new(tally(config));
        let ends = driver::Ends {
            scans: scans_in,
            waited: waited(config, journal, self.clock),
            sources: sources.into(),
            outside: Arc::new(outside(config)),
            passes,
            journal: journal.clone(),
            lanes: lamps
                .iter()
                .map(|lamps| (lamps.lane.clone(), lamps.feed.clone()))
                .collect(),
            results: result_lines(config),
            news: news.clone(),
            tally: Arc::clone(&tally),
            unrecorded: unrecorded.clone(),
            report,
            clock: self.clock,
            stop: self.stop_scanners.subscribe(),
            pulse: self.pulses.pulse("station"),
        };
        let run = driver::run(core, ends);
        self.tasks
            .start_on(&self.scan_thread, "station".to_owned(), run);
        Station {
            scans,
            report: reported,
            unrecorded,
            news,
            tally,
        }
    }

    /// Each scanner's state: where it says it, and where it is seen.
    fn scanner_states(&self) -> (Vec<watch::Sender<ScannerState>>, ScannerStates) {
        let states = self.config.scanners.iter().map(|settings| {
            let (state, seen) = watch::channel(ScannerState::Starting);
            (state, (settings.name.clone(), seen))
        });
        states.unzip()
    }

    /// The boxes scanned today, as the journal has them.
    fn today(&mut self, journal: &Journal) -> watch::Receiver<Option<Arc<Day>>> {
        let (today, seen) = watch::channel(None);
        let run = today::run(journal.clone(), today, self.pulses.pulse("today"));
        self.tasks.start("today".to_owned(), run);
        seen
    }

    /// Health, gathered from all parts, and the watchdog that is fed while they all give signs of life.
    fn health(&mut self, from: Gathered<'_>) -> watch::Receiver<Health> {
        let config = &self.config;
        let feeds = from.lamps.iter().map(|lamps| lamps.feed.clone()).collect();
        let parts = health::Parts {
            scanners: from.scanners.clone(),
            lamps: from
                .lamps
                .into_iter()
                .map(|lamps| (lamps.lane, lamps.state))
                .collect(),
            sources: from
                .sources
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
            by_pass: config
                .policy
                .sources
                .iter()
                .filter(|source| source.kind.is_list_only())
                .map(|source| source.name.clone())
                .collect(),
            broker: from.link,
            journal: from.journal.health(),
            station: from.station.report.clone(),
            today: from.today,
            web: from.page,
            clock: self.clock,
            unrecorded: from.station.unrecorded.clone(),
            shared_lanes: config.lanes.iter().any(|lane| {
                let scanners = config.scanners.iter();
                let readers = scanners.filter(|one| one.kind != ScannerKind::Web);
                readers.filter(|one| one.lane == lane.name).count() > 1
            }),
        };
        let (health, health_seen) = watch::channel(parts.gather());
        let journal = from.journal.clone();
        let unended = move |scanner: &Name, unended| journal.unended(scanner, unended);
        let run = health::run(parts, unended, health, feeds, self.pulses.pulse("health"));
        self.tasks.start("health".to_owned(), run);
        let watching = watchdog::run(
            self.systemd.clone(),
            self.pulses.clone(),
            health_seen.clone(),
        );
        self.tasks.start("watchdog".to_owned(), watching);
        let filling = filling::run(health_seen.clone(), self.pulses.pulse("filling"));
        self.tasks.start("filling".to_owned(), filling);
        health_seen
    }

    /// What tells the fleet.
    fn publisher(
        &mut self,
        journal: &Journal,
        health: watch::Receiver<Health>,
        unrecorded: Unrecorded,
        link: watch::Sender<publisher::State>,
    ) {
        let inputs = publisher::Inputs {
            journal: journal.clone(),
            health,
            meta: meta(&self.config, journal),
            unrecorded,
            stop: self.stop.subscribe(),
            pulse: self.pulses.pulse("publisher"),
        };
        let run = publisher::run(self.config.mqtt.clone(), inputs, link);
        self.tasks.start("publisher".to_owned(), run);
    }

    /// Starts the scanners. Each future that is returned resolves when all scans of one of them are answered. The page's input box
    /// is returned for the page.
    fn scanners(
        &mut self,
        states: Vec<watch::Sender<ScannerState>>,
        scans: &mpsc::Sender<Scan>,
    ) -> (Vec<impl Future<Output = ()> + use<>>, Option<web::InputBox>) {
        let (mut answered, mut input_box) = (Vec::new(), None);
        for (settings, state) in self.config.scanners.iter().zip(states) {
            let scan_sender = ScanSender::new(settings.name.clone(), scans.clone());
            answered.push(scan_sender.all_answered());
            if settings.kind == ScannerKind::Web {
                input_box = Some(web::InputBox {
                    scans: scan_sender,
                    state,
                    lane: settings.lane.clone(),
                });
                continue;
            }
            let name = format!("scanner {}", settings.name);
            let run = scanner::run(
                settings.clone(),
                scan_sender,
                state,
                self.stop_scanners.subscribe(),
                self.pulses.pulse(&name),
            );
            self.tasks.start_ending_on(&self.scan_thread, name, run);
        }
        (answered, input_box)
    }

    /// The scanners whose streams may end. The page's input box has none, and does not keep the station running beside others.
    fn streams(&self, mut scanners: ScannerStates) -> ScannerStates {
        let is_box = |kind: &ScannerKind| *kind == ScannerKind::Web;
        let all = &self.config.scanners;
        if !all.iter().all(|scanner| is_box(&scanner.kind)) {
            for scanner in all.iter().filter(|scanner| is_box(&scanner.kind)) {
                scanners.remove(&scanner.name);
            }
        }
        scanners
    }

    /// Ends everything, within [`STOP`].
    async fn stop_in_time(&mut self, journal: &Journal, link: watch::Receiver<publisher::State>) {
        if timeout(STOP, self.stop(journal, link)).await.is_err() {
            warn!(
                "the station did not end in good order in time; what is not sent yet follows at the next start"
            );
        }
    }

    /// Ends the parts downstream: no more scans, the last answers, the last messages, dark lamps, then the journal.
    async fn stop(&mut self, journal: &Journal, link: watch::Receiver<publisher::State>) {
        self.stop_scanners.send_replace(true);
        self.tasks.end("station", ANSWER_AT_STOP).await;
        if link.borrow().link == publisher::LinkState::Connected {
            let _ = timeout(
                SEND_AT_STOP,
                journal.health().wait_for(|journal| journal.unsent == 0),
            )
            .await;
        }
        self.stop.send_replace(true);
        let printed = tokio::task::spawn_blocking(|| RESULTS.finish(PARTS_AT_STOP));
        self.tasks
            .end_all(&["lamps", "publisher"], PARTS_AT_STOP)
            .await;
        if !printed.await.unwrap_or_default() {
            warn!(
                "standard output is not read: the last result lines are lost (records and messages are not)"
            );
        }
        journal.close().await;
    }
}

fn meta(config: &Config, journal: &Journal) -> Meta {
    Meta {
        version: crate::VERSION.to_owned(),
        site: config.site.clone(),
        station: config.station.clone(),
        epoch: journal.epoch(),
        policy: config.policy.hash.clone(),
        commands: config.mqtt.commands,
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

/// The sources that only may object.
fn outside(config: &Config) -> BTreeSet<Name> {
    let sources = config.policy.sources.iter();
    let outside = sources.filter(|source| !source.required);
    outside.map(|source| source.name.clone()).collect()
}

/// Are this lane's results printed?
const fn prints(lane: &Lane) -> bool {
    matches!(lane.indicator, indicator::Settings::Terminal { .. })
}

/// Prints the results of the lanes that have a terminal.
fn result_lines(config: &Config) -> driver::Print {
    let printing: BTreeSet<Name> = config
        .lanes
        .iter()
        .filter(|lane| prints(lane))
        .map(|lane| lane.name.clone())
        .collect();
    let form = Form::of_standard_output();
    Box::new(move |record| {
        if printing.contains(&record.lane) {
            RESULTS.push(form.lines(record).as_bytes());
        }
    })
}

/// Resolves when every scanner is a stream that ended, every scan is answered, and every row sent or given its time.
async fn end_of_input(
    exit_at_eof: bool,
    scanners: ScannerStates,
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
            .wait_for(|state| *state == ScannerState::Ended)
            .await;
    }
    // A scan keeps its place until it is answered and recorded: when all are free, none is on its way.
    for scanner in answered {
        scanner.await;
    }
    let _ = report.wait_for(|report| report.idle).await;
    let _ = timeout(DRAIN, journal.wait_for(|journal| journal.unsent == 0)).await;
}
