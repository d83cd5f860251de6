//! A simulated Intune behind Microsoft Graph over real HTTP: its answers, and every way to get none.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use benchlight::{
    label::{Candidates, Serial},
    readiness::{
        Purpose, Service, Settings, Source,
        evidence::{Evidence, Finding, Grade, SourceKind},
        examination::Outcome,
        http::Limits,
        intune::{
            self as intune_source,
            simulator::{
                CLIENT_ID, Options, Tenant, introduce, serve,
                stock::{AssignedAt, Device, HQ, OTHER, OTHER_PROFILE, PROFILE, Stock, Token},
            },
        },
        replica, simulate,
    },
    reason::Reason,
    runtime::{clock::ClockWatch, credential::CredentialStore, name::Name},
    simulator::{
        Order,
        faults::{Effect, Scope, Switch},
        stock::DEMO,
    },
};
use jiff::Timestamp;
use tempfile::TempDir;

const SERIAL: &str = "TESTINTUN001";
const TOKENS: &str = "/beta/deviceManagement/depOnboardingSettings";
const READY: Finding = Finding::Ready(Grade::Intent);
const SYNCED: ClockWatch = ClockWatch::Fixed { synced: true };
/// Enough for a busy machine.
const TOTAL: Duration = Duration::from_secs(5);

/// A source of a station and the service it asks.
struct Bench {
    tenant: Tenant,
    source: Source,
    folder: TempDir,
}

fn write_secret(folder: &Path, secret: &str) {
    let path = folder.join("intune-secret");
    let _ = fs::remove_file(&path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(secret.as_bytes()).unwrap();
}

impl Bench {
    async fn of(devices: Vec<Device>) -> Self {
        Self::with(Options::new(Stock::of(devices)), &[], &[]).await
    }

    async fn with(options: Options, tokens: &[&str], expected_profiles: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tenant = serve(options).await.unwrap();
        let folder = TempDir::new().unwrap();
        write_secret(folder.path(), &tenant.secret());
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let settings = Settings {
            name: Name::new("intune").unwrap(),
            url: tenant.api().parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: replica::Settings::default(),
            service: Service::Intune(intune_source::Settings {
                token_url: tenant.token_url().parse().unwrap(),
                client_id: CLIENT_ID.to_owned(),
                secret: CredentialStore::new(folder.path()).credential("intune-secret"),
                policy: intune_source::Policy {
                    tokens: texts(tokens),
                    max_fetch_age: Duration::from_hours(24),
                    expected_profiles: texts(expected_profiles),
                },
            }),
        };
        let limits = Limits {
            connect: TOTAL,
            total: TOTAL,
            ..Limits::default()
        };
        let source = Source::with_limits(settings, SYNCED, limits).unwrap();
        Self {
            tenant,
            source,
            folder,
        }
    }

    async fn ask(&self, text: &str) -> Evidence {
        let candidates = Candidates::one(Serial::new(text).unwrap());
        let mut answer = self.source.ask(&candidates, Purpose::Scan).await;
        assert_eq!(answer.evidence.len(), 1);
        answer.evidence.remove(0)
    }

    async fn finding(&self, text: &str) -> Finding {
        self.ask(text).await.finding
    }

    /// The requests without their queries, since the last call.
    fn asked(&self) -> Vec<String> {
        let requests = self.tenant.requests();
        self.tenant.forget();
        let path = |request: String| request.split('?').next().unwrap().to_owned();
        requests.into_iter().map(path).collect()
    }

    fn devices_of(token: &str) -> String {
        format!("GET {TOKENS}/{token}/importedAppleDeviceIdentities")
    }
}

#[tokio::test]
async fn the_first_scan_asks_for_token_and_tokens_and_later_ones_ask_for_the_box_alone() {
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        (
            evidence.finding,
            evidence.kind,
            evidence.known,
            evidence.heard,
            evidence.status.as_deref()
        ),
        (READY, SourceKind::Intune, true, true, Some("notContacted"))
    );
    assert!(
        evidence.assigned_at.is_some() && evidence.as_of.is_some() && evidence.replied_at.is_some()
    );
    let requests = bench.tenant.requests();
    assert_eq!(
        bench.asked(),
        [
            format!(
                "POST /{}/oauth2/v2.0/token",
                intune_source::simulator::TENANT
            ),
            format!("GET {TOKENS}"),
            Bench::devices_of(HQ),
        ]
    );
    assert!(
        requests[2].ends_with("?$filter=discoverySource%20eq%20%27deviceEnrollmentProgram%27%20and%20contains%28serialNumber%2C%27TESTINTUN001%27%29"),
        "{}",
        requests[2]
    );
    assert_eq!(bench.finding(SERIAL).await, READY);
    assert_eq!(
        bench.finding("TESTINTUN009").await,
        Finding::No(Reason::NotFound)
    );
    assert_eq!(
        bench.asked(),
        [Bench::devices_of(HQ), Bench::devices_of(HQ)]
    );
    assert_eq!(bench.tenant.violations(), [""; 0]);
}

#[tokio::test]
async fn every_box_of_the_demo_has_the_reason_that_its_list_names() {
    let bench = Bench::with(Options::demo(), &[HQ], &[PROFILE]).await;
    let intune = introduce(Order {
        listen: "127.0.0.1:0".parse().unwrap(),
        boxes: 0,
        limits: false,
    })
    .await
    .unwrap();
    for (serial, reason, words) in &intune.boxes {
        // What the time and the other candidate decide is the rule's.
        if ["settling", "ambiguous"].contains(reason) || *serial == "DEMOQUIET021" {
            continue;
        }
        let evidence = bench.ask(serial).await;
        assert_eq!(
            evidence.finding.reason().map(Reason::code),
            Some(*reason),
            "{serial}, {words}: {evidence:?}"
        );
    }
    for (serial, reason) in intune.differs {
        let row = DEMO.iter().find(|row| row.serial == *serial);
        assert!(row.is_some_and(|row| row.expected != *reason), "{serial}");
    }
    assert_eq!(bench.tenant.violations(), [""; 0]);
}

#[tokio::test]
async fn every_token_is_asked_side_by_side_and_one_that_fails_leaves_the_box_open() {
    let mut stock = Stock::of(vec![Device::ready(SERIAL)]);
    stock.tokens.push(Token::healthy(OTHER, "Other"));
    let elsewhere = Device {
        token: OTHER.to_owned(),
        ..Device::ready("TESTINTUN002")
    };
    stock.put(elsewhere);
    let bench = Bench::with(Options::new(stock), &[], &[]).await;
    for serial in [SERIAL, "TESTINTUN002"] {
        assert_eq!(bench.finding(serial).await, READY);
    }
    assert_eq!(
        bench.finding("TESTINTUN003").await,
        Finding::No(Reason::NotFound)
    );
    bench.asked();
    // Together they take as long as one.
    bench
        .tenant
        .faults()
        .all(Effect::Delay(Duration::from_millis(400)));
    let begun = Instant::now();
    assert_eq!(bench.finding(SERIAL).await, READY);
    assert!(begun.elapsed() < Duration::from_millis(750));
    let mut asked = bench.asked();
    asked.sort();
    assert_eq!(asked, [Bench::devices_of(HQ), Bench::devices_of(OTHER)]);
    let path = format!("{TOKENS}/{OTHER}/importedAppleDeviceIdentities");
    for (effect, reason) in [
        (Effect::Status(500), Reason::SourceError),
        (Effect::Status(404), Reason::GarbledAnswer),
        (Effect::TooMany { retry_after: None }, Reason::RateLimited),
        (Effect::Html, Reason::GarbledAnswer),
    ] {
        bench.tenant.faults().clear();
        bench.tenant.faults().path(&path, effect.clone());
        for serial in [SERIAL, "TESTINTUN003"] {
            assert_eq!(
                bench.finding(serial).await,
                Finding::Unknown(reason),
                "{effect} {serial}"
            );
        }
    }
}

#[tokio::test]
async fn tokens_outside_the_list_are_not_asked_and_one_that_is_missing_is_said() {
    let bench = Bench::with(Options::demo(), &[HQ], &[]).await;
    assert_eq!(
        bench.finding("DEMOOTHER008").await,
        Finding::No(Reason::NotFound)
    );
    assert_eq!(bench.asked().last(), Some(&Bench::devices_of(HQ)));
    let bench = Bench::with(Options::demo(), &[OTHER], &[]).await;
    assert_eq!(bench.finding("DEMOOTHER008").await, READY);
    let bench = Bench::with(Options::demo(), &[HQ, "gone"], &[]).await;
    let evidence = bench.ask("DEMOREADY001").await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::MdmLinkBroken));
    assert_eq!(
        evidence.detail.as_deref(),
        Some("The ADE token gone is not in Intune's list.")
    );
}

#[tokio::test]
async fn the_filter_is_a_contains_and_both_candidates_are_answered_by_one_request() {
    let bench = Bench::of(vec![
        Device::ready("STESTINTUN01"),
        Device::ready("XTESTINTUN01"),
    ])
    .await;
    let candidates = Candidates {
        scanned: Serial::new("STESTINTUN01").unwrap(),
        stripped: Some(Serial::new("TESTINTUN01").unwrap()),
        unless_known: None,
    };
    let answer = bench.source.ask(&candidates, Purpose::Scan).await;
    let findings: Vec<_> = answer.evidence.iter().map(|one| one.finding).collect();
    assert_eq!(findings, [READY, Finding::No(Reason::NotFound)]);
    let devices = bench
        .asked()
        .iter()
        .filter(|asked| **asked == Bench::devices_of(HQ))
        .count();
    assert_eq!(devices, 1);
}

#[tokio::test]
async fn pages_are_followed_up_to_five_on_the_same_host_and_path_alone() {
    let devices = (0..5).map(|number| Device::ready(&format!("TESTINTUN{number}")));
    let options = |page| Options {
        page,
        ..Options::new(Stock::of(devices.clone().collect()))
    };
    // Rows of five devices contain what is asked.
    let asked = "TESTINTUN";
    let whole = Bench::with(options(1), &[], &[]).await;
    assert_eq!(whole.finding(asked).await, Finding::No(Reason::NotFound));
    assert_eq!(whole.finding("TESTINTUN4").await, READY);
    assert_eq!(whole.tenant.violations(), [""; 0]);
    let six = Bench::with(
        Options {
            page: 1,
            ..Options::new(Stock::of(
                (0..6)
                    .map(|number| Device::ready(&format!("TESTINTUN{number}")))
                    .collect(),
            ))
        },
        &[],
        &[],
    )
    .await;
    assert_eq!(
        six.finding(asked).await,
        Finding::Unknown(Reason::GarbledAnswer)
    );
    // A list that never ends, a page that is lost, and a next page at another place or of another question.
    for effect in [
        "list:stuck",
        "replace:\"@odata.nextLink\":\"http://127>\"@odata.nextLink\":\"http://128",
        "replace:importedAppleDeviceIdentities?>enrollmentProfiles?",
        "replace:importedAppleDeviceIdentities?>importedAppleDeviceIdentities?$select=id&",
        "replace:http://>https://",
    ] {
        let bench = Bench::with(options(2), &[], &[]).await;
        assert_eq!(bench.finding("TESTINTUN4").await, READY);
        let path = format!("{TOKENS}/{HQ}/importedAppleDeviceIdentities");
        bench.tenant.faults().path(&path, effect.parse().unwrap());
        bench.asked();
        assert_eq!(
            bench.finding(asked).await,
            Finding::Unknown(Reason::GarbledAnswer),
            "{effect}"
        );
        let requests = bench.asked();
        assert!(
            requests.iter().all(|asked| *asked == Bench::devices_of(HQ)),
            "{requests:?}"
        );
    }
}

#[tokio::test]
async fn each_fault_of_the_way_has_its_reason() {
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    assert_eq!(bench.finding(SERIAL).await, READY);
    for (effect, reason) in [
        (Effect::Status(500), Reason::SourceError),
        (Effect::Status(503), Reason::SourceError),
        (Effect::Status(400), Reason::GarbledAnswer),
        (Effect::Status(401), Reason::CredentialsRefused),
        (Effect::Status(403), Reason::CredentialsRefused),
        (Effect::TooMany { retry_after: None }, Reason::RateLimited),
        (Effect::Html, Reason::GarbledAnswer),
        (Effect::CutJson, Reason::GarbledAnswer),
        (Effect::CutBody, Reason::GarbledAnswer),
        (Effect::Reset, Reason::Offline),
        (Effect::Drop, Reason::Offline),
        (Effect::Silence(TOTAL * 2), Reason::Timeout),
        (
            Effect::Redirect("http://127.0.0.1:9".to_owned()),
            Reason::GarbledAnswer,
        ),
        (
            Effect::Date("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            Reason::Stale,
        ),
        (Effect::As(206), Reason::GarbledAnswer),
    ] {
        bench.tenant.faults().clear();
        bench.tenant.faults().serial(SERIAL, effect.clone());
        let evidence = bench.ask(SERIAL).await;
        assert_eq!(
            evidence.finding,
            Finding::Unknown(reason),
            "{effect}: {evidence:?}"
        );
    }
    bench.tenant.faults().clear();
    assert_eq!(bench.finding(SERIAL).await, READY);
    bench.tenant.stop();
    assert_eq!(
        bench.finding(SERIAL).await,
        Finding::Unknown(Reason::Offline)
    );
}

#[tokio::test]
async fn a_retry_after_holds_everybody_and_a_429_without_one_all_but_scans() {
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    assert_eq!(bench.finding(SERIAL).await, READY);
    let recheck = || async {
        let candidates = Candidates::one(Serial::new(SERIAL).unwrap());
        bench
            .source
            .ask(&candidates, Purpose::Recheck)
            .await
            .evidence[0]
            .finding
    };
    let once = |retry_after: Option<&str>| Switch {
        times: Some(1),
        ..Switch::new(
            Scope::Everything,
            Effect::TooMany {
                retry_after: retry_after.map(str::to_owned),
            },
        )
    };
    bench.tenant.faults().add(once(None));
    assert_eq!(recheck().await, Finding::Unknown(Reason::RateLimited));
    bench.asked();
    assert_eq!(recheck().await, Finding::Unknown(Reason::RateLimited));
    assert_eq!(bench.asked(), [""; 0], "a re-check rests");
    assert_eq!(bench.finding(SERIAL).await, READY, "a scan does not");
    assert_eq!(recheck().await, READY);
    bench.tenant.faults().add(once(Some("60")));
    assert_eq!(
        bench.finding(SERIAL).await,
        Finding::Unknown(Reason::RateLimited)
    );
    bench.asked();
    assert_eq!(
        bench.finding(SERIAL).await,
        Finding::Unknown(Reason::RateLimited)
    );
    assert_eq!(bench.asked(), [""; 0]);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_shift_is_renewed_and_nobody_notices() {
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    assert_eq!(bench.finding(SERIAL).await, READY);
    for granted in 2..5 {
        bench.tenant.end_tokens();
        assert_eq!(bench.finding(SERIAL).await, READY);
        assert_eq!(bench.tenant.tokens_granted(), granted);
    }
    // Two ADE tokens are asked at once with one access token: one new one serves both.
    let mut stock = Stock::of(vec![Device::ready(SERIAL)]);
    stock.tokens.push(Token::healthy(OTHER, "Other"));
    let bench = Bench::with(Options::new(stock), &[], &[]).await;
    assert_eq!(bench.finding(SERIAL).await, READY);
    bench.tenant.end_tokens();
    assert_eq!(bench.finding(SERIAL).await, READY);
    assert_eq!(bench.tenant.tokens_granted(), 2);
}

#[tokio::test]
async fn access_tokens_that_live_a_second_serve_a_whole_shift() {
    let options = Options {
        token_life: Duration::from_secs(1),
        ..Options::new(Stock::of(vec![Device::ready(SERIAL)]))
    };
    let bench = Bench::with(options, &[], &[]).await;
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        assert_eq!(bench.finding(SERIAL).await, READY);
        tokio::time::sleep(Duration::from_millis(90)).await;
    }
    let granted = bench.tenant.tokens_granted();
    assert!((4..=16).contains(&granted), "{granted}");
    assert_eq!(bench.tenant.violations(), [""; 0]);
}

#[tokio::test]
async fn each_refusal_of_entra_is_said_in_its_own_words_and_a_new_secret_counts_at_once() {
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    bench.tenant.accept("another");
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        evidence.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(evidence.detail.unwrap().contains("AADSTS7000215"));
    write_secret(bench.folder.path(), "another");
    assert_eq!(bench.finding(SERIAL).await, READY);
    bench.tenant.expire_secret();
    bench.tenant.end_tokens();
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        evidence.finding,
        Finding::Unknown(Reason::CredentialsExpired)
    );
    assert!(evidence.detail.unwrap().contains("AADSTS7000222"));
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    bench.tenant.permit(false);
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        evidence.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(
        evidence
            .detail
            .unwrap()
            .contains("DeviceManagementServiceConfig.Read.All")
    );
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_costs_the_scans_behind_it_a_second_at_most() {
    let bench = Bench::of(vec![Device::ready(SERIAL)]).await;
    let path = format!("/{}/oauth2/v2.0/token", intune_source::simulator::TENANT);
    bench.tenant.faults().add(Switch {
        times: Some(1),
        ..Switch::new(Scope::Path(path), Effect::Silence(Duration::from_secs(4)))
    });
    let (hangs, later) = tokio::join!(bench.finding(SERIAL), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        (bench.finding(SERIAL).await, begun.elapsed())
    });
    assert_eq!((hangs, later.0), (READY, READY));
    assert!(later.1 < Duration::from_secs(2), "{:?}", later.1);
}

#[tokio::test]
async fn a_profile_that_is_assigned_between_two_scans_is_seen() {
    let bench = Bench::of(vec![Device::ready(SERIAL).without_profile()]).await;
    assert_eq!(bench.finding(SERIAL).await, Finding::No(Reason::NoProfile));
    bench.tenant.stock(|stock| {
        stock.put(Device {
            assigned_at: AssignedAt::At(Timestamp::now()),
            ..Device::ready(SERIAL)
        });
    });
    assert_eq!(bench.finding(SERIAL).await, READY);
    bench.tenant.stock(|stock| stock.remove(SERIAL));
    assert_eq!(bench.finding(SERIAL).await, Finding::No(Reason::NotFound));
}

#[tokio::test]
async fn a_probe_reads_what_a_scan_needs_and_refreshes_the_tokens() {
    let bench = Bench::of(vec![]).await;
    assert!(bench.source.probe().await.is_ok());
    let vitals = bench.source.vitals();
    assert!(vitals.as_of.is_some() && vitals.credential_expires.is_some());
    assert_eq!(vitals.credential_days, Some(199));
    assert_eq!(bench.asked().len(), 3);
    // The list of tokens is there now: the scan asks for the box alone.
    assert_eq!(bench.finding(SERIAL).await, Finding::No(Reason::NotFound));
    assert_eq!(bench.asked(), [Bench::devices_of(HQ)]);
    bench.tenant.permit(false);
    assert_eq!(
        bench.source.probe().await.unwrap_err().reason,
        Reason::CredentialsRefused
    );
    assert!(!bench.source.is_listed());
}

#[tokio::test]
async fn the_doctor_names_each_token_with_its_profiles_and_troubles() {
    let mut stock = Stock::of(vec![]);
    stock.tokens.push(Token {
        error: 3,
        ..Token::healthy(OTHER, "Old MDM")
    });
    let bench = Bench::with(Options::new(stock), &[], &[]).await;
    let examination = bench.source.examine().await;
    let all: Vec<_> = examination
        .remarks
        .iter()
        .map(|remark| (remark.about.as_str(), remark.outcome))
        .collect();
    assert_eq!(
        all,
        [
            ("", Outcome::Ok),
            ("Intune's word", Outcome::Ok),
            ("ADE token HQ", Outcome::Ok),
            ("ADE token Old MDM", Outcome::Fail),
        ]
    );
    let finding = |place: usize| examination.remarks[place].finding.as_str();
    assert!(finding(0).contains("DeviceManagementServiceConfig.Read.All"));
    assert!(
        finding(1).contains("12 hours")
            && finding(1).contains("once a week")
            && finding(1).contains("45 days")
    );
    for part in [
        HQ,
        "199 days left",
        "last sync 20",
        &format!("\"Staging\" = {PROFILE}"),
        OTHER_PROFILE,
    ] {
        assert!(finding(2).contains(part), "{part}: {}", finding(2));
    }
    assert!(finding(3).contains("last error 3") && finding(3).contains("`mdm_link_broken`"));
    assert_eq!(bench.tenant.violations(), [""; 0]);
    // What is not asked is named and not judged; what is wanted and missing is.
    let bench = Bench::with(Options::demo(), &[HQ, "gone"], &[]).await;
    let examination = bench.source.examine().await;
    let of = |about: &str| {
        examination
            .remarks
            .iter()
            .find(|remark| remark.about == about)
            .unwrap()
    };
    assert!(
        of("ADE token Old MDM")
            .finding
            .ends_with("is not asked: its id is not in `tokens`")
    );
    assert!(
        of("ADE token gone").outcome == Outcome::Fail && of("ADE token gone").remedy.contains(HQ)
    );
    bench.tenant.permit(false);
    let examination = bench.source.examine().await;
    assert!(examination.remarks.len() == 1 && examination.remarks[0].outcome == Outcome::Fail);
}

#[tokio::test]
async fn generated_boxes_are_answered_too() {
    let order = Order {
        listen: "127.0.0.1:0".parse().unwrap(),
        boxes: 1_000,
        limits: true,
    };
    let introduction = simulate(SourceKind::Intune, order).await.unwrap();
    assert!(introduction.source.contains("kind = \"intune\""));
    let mut options = Options::demo();
    options.stock.fleet = benchlight::simulator::fleet::Fleet::of(1_000);
    let bench = Bench::with(options, &[HQ], &[]).await;
    for number in 0..40 {
        let serial = benchlight::simulator::fleet::serial(number);
        let story = benchlight::simulator::fleet::story(number);
        let evidence = bench.ask(&serial).await;
        if story.expected == "assigned" {
            assert_eq!(evidence.finding, READY, "{serial}");
        }
        assert!(
            !matches!(evidence.finding, Finding::Unknown(_)),
            "{serial}: {evidence:?}"
        );
    }
}
