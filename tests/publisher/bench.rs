//! A station's journal and publisher, without the rest of the station.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use benchlight::{
    health::{Health, JournalHealth, LinkCondition},
    journal::{self, Journal},
    label::Serial,
    publisher::{
        self, HealthTimes, Inputs, LinkState, NoSubscriber, ReconnectTimes, RowTimes, Settings,
        SilenceTimes, State, TakeoverTimes, Timing, message::Meta,
    },
    readiness::evidence::{Evidence, Finding, Grade, SourceKind},
    reason::{Reason, Signal},
    record::{Cause, Change, Record, Recorded},
    runtime::{credential::CredentialStore, name::Name, pulse::Pulse},
    station::unrecorded::Unrecorded,
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

use crate::support::mosquitto::STATION;

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The product's times, shortened where a test would have to wait.
pub fn quick() -> Timing {
    Timing {
        reconnect: ReconnectTimes {
            first: Duration::from_millis(50),
            next: Duration::from_millis(200),
            often: Duration::from_secs(10),
            most: Duration::from_millis(400),
            stable: Duration::from_millis(500),
            connect_least: Duration::from_secs(3),
            connect_most: Duration::from_secs(3),
        },
        silence: SilenceTimes {
            unacknowledged: Duration::from_secs(2),
            grace: Duration::from_millis(200),
        },
        rows: RowTimes {
            first: Duration::from_millis(50),
            most: Duration::from_millis(400),
            probe: Duration::from_millis(300),
            aside: Duration::from_secs(3_600),
        },
        health: HealthTimes {
            least: Duration::from_millis(200),
            most: Duration::from_secs(1),
        },
        takeovers: TakeoverTimes {
            quiet: Duration::from_secs(5),
            backoff: Duration::from_millis(800),
        },
        kept: Duration::from_millis(500),
        say_online_again: Duration::from_millis(100),
        stop: Duration::from_secs(2),
    }
}

/// Settings of a station in the shipped access list.
pub fn settings(folder: &Path, port: u16) -> Settings {
    Settings {
        site: name("ams1"),
        station: name("bench-1"),
        url: format!("mqtt://127.0.0.1:{port}").parse().unwrap(),
        username: Some(STATION.0.to_owned()),
        password: Some(secret(folder, "mqtt-password", STATION.1)),
        ca_file: None,
        client_certificate: None,
        topic_prefix: "benchlight".to_owned(),
        keep_alive: Duration::from_secs(1),
        replay_per_second: 0,
        no_subscriber: NoSubscriber::Keep,
        publish_raw: false,
        commands: false,
        discovery_prefix: None,
    }
}

/// Writes a credential file.
pub fn secret(
    folder: &Path,
    name: &str,
    text: &str,
) -> benchlight::runtime::credential::Credential {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    CredentialStore::new(folder).credential(name)
}

/// A scan of box number `number`.
pub fn scan(number: u64) -> Record {
    let serial = Serial::new(&format!("C{number:09}")).unwrap();
    Record {
        scanner: name("left"),
        serial: Some(serial.clone()),
        asked: vec![serial.clone()],
        grade: Some(Grade::Relayed),
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        took_ms: 12,
        policy: "9f2c41d0".to_owned(),
        evidence: vec![Evidence::bare(
            name("kandji"),
            SourceKind::Kandji,
            serial,
            Finding::Ready(Grade::Relayed),
        )],
        ..Record::bare(
            Uuid::now_v7(),
            jiff::Timestamp::now(),
            name("main"),
            Reason::Assigned,
        )
    }
}

/// A change of an earlier scan.
pub fn change(of: &Recorded) -> Record {
    let change = Change {
        scan: of.record.id,
        cause: Cause::Recheck,
        previous_reason: Reason::SyncPending,
    };
    Record {
        id: Uuid::now_v7(),
        raw_scan: None,
        change: Some(change),
        lamp: Signal::None,
        ..of.record.clone()
    }
}

/// The health of a station without faults.
pub fn well() -> Health {
    Health {
        web: None,
        unable: None,
        alarms: Vec::new(),
        scanners: [].into(),
        lamps: [].into(),
        sources: [].into(),
        broker: LinkCondition::Starting,
        nobody_listens: false,
        journal: JournalHealth::sound(Uuid::nil()),
        unheard_faults: 0,
        clock_synced: true,
        waiting: 0,
        today: None,
        log_dropped: 0,
        results_dropped: 0,
    }
}

/// A journal to which a publisher can be attached.
pub struct Bench {
    pub folder: TempDir,
    pub journal: Journal,
    scans: u64,
}

fn journal_in(folder: &Path) -> Journal {
    let day = Duration::from_secs(86_400);
    let settings = journal::Settings {
        state_dir: folder.join("state"),
        keep: 90 * day,
        keep_raw: 7 * day,
        max_bytes: 1 << 30,
    };
    Journal::open(&settings, "test machine").unwrap()
}

/// A running publisher.
pub struct Running {
    pub state: watch::Receiver<State>,
    pub health: watch::Sender<Health>,
    pub unrecorded: Unrecorded,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Bench {
    pub fn new() -> Self {
        crate::support::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let journal = journal_in(folder.path());
        Self {
            folder,
            journal,
            scans: 0,
        }
    }

    pub fn settings(&self, port: u16) -> Settings {
        settings(self.folder.path(), port)
    }

    /// Records this many scans.
    pub async fn scan(&mut self, many: u64) -> Vec<Recorded> {
        let mut recorded = Vec::new();
        let numbers: Vec<u64> = (0..many).collect();
        for chunk in numbers.chunks(100) {
            let records: Vec<Record> = chunk
                .iter()
                .map(|number| scan(self.scans + number))
                .collect();
            recorded.extend(self.journal.record(records).await.unwrap());
        }
        self.scans += many;
        recorded
    }

    /// Restarts the station.
    pub async fn restart(&mut self) {
        self.journal.close().await;
        self.journal = journal_in(self.folder.path());
    }

    /// Deletes the journal's file; the next record is the first of a new epoch.
    pub async fn lose_the_journal(&mut self) {
        let before = self.journal.epoch();
        fs::remove_file(self.folder.path().join("state/journal.sqlite")).unwrap();
        assert_eq!(self.scan(1).await[0].seq, 1);
        assert_ne!(self.journal.epoch(), before);
    }

    pub fn publish(&self, settings: Settings) -> Running {
        self.publish_with(settings, quick())
    }

    pub fn publish_with(&self, settings: Settings, timing: Timing) -> Running {
        let (state, watched) = watch::channel(State {
            link: LinkState::Starting,
            nobody_listens: false,
            session_taken_over: false,
            refused_topic: None,
        });
        let (health, health_seen) = watch::channel(well());
        let unrecorded = Unrecorded::new(256);
        let (stop, stopped) = watch::channel(false);
        let meta = Meta {
            version: "0.1.0".to_owned(),
            site: settings.site.clone(),
            station: settings.station.clone(),
            epoch: self.journal.epoch(),
            policy: "9f2c41d0".to_owned(),
            commands: false,
            lanes: vec![name("main")],
            scanners: vec![(name("left"), "hid", name("main"))],
            sources: vec![(name("kandji"), "kandji", true)],
        };
        let inputs = Inputs {
            journal: self.journal.clone(),
            health: health_seen,
            meta,
            unrecorded: unrecorded.clone(),
            stop: stopped,
            pulse: Pulse::default(),
        };
        let task = tokio::spawn(publisher::run_with(settings, inputs, state, timing));
        Running {
            state: watched,
            health,
            unrecorded,
            stop,
            task,
        }
    }

    pub fn unsent(&self) -> u64 {
        self.journal.health().borrow().unsent
    }

    /// Waits until everything is delivered, according to the journal.
    pub async fn all_sent(&self, within: Duration) {
        let mut health = self.journal.health();
        tokio::time::timeout(within, health.wait_for(|health| health.unsent == 0))
            .await
            .unwrap_or_else(|_| panic!("not within {within:?}: {} rows are unsent", self.unsent()))
            .unwrap();
    }
}

impl Running {
    pub async fn until(&mut self, what: &str, condition: impl Fn(&State) -> bool) {
        let found = tokio::time::timeout(
            Duration::from_secs(15),
            self.state.wait_for(|state| condition(state)),
        )
        .await
        .is_ok_and(|found| found.is_ok());
        assert!(found, "never: {what}; it is {:?}", *self.state.borrow());
    }

    pub async fn connected(&mut self) {
        self.until("connected", |state| state.link == LinkState::Connected)
            .await;
    }

    /// Waits until the link is away, and returns the reason.
    pub async fn away(&mut self) -> String {
        self.until("away", |state| matches!(state.link, LinkState::Away(_)))
            .await;
        match self.state.borrow().link.clone() {
            LinkState::Away(words) => words,
            other => panic!("{other:?}"),
        }
    }

    /// Stops it cleanly.
    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(4), self.task)
            .await
            .expect("a clean stop is quick")
            .unwrap();
    }

    /// Stops it as a kill would.
    pub fn kill(self) {
        self.task.abort();
    }
}
