//! The simulated server's list, read by real passes: each kind of reply that is no whole list, and what the source then says.
#![cfg(feature = "simulate")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    super::{
        Settings as JamfSettings,
        simulator::{
            self, Options, Server,
            stock::{Device as Given, HQ, Instance as Link, OTHER, Stock},
        },
    },
    *,
};
use crate::{
    health::ReplicaCondition,
    label::Candidates,
    readiness::{
        Passed, Service, Settings, Source,
        evidence::{Finding, Grade},
        replica::{
            self, Mode,
            pass::Standing,
            store::{self, Store},
        },
    },
    runtime::{clock::ClockWatch, credential::CredentialStore, name::Name, pulse::Pulse},
    simulator::faults::Effect,
};

const READY: &str = "C02XK0AAJG5H";
const REMOVED: &str = "C02RM8JJJG5N";
const OF_ANOTHER: &str = "C02WS9KKJG5P";
const ABSENT: &str = "C02NO4PPJG5V";

struct Bench {
    server: Server,
    source: Source,
    passes: JoinHandle<()>,
    passed: mpsc::Receiver<Passed>,
    folder: TempDir,
}

fn stock() -> Stock {
    let other = Given {
        instance: OTHER.to_owned(),
        ..Given::ready(OF_ANOTHER)
    };
    let mut stock = Stock::of(vec![
        Given::ready(READY),
        Given::with_status(REMOVED, "REMOVED"),
        other,
    ]);
    stock.instances.push(Link::healthy(
        OTHER,
        "Old MDM",
        "7C0DE5A1B2F34C6D8E9FA0B1C2D3E4F5",
    ));
    stock
}

fn options() -> Options {
    Options::new(stock())
}

impl Bench {
    async fn start() -> Self {
        Self::with(options(), &[]).await
    }

    async fn with(options: Options, prestages: &[&str]) -> Self {
        let server = simulator::serve(options).await.unwrap();
        Self::of(server, prestages, Duration::from_hours(1))
    }

    fn of(server: Server, prestages: &[&str], refresh: Duration) -> Self {
        let secret = server.secret();
        Self::with_secret(server, prestages, refresh, &secret)
    }

    fn with_secret(server: Server, prestages: &[&str], refresh: Duration, secret: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut file = std::fs::OpenOptions::new();
        let file = file.create(true).write(true).mode(0o600);
        let path = folder.path().join("jamf-secret");
        file.open(path)
            .unwrap()
            .write_all(secret.as_bytes())
            .unwrap();
        let settings = Settings {
            name: Name::new("jamf").unwrap(),
            url: server.base().parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: replica::Settings {
                mode: Mode::Only,
                refresh,
                ..replica::Settings::default()
            },
            service: Service::Jamf(JamfSettings {
                client_id: server.client_id(),
                secret: CredentialStore::new(folder.path()).credential("jamf-secret"),
                policy: Policy {
                    instances: vec![HQ.to_owned()],
                    max_fetch_age: Duration::from_hours(24),
                    expected_prestages: prestages
                        .iter()
                        .filter_map(|text| Prestage::read(text))
                        .collect(),
                },
            }),
        };
        let store = Store::open(&folder.path().join("replica.sqlite"));
        let clock = ClockWatch::Fixed { synced: true };
        let source = Source::with_replica(settings, clock, &store).unwrap();
        let (send, passed) = mpsc::channel(8);
        let passes = tokio::spawn(source.clone().run_passes(send, Pulse::default()));
        Self {
            server,
            source,
            passes,
            passed,
            folder,
        }
    }

    /// How a pass has ended: well, or in that fault.
    async fn ended(&self) -> Standing {
        let mut standing = self.source.passes().unwrap();
        let ended = standing.wait_for(|now| now.complete.is_some() || now.fault.is_some());
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        ended.unwrap().unwrap().clone()
    }

    async fn fails(&self, reason: Reason, words: &str) {
        let ended = self.ended().await;
        let fault = ended.fault.unwrap();
        assert_eq!((ended.complete, fault.reason), (None, reason), "{fault:?}");
        let detail = fault.detail.clone().unwrap_or_default();
        assert!(detail.contains(words), "{detail:?} has no {words:?}");
        assert_eq!(self.says(READY).await, Finding::Unknown(reason));
        assert_eq!(self.says(ABSENT).await, Finding::Unknown(reason));
    }

    async fn evidence(&self, serial: &str, purpose: Purpose) -> Evidence {
        let serial = Serial::new(serial).unwrap();
        let answer = self.source.ask(&Candidates::one(serial), purpose).await;
        answer.evidence[0].clone()
    }

    async fn says(&self, serial: &str) -> Finding {
        self.evidence(serial, Purpose::Scan).await.judged(false)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.passes.abort();
    }
}

fn on(path: &str) -> String {
    format!("/api/v1/device-enrollments/{path}")
}

fn effect(text: &str) -> Effect {
    text.parse::<crate::simulator::faults::Switch>()
        .unwrap()
        .effect
}

#[tokio::test]
async fn a_complete_pass_is_the_word_of_the_source_the_bad_news_included() {
    let bench = Bench::start().await;
    let standing = bench.ended().await;
    assert_eq!(
        (standing.health.state, standing.health.rows, standing.fault),
        (ReplicaCondition::Ok, 3, None)
    );
    let ready = bench.evidence(READY, Purpose::Scan).await;
    assert_eq!(ready.finding, Finding::Ready(Grade::Relayed));
    assert!(ready.row_age.is_some() && ready.replied_at.is_some() && ready.as_of.is_some());
    assert_eq!(
        bench.says(REMOVED).await,
        Finding::No(Reason::ProfileRemoved)
    );
    assert_eq!(
        bench.says(OF_ANOTHER).await,
        Finding::No(Reason::WrongServer)
    );
    let absent = bench.evidence(ABSENT, Purpose::Scan).await;
    assert_eq!(absent.finding, Finding::No(Reason::NotFound));
    assert!(absent.detail.unwrap().contains("list of ") && absent.row_age.is_some());
    // Nothing was asked about a box.
    let requests = bench.server.requests();
    assert!(
        requests.iter().all(|request| !request.contains(READY)),
        "{requests:?}"
    );
    assert_eq!(bench.server.violations(), [""; 0]);
    // A confirmation has nothing to add, and a service without a fault is well.
    let confirmed = bench.evidence(READY, Purpose::Confirmation).await.finding;
    assert_eq!(confirmed, Finding::Unknown(Reason::RateLimited));
    assert!(bench.source.probe().await.is_ok());
}

#[tokio::test]
async fn all_reads_of_a_pass_go_to_the_node_that_answered_first() {
    let server = simulator::serve(options()).await.unwrap();
    let mut bench = Bench::of(server, &["computer:1"], Duration::from_secs(3));
    // A token, the instances, two syncs, two lists and two scopes; a second pass has the token.
    for (pass, reads) in [(1, 8), (2, 7)] {
        bench.passed.recv().await.unwrap();
        let requests = bench.server.requests();
        let held = store::survey(&bench.folder.path().join("replica.sqlite")).unwrap();
        let complete = held.sources.values().next().unwrap().complete.unwrap();
        assert_eq!(complete.reads, reads, "{requests:?}");
        assert_eq!(bench.server.led_anywhere(), pass);
    }
}

#[tokio::test]
async fn a_list_that_is_not_whole_is_no_answer_for_any_box() {
    let devices = on("1/devices");
    for (fault, reason, words) in [
        ("cut-body", Reason::GarbledAnswer, "cut off"),
        ("cut-json", Reason::GarbledAnswer, "not whole"),
        ("list:total=1", Reason::GarbledAnswer, "says that they are"),
        ("list:total=-1", Reason::GarbledAnswer, "says that they are"),
        ("html", Reason::GarbledAnswer, "A web page"),
        (
            "replace:\"totalCount\":2,>",
            Reason::GarbledAnswer,
            "no totalCount",
        ),
        (
            "replace:\"results\"> \"rows\"",
            Reason::GarbledAnswer,
            "no list",
        ),
        (
            "replace:\"totalCount\":2>\"totalCount\":\"2\"",
            Reason::GarbledAnswer,
            "totalCount",
        ),
        (
            "replace:{\"totalCount\">{\"errors\":[],\"totalCount\"",
            Reason::GarbledAnswer,
            "names an error",
        ),
        (
            "replace:\"profileStatus\":\"REMOVED\">\"profileStatus\":7",
            Reason::GarbledAnswer,
            "profileStatus",
        ),
        (
            "replace:\"serialNumber\":\"C02RM8JJJG5N\",\"syncState\">\"syncState\"",
            Reason::GarbledAnswer,
            "serialNumber",
        ),
        ("header:Age: 72000", Reason::Stale, "old"),
        (
            "header:Content-Encoding: gzip",
            Reason::GarbledAnswer,
            "packed",
        ),
        ("clock:-72000s", Reason::Stale, "old"),
        ("403", Reason::CredentialsRefused, "privilege"),
        ("500", Reason::SourceError, "500"),
        (
            "redirect:http://127.0.0.1:9",
            Reason::GarbledAnswer,
            "another host",
        ),
        ("reset", Reason::Offline, ""),
    ] {
        let server = simulator::serve(options()).await.unwrap();
        server.faults().path(&devices, effect(fault));
        let bench = Bench::of(server, &[], Duration::from_hours(1));
        bench.fails(reason, words).await;
        let failing = bench.source.probe().await.unwrap_err().reason;
        assert_eq!(failing, reason, "{fault}");
    }
}

#[tokio::test]
async fn what_was_read_before_stays_the_word_while_later_passes_break() {
    let server = simulator::serve(options()).await.unwrap();
    let mut bench = Bench::of(server, &[], Duration::from_secs(2));
    bench.passed.recv().await.unwrap();
    bench.server.stock(|stock| stock.remove(REMOVED));
    bench
        .server
        .faults()
        .path(&on("1/devices"), Effect::CutBody);
    let mut standing = bench.source.passes().unwrap();
    let broken = standing.wait_for(|now| now.fault.is_some());
    let broken = tokio::time::timeout(Duration::from_secs(20), broken).await;
    assert!(broken.unwrap().unwrap().complete.is_some());
    assert_eq!(bench.says(READY).await, Finding::Ready(Grade::Relayed));
    assert_eq!(
        bench.says(REMOVED).await,
        Finding::No(Reason::ProfileRemoved)
    );
    // The source is not well meanwhile, and is again with the next whole list.
    let reason = bench.source.probe().await.unwrap_err().reason;
    assert_eq!(reason, Reason::GarbledAnswer);
    bench.server.faults().clear();
    bench.passed.recv().await.unwrap();
    assert_eq!(bench.says(REMOVED).await, Finding::No(Reason::NotFound));
    assert!(bench.source.probe().await.is_ok());
}

/// A server with a fault that ends by itself.
async fn with_switch(options: Options, switch: &str) -> Server {
    let server = simulator::serve(options).await.unwrap();
    server.faults().add(switch.parse().unwrap());
    server
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn an_expired_token_is_exchanged_within_a_pass_and_old_servers_have_another_place_for_it() {
    let old = Options {
        token_lasts: Duration::from_secs(1),
        is_old: true,
        ..options()
    };
    // The service looks at the token when the delay is over, and it has ended by then.
    let switch = format!("{}=delay:1200ms*1", on("1/syncs/latest"));
    let bench = Bench::of(with_switch(old, &switch).await, &[], HOUR);
    let ended = bench.ended().await;
    assert!(ended.complete.is_some(), "{ended:?}");
    let requests = bench.server.requests();
    let asked = |path: &str| {
        let request = format!("POST /api/{path}");
        requests.iter().filter(|one| **one == request).count()
    };
    assert!(asked("oauth/token") >= 2, "{requests:?}");
    assert!(asked("v1/oauth/token") >= 1, "{requests:?}");
    assert_eq!(bench.server.violations(), [""; 0]);
}

#[tokio::test]
async fn a_token_that_the_server_has_forgotten_is_exchanged_once() {
    let switch = format!("{}=401*1", on("2/devices"));
    let bench = Bench::of(with_switch(options(), &switch).await, &[], HOUR);
    let ended = bench.ended().await;
    assert!(ended.complete.is_some(), "{ended:?}");
    let switch = format!("{}=401", on("2/devices"));
    let bench = Bench::of(with_switch(options(), &switch).await, &[], HOUR);
    bench
        .fails(Reason::CredentialsRefused, "refused a new access token")
        .await;
}

#[tokio::test]
async fn a_secret_that_the_server_refuses_is_a_refused_credential() {
    let server = simulator::serve(options()).await.unwrap();
    let secret = server.secret();
    let bench = Bench::with_secret(server, &[], HOUR, &format!("{secret}x"));
    bench
        .fails(Reason::CredentialsRefused, "invalid_client")
        .await;
}

#[tokio::test]
async fn after_a_429_the_pass_goes_on_when_the_service_lets_it() {
    let switch = format!("{}=429:1*1", on("1/devices"));
    let bench = Bench::of(with_switch(options(), &switch).await, &[], HOUR);
    let ended = bench.ended().await;
    assert!(ended.complete.is_some(), "{ended:?}");
}

#[tokio::test]
async fn an_instance_that_goes_while_it_is_read_leaves_the_pass_unfinished() {
    let server = simulator::serve(options()).await.unwrap();
    let gone = r#"404:{"httpStatus":404,"errors":[{"code":"INVALID_ID"}]}"#;
    server.faults().path(&on("2/devices"), effect(gone));
    let bench = Bench::of(server, &[], Duration::from_hours(1));
    bench
        .fails(Reason::GarbledAnswer, "an instance was removed")
        .await;
}

#[tokio::test]
async fn the_newest_successful_sync_counts_whatever_was_tried_later() {
    let mut given = stock();
    given.instances[0]
        .syncs
        .insert(0, ("RUNNING", Duration::from_secs(5)));
    given.instances[1].syncs.clear();
    let bench = Bench::with(Options::new(given), &[]).await;
    bench.ended().await;
    assert_eq!(bench.says(READY).await, Finding::Ready(Grade::Relayed));
    let mut given = stock();
    given.instances[0].syncs = vec![("FAILED", Duration::from_secs(5))];
    let bench = Bench::with(Options::new(given), &[]).await;
    bench.ended().await;
    assert_eq!(
        bench.says(READY).await,
        Finding::Unknown(Reason::MdmLinkBroken)
    );
    assert_eq!(
        bench.says(ABSENT).await,
        Finding::Unknown(Reason::MdmLinkBroken)
    );
    assert_eq!(bench.server.violations(), [""; 0]);
}

#[tokio::test]
async fn the_scopes_are_asked_only_where_prestages_are_expected() {
    let bench = Bench::start().await;
    bench.ended().await;
    assert!(
        !bench
            .server
            .requests()
            .iter()
            .any(|request| request.contains("prestages"))
    );
    let mut given = stock();
    given.put(Given {
        prestage: Some("computer:7".to_owned()),
        ..Given::ready("C02TH5FFJG5K")
    });
    given.put(Given {
        prestage: None,
        ..Given::ready("C02NP6GGJG5L")
    });
    given.put(Given {
        prestage: Some("mobile:1".to_owned()),
        ..Given::ready("K7QW2CCPX9")
    });
    let bench = Bench::with(Options::new(given), &["computer:1"]).await;
    // Six devices, and a row for each that is in a scope.
    assert_eq!(bench.ended().await.health.rows, 6 + 5);
    assert_eq!(bench.says(READY).await, Finding::Ready(Grade::Relayed));
    for serial in ["C02TH5FFJG5K", "C02NP6GGJG5L", "K7QW2CCPX9"] {
        assert_eq!(
            bench.says(serial).await,
            Finding::No(Reason::WrongProfile),
            "{serial}"
        );
    }
    assert_eq!(bench.server.violations(), [""; 0]);
    // Just after a PreStage was made the service fails: no box is at fault.
    let server = simulator::serve(options()).await.unwrap();
    server.faults().path(
        "/api/v2/computer-prestages/scope",
        effect(r#"500:{"httpStatus":500,"errors":[]}"#),
    );
    let bench = Bench::of(server, &["computer:1"], Duration::from_hours(1));
    bench.fails(Reason::SourceError, "500").await;
    let lacking = Options {
        privileges: vec![simulator::INSTANCES],
        ..options()
    };
    let bench = Bench::with(lacking, &["computer:1"]).await;
    bench
        .fails(
            Reason::CredentialsRefused,
            "Read Computer PreStage Enrollments",
        )
        .await;
}

#[tokio::test]
async fn instances_come_in_pages_and_rows_that_no_code_can_name_count() {
    let mut given = Stock::of(vec![Given::ready(READY)]);
    for number in 2..=230 {
        given.instances.push(Link::healthy(
            &number.to_string(),
            "Branch",
            "7C0DE5A1B2F34C6D8E9FA0B1C2D3E4F5",
        ));
    }
    given.put(Given::ready("NOT-A-SERIAL-NUMBER"));
    let bench = Bench::with(Options::new(given), &[]).await;
    let standing = bench.ended().await;
    assert_eq!((standing.health.rows, standing.fault), (1, None));
    let pages = bench.server.requests();
    let pages = pages
        .iter()
        .filter(|request| request.contains("page-size=100"));
    assert_eq!(pages.count(), 3);
    assert_eq!(bench.says(READY).await, Finding::Ready(Grade::Relayed));
}

#[tokio::test]
async fn a_long_list_is_read_page_by_page_to_its_end() {
    let mut given = stock();
    given.fleet = crate::simulator::fleet::Fleet::of(3_500);
    let count = given.fleet.count(0);
    let bench = Bench::with(Options::new(given), &["computer:1"]).await;
    let rows = bench.ended().await.health.rows;
    assert_eq!(rows, 2 * (u64::try_from(count).unwrap() + 3));
}

#[tokio::test]
async fn a_list_that_has_lost_most_of_its_rows_is_not_believed_at_once() {
    let mut given = stock();
    given.fleet = crate::simulator::fleet::Fleet::of(50);
    let mut bench = Bench::of(
        simulator::serve(Options::new(given)).await.unwrap(),
        &[],
        Duration::from_secs(2),
    );
    bench.passed.recv().await.unwrap();
    bench
        .server
        .faults()
        .path(&on("1/devices"), effect("list:keep=1"));
    bench.server.stock(|stock| stock.remove(REMOVED));
    let mut standing = bench.source.passes().unwrap();
    let shrunken = standing.wait_for(|now| now.health.state == ReplicaCondition::Shrunken);
    tokio::time::timeout(Duration::from_secs(20), shrunken)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        bench.says(REMOVED).await,
        Finding::No(Reason::ProfileRemoved),
        "as before"
    );
    bench.passed.recv().await.unwrap();
    assert_ne!(
        bench.says(REMOVED).await,
        Finding::No(Reason::ProfileRemoved),
        "twice as short is true"
    );
}

/// The disk is slow: here another look-up keeps the only thread that may wait for it.
#[test]
fn a_row_that_a_slow_disk_gives_late_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Bench::start().await;
        bench.ended().await;
        let slow = || std::thread::sleep(Duration::from_millis(500));
        let slow = tokio::task::spawn_blocking(slow);
        assert_eq!(bench.says(READY).await, Finding::Ready(Grade::Relayed));
        slow.await.unwrap();
    });
}

#[tokio::test]
async fn rows_of_the_same_serial_number_are_judged_together() {
    let mut given = stock();
    given.devices.push(Given::with_status(READY, "REMOVED"));
    given.devices.push(Given {
        other: Some(json!({"profileStatus": "QUEUED"})),
        ..Given::ready("C02TH5FFJG5K")
    });
    let bench = Bench::with(Options::new(given), &[]).await;
    bench.ended().await;
    assert_eq!(
        bench.says(READY).await,
        Finding::Unknown(Reason::Contradiction)
    );
    assert_eq!(
        bench.says("C02TH5FFJG5K").await,
        Finding::Unknown(Reason::GarbledAnswer)
    );
}

/// What the fuzz target drives comes to what its seeds are named by.
#[test]
fn the_seeds_of_the_fuzz_target_are_answers() {
    for (seed, finding) in [
        ("assigned", Finding::Ready(Grade::Relayed)),
        ("in_scope", Finding::Ready(Grade::Relayed)),
        ("removed", Finding::No(Reason::ProfileRemoved)),
        ("absent", Finding::No(Reason::NotFound)),
    ] {
        let path = format!(
            "{}/fuzz/seeds/jamf_reply/{seed}",
            env!("CARGO_MANIFEST_DIR")
        );
        let input = std::fs::read(path).unwrap();
        let mut bodies = input.splitn(4, |byte| *byte == 0x1e);
        let bodies = [(); 4].map(|()| bodies.next().unwrap_or_default());
        let (name, serial) = (Name::new("jamf").unwrap(), Serial::new(READY).unwrap());
        let kind = crate::readiness::evidence::SourceKind::Jamf;
        let bare = Evidence::bare(name, kind, serial, Finding::Unknown(Reason::Stale));
        let now = "2026-11-23T09:41:07Z".parse().unwrap();
        assert_eq!(judged(bodies, now, bare.clone()).finding, finding, "{seed}");
        // Cut anywhere, the devices are no list any more.
        for end in 0..bodies[2].len() {
            let [instances, sync, devices, scope] = bodies;
            let cut = judged([instances, sync, &devices[..end], scope], now, bare.clone());
            assert_eq!(cut.finding, Finding::Unknown(Reason::Stale), "{seed} {end}");
        }
    }
}
