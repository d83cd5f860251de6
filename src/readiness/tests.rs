//! The simulated services' whole lists, read through the real clients: every device once, what a row says, and what a pass makes of
//! a list that misleads.
#![cfg(feature = "simulate")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    apple_business::{self, simulator as business_simulator},
    apple_dep::{self, simulator as dep_simulator},
    evidence::Grade,
    kandji::{self, simulator as kandji_simulator},
    replica::{
        Listed, ListedRow, ReadAt, StoredFacts, StoredRow,
        pass::{Passes, Standing},
        store::Store,
    },
    *,
};
use crate::{
    health::ReplicaCondition,
    label::Serial,
    runtime::{
        clock::{Boot, ClockWatch},
        credential::{CredentialStore, Secret},
    },
    simulator::{
        faults::{Effect, Faults},
        fleet::{self, Fleet},
        stock::{self, Business, DEMO, DemoBox, Dep, Mdm},
    },
};

const BOXES: u32 = 2_500;

/// A source and the simulated service that it asks.
struct Bench {
    source: Source,
    faults: Faults,
    folder: TempDir,
    _service: Box<dyn Any>,
}

impl Bench {
    fn new(
        url: &str,
        service: Service,
        faults: &Faults,
        folder: TempDir,
        running: Box<dyn Any>,
    ) -> Self {
        let settings = Settings {
            name: Name::new("listed").unwrap(),
            url: url.parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: replica::Settings::default(),
            service,
        };
        let clock = ClockWatch::Fixed { synced: true };
        Self {
            source: Source::new(settings, clock).unwrap(),
            faults: faults.clone(),
            folder,
            _service: running,
        }
    }

    fn list(&self) -> &dyn Listed {
        self.source.shared.adapter.listed().unwrap()
    }

    async fn rows(&self) -> Vec<ListedRow> {
        let (mut rows, mut next) = (Vec::new(), None);
        loop {
            let page = self.list().page(next.as_deref()).await.unwrap();
            rows.extend(page.rows);
            match page.next {
                Some(cursor) => next = Some(cursor),
                None => return rows,
            }
        }
    }

    /// How the next pass ends while that fault is switched on.
    async fn pass(&self, store: &Store, fault: &str) -> Standing {
        self.faults.replace(vec![fault.parse().unwrap()]);
        let hour = Duration::from_hours(1);
        let passes = Passes::new(self.source.shared.name.clone(), store.clone(), hour);
        let mut standing = passes.standing();
        let before = standing.borrow_and_update().clone();
        let (credential, pulse) = (|| Some(Secret::new("any")), Pulse::default());
        let ended = async {
            standing.changed().await.unwrap();
            let ended = |now: &Standing| now.progress.is_none() && *now != before;
            standing.wait_for(ended).await.unwrap().clone()
        };
        let ended = tokio::select! {
            () = passes.run(self.list(), &credential, &pulse) => panic!("passes never end"),
            standing = ended => standing,
        };
        self.faults.clear();
        ended
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&self.folder.path().join(name))
    }
}

fn credentials(name: &str, secret: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut file = std::fs::OpenOptions::new();
    let file = file.create(true).write(true).mode(0o600);
    let path = Path::new(folder.path()).join(name);
    io::Write::write_all(&mut file.open(path).unwrap(), secret.as_bytes()).unwrap();
    folder
}

fn kandji_settings(credentials: &Path) -> kandji::Settings {
    kandji::Settings {
        token: CredentialStore::new(credentials).credential("kandji-token"),
        policy: kandji::Policy {
            tokens: Vec::new(),
            max_fetch_age: Duration::from_hours(24),
            expected_blueprints: Vec::new(),
        },
    }
}

async fn kandji(boxes: u32) -> Bench {
    let mut stock = kandji_simulator::demo::demo_stock().stock;
    stock.fleet = Fleet::of(boxes);
    let options = kandji_simulator::Options::new("token", stock);
    let tenant = kandji_simulator::serve(options).await.unwrap();
    let folder = credentials("kandji-token", "token");
    let settings = kandji_settings(folder.path());
    let (url, faults) = (tenant.base(), tenant.faults().clone());
    Bench::new(
        &url,
        Service::Kandji(settings),
        &faults,
        folder,
        Box::new(tenant),
    )
}

async fn apple_dep(boxes: u32) -> Bench {
    let options = dep_simulator::Options {
        boxes,
        ..dep_simulator::Options::demo()
    };
    let apple = dep_simulator::serve(options).await.unwrap();
    let folder = credentials("apple-dep-token", &apple.credential());
    let settings = apple_dep::Settings {
        token: CredentialStore::new(folder.path()).credential("apple-dep-token"),
        user_agent: "benchlight/test".to_owned(),
        expected: apple_dep::Expected {
            profiles: Vec::new(),
            hosts: Vec::new(),
        },
    };
    let (url, faults) = (apple.base(), apple.faults().clone());
    Bench::new(
        &url,
        Service::AppleDep(settings),
        &faults,
        folder,
        Box::new(apple),
    )
}

async fn business(boxes: u32) -> Bench {
    let options = business_simulator::Options {
        boxes,
        ..business_simulator::Options::demo()
    };
    let apple = business_simulator::serve(options).await.unwrap();
    let folder = credentials("apple-business-key", &apple.credential());
    let settings = apple_business::Settings {
        identity: apple_business::Identity {
            token_url: apple.token_url().parse().unwrap(),
            scope: business_simulator::SCOPE.to_owned(),
            client_id: business_simulator::CLIENT_ID.to_owned(),
            key_id: business_simulator::KEY_ID.to_owned(),
            key: CredentialStore::new(folder.path()).credential("apple-business-key"),
        },
        expected_servers: vec![stock::SERVER_UUID.to_owned()],
    };
    let (url, faults) = (apple.api(), apple.faults().clone());
    Bench::new(
        &url,
        Service::AppleBusiness(settings),
        &faults,
        folder,
        Box::new(apple),
    )
}

/// The generated boxes whose stories fit, and those of the demo, in alphabetical order.
fn listed(fits: impl Fn(&DemoBox) -> bool) -> Vec<String> {
    let generated = (0..BOXES).filter(|number| fits(fleet::story(*number)));
    let own = DEMO.iter().filter(|demo| fits(demo));
    let own = own.map(|demo| demo.serial.to_owned());
    sorted(own.chain(generated.map(fleet::serial)))
}

fn sorted(serials: impl Iterator<Item = String>) -> Vec<String> {
    let mut serials: Vec<String> = serials.collect();
    serials.sort_unstable();
    serials
}

fn serials<'a>(rows: impl IntoIterator<Item = &'a ListedRow>) -> Vec<String> {
    let rows = rows.into_iter();
    sorted(rows.map(|row| row.serial.as_str().to_owned()))
}

#[tokio::test]
async fn the_whole_list_of_kandji_has_every_record_once() {
    let rows = kandji(BOXES).await.rows().await;
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len());
    let own = kandji_simulator::demo::demo_stock().stock.devices;
    let own = own.into_iter().filter(|device| device.in_ade);
    let generated = (0..BOXES)
        .filter(|number| !matches!(fleet::story(*number).mdm, Mdm::None | Mdm::NotFetchedYet));
    let own = own.map(|device| device.serial);
    let expected = sorted(own.chain(generated.map(fleet::serial)));
    assert!(expected.len() > 2_400);
    assert_eq!(
        serials(&rows),
        expected,
        "one serial number has two records"
    );
}

#[tokio::test]
async fn the_whole_list_of_apples_server_has_every_device_once() {
    let rows = apple_dep(BOXES).await.rows().await;
    let expected = listed(|demo| demo.dep != Dep::NotAccessible);
    assert!(expected.len() > 2_400);
    assert_eq!(serials(&rows), expected);
}

#[tokio::test]
async fn the_whole_lists_of_the_organisation_have_every_device_and_every_link_once() {
    let rows = business(BOXES).await.rows().await;
    let (devices, links): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row.id.starts_with("device:"));
    assert_eq!(
        serials(devices),
        listed(|demo| demo.business != Business::None)
    );
    let linked = |demo: &DemoBox| {
        !matches!(
            demo.business,
            Business::None | Business::Lagging | Business::Unassigned | Business::Released
        )
    };
    assert_eq!(serials(links), listed(linked));
}

/// A row says of one box of each story what a live question says, of those in `unsure` nothing.
async fn says_the_same(bench: &Bench, unsure: &[&str]) {
    let facts = bench.list().facts().await.unwrap();
    let read_at = ReadAt {
        boot_id: Uuid::nil(),
        boot: Boot::now(),
        date: facts.date,
    };
    let facts = StoredFacts {
        body: facts.body,
        read_at,
    };
    let mut stored: BTreeMap<Serial, Vec<StoredRow>> = BTreeMap::new();
    for row in bench.rows().await {
        let body = row.body;
        stored
            .entry(row.serial)
            .or_default()
            .push(StoredRow { body, read_at });
    }
    let mut stories = BTreeSet::new();
    for number in (0..BOXES).filter(|number| stories.insert(fleet::story(*number).story)) {
        let (serial, story) = (
            Serial::new(&fleet::serial(number)).unwrap(),
            fleet::story(number),
        );
        let Some(rows) = stored.get(&serial) else {
            continue;
        };
        let row = bench.list().judge(&serial, rows, &facts, Timestamp::now());
        let live = bench
            .source
            .ask(&Candidates::one(serial), Purpose::Scan)
            .await;
        let live = live.evidence.first().unwrap();
        let finding = match live.finding {
            _ if unsure.contains(&story.story) => Finding::Unknown(Reason::Stale),
            Finding::Ready(_) => Finding::Ready(Grade::Relayed),
            finding => finding,
        };
        assert_eq!(
            (row.finding, row.known),
            (finding, live.known),
            "{}",
            story.story
        );
        assert_eq!(
            (row.model, row.family),
            (live.model.clone(), live.family.clone())
        );
    }
}

#[tokio::test]
async fn a_row_says_what_a_live_question_says() {
    says_the_same(&kandji(BOXES).await, &[]).await;
    says_the_same(&apple_dep(BOXES).await, &[]).await;
    let lagging = DEMO.iter().find(|demo| demo.business == Business::Lagging);
    says_the_same(&business(BOXES).await, &[lagging.unwrap().story]).await;
}

/// How a first pass over the list at `path` ends under each fault: the reason, or how many records more or fewer than without one.
async fn passes(bench: &Bench, path: &str, cases: &[(&str, Result<i64, Reason>)]) {
    let all = i64::try_from(bench.rows().await.len()).unwrap();
    for (number, (fault, expected)) in cases.iter().enumerate() {
        let store = bench.store(&format!("{number}.sqlite"));
        let health = bench.pass(&store, &format!("{path}={fault}")).await.health;
        let found = match health.fault {
            Some(reason) => Err(reason),
            None => Ok(i64::try_from(health.rows).unwrap() - all),
        };
        assert_eq!(found, *expected, "{fault}");
        let complete = expected.is_ok();
        assert_eq!(health.state == ReplicaCondition::Ok, complete, "{fault}");
        assert_eq!(health.pass_at.is_some(), complete, "{fault}");
    }
}

const GARBLED: Result<i64, Reason> = Err(Reason::GarbledAnswer);
const STALE: Result<i64, Reason> = Err(Reason::Stale);
/// What each service's list can do to who reads it.
const EVERYWHERE: [(&str, Result<i64, Reason>); 8] = [
    ("list:stuck#2", GARBLED),
    ("cut-json#2*1", GARBLED),
    ("html#2*1", GARBLED),
    ("date:Sun, 06 Nov 1994 08:49:37 GMT#2*1", STALE),
    ("header:Age: 72000#2*1", STALE),
    // A fault of the way is met by asking once more.
    ("reset#2*1", Ok(0)),
    // One that left during the pass is still there, and the one that was skipped is not.
    ("list:shift=-1#2", Ok(-1)),
    // The last one: for an hour nothing more is asked.
    ("429:3600#2*1", Err(Reason::RateLimited)),
];

#[tokio::test]
async fn a_pass_over_a_misleading_list_of_kandji_is_not_complete() {
    let bench = kandji(700).await;
    let path = "/api/v1/integrations/apple/ade/devices";
    let counted = [("list:total=1", GARBLED), ("list:shift=1#2", GARBLED)];
    passes(&bench, path, &[&counted, &EVERYWHERE[..]].concat()).await;
}

#[tokio::test]
async fn a_pass_over_a_misleading_list_of_apples_server_is_not_complete() {
    let bench = apple_dep(1_200).await;
    let own = [
        ("400:EXPIRED_CURSOR#2*1", GARBLED),
        ("list:shift=1#2", Ok(0)),
    ];
    passes(&bench, "/server/devices", &[&own, &EVERYWHERE[..]].concat()).await;
}

#[tokio::test]
async fn a_pass_over_a_misleading_list_of_the_organisation_is_not_complete() {
    passes(&business(1_200).await, "/v1/orgDevices", &EVERYWHERE).await;
}

#[tokio::test]
async fn a_pass_over_a_misleading_list_of_one_mdm_server_is_not_complete() {
    let server = stock::SERVER_UUID;
    let path = format!("/v1/mdmServers/{server}/relationships/devices");
    passes(&business(1_200).await, &path, &EVERYWHERE).await;
}

#[tokio::test]
async fn a_list_that_shrinks_to_nothing_is_believed_when_the_next_pass_finds_the_same() {
    for (bench, fault) in [
        (
            kandji(700).await,
            "/api/v1/integrations/apple/ade/devices=list:keep=0",
        ),
        (apple_dep(700).await, "/server/devices=list:keep=100"),
    ] {
        let (store, name) = (bench.store("replica.sqlite"), &bench.source.shared.name);
        let passes = Passes::new(name.clone(), store.clone(), Duration::from_millis(10));
        let mut standing = passes.standing();
        let (credential, pulse) = (|| Some(Secret::new("any")), Pulse::default());
        let seen = async {
            let rows = |now: watch::Ref<'_, Standing>| now.health.rows;
            let filled = standing.wait_for(|now| now.health.pass_at.is_some()).await;
            let filled = rows(filled.unwrap());
            bench.faults.replace(vec![fault.parse().unwrap()]);
            let is_shrunken = |now: &Standing| now.health.state == ReplicaCondition::Shrunken;
            let shrunken = standing.wait_for(is_shrunken).await;
            assert_eq!(rows(shrunken.unwrap()), filled, "{fault}");
            rows(standing.wait_for(|now| !is_shrunken(now)).await.unwrap())
        };
        let left = tokio::select! {
            () = passes.run(bench.list(), &credential, &pulse) => panic!("passes never end"),
            left = seen => left,
        };
        let kept = if fault.ends_with("=0") { 0 } else { 100 };
        assert_eq!(left, kept, "{fault}");
    }
}

#[tokio::test]
async fn a_refusal_after_a_failed_pass_is_the_last_contact() {
    let stock = kandji_simulator::demo::demo_stock().stock;
    let options = kandji_simulator::Options::new("token", stock);
    let tenant = kandji_simulator::serve(options).await.unwrap();
    let folder = credentials("kandji-token", "token");
    let settings = Settings {
        name: Name::new("listed").unwrap(),
        url: tenant.base().parse().unwrap(),
        ca_file: None,
        reads_per_minute: 0,
        replica: replica::Settings {
            mode: replica::Mode::First,
            ..replica::Settings::default()
        },
        service: Service::Kandji(kandji_settings(folder.path())),
    };
    let store = Store::open(&folder.path().join("replica.sqlite"));
    let clock = ClockWatch::Fixed { synced: true };
    let source = Source::with_replica(settings, clock, &store).unwrap();
    tenant.faults().all(Effect::Status(500));
    let (passed, _passes) = mpsc::channel(1);
    let passes = tokio::spawn(source.clone().run_passes(passed, Pulse::default()));
    for _ in 0..200 {
        if source.shared.last_fault().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(source.shared.last_fault(), Some(Reason::SourceError));
    tenant.faults().clear();
    tenant.faults().all(Effect::Status(401));
    source.probe().await.unwrap_err();
    tokio::time::sleep(pulse::EVERY + Duration::from_millis(500)).await;
    assert_eq!(
        source.shared.last_fault(),
        Some(Reason::CredentialsRefused),
        "each sign of life said again how the pass had ended"
    );
    passes.abort();
}

#[tokio::test]
async fn a_refusal_is_the_last_contact_until_the_service_says_something_else() {
    let bench = kandji(1).await;
    let shared = &bench.source.shared;
    let one = |reason, heard| Evidence {
        heard,
        ..Evidence::bare(
            shared.name.clone(),
            shared.kind,
            Serial::new("C02XK0AAJG5H").unwrap(),
            Finding::Unknown(reason),
        )
    };
    // The rows were read and the token list was refused.
    shared.note(&[one(Reason::CredentialsRefused, true)]);
    assert_eq!(shared.last_fault(), Some(Reason::CredentialsRefused));
    // Kept back for the sake of scans: the service was not asked.
    shared.note(&[one(Reason::RateLimited, false)]);
    assert_eq!(shared.last_fault(), Some(Reason::CredentialsRefused));
    shared.note(&[one(Reason::MdmLinkBroken, true)]);
    assert_eq!(shared.last_fault(), None);
}
