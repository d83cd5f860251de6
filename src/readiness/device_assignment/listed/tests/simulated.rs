//! The list of a simulated Apple, page by page.

use std::{collections::BTreeSet, os::unix::fs::OpenOptionsExt, time::Duration};

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    label::Candidates,
    readiness::{
        apple_dep,
        evidence::{Finding, Grade},
        http::Limits,
        nanodep,
        replica::ReadAt,
        service::{Adapter, Endpoint, Heard, ServiceSettings},
    },
    runtime::{
        clock::{Boot, ClockWatch},
        credential::CredentialStore,
        name::Name,
    },
    simulator::{
        Running,
        device_assignment::Apple,
        stock::{DEMO, Dep, Mdm, Own, PROFILE_URL, PROFILE_UUID, SERVER_UUID},
    },
};

const READY: Finding = Finding::Ready(Grade::Relayed);

/// Whoever asks Apple's Device Assignment Services for the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    /// Nobody.
    Itself,
    NanoDep,
}

const ALL: [Through; 2] = [Through::Itself, Through::NanoDep];

/// The simulator, kept alive.
enum Behind {
    Apple(apple_dep::simulator::Simulator),
    NanoDep(nanodep::simulator::Simulator),
}

struct Bench {
    behind: Behind,
    source: Box<dyn Adapter>,
    _folder: TempDir,
}

fn written(secret: &str) -> (TempDir, crate::runtime::credential::Credential) {
    let folder = TempDir::new().unwrap();
    let mut file = std::fs::OpenOptions::new();
    let file = file.create(true).write(true).mode(0o600);
    let mut file = file.open(folder.path().join("secret")).unwrap();
    std::io::Write::write_all(&mut file, secret.as_bytes()).unwrap();
    let credential = CredentialStore::new(folder.path()).credential("secret");
    (folder, credential)
}

async fn bench(through: Through, boxes: u32, hosts: &[&str]) -> Bench {
    let expected = Expected {
        profiles: Vec::new(),
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
    };
    let endpoint = |running: &Running| Endpoint {
        name: Name::new("apple").unwrap(),
        url: running.base().parse().unwrap(),
        ca_file: None,
        reads_per_minute: 0,
        quota_share: 1.0,
        clocks: ClockWatch::Fixed { synced: true }.into(),
        limits: Limits::default(),
    };
    match through {
        Through::Itself => {
            let options = apple_dep::simulator::Options {
                boxes,
                ..apple_dep::simulator::Options::demo()
            };
            let apple = apple_dep::simulator::serve(options).await.unwrap();
            let (folder, token) = written(&apple.credential());
            let settings = apple_dep::Settings {
                token,
                user_agent: "test".to_owned(),
                expected,
            };
            Bench {
                source: settings.connect(endpoint(&apple)).unwrap(),
                behind: Behind::Apple(apple),
                _folder: folder,
            }
        }
        Through::NanoDep => {
            let nanodep = nanodep::simulator::serve(([127, 0, 0, 1], 0).into(), boxes);
            let nanodep = nanodep.await.unwrap();
            // With one profile in all, as Apple's own simulator.
            for demo in DEMO {
                if demo.mdm == Mdm::Own(Own::OtherProfile) {
                    nanodep.apple().overlay(demo.serial, json!({}));
                }
            }
            let (folder, key) = written(nanodep.key());
            let settings = nanodep::Settings::new(nanodep::simulator::DEP_NAME, key, expected);
            Bench {
                source: settings.connect(endpoint(&nanodep)).unwrap(),
                behind: Behind::NanoDep(nanodep),
                _folder: folder,
            }
        }
    }
}

impl Bench {
    fn running(&self) -> &Running {
        match &self.behind {
            Behind::Apple(apple) => apple,
            Behind::NanoDep(nanodep) => nanodep,
        }
    }

    fn apple(&self) -> &Apple {
        match &self.behind {
            Behind::Apple(apple) => apple.apple(),
            Behind::NanoDep(nanodep) => nanodep.apple(),
        }
    }

    fn list(&self) -> &dyn Listed {
        self.source.listed().unwrap()
    }

    /// The rows and the facts of a pass.
    async fn pass(&self) -> (Vec<ListedRow>, StoredFacts) {
        let facts = self.list().facts().await.unwrap();
        let mut page = self.list().page(None).await.unwrap();
        let mut rows = Vec::new();
        while let Some(next) = page.next.take() {
            rows.append(&mut page.rows);
            page = self.list().page(Some(&next)).await.unwrap();
        }
        rows.append(&mut page.rows);
        let facts = StoredFacts {
            body: facts.body,
            read_at: read_at(facts.date),
        };
        (rows, facts)
    }

    async fn live(&self, serial: &Serial) -> Evidence {
        let candidates = Candidates::one(serial.clone());
        let mut evidence = self
            .source
            .look_up(&candidates, Purpose::Scan, &Heard::default())
            .await;
        evidence.remove(0)
    }

    fn copy(&self, row: &ListedRow, facts: &StoredFacts, now: Timestamp) -> Evidence {
        let stored = StoredRow {
            body: row.body.clone(),
            read_at: read_at(now),
        };
        self.list().judge(&row.serial, &[stored], facts, now)
    }

    fn profiles_read(&self) -> usize {
        let requests = self.running().requests();
        requests
            .iter()
            .filter(|request| request.starts_with("GET ") && request.contains("/profile?"))
            .count()
    }
}

fn read_at(date: Timestamp) -> ReadAt {
    ReadAt {
        boot_id: Uuid::nil(),
        boot: Boot::from_duration(Duration::ZERO),
        date,
    }
}

/// The live answer as a copy says it.
fn as_copy(live: Evidence, now: Timestamp) -> Evidence {
    Evidence {
        finding: match live.finding {
            Finding::Ready(_) => READY,
            finding => finding,
        },
        as_of: Some(now),
        replied_at: Some(now),
        used_at: None,
        heard: false,
        ..live
    }
}

#[tokio::test]
async fn the_whole_list_is_read_to_its_end_and_each_row_says_what_the_live_question_says() {
    for through in ALL {
        let bench = bench(through, 2500, &[]).await;
        let (rows, facts) = bench.pass().await;
        let ids: BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), rows.len(), "each device once");
        assert!(rows.len() > 2000, "{}", rows.len());
        let requests = bench.running().requests();
        assert_eq!(bench.list().reads(), requests.len() as u64, "{requests:?}");
        let pages = requests
            .iter()
            .filter(|one| one.starts_with("POST ") && one.ends_with("/server/devices"));
        assert_eq!(pages.count(), rows.len().div_ceil(1000));
        assert_eq!(bench.running().violations(), Vec::<String>::new());
        // Some in each state: those of the demo that its server holds, and a few of the generated ones.
        let held = |serial: &str| {
            let demo = DEMO.iter().find(|demo| demo.serial == serial);
            // What becomes ready with the first question is another thing.
            demo.is_some_and(|demo| !matches!(demo.dep, Dep::Soon(_) | Dep::JustNow))
        };
        let mut findings = BTreeSet::new();
        let sample = rows
            .iter()
            .filter(|row| held(row.serial.as_str()))
            .chain(rows.iter().rev().take(20));
        for row in sample {
            let live = bench.live(&row.serial).await;
            let now = live.replied_at.unwrap();
            let copy = bench.copy(row, &facts, now);
            assert_eq!(copy.server_uuid.as_deref(), Some(SERVER_UUID));
            findings.insert(format!("{:?}", copy.judged(false)));
            // The simulator counts some ages back from the question.
            let close = |one: Option<Timestamp>, other: Option<Timestamp>| match (one, other) {
                (Some(one), Some(other)) => one.duration_since(other).abs().as_secs() < 60,
                (one, other) => one == other,
            };
            assert!(close(copy.assigned_at, live.assigned_at), "{}", row.serial);
            assert!(close(copy.device_assigned_at, live.device_assigned_at));
            let wanted = Evidence {
                assigned_at: copy.assigned_at,
                device_assigned_at: copy.device_assigned_at,
                ..as_copy(live, now)
            };
            assert_eq!(copy, wanted, "{}", row.serial);
        }
        assert!(findings.len() >= 5, "{findings:?}");
    }
}

#[tokio::test]
async fn without_a_row_or_with_a_damaged_one_nothing_is_known() {
    for through in ALL {
        let bench = bench(through, 0, &[]).await;
        let (rows, facts) = bench.pass().await;
        let serial = &rows.first().unwrap().serial;
        let now = facts.read_at.date;
        let unknown = |rows: &[StoredRow]| {
            let evidence = bench.list().judge(serial, rows, &facts, now);
            assert_eq!(evidence.finding, Finding::Unknown(Reason::Stale));
            assert!(!evidence.known);
        };
        let mut cut = rows.first().unwrap().body.clone();
        cut.pop();
        let stored = |body: Vec<u8>| StoredRow {
            body,
            read_at: read_at(now),
        };
        unknown(&[]);
        unknown(&[stored(cut)]);
        let good = rows.first().unwrap().body.clone();
        unknown(&[stored(good.clone()), stored(good)]);
    }
}

#[tokio::test]
async fn a_cursor_that_is_not_taken_any_more_ends_the_pass_and_the_next_one_begins_at_the_start() {
    for through in ALL {
        let bench = bench(through, 1500, &[]).await;
        let first = bench.list().page(None).await.unwrap();
        bench.apple().expire_cursors();
        let next = first.next.unwrap();
        let fault = bench.list().page(Some(&next)).await.unwrap_err();
        assert_eq!(fault.reason, Reason::GarbledAnswer);
        assert!(fault.detail.unwrap().contains("EXPIRED_CURSOR"));
        let fault = bench.list().page(Some("x")).await.unwrap_err();
        assert_eq!(fault.reason, Reason::GarbledAnswer);
        bench.pass().await;
    }
}

#[tokio::test]
async fn each_profile_is_read_once_a_pass_and_its_host_is_judged() {
    for through in ALL {
        let host = PROFILE_URL.split('/').nth(2).unwrap();
        let ready = |rows: &[ListedRow], bench: &Bench, facts: &StoredFacts| {
            let now = facts.read_at.date;
            let copies = rows.iter().map(|row| bench.copy(row, facts, now).finding);
            let copies: Vec<_> = copies.collect();
            let count = |wanted: Finding| copies.iter().filter(|one| **one == wanted).count();
            (count(READY), count(Finding::No(Reason::WrongProfile)))
        };
        let asked = bench(through, 1500, &[host]).await;
        let (rows, facts) = asked.pass().await;
        assert_eq!(asked.profiles_read(), 1);
        let (good, wrong) = ready(&rows, &asked, &facts);
        assert!(good > 500 && wrong == 0, "{good} ready, {wrong} wrong");
        asked.pass().await;
        assert_eq!(asked.profiles_read(), 2, "again in the next pass");
        let other = bench(through, 0, &["mdm.example.org"]).await;
        let (rows, facts) = other.pass().await;
        let (good, wrong) = ready(&rows, &other, &facts);
        assert!(good == 0 && wrong > 5, "{good} ready, {wrong} wrong");
        let not_asked = bench(through, 0, &[]).await;
        not_asked.pass().await;
        assert_eq!(not_asked.profiles_read(), 0);
    }
}

#[tokio::test]
async fn a_box_with_a_profile_that_was_not_read_is_asked_about_live() {
    for through in ALL {
        let host = PROFILE_URL.split('/').nth(2).unwrap();
        let bench = bench(through, 200, &[host]).await;
        let (rows, _) = bench.pass().await;
        assert_eq!(bench.profiles_read(), 1);
        // As many profiles as a pass reads are in front, and none of them exists.
        for (number, row) in rows.iter().take(MOST_PROFILES).enumerate() {
            let fields =
                json!({"profile_status": "assigned", "profile_uuid": format!("{number:032X}")});
            bench.apple().overlay(row.serial.as_str(), fields);
        }
        bench.running().forget();
        let (rows, facts) = bench.pass().await;
        assert_eq!(bench.profiles_read(), MOST_PROFILES);
        let now = facts.read_at.date;
        for row in &rows {
            let copy = bench.copy(row, &facts, now);
            assert!(copy.finding != READY, "{}", row.serial);
            if copy.status.as_deref() == Some("assigned")
                && copy.finding != Finding::No(Reason::MigrationPending)
            {
                assert_eq!(
                    copy.finding,
                    Finding::Unknown(Reason::Stale),
                    "{}",
                    row.serial
                );
            }
        }
        let last = rows.iter().rev().find(|row| {
            let copy = bench.copy(row, &facts, now);
            copy.finding == Finding::Unknown(Reason::Stale)
        });
        let live = bench.live(&last.unwrap().serial).await;
        assert_eq!(
            live.finding,
            Finding::Ready(Grade::Apple),
            "of {PROFILE_UUID}"
        );
    }
}

#[tokio::test]
async fn the_account_is_the_address_and_the_server() {
    for through in ALL {
        let bench = bench(through, 0, &[]).await;
        let account = bench.list().facts().await.unwrap().account;
        assert!(account.starts_with(&bench.running().base()), "{account}");
        assert!(account.ends_with(&SERVER_UUID.to_lowercase()), "{account}");
    }
}
