//! Apple's two services over real HTTP, with simulators that verify every signature, session, assertion and header.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use benchlight::{
    label::{self, Candidates, Meaning, Serial},
    readiness::{
        Purpose, Service, Settings, Source,
        apple_business::{self as business_source, simulator as apple_business},
        apple_dep::{
            self as dep_source, simulator as apple_dep,
            token_file::{Import, import},
        },
        evidence::{Evidence, Finding, Grade},
        examination::{MdmServer, Outcome},
        http::Limits,
        kandji::{
            self as kandji_source,
            simulator::{self as kandji, demo::demo_stock},
        },
    },
    reason::Reason,
    runtime::{clock::ClockWatch, credential::CredentialStore, name::Name},
    simulator::{
        faults::Effect,
        stock::{self, Business, Dep},
    },
    verdict::{Policy, PolicySource, decide},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tempfile::TempDir;

#[path = "apple/bulk.rs"]
mod bulk;
#[path = "apple/passed_on.rs"]
mod passed_on;
#[path = "apple/shapes.rs"]
mod shapes;

const HEALTHY: &str = "C02XK0AAJG5H";
const SYNCED: ClockWatch = ClockWatch::Fixed { synced: true };
const UNSYNCED: ClockWatch = ClockWatch::Fixed { synced: false };

fn serial(text: &str) -> Serial {
    Serial::new(text).unwrap()
}

fn write_credential(folder: &Path, name: &str, text: &str) {
    let beside = folder.join("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::rename(beside, folder.join(name)).unwrap();
}

async fn ask(source: &Source, text: &str) -> Evidence {
    let mut answer = source
        .ask(&Candidates::one(serial(text)), Purpose::Scan)
        .await;
    assert_eq!(answer.evidence.len(), 1);
    answer.evidence.remove(0)
}

/// How many times a path was requested.
fn times(requests: &[String], wanted: &str) -> usize {
    requests
        .iter()
        .filter(|request| request.as_str() == wanted)
        .count()
}

// ---- Apple's Device Assignment Services ----

struct DepBench {
    apple: apple_dep::Simulator,
    folder: TempDir,
    settings: Settings,
}

#[derive(Default)]
struct Wanted {
    profiles: Vec<String>,
    hosts: Vec<String>,
    reads_per_minute: u32,
}

impl DepBench {
    async fn new(options: apple_dep::Options) -> Self {
        Self::with(options, Wanted::default()).await
    }

    async fn with(options: apple_dep::Options, policy: Wanted) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let apple = apple_dep::serve(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_credential(folder.path(), "apple-dep-token", &apple.credential());
        let settings = Settings {
            name: Name::new("apple").unwrap(),
            url: apple.base().parse().unwrap(),
            ca_file: None,
            reads_per_minute: policy.reads_per_minute,
            replica: Default::default(),
            service: Service::AppleDep(dep_source::Settings {
                token: CredentialStore::new(folder.path()).credential("apple-dep-token"),
                user_agent: "benchlight/test".to_owned(),
                expected: dep_source::Expected {
                    profiles: policy.profiles,
                    hosts: policy.hosts,
                },
            }),
        };
        Self {
            apple,
            folder,
            settings,
        }
    }

    fn source(&self, clock: ClockWatch) -> Source {
        Source::new(self.settings.clone(), clock).unwrap()
    }
}

fn dep_finding(state: Dep) -> (Finding, bool) {
    match state {
        Dep::Empty | Dep::Soon(_) => (Finding::No(Reason::NoProfile), true),
        Dep::Assigned(_) | Dep::JustNow => (Finding::Ready(Grade::Apple), true),
        Dep::Migrating => (Finding::No(Reason::MigrationPending), true),
        Dep::Pushed => (Finding::No(Reason::PreviouslyActivated), true),
        Dep::Removed => (Finding::No(Reason::ProfileRemoved), true),
        Dep::NotAccessible => (Finding::No(Reason::NotFound), false),
    }
}

#[tokio::test]
async fn every_box_on_the_bench_is_found_as_apple_holds_it() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    for demo in stock::DEMO {
        let evidence = ask(&source, demo.serial).await;
        assert_eq!(
            (evidence.judged(false), evidence.known),
            dep_finding(demo.dep),
            "{}",
            demo.story
        );
        assert_eq!(evidence.server_uuid.as_deref(), Some(stock::SERVER_UUID));
        assert!(evidence.replied_at.is_some());
        if let Dep::Assigned(_) = demo.dep {
            assert!(
                evidence.assigned_at.is_some()
                    && evidence.device_assigned_at < evidence.assigned_at
            );
            assert_eq!(
                (evidence.model.as_deref(), evidence.family.as_deref()),
                (Some(demo.model), Some(demo.family))
            );
        }
    }
    assert!(
        ask(&source, "C02NEVERSEEN")
            .await
            .detail
            .unwrap()
            .contains(stock::SERVER_NAME),
        "names the server that does not hold it"
    );
    assert_eq!(bench.apple.violations(), [""; 0]);
    let requests = bench.apple.requests();
    assert_eq!(times(&requests, "GET /session"), 1);
    assert_eq!(
        times(&requests, "GET /account"),
        1,
        "the account is read once"
    );
}

#[tokio::test]
async fn both_candidates_go_in_one_request() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    let candidates = Candidates {
        scanned: serial("SC02XK0AAJG5H"),
        stripped: Some(serial(HEALTHY)),
        unless_known: None,
    };
    let answer = source.ask(&candidates, Purpose::Scan).await;
    let found: Vec<_> = answer
        .evidence
        .iter()
        .map(|evidence| (evidence.serial.as_str(), evidence.finding, evidence.known))
        .collect();
    assert_eq!(
        found,
        [
            ("SC02XK0AAJG5H", Finding::No(Reason::NotFound), false),
            (HEALTHY, Finding::Ready(Grade::Apple), true)
        ]
    );
    assert_eq!(times(&bench.apple.requests(), "POST /devices"), 1);
}

#[tokio::test]
async fn what_is_asked_together_is_asked_in_one_request_and_one_session() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    let askers: Vec<_> = stock::DEMO
        .iter()
        .map(|demo| {
            let source = source.clone();
            tokio::spawn(async move { (demo, ask(&source, demo.serial).await) })
        })
        .collect();
    for asker in askers {
        let (demo, evidence) = asker.await.unwrap();
        assert_eq!(
            evidence.judged(false),
            dep_finding(demo.dep).0,
            "{}",
            demo.story
        );
    }
    assert_eq!(
        bench.apple.sessions_made(),
        1,
        "one session, made by one of them"
    );
    let posts = times(&bench.apple.requests(), "POST /devices");
    assert!(
        posts <= 3,
        "{} boxes in {posts} requests",
        stock::DEMO.len()
    );
}

#[tokio::test]
async fn a_session_whose_word_changes_with_every_reply_is_followed() {
    let bench = DepBench::new(apple_dep::Options {
        rotate_every: 1,
        ..apple_dep::Options::demo()
    })
    .await;
    let source = bench.source(SYNCED);
    for _ in 0..10 {
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Ready(Grade::Apple)
        );
    }
    // At first the account is read at the same time as the devices, and one of the two may need a second session.
    assert!(
        bench.apple.sessions_made() <= 2,
        "{}",
        bench.apple.sessions_made()
    );
    assert_eq!(bench.apple.violations(), [""; 0]);
}

#[tokio::test]
async fn a_session_that_ended_is_renewed_once_and_nobody_notices() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    bench.apple.expire_sessions();
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    assert_eq!(bench.apple.sessions_made(), 2);
    bench.apple.forget_sessions();
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    assert_eq!(bench.apple.sessions_made(), 3);
}

#[tokio::test]
async fn a_session_that_is_refused_again_is_not_asked_for_a_third_time() {
    for (status, code) in [(401, "UNAUTHORIZED"), (403, "\"FORBIDDEN\"\n")] {
        let bench = DepBench::new(apple_dep::Options::demo()).await;
        let source = bench.source(SYNCED);
        source.probe().await.unwrap();
        bench.apple.forget();
        bench.apple.faults().path(
            "/devices",
            Effect::Say {
                status,
                text: code.to_owned(),
            },
        );
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Unknown(Reason::CredentialsRefused)
        );
        assert_eq!(
            bench.apple.requests(),
            ["POST /devices", "GET /session", "POST /devices"],
            "{code}"
        );
    }
}

#[tokio::test]
async fn every_code_of_apples_says_that_nobody_could_say() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    source.probe().await.unwrap();
    let table = [
        (403, "T_C_NOT_SIGNED", Reason::TermsNotSigned),
        (403, "ACCESS_DENIED", Reason::CredentialsRefused),
        (403, "token_expiredForbidden", Reason::CredentialsExpired),
        (403, "token_rejected", Reason::CredentialsRefused),
        (401, "token_rejected", Reason::CredentialsRefused),
        (401, "UNAUTHORIZED", Reason::CredentialsRefused),
        (400, "USER_AGENT_INVALID", Reason::StationFault),
        (400, "MALFORMED_REQUEST_BODY", Reason::StationFault),
        (400, "DEVICE_ID_REQUIRED", Reason::StationFault),
        (404, "NOT_FOUND", Reason::GarbledAnswer),
        (400, "EXPIRED_CURSOR", Reason::GarbledAnswer),
        (500, "SERVER_ERROR", Reason::SourceError),
        (503, "<html>down</html>", Reason::SourceError),
    ];
    for (status, code, reason) in table {
        for text in [code.to_owned(), format!("\"{code}\"\n")] {
            bench.apple.faults().clear();
            bench.apple.faults().path(
                "/devices",
                Effect::Say {
                    status,
                    text: text.clone(),
                },
            );
            let evidence = ask(&source, HEALTHY).await;
            assert_eq!(
                (evidence.finding, evidence.known),
                (Finding::Unknown(reason), false),
                "{status} {text:?}"
            );
        }
    }
    bench.apple.faults().clear();
    for (status, code, reason) in [
        (
            400,
            "oauth_problem_adviceBad Request",
            Reason::CredentialsRefused,
        ),
        (
            401,
            "oauth_problem_adviceUnauthorized",
            Reason::CredentialsRefused,
        ),
        (403, "T_C_NOT_SIGNED", Reason::TermsNotSigned),
        (403, "token_expiredForbidden", Reason::CredentialsExpired),
        (400, "", Reason::CredentialsRefused),
    ] {
        bench.apple.forget_sessions();
        bench.apple.faults().clear();
        bench.apple.faults().path(
            "/session",
            Effect::Say {
                status,
                text: code.to_owned(),
            },
        );
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Unknown(reason),
            "{status} {code:?} to a session"
        );
    }
}

#[tokio::test]
async fn a_reply_that_is_broken_or_about_another_device_is_never_green_and_never_not_found() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    source.probe().await.unwrap();
    for effect in [
        Effect::Html,
        Effect::CutJson,
        Effect::CutBody,
        Effect::Huge {
            bytes: 9 * 1024 * 1024,
        },
        Effect::Redirect("http://127.0.0.1:9".to_owned()),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().path("/devices", effect.clone());
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{effect}"
        );
    }
    bench.apple.faults().clear();
    for fields in [
        json!({"serial_number": "C02XK0AAJG5J"}),
        json!({"profile_status": "perhaps"}),
        json!({"response_status": "MAYBE"}),
    ] {
        bench.apple.apple().overlay(HEALTHY, fields.clone());
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn a_refused_signature_is_the_clocks_fault_only_where_nobody_keeps_the_clock_and_apples_is_far_from_it()
 {
    let far = SignedDuration::from_mins(11);
    for (clock, ahead, reason) in [
        (UNSYNCED, far, Some(Reason::ClockUnsynced)),
        (UNSYNCED, -far, Some(Reason::ClockUnsynced)),
        (SYNCED, far, Some(Reason::CredentialsRefused)),
        (UNSYNCED, SignedDuration::from_secs(30), None),
    ] {
        let bench = DepBench::new(apple_dep::Options {
            clock_ahead: ahead,
            ..apple_dep::Options::demo()
        })
        .await;
        let finding = ask(&bench.source(clock), HEALTHY).await.finding;
        assert_eq!(
            finding,
            reason.map_or(Finding::Ready(Grade::Apple), Finding::Unknown),
            "{clock:?} {ahead}"
        );
    }
    // Apple's clock agrees with ours, so it must be the credential.
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    bench.apple.replace_token();
    assert_eq!(
        ask(&bench.source(UNSYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
}

/// Asks for a session as another program might, with this nonce, from so many seconds ago, signed with that access secret.
async fn session(
    apple: &apple_dep::Simulator,
    nonce: &str,
    age: i64,
    secret: &str,
) -> reqwest::Response {
    let token: serde_json::Value = serde_json::from_str(&apple.credential()).unwrap();
    let field = |name: &str| token[name].as_str().unwrap().to_owned();
    let timestamp = (Timestamp::now().as_second() - age).to_string();
    let fields = [
        ("oauth_consumer_key", field("consumer_key")),
        ("oauth_nonce", nonce.to_owned()),
        ("oauth_signature_method", "HMAC-SHA1".to_owned()),
        ("oauth_timestamp", timestamp),
        ("oauth_token", field("access_token")),
        ("oauth_version", "1.0".to_owned()),
    ];
    // None of these characters needs escaping, so sorting is all that RFC 5849 demands here.
    let joined = fields
        .iter()
        .map(|(name, value)| format!("{name}%3D{value}"))
        .collect::<Vec<_>>()
        .join("%26");
    let address = apple.base().replace(':', "%3A").replace('/', "%2F");
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        format!("{}&{secret}", field("consumer_secret")).as_bytes(),
    );
    let signature = ring::hmac::sign(&key, format!("GET&{address}%2Fsession&{joined}").as_bytes());
    let signature: String =
        url::form_urlencoded::byte_serialize(base64_of(signature.as_ref()).as_bytes()).collect();
    let listed = fields
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect::<Vec<_>>()
        .join(", ");
    reqwest::Client::new()
        .get(format!("{}/session", apple.base()))
        .header(
            "authorization",
            format!("OAuth realm=\"ADM\", {listed}, oauth_signature=\"{signature}\""),
        )
        .header("user-agent", "test")
        .header("x-server-protocol-version", "10")
        .header("content-type", "application/json;charset=UTF8")
        .header("accept", "application/json;charset=UTF8")
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_nonce_and_a_wrong_signature_and_an_old_request_are_refused_by_the_simulator() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let token: serde_json::Value = serde_json::from_str(&bench.apple.credential()).unwrap();
    let send = async |nonce: &str, age: i64, secret: &str| {
        let response = session(&bench.apple, nonce, age, secret).await;
        response.status().as_u16()
    };
    let secret = token["access_secret"].as_str().unwrap();
    assert_eq!(send("one", 0, secret).await, 200);
    assert_eq!(send("one", 0, secret).await, 401, "the same nonce");
    assert_eq!(send("two", 0, "another").await, 401, "another secret");
    assert_eq!(send("three", 3600, secret).await, 401, "an hour old");
    assert_eq!(send("four", 0, secret).await, 200);
    assert_eq!(bench.apple.violations(), ["a nonce was used twice"]);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_retry_after_is_kept_and_its_end_is_told() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    source.probe().await.unwrap();
    bench.apple.faults().path(
        "/devices",
        Effect::TooMany {
            retry_after: Some("30".to_owned()),
        },
    );
    let evidence = ask(&source, HEALTHY).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
    assert!(
        evidence
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("UTC")),
        "{:?}",
        evidence.detail
    );
    bench.apple.faults().clear();
    bench.apple.forget();
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Unknown(Reason::RateLimited)
    );
    assert_eq!(
        bench.apple.requests(),
        [""; 0],
        "nothing leaves while it runs"
    );
}

#[tokio::test]
async fn the_stations_own_limit_is_kept_and_re_checks_give_way_first() {
    let bench = DepBench::with(
        apple_dep::Options::demo(),
        Wanted {
            reads_per_minute: 10,
            ..Wanted::default()
        },
    )
    .await;
    let source = bench.source(SYNCED);
    // Session, account, and six look-ups: eight of ten.
    for _ in 0..6 {
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Ready(Grade::Apple)
        );
    }
    let recheck = source
        .ask(&Candidates::one(serial(HEALTHY)), Purpose::Recheck)
        .await;
    assert_eq!(
        recheck.evidence[0].finding,
        Finding::Unknown(Reason::RateLimited),
        "a fifth is kept for scans"
    );
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    let evidence = ask(&source, HEALTHY).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
    assert!(
        evidence
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("UTC")),
        "when to try again: {:?}",
        evidence.detail
    );
    assert_eq!(bench.apple.counts().total, 10);
}

#[tokio::test]
async fn the_services_own_limit_is_taken_as_it_comes() {
    let bench = DepBench::new(apple_dep::Options {
        reads_per_minute: 4,
        ..apple_dep::Options::demo()
    })
    .await;
    let source = bench.source(SYNCED);
    let mut findings = Vec::new();
    for _ in 0..4 {
        findings.push(ask(&source, HEALTHY).await.finding);
    }
    assert_eq!(
        findings,
        [
            Finding::Ready(Grade::Apple),
            Finding::Ready(Grade::Apple),
            Finding::Unknown(Reason::RateLimited),
            Finding::Unknown(Reason::RateLimited)
        ]
    );
}

#[tokio::test]
async fn a_new_server_token_counts_without_a_restart() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    bench.apple.replace_token();
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    write_credential(
        bench.folder.path(),
        "apple-dep-token",
        &bench.apple.credential(),
    );
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
    for (text, word) in [("", "empty"), ("{}", "consumer_key"), ("no JSON", "import")] {
        write_credential(bench.folder.path(), "apple-dep-token", text);
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!(
            evidence.finding,
            Finding::Unknown(Reason::CredentialsRefused)
        );
        assert!(
            evidence
                .detail
                .as_deref()
                .is_some_and(|detail| detail.contains(word)),
            "{:?}",
            evidence.detail
        );
    }
    write_credential(
        bench.folder.path(),
        "apple-dep-token",
        &bench.apple.credential(),
    );
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
}

#[tokio::test]
async fn an_expired_server_token_is_told_and_its_days_are_counted() {
    let in_days = |days: i64| {
        Timestamp::now()
            .checked_add(SignedDuration::from_hours(24 * days) + SignedDuration::from_mins(1))
            .unwrap()
    };
    let bench = DepBench::new(apple_dep::Options {
        token_expiry: in_days(30),
        ..apple_dep::Options::demo()
    })
    .await;
    let source = bench.source(SYNCED);
    ask(&source, HEALTHY).await;
    assert_eq!(source.health().borrow().credential_days, Some(30));

    let bench = DepBench::new(apple_dep::Options {
        token_expiry: in_days(-2),
        ..apple_dep::Options::demo()
    })
    .await;
    assert_eq!(
        ask(&bench.source(SYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsExpired)
    );
    assert_eq!(
        bench.apple.counts().total,
        0,
        "by a clock that is right nothing needs to be asked"
    );
    assert_eq!(
        ask(&bench.source(UNSYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsExpired),
        "Apple says so itself"
    );
    assert_ne!(bench.apple.counts().total, 0);
}

#[tokio::test]
async fn only_a_profile_of_an_expected_host_is_green_and_each_profile_is_read_once() {
    let expecting = |host: &str| Wanted {
        hosts: vec![host.to_owned()],
        ..Wanted::default()
    };
    let bench = DepBench::with(
        apple_dep::Options::demo(),
        expecting("acme.web-api.kandji.io"),
    )
    .await;
    let source = bench.source(SYNCED);
    for demo in stock::DEMO {
        assert_eq!(
            ask(&source, demo.serial).await.judged(false),
            dep_finding(demo.dep).0,
            "{}",
            demo.story
        );
    }
    assert_eq!(
        times(
            &bench.apple.requests(),
            &format!("GET /profile?profile_uuid={}", stock::PROFILE_UUID)
        ),
        1
    );

    let bench = DepBench::with(
        apple_dep::Options::demo(),
        expecting("acme.web-api.eu.kandji.io"),
    )
    .await;
    let evidence = ask(&bench.source(SYNCED), HEALTHY).await;
    assert_eq!(evidence.finding, Finding::No(Reason::WrongProfile));
    assert!(evidence.detail.unwrap().contains("acme.web-api.kandji.io"));

    bench.apple.apple().overlay(
        HEALTHY,
        json!({"profile_uuid": "00000000000000000000000000000000"}),
    );
    assert_eq!(
        ask(&bench.source(SYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::GarbledAnswer),
        "a profile that Apple does not know"
    );
}

#[tokio::test]
async fn a_user_agent_that_apple_has_blocked_is_the_stations_fault() {
    let mut bench = DepBench::new(apple_dep::Options::demo()).await;
    if let Service::AppleDep(settings) = &mut bench.settings.service {
        "invalid".clone_into(&mut settings.user_agent);
    }
    let evidence = ask(&bench.source(SYNCED), HEALTHY).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::StationFault));
    assert!(evidence.detail.unwrap().contains("user_agent"));
}

#[tokio::test]
async fn an_account_that_cannot_be_read_spoils_no_answer() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    bench
        .apple
        .faults()
        .path("/account", Effect::Silence(Duration::from_secs(20)));
    for _ in 0..3 {
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!(
            (evidence.finding, evidence.server_uuid),
            (Finding::Ready(Grade::Apple), None)
        );
    }
    assert_eq!(
        times(&bench.apple.requests(), "GET /account"),
        1,
        "it is not asked for with every box"
    );
}

#[tokio::test]
async fn the_account_names_the_server_that_the_token_is_for() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    let examination = source.examine().await;
    let server = MdmServer {
        name: stock::SERVER_NAME.to_owned(),
        uuid: Some(stock::SERVER_UUID.to_owned()),
    };
    assert_eq!(examination.servers, [server]);
    let [remark] = examination.remarks.as_slice() else {
        panic!("one remark: {examination:?}")
    };
    let named = format!("{:?} ({})", stock::SERVER_NAME, stock::SERVER_UUID);
    assert!(
        remark.outcome == Outcome::Ok && remark.finding.contains(&named),
        "{remark:?}"
    );
}

#[tokio::test]
async fn a_token_file_like_apples_is_imported_and_opens_the_service() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let desk = bench.folder.path();
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .current_dir(desk)
            .args(arguments)
            .output()
            .expect("openssl is installed (tests/run does it)");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-days",
        "365",
        "-subj",
        "/CN=depserver",
    ]);
    let inner = format!(
        "Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN MESSAGE-----\r\n{}\r\n-----END MESSAGE-----\r\n",
        bench.apple.credential()
    );
    fs::write(desk.join("inner.txt"), inner).unwrap();
    openssl(&[
        "smime",
        "-encrypt",
        "-binary",
        "-aes128",
        "-stream",
        "-outform",
        "SMIME",
        "-in",
        "inner.txt",
        "-out",
        "own.p7m",
        "c.pem",
    ]);
    fs::remove_file(desk.join("apple-dep-token")).unwrap();

    let source = bench.source(SYNCED);
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsRefused),
        "no credential yet"
    );
    let job = Import {
        token: desk.join("own.p7m"),
        key: Some(desk.join("k.pem")),
        cert: Some(desk.join("c.pem")),
        out: desk.join("apple-dep-token"),
    };
    let imported = import(&job, Timestamp::now()).unwrap();
    assert!(matches!(imported.days_left, 299 | 300), "{imported:?}");
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Ready(Grade::Apple)
    );
}

// ---- Apple Business Manager's API ----

struct BusinessBench {
    apple: apple_business::Simulator,
    folder: TempDir,
    settings: Settings,
}

impl BusinessBench {
    async fn new(options: apple_business::Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scope = options.scope.clone();
        let apple = apple_business::serve(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_credential(folder.path(), "apple-business-key", &apple.credential());
        let settings = Settings {
            name: Name::new("business").unwrap(),
            url: apple.api().parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: Default::default(),
            service: Service::AppleBusiness(business_source::Settings {
                identity: business_source::Identity {
                    token_url: apple.token_url().parse().unwrap(),
                    scope,
                    client_id: apple_business::CLIENT_ID.to_owned(),
                    key_id: apple_business::KEY_ID.to_owned(),
                    key: CredentialStore::new(folder.path()).credential("apple-business-key"),
                },
                expected_servers: vec![stock::SERVER_UUID.to_lowercase()],
            }),
        };
        Self {
            apple,
            folder,
            settings,
        }
    }

    fn source(&self, clock: ClockWatch) -> Source {
        Source::new(self.settings.clone(), clock).unwrap()
    }
}

fn business_finding(state: Business) -> (Finding, bool) {
    match state {
        Business::None => (Finding::No(Reason::NotInOrg), false),
        Business::Ours | Business::OursJustNow => (Finding::NoObjection, true),
        Business::Other | Business::Configurator => (Finding::No(Reason::WrongServer), true),
        Business::Lagging => (Finding::Wait(Reason::SyncPending), true),
        Business::Migrating => (Finding::No(Reason::MigrationPending), true),
        Business::Unassigned => (Finding::No(Reason::Unassigned), true),
        Business::Released => (Finding::No(Reason::Released), true),
    }
}

#[tokio::test]
async fn every_box_on_the_bench_is_found_as_the_organisation_holds_it() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    for demo in stock::DEMO {
        let evidence = ask(&source, demo.serial).await;
        if demo.serial == stock::NOT_TO_BE_ASKED {
            assert_eq!(evidence.finding, Finding::Unknown(Reason::SourceError));
            continue;
        }
        assert_eq!(
            (evidence.finding, evidence.known),
            business_finding(demo.business),
            "{}",
            demo.story
        );
        assert_eq!(evidence.known, evidence.updated_at.is_some());
        assert!(evidence.replied_at.is_some());
    }
    assert_eq!(bench.apple.violations(), [""; 0]);
    assert_eq!(bench.apple.tokens_granted(), 1);
    bench.apple.forget();
    ask(&source, HEALTHY).await;
    assert_eq!(
        bench.apple.requests(),
        [
            format!("GET /v1/orgDevices/{HEALTHY}"),
            format!("GET /v1/orgDevices/{HEALTHY}/relationships/assignedServer")
        ],
        "two reads for a healthy box, for the service allows few"
    );
}

#[tokio::test]
async fn a_wrong_server_is_named_beside_the_right_one() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let of = |wanted: Business| {
        stock::DEMO
            .iter()
            .find(|demo| demo.business == wanted)
            .unwrap()
            .serial
    };
    let other = ask(&source, of(Business::Other)).await.detail.unwrap();
    assert!(
        other.contains(stock::OTHER_SERVER_NAME) && other.contains(stock::SERVER_NAME),
        "{other}"
    );
    let configurator = ask(&source, of(Business::Configurator))
        .await
        .detail
        .unwrap();
    assert!(
        configurator.contains("Apple Configurator") && configurator.contains(stock::SERVER_NAME),
        "{configurator}"
    );
    // The finding is the same without names.
    let source = bench.source(SYNCED);
    bench
        .apple
        .faults()
        .path("/v1/mdmServers", Effect::Silence(Duration::from_secs(20)));
    let unnamed = ask(&source, of(Business::Other)).await;
    assert_eq!(unnamed.finding, Finding::No(Reason::WrongServer));
    assert!(unnamed.detail.unwrap().contains(stock::OTHER_SERVER_UUID));
    assert!(
        unnamed.took < Duration::from_millis(1500),
        "{:?}",
        unnamed.took
    );
}

#[tokio::test]
async fn a_linkage_that_lags_is_waited_for() {
    let bench = BusinessBench::new(apple_business::Options {
        linkage_lag: Duration::from_millis(400),
        ..apple_business::Options::demo()
    })
    .await;
    let source = bench.source(SYNCED);
    bench.apple.put("C02JUSTNOW12", Some(Business::Ours));
    assert_eq!(
        ask(&source, "C02JUSTNOW12").await.finding,
        Finding::Wait(Reason::SyncPending)
    );
    tokio::time::timeout(Duration::from_secs(10), async {
        while ask(&source, "C02JUSTNOW12").await.finding != Finding::NoObjection {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn only_apples_own_404_says_not_in_the_organisation() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let evidence = ask(&source, "C02NEVERSEEN").await;
    assert_eq!(
        (evidence.finding, evidence.known),
        (Finding::No(Reason::NotInOrg), false)
    );
    for text in [
        "<html><body>404</body></html>",
        "{\"message\":\"no Route matched\"}",
        "Not Found",
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().serial(
            "C02NEVERSEEN",
            Effect::Say {
                status: 404,
                text: text.to_owned(),
            },
        );
        assert_eq!(
            ask(&source, "C02NEVERSEEN").await.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{text}"
        );
    }
    let mut wrong_path = bench.settings.clone();
    wrong_path.url = format!("{}/v9", bench.apple.base()).parse().unwrap();
    let source = Source::new(wrong_path, SYNCED).unwrap();
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Unknown(Reason::GarbledAnswer),
        "a mistyped url is not an empty organisation"
    );
}

#[tokio::test]
async fn a_linkage_that_fails_is_not_taken_for_one_that_lags() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let linkage = format!("/v1/orgDevices/{HEALTHY}/relationships/assignedServer");
    for (effect, reason) in [
        (Effect::Status(500), Reason::SourceError),
        (
            Effect::Say {
                status: 404,
                text: "<html></html>".to_owned(),
            },
            Reason::GarbledAnswer,
        ),
        (Effect::Html, Reason::GarbledAnswer),
        (Effect::Status(403), Reason::CredentialsRefused),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().path(&linkage, effect.clone());
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!(
            (evidence.finding, evidence.known),
            (Finding::Unknown(reason), true),
            "{effect}"
        );
    }
}

#[tokio::test]
async fn one_token_serves_all_and_is_renewed_once_when_it_is_refused() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let askers: Vec<_> = stock::DEMO
        .iter()
        .map(|demo| {
            let source = source.clone();
            tokio::spawn(async move { ask(&source, demo.serial).await })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    assert_eq!(bench.apple.tokens_granted(), 1, "asked for by one of them");
    bench.apple.expire_tokens();
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    assert_eq!(bench.apple.tokens_granted(), 2);
    bench.apple.forget();
    bench.apple.faults().serial(HEALTHY, Effect::Status(401));
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    let device = format!("GET /v1/orgDevices/{HEALTHY}");
    assert_eq!(
        bench.apple.requests(),
        [device.as_str(), "POST /auth/oauth2/token", &device],
        "and not a third time"
    );
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_the_old_one_serves_while_that_fails() {
    let bench = BusinessBench::new(apple_business::Options {
        token_life: Duration::from_secs(4),
        ..apple_business::Options::demo()
    })
    .await;
    let source = bench.source(SYNCED);
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    // A token with so short a life is renewed after half of it.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    bench
        .apple
        .faults()
        .path("/auth/oauth2/token", Effect::Status(503));
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    assert_eq!(bench.apple.tokens_granted(), 1);
    bench.apple.faults().clear();
    // The renewal runs beside the scans.
    while bench.apple.tokens_granted() < 2 {
        assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    assert_eq!(bench.apple.tokens_granted(), 2);
}

#[tokio::test]
async fn a_new_key_counts_without_a_restart() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    bench.apple.replace_key().unwrap();
    let evidence = ask(&source, HEALTHY).await;
    assert_eq!(
        evidence.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(evidence.detail.unwrap().contains("invalid_client"));
    bench.apple.forget();
    ask(&source, HEALTHY).await;
    assert_eq!(
        bench.apple.requests(),
        [""; 0],
        "a key that was refused is not tried again at once: too many token calls are refused too"
    );
    write_credential(
        bench.folder.path(),
        "apple-business-key",
        &bench.apple.credential(),
    );
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
}

#[tokio::test]
async fn a_refused_assertion_is_the_clocks_fault_only_where_nobody_keeps_the_clock_and_apples_is_far_from_it()
 {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    bench.apple.replace_key().unwrap();
    assert_eq!(
        ask(&bench.source(UNSYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    bench
        .apple
        .faults()
        .all(Effect::Date("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
    assert_eq!(
        ask(&bench.source(UNSYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::ClockUnsynced)
    );
    assert_eq!(
        ask(&bench.source(SYNCED), HEALTHY).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
}

#[tokio::test]
async fn the_scope_is_the_services_own() {
    let bench = BusinessBench::new(apple_business::Options {
        scope: "school.api".to_owned(),
        ..apple_business::Options::demo()
    })
    .await;
    assert_eq!(
        ask(&bench.source(SYNCED), HEALTHY).await.finding,
        Finding::NoObjection
    );
    let mut settings = bench.settings.clone();
    if let Service::AppleBusiness(settings) = &mut settings.service {
        "business.api".clone_into(&mut settings.identity.scope);
    }
    let evidence = ask(&Source::new(settings, SYNCED).unwrap(), HEALTHY).await;
    assert_eq!(
        evidence.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(evidence.detail.unwrap().contains("school.api"));
}

#[tokio::test]
async fn both_candidates_are_asked_and_a_limit_is_told() {
    let bench = BusinessBench::new(apple_business::Options {
        reads_per_minute: 6,
        ..apple_business::Options::demo()
    })
    .await;
    let source = bench.source(SYNCED);
    let candidates = Candidates {
        scanned: serial("SC02XK0AAJG5H"),
        stripped: Some(serial(HEALTHY)),
        unless_known: None,
    };
    let answer = source.ask(&candidates, Purpose::Scan).await;
    let found: Vec<_> = answer
        .evidence
        .iter()
        .map(|evidence| (evidence.serial.as_str(), evidence.finding, evidence.known))
        .collect();
    assert_eq!(
        found,
        [
            ("SC02XK0AAJG5H", Finding::No(Reason::NotInOrg), false),
            (HEALTHY, Finding::NoObjection, true)
        ]
    );
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    let evidence = ask(&source, HEALTHY).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
    assert!(
        evidence
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("UTC")),
        "{:?}",
        evidence.detail
    );
}

#[tokio::test]
async fn the_organisations_servers_are_listed_for_the_technician() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let examination = source.examine().await;
    let [remark] = examination.remarks.as_slice() else {
        panic!("one remark: {examination:?}")
    };
    let servers = [
        (stock::SERVER_NAME, stock::SERVER_UUID, "MDM"),
        (stock::OTHER_SERVER_NAME, stock::OTHER_SERVER_UUID, "MDM"),
        (
            stock::CONFIGURATOR_NAME,
            stock::CONFIGURATOR_UUID,
            "APPLE_CONFIGURATOR",
        ),
    ]
    .map(|(name, id, kind)| format!("{name:?} = {id} ({kind})"));
    assert!(
        remark.outcome == Outcome::Ok
            && remark
                .finding
                .ends_with(&format!(": {}", servers.join(", "))),
        "{remark:?}"
    );
}

fn claims(id: &str) -> serde_json::Value {
    let now = Timestamp::now().as_second();
    json!({
        "iss": apple_business::CLIENT_ID, "sub": apple_business::CLIENT_ID, "aud": "https://account.apple.com/auth/oauth2/v2/token",
        "iat": now, "exp": now + 600, "jti": id,
    })
}

/// Asks for a token as another program might. An assertion that is not `sound` is signed for another text.
async fn token(
    apple: &apple_business::Simulator,
    header: &serde_json::Value,
    claims: &serde_json::Value,
    sound: bool,
) -> reqwest::Response {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    let random = ring::rand::SystemRandom::new();
    let armoured = apple.credential();
    let base64: String = armoured
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let pkcs8 = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random).unwrap();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let of = if sound {
        signed.clone()
    } else {
        format!("{signed} ")
    };
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&random, of.as_bytes()).unwrap());
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", apple_business::CLIENT_ID)
        .append_pair(
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        )
        .append_pair("client_assertion", &format!("{signed}.{signature}"))
        .append_pair("scope", "business.api")
        .finish();
    let request = reqwest::Client::new()
        .post(apple.token_url())
        .header("content-type", "application/x-www-form-urlencoded");
    request.body(form).send().await.unwrap()
}

#[tokio::test]
async fn an_assertion_that_is_wrong_in_any_way_gets_no_token() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let good = claims("first");
    let now = good["iat"].as_i64().unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims["jti"] = json!(format!("with {name} {value}"));
        claims[name] = value;
        claims
    };
    let header = json!({"alg": "ES256", "kid": apple_business::KEY_ID, "typ": "JWT"});
    let send = async |header: &serde_json::Value, claims: &serde_json::Value, sound: bool| {
        let response = token(&bench.apple, header, claims, sound).await;
        response.status().as_u16()
    };
    assert_eq!(send(&header, &good, true).await, 200);
    assert_eq!(send(&header, &good, true).await, 400, "its id was used");
    assert_eq!(
        send(&header, &with("iat", json!(now)), false).await,
        400,
        "another text was signed"
    );
    for (name, value) in [
        ("iss", json!("BUSINESSAPI.other")),
        ("sub", json!("BUSINESSAPI.other")),
        ("aud", json!("https://account.apple.com/auth/oauth2/token")),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 181 * 86_400)),
        ("iat", json!(now + 3600)),
        ("exp", json!(null)),
        ("jti", json!("")),
    ] {
        assert_eq!(
            send(&header, &with(name, value.clone()), true).await,
            400,
            "{name} {value}"
        );
    }
    for (name, value) in [("kid", "other"), ("alg", "none")] {
        let mut header = header.clone();
        header[name] = json!(value);
        assert_eq!(
            send(&header, &with("iat", json!(now)), true).await,
            400,
            "{name} {value}"
        );
    }
    assert_eq!(send(&header, &with("iat", json!(now)), true).await, 200);
}

// ---- Both ----

/// Collects the log.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_ever_logged_or_told() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process: what other tests log meanwhile must not contain secrets either.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let dep = DepBench::new(apple_dep::Options::demo()).await;
    let business = BusinessBench::new(apple_business::Options::demo()).await;
    let sources = [dep.source(SYNCED), business.source(SYNCED)];
    let mut texts = String::new();
    for source in &sources {
        texts += &format!("{source:?} {:?}", ask(source, HEALTHY).await);
    }
    dep.apple.replace_token();
    business.apple.replace_key().unwrap();
    for source in &sources {
        texts += &format!(
            "{:?} {:?}",
            ask(source, HEALTHY).await,
            source.probe().await
        );
    }
    let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("asked"), "the log is there");
    let credential: serde_json::Value = serde_json::from_str(
        &fs::read_to_string(dep.folder.path().join("apple-dep-token")).unwrap(),
    )
    .unwrap();
    let mut secrets: Vec<String> = ["consumer_secret", "access_secret", "access_token"]
        .iter()
        .map(|name| credential[name].as_str().unwrap().to_owned())
        .collect();
    // An assertion, and the part of it that a refusal repeats.
    secrets.extend(
        [
            "eyJ",
            "client_assertion",
            "Bearer ",
            "oauth_signature",
            "admin@example.com",
        ]
        .map(str::to_owned),
    );
    for secret in secrets {
        assert!(!logged.contains(&secret), "{secret} is logged");
        assert!(!texts.contains(&secret), "{secret} is shown");
    }
}

#[tokio::test]
async fn nothing_but_reads_ever_leaves() {
    let policy = Wanted {
        hosts: vec!["acme.web-api.kandji.io".to_owned()],
        ..Wanted::default()
    };
    let dep = DepBench::with(apple_dep::Options::demo(), policy).await;
    let business = BusinessBench::new(apple_business::Options::demo()).await;
    for source in [dep.source(SYNCED), business.source(SYNCED)] {
        source.probe().await.unwrap();
        for demo in stock::DEMO {
            ask(&source, demo.serial).await;
        }
        source.examine().await;
    }
    for request in dep.apple.requests() {
        let fits = ["GET /session", "GET /account", "POST /devices"].contains(&request.as_str())
            || request.starts_with("GET /profile?profile_uuid=");
        assert!(fits, "{request}");
    }
    for request in business.apple.requests() {
        let fits = request == "POST /auth/oauth2/token"
            || request.starts_with("GET /v1/orgDevices/")
            || request.starts_with("GET /v1/mdmServers?");
        assert!(fits, "{request}");
    }
    assert_eq!(
        (dep.apple.violations(), business.apple.violations()),
        (vec![], vec![])
    );
}

/// Asks all three services at the same time, as the station does, and applies the rule to their answers.
#[tokio::test]
async fn every_box_on_the_bench_gets_the_answer_that_its_story_tells() {
    let (dep, business) = (
        DepBench::new(apple_dep::Options::demo()).await,
        BusinessBench::new(apple_business::Options::demo()).await,
    );
    let demo = demo_stock();
    let tenant = kandji::serve(kandji::Options {
        switches: demo.switches,
        ..kandji::Options::new("kandji-token", demo.stock)
    })
    .await
    .unwrap();
    write_credential(dep.folder.path(), "kandji-token", "kandji-token");
    let mdm = Settings {
        name: Name::new("kandji").unwrap(),
        url: tenant.base().parse().unwrap(),
        ca_file: None,
        reads_per_minute: 0,
        replica: Default::default(),
        service: Service::Kandji(kandji_source::Settings {
            token: CredentialStore::new(dep.folder.path()).credential("kandji-token"),
            policy: kandji_source::Policy {
                tokens: demo.tokens,
                max_fetch_age: Duration::from_hours(24),
                expected_blueprints: demo.expected_blueprints,
            },
        }),
    };
    let limits = Limits {
        total: Duration::from_secs(2),
        ..Limits::default()
    };
    let sources: Vec<Source> = [mdm, dep.settings.clone(), business.settings.clone()]
        .into_iter()
        .map(|settings| Source::with_limits(settings, SYNCED, limits).unwrap())
        .collect();
    let policy = Policy {
        sources: sources
            .iter()
            .map(|source| PolicySource {
                name: source.name().clone(),
                kind: source.kind(),
                required: true,
                refresh: None,
            })
            .collect(),
        min_grade: Grade::Relayed,
        deadline: Duration::from_secs(2),
        allow_returned: false,
        settle: Duration::from_secs(60),
        recheck: Duration::from_secs(10),
        recheck_for: Duration::from_hours(24),
        hash: String::new(),
    };
    for row in stock::DEMO {
        let Meaning::Serials(candidates) = label::read(row.serial.as_bytes()) else {
            panic!("{row:?}")
        };
        let (first, second, third) = tokio::join!(
            sources[0].ask(&candidates[0], Purpose::Scan),
            sources[1].ask(&candidates[0], Purpose::Scan),
            sources[2].ask(&candidates[0], Purpose::Scan)
        );
        let decision = decide(&candidates[0], &[first, second, third], &policy);
        assert_eq!(
            decision.reason.code(),
            row.expected,
            "{row:?}: {}",
            decision.message()
        );
    }
    assert_eq!(
        (
            tenant.violations(),
            dep.apple.violations(),
            business.apple.violations()
        ),
        (vec![], vec![], vec![])
    );
}
