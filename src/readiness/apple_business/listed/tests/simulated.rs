//! The lists of a simulated Apple Business, page by page.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use tempfile::TempDir;
use uuid::Uuid;

use super::{
    super::super::{
        Identity, Settings,
        simulator::{CLIENT_ID, KEY_ID, Options, SCOPE, Simulator, serve},
    },
    *,
};
use crate::{
    label::Candidates,
    readiness::{
        http::Limits,
        replica::ReadAt,
        service::{Adapter, Endpoint, Heard},
    },
    runtime::{
        clock::{Boot, ClockWatch},
        credential::CredentialStore,
        name::Name,
    },
    simulator::{
        faults::Effect,
        stock::{OTHER_SERVER_UUID, SERVER_UUID},
    },
};

struct Bench {
    apple: Simulator,
    source: AppleBusiness,
    _folder: TempDir,
}

async fn bench(boxes: u32) -> Bench {
    let options = Options {
        boxes,
        ..Options::demo()
    };
    let apple = serve(options).await.unwrap();
    let folder = TempDir::new().unwrap();
    let mut file = std::fs::OpenOptions::new();
    let file = file.create(true).write(true).mode(0o600);
    let mut file = file.open(folder.path().join("apple-business-key")).unwrap();
    std::io::Write::write_all(&mut file, apple.credential().as_bytes()).unwrap();
    let settings = Settings {
        identity: Identity {
            token_url: apple.token_url().parse().unwrap(),
            scope: SCOPE.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            key_id: KEY_ID.to_owned(),
            key: CredentialStore::new(folder.path()).credential("apple-business-key"),
        },
        expected_servers: vec![SERVER_UUID.to_lowercase()],
    };
    let endpoint = Endpoint {
        name: Name::new("business").unwrap(),
        url: apple.api().parse().unwrap(),
        ca_file: None,
        reads_per_minute: 0,
        quota_share: 1.0,
        clocks: ClockWatch::Fixed { synced: true }.into(),
        limits: Limits::default(),
    };
    Bench {
        source: AppleBusiness::new(settings, endpoint).unwrap(),
        apple,
        _folder: folder,
    }
}

fn read_at(date: Timestamp) -> ReadAt {
    ReadAt {
        boot_id: Uuid::nil(),
        boot: Boot::from_duration(Duration::ZERO),
        date,
    }
}

impl Bench {
    /// The pages and the facts of a pass.
    async fn pass(&self) -> (Vec<Page>, StoredFacts) {
        let facts = self.source.facts().await.unwrap();
        let mut pages = vec![self.source.page(None).await.unwrap()];
        while let Some(next) = pages.last().unwrap().next.clone() {
            pages.push(self.source.page(Some(&next)).await.unwrap());
        }
        let facts = StoredFacts {
            body: facts.body,
            read_at: read_at(facts.date),
        };
        (pages, facts)
    }
}

#[tokio::test]
async fn all_devices_and_the_devices_of_each_server_are_read_and_say_what_the_live_questions_say() {
    let bench = bench(1500).await;
    let (pages, facts) = bench.pass().await;
    assert_eq!(bench.apple.violations(), Vec::<String>::new());
    let requests = bench.apple.requests();
    assert_eq!(bench.source.reads(), requests.len() as u64, "{requests:?}");
    let cursors: BTreeSet<_> = pages.iter().map(|page| &page.next).collect();
    assert_eq!(cursors.len(), pages.len(), "no cursor comes twice");
    let rows: Vec<_> = pages.iter().flat_map(|page| &page.rows).collect();
    let ids: BTreeSet<_> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "each record once");
    assert!(
        ids.iter()
            .any(|id| id.starts_with(&format!("server:{OTHER_SERVER_UUID}:")))
    );
    let mut of_serial: BTreeMap<&str, Vec<StoredRow>> = BTreeMap::new();
    for row in &rows {
        let stored = StoredRow {
            body: row.body.clone(),
            read_at: facts.read_at,
        };
        of_serial
            .entry(row.serial.as_str())
            .or_default()
            .push(stored);
    }
    assert!(of_serial.len() > 1200, "{}", of_serial.len());
    let now = facts.read_at.date;
    let mut findings = BTreeMap::new();
    for (serial, rows) in of_serial {
        let serial = Serial::new(serial).unwrap();
        let copy = bench.source.judge(&serial, &rows, &facts, now);
        let seen: &mut u32 = findings.entry(format!("{:?}", copy.finding)).or_default();
        *seen += 1;
        // A few of each sort are asked about live.
        if *seen > 3 || serial.as_str() == crate::simulator::stock::NOT_TO_BE_ASKED {
            continue;
        }
        let candidates = Candidates::one(serial.clone());
        let live = bench
            .source
            .look_up(&candidates, Purpose::Scan, &Heard::default())
            .await
            .remove(0);
        if copy.finding == Finding::Unknown(Reason::Stale) {
            assert_eq!(
                live.finding,
                Finding::Wait(Reason::SyncPending),
                "under no server: {serial}"
            );
            continue;
        }
        let wanted = Evidence {
            as_of: Some(now),
            replied_at: Some(now),
            used_at: None,
            heard: false,
            ..live
        };
        assert_eq!(copy, wanted, "{serial}");
    }
    for finding in [
        "NoObjection",
        "No(WrongServer)",
        "No(Unassigned)",
        "No(Released)",
        "No(MigrationPending)",
    ] {
        assert!(
            findings.contains_key(finding),
            "{finding} is not in {findings:?}"
        );
    }
}

#[tokio::test]
async fn a_pass_of_few_devices_reads_a_page_of_each_list() {
    let bench = bench(0).await;
    let (pages, facts) = bench.pass().await;
    let servers: Vec<Server> = compact::read(FORM, &facts.body).unwrap();
    assert_eq!(pages.len(), 1 + servers.len());
    let requests = bench.apple.requests();
    let lists: Vec<_> = requests
        .iter()
        .filter(|one| one.contains("limit=1000"))
        .collect();
    assert_eq!(lists.len(), pages.len());
    assert!(
        lists.first().unwrap().ends_with("/orgDevices?limit=1000"),
        "{lists:?}"
    );
    let fault = bench.source.page(Some("x")).await.unwrap_err();
    assert_eq!(fault.reason, Reason::StationFault, "no cursor of ours");
}

#[tokio::test]
async fn the_account_is_the_address_and_the_client() {
    let bench = bench(0).await;
    let account = bench.source.facts().await.unwrap().account;
    assert_eq!(account, format!("{} {CLIENT_ID}", bench.apple.api()));
}

#[tokio::test]
async fn the_newest_list_of_servers_counts_for_rows_and_live_whoever_read_it() {
    const SERVERS: &str = "/v1/mdmServers";
    let bench = bench(0).await;
    let (pages, facts) = bench.pass().await;
    let rows_of = |serial: &str| {
        let rows = pages.iter().flat_map(|page| &page.rows);
        let rows = rows.filter(|row| row.serial.as_str() == serial);
        rows.map(|row| StoredRow {
            body: row.body.clone(),
            read_at: facts.read_at,
        })
        .collect::<Vec<_>>()
    };
    let said = |text: &str| {
        let serial = Serial::new(text).unwrap();
        let now = facts.read_at.date;
        bench.source.judge(&serial, &rows_of(text), &facts, now)
    };
    let faults = bench.apple.faults();
    let (healthy, moved) = ("C02XK0AAJG5H", "C02WS9KKJG5P");
    assert_eq!(said(healthy).finding, Finding::NoObjection);
    assert!(said(moved).detail.unwrap().contains("\"Old MDM\""));

    // A probe reads that a server was renamed, and that one is gone.
    faults.path(
        SERVERS,
        Effect::Replace {
            from: "Old MDM".to_owned(),
            to: "Older MDM".to_owned(),
        },
    );
    bench.source.probe().await.unwrap();
    assert!(said(moved).detail.unwrap().contains("\"Older MDM\""));
    faults.clear();
    faults.path(
        SERVERS,
        Effect::Replace {
            from: SERVER_UUID.to_owned(),
            to: "0".repeat(32),
        },
    );
    bench.source.probe().await.unwrap();
    assert_eq!(said(healthy).finding, Finding::Unknown(Reason::Stale));

    // A pass reads what a live answer names, and an older reading that ends later counts less.
    faults.clear();
    let (end, hanging) = tokio::sync::oneshot::channel();
    let older = bench.source.servers.read(async {
        hanging.await.unwrap();
        Ok((Vec::new(), Timestamp::now()))
    });
    let newer = async {
        bench.source.facts().await.unwrap();
        end.send(()).unwrap();
    };
    let (older, ()) = tokio::join!(older, newer);
    assert!(older.unwrap().list.is_empty());
    assert_eq!(said(healthy).finding, Finding::NoObjection);
    let candidates = Candidates::one(Serial::new(moved).unwrap());
    let heard = Heard::default();
    let live = bench
        .source
        .look_up(&candidates, Purpose::Scan, &heard)
        .await;
    assert!(live[0].detail.as_ref().unwrap().contains("\"Old MDM\""));
}
