//! A simulated Kandji over real HTTP: its answers, and every way to get none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use benchlight::{
    label::{Candidates, Serial},
    readiness::{
        Purpose, Service, Settings, Source,
        evidence::{Evidence, Finding, Grade},
        http::{ClientFault, Limits},
        kandji::{
            self as kandji_source,
            simulator::{
                Options, Slash, Tenant,
                demo::demo_stock,
                serve,
                stock::{Device, Enrollment, HQ, Stock, Token},
            },
        },
        replica,
    },
    reason::Reason,
    runtime::{clock::ClockWatch, credential::CredentialStore, name::Name, pulse::Pulse},
    simulator::{
        faults::{Effect, Scope},
        stock::{DEMO, Mdm, SERVER_UUID},
    },
};
use tempfile::TempDir;

#[path = "kandji/bulk.rs"]
mod bulk;
#[path = "kandji/lists.rs"]
mod lists;

const TOKEN: &str = "t0ken-of-the-tests";
const SERIAL: &str = "TESTKANDJ001";
const ADE_DEVICES: &str = "/api/v1/integrations/apple/ade/devices";
const ADE_TOKENS: &str = "/api/v1/integrations/apple/ade";
const DEVICES: &str = "/api/v1/devices";
const READY: Finding = Finding::Ready(Grade::Relayed);
const SYNCED: ClockWatch = ClockWatch::Fixed { synced: true };
/// Enough for a busy machine. Tests of a deadline use a `short` bench.
const TOTAL: Duration = Duration::from_secs(5);

/// A source of a station and the service it asks.
struct Bench {
    tenant: Tenant,
    source: Source,
    folder: TempDir,
}

struct Setting {
    options: Options,
    url: Option<String>,
    ca_file: Option<PathBuf>,
    clock: ClockWatch,
    total: Duration,
    tokens: Vec<String>,
    expected_blueprints: Vec<String>,
    reads_per_minute: u32,
    quota_share: f64,
}

impl Setting {
    fn of(devices: Vec<Device>) -> Self {
        Self {
            options: Options::new(TOKEN, Stock::of(devices)),
            url: None,
            ca_file: None,
            clock: SYNCED,
            total: TOTAL,
            tokens: Vec::new(),
            expected_blueprints: Vec::new(),
            reads_per_minute: 0,
            quota_share: 1.0,
        }
    }

    fn short(self) -> Self {
        Self {
            total: Duration::from_millis(300),
            ..self
        }
    }

    async fn bench(self) -> Bench {
        let tenant = serve(self.options).await.unwrap();
        let folder = TempDir::new().unwrap();
        write_credential(&folder, TOKEN);
        let settings = Settings {
            name: Name::new("kandji").unwrap(),
            url: self.url.unwrap_or_else(|| tenant.base()).parse().unwrap(),
            ca_file: self.ca_file,
            reads_per_minute: self.reads_per_minute,
            replica: replica::Settings {
                quota_share: self.quota_share,
                ..replica::Settings::default()
            },
            service: Service::Kandji(kandji_source::Settings {
                token: CredentialStore::new(folder.path()).credential("kandji-token"),
                policy: kandji_source::Policy {
                    tokens: self.tokens,
                    max_fetch_age: Duration::from_hours(24),
                    expected_blueprints: self.expected_blueprints,
                },
            }),
        };
        let limits = Limits {
            connect: self.total,
            total: self.total,
            ..Limits::default()
        };
        let source = Source::with_limits(settings, self.clock, limits).unwrap();
        Bench {
            tenant,
            source,
            folder,
        }
    }
}

fn write_credential(folder: &TempDir, token: &str) {
    use std::io::Write;

    let path = folder.path().join("kandji-token");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    writeln!(file, "{token}").unwrap();
}

impl Bench {
    async fn ask(&self, serial: &str) -> Evidence {
        self.ask_for(serial, Purpose::Scan).await
    }

    async fn ask_for(&self, serial: &str, purpose: Purpose) -> Evidence {
        let answer = self
            .source
            .ask(&Candidates::one(Serial::new(serial).unwrap()), purpose)
            .await;
        assert_eq!(answer.evidence.len(), 1);
        answer.evidence[0].clone()
    }

    async fn ask_both(&self, scanned: &str, stripped: &str) -> [Evidence; 2] {
        let candidates = Candidates {
            scanned: Serial::new(scanned).unwrap(),
            stripped: Serial::new(stripped),
            unless_known: None,
        };
        self.source
            .ask(&candidates, Purpose::Scan)
            .await
            .evidence
            .try_into()
            .unwrap()
    }

    /// Loads the token list, then forgets the requests so far.
    async fn warmed(self) -> Self {
        self.source.probe().await.unwrap();
        self.tenant.forget();
        self
    }

    fn assert_understood(&self) {
        assert_eq!(self.tenant.violations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_assigned_profile_is_ready_and_the_question_is_the_services_own() {
    let bench = Setting::of(vec![Device::ready(SERIAL)]).bench().await;
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(evidence.finding, READY);
    assert!(evidence.known && !evidence.returned);
    assert_eq!(evidence.family.as_deref(), Some("Mac"));
    assert_eq!(evidence.server_uuid.as_deref(), Some(SERVER_UUID));
    assert!(
        evidence.assigned_at.is_some() && evidence.as_of.is_some() && evidence.replied_at.is_some()
    );
    assert!(
        !format!("{evidence:?}").contains("example.com"),
        "nothing personal is kept"
    );
    bench.assert_understood();

    let mut requests = bench.tenant.requests();
    requests.sort();
    assert_eq!(
        requests,
        [
            format!("GET {ADE_TOKENS}"),
            format!("GET {ADE_DEVICES}?serial_number={SERIAL}")
        ]
    );
    bench.ask(SERIAL).await;
    assert_eq!(
        bench.tenant.counts().total,
        3,
        "the token list is kept: a scan costs one request"
    );
}

#[tokio::test]
async fn every_box_of_the_demo_comes_out_as_told() {
    let demo = demo_stock();
    let mut setting = Setting::of(Vec::new());
    setting.options = Options {
        switches: demo.switches,
        ..Options::new(TOKEN, demo.stock)
    };
    setting.tokens = demo.tokens;
    setting.expected_blueprints = demo.expected_blueprints;
    setting.total = Duration::from_secs(4);
    let bench = setting.bench().await.warmed().await;
    for sample in demo.samples {
        let evidence = match sample.serial.strip_prefix('S') {
            Some(stripped) if stripped.starts_with("DEMO") => {
                let [scanned, stripped] = bench.ask_both(sample.serial, stripped).await;
                match (scanned.known, stripped.known) {
                    (true, true) => {
                        assert_eq!(sample.reason, "ambiguous", "{sample:?}");
                        continue;
                    }
                    (true, false) => scanned,
                    _ => stripped,
                }
            }
            _ => bench.ask(sample.serial).await,
        };
        // The rule calls it settling when a profile was assigned just before the reply.
        let settling = evidence
            .assigned_at
            .zip(evidence.replied_at)
            .is_some_and(|(assigned, now)| now.duration_since(assigned).as_secs() < 60);
        let reason = match evidence.judged(false) {
            READY if settling => "settling",
            finding => finding.reason().unwrap().code(),
        };
        assert_eq!(reason, sample.reason, "{sample:?}: {evidence:?}");
    }
    bench.assert_understood();
}

#[tokio::test]
async fn the_common_table_of_the_demo_is_told_as_kandji_sees_it() {
    let demo = demo_stock();
    let mut setting = Setting::of(Vec::new());
    setting.options.stock = demo.stock;
    setting.tokens = demo.tokens;
    let bench = setting.bench().await;
    for demo in DEMO {
        let expected = match demo.mdm {
            // As the samples have it.
            Mdm::Own(_) => continue,
            Mdm::None | Mdm::NotFetchedYet => Finding::No(Reason::NotFound),
            Mdm::Assigned => READY,
            Mdm::Pending => Finding::Wait(Reason::AssignmentPending),
            Mdm::Failed => Finding::No(Reason::AssignmentFailed),
            Mdm::Throttled => Finding::Wait(Reason::AssignmentThrottled),
            Mdm::Removed => Finding::No(Reason::ProfileRemoved),
            Mdm::Pushed => Finding::No(Reason::PreviouslyActivated),
            Mdm::Enrolled => Finding::No(Reason::AlreadyEnrolled),
        };
        assert_eq!(
            bench.ask(demo.serial).await.judged(false),
            expected,
            "{demo:?}"
        );
    }
}

/// Sends one request as another program might; returns the reply's status line and headers.
async fn raw(tenant: &Tenant, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(tenant.address())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn the_simulator_verifies_what_it_is_asked() {
    let tenant = serve(Options::new(
        TOKEN,
        Stock::of(
            (0..301)
                .map(|n| Device::ready(&format!("TESTKAND{n:04}")))
                .collect(),
        ),
    ))
    .await
    .unwrap();
    let good = format!(
        "authorization: Bearer {TOKEN}\r\naccept: application/json\r\ncache-control: no-cache\r\n"
    );
    let ask = async |line: &str, headers: &str| {
        raw(
            &tenant,
            &format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"),
        )
        .await
    };
    for (line, headers, status, understood) in [
        (format!("GET {ADE_TOKENS}"), good.as_str(), "200", true),
        (format!("GET {ADE_DEVICES}?page=2"), &good, "200", true),
        (format!("GET {ADE_DEVICES}?page=3"), &good, "404", true),
        (
            format!("GET {ADE_TOKENS}"),
            "authorization: Bearer other\r\n",
            "401",
            true,
        ),
        (format!("GET {ADE_TOKENS}"), "", "401", false),
        (
            format!("GET {ADE_TOKENS}"),
            &format!("authorization: Bearer {TOKEN}\r\n"),
            "406",
            false,
        ),
        (
            format!("GET {ADE_DEVICES}?serial_number="),
            &good,
            "400",
            false,
        ),
        (format!("GET {ADE_DEVICES}"), &good, "400", false),
        (format!("GET {ADE_DEVICES}?serial=X"), &good, "400", false),
        (
            format!("GET {DEVICES}?serial_number=&limit=300"),
            &good,
            "400",
            false,
        ),
        (
            format!("GET {DEVICES}?serial_number=X&limit=301"),
            &good,
            "400",
            false,
        ),
        ("GET /api/v1/blueprints".to_owned(), &good, "404", false),
        (format!("DELETE {DEVICES}"), &good, "405", false),
    ] {
        tenant.forget();
        let reply = ask(&line, headers).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {reply}"
        );
        assert_eq!(tenant.violations().is_empty(), understood, "{line}");
        assert!(
            reply.contains("x-ratelimit-remaining-hour: 99"),
            "{line}: {reply}"
        );
    }
    let page = ask(&format!("GET {ADE_DEVICES}?page=1"), &good).await;
    assert!(
        page.contains(r#""count":301"#) && page.contains("https://simulated.kandji.io/api/v1/"),
        "next names another host"
    );
    assert_eq!(page.matches("profile_status").count(), 300);
    assert!(
        ask(&format!("GET {DEVICES}?serial_number=NOBODY"), &good)
            .await
            .ends_with("[]"),
        "a bare array"
    );
}

#[tokio::test]
async fn faults_are_switched_at_run_time() {
    let bench = Setting::of(vec![Device::ready(SERIAL), Device::ready("TESTKANDJ002")])
        .bench()
        .await
        .warmed()
        .await;
    let put = |body: &str| {
        format!(
            "PUT /_simulator/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let reply = raw(
        &bench.tenant,
        &put(&format!("{SERIAL}=500\n\n/api/v1/devices/=delay:10ms*2\n")),
    )
    .await;
    assert!(reply.starts_with("HTTP/1.1 204 "), "{reply}");
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::SourceError)
    );
    assert_eq!(bench.ask("TESTKANDJ002").await.finding, READY);
    let shown = raw(
        &bench.tenant,
        "GET /_simulator/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        shown.ends_with("TESTKANDJ001=500\n/api/v1/devices=delay:10ms*2\n"),
        "{shown}"
    );
    for (body, words) in [
        ("nonsense", "is not a fault"),
        ("{\"500\":1}", "send a JSON array of faults"),
        ("[\"500\", \"nonsense\"]", "is not a fault"),
    ] {
        let reply = raw(&bench.tenant, &put(body)).await;
        assert!(
            reply.starts_with("HTTP/1.1 400 ") && reply.contains(words),
            "{body}: {reply}"
        );
    }
    let reply = raw(&bench.tenant, "POST /_simulator/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    assert!(
        reply.starts_with("HTTP/1.1 405 ") && reply.contains("allow: GET, PUT, DELETE"),
        "{reply}"
    );
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::SourceError),
        "a refused list changes nothing"
    );
    assert!(
        raw(&bench.tenant, &put("[\"TESTKANDJ002=500\"]"))
            .await
            .starts_with("HTTP/1.1 204 ")
    );
    assert_eq!(
        (
            bench.ask(SERIAL).await.finding,
            bench.ask("TESTKANDJ002").await.finding
        ),
        (READY, Finding::Unknown(Reason::SourceError))
    );
    raw(
        &bench.tenant,
        "DELETE /_simulator/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(bench.ask(SERIAL).await.finding, READY);
    assert!(
        serve(Options {
            listen: "0.0.0.0:0".parse().unwrap(),
            ..Options::new(TOKEN, Stock::default())
        })
        .await
        .is_err(),
        "this machine only"
    );
}

#[tokio::test]
async fn a_box_keeps_its_own_fault_whatever_is_switched() {
    let demo = demo_stock();
    let mut setting = Setting::of(Vec::new());
    let spoilt: Vec<Scope> = demo
        .switches
        .iter()
        .map(|switch| switch.scope.clone())
        .collect();
    setting.options = Options {
        switches: demo.switches,
        ..Options::new(TOKEN, demo.stock)
    };
    setting.tokens = demo.tokens;
    // Nobody waits for a silent service.
    setting.total = Duration::from_millis(600);
    let bench = setting.bench().await.warmed().await;
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    for body in [
        "[\"delay:1ms\"]".to_owned(),
        format!("[\"date:{now}\"]"),
        "[]".to_owned(),
    ] {
        let put = format!(
            "PUT /_simulator/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert!(raw(&bench.tenant, &put).await.starts_with("HTTP/1.1 204 "));
        assert_eq!(
            bench.ask("DEMOREADY001").await.judged(false),
            READY,
            "{body}"
        );
        for scope in &spoilt {
            let Scope::Serial(serial) = scope else {
                panic!("{scope:?}")
            };
            let evidence = bench.ask(serial).await;
            assert!(
                matches!(evidence.judged(false), Finding::Unknown(_)),
                "{serial} after {body}: {evidence:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_waiting_box_turns_ready_by_itself() {
    let device = Device {
        ready_after: Some(Duration::from_millis(50)),
        ..Device::pending(SERIAL)
    };
    let bench = Setting::of(vec![device]).bench().await;
    let begun = Instant::now();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Wait(Reason::AssignmentPending)
    );
    while bench.ask(SERIAL).await.finding != READY {
        assert!(begun.elapsed() < TOTAL, "it never turned");
    }
    assert!(begun.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn a_box_is_never_answered_by_a_serial_number_that_contains_its_own() {
    let bench = Setting::of(vec![
        Device::ready("XTESTKANDJ001"),
        Device::ready("TESTKANDJ0012"),
        Device::pending(SERIAL),
    ])
    .bench()
    .await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Wait(Reason::AssignmentPending)
    );
    bench.tenant.stock(|stock| stock.remove(SERIAL));
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::No(Reason::NotFound)
    );
    bench.assert_understood();
}

#[tokio::test]
async fn two_candidates_cost_one_request() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    let [scanned, stripped] = bench.ask_both(&format!("S{SERIAL}"), SERIAL).await;
    assert_eq!(
        (scanned.finding, scanned.known),
        (Finding::No(Reason::NotFound), false)
    );
    assert_eq!((stripped.finding, stripped.known), (READY, true));
    assert_eq!(
        bench.tenant.requests(),
        [format!("GET {ADE_DEVICES}?serial_number={SERIAL}")]
    );

    // A serial number of 11 characters that begins with S itself: its other candidate must be looked for everywhere.
    bench
        .tenant
        .stock(|stock| stock.put(Device::ready("SDMPX0000A1")));
    bench.tenant.forget();
    let [scanned, stripped] = bench.ask_both("SDMPX0000A1", "DMPX0000A1").await;
    assert_eq!(
        (scanned.finding, stripped.finding),
        (READY, Finding::No(Reason::NotFound))
    );
    assert_eq!(bench.tenant.counts().total, 2);

    bench
        .tenant
        .stock(|stock| stock.put(Device::ready("DMPX0000A1")));
    let [scanned, stripped] = bench.ask_both("SDMPX0000A1", "DMPX0000A1").await;
    assert!(
        scanned.known && stripped.known,
        "two devices: the rule says ambiguous"
    );
    bench.assert_understood();
}

#[tokio::test]
async fn two_rows_of_one_serial_number_that_disagree_are_a_contradiction() {
    let bench = Setting::of(vec![Device::ready(SERIAL), Device::pending(SERIAL)])
        .bench()
        .await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::Contradiction)
    );
}

#[tokio::test]
async fn all_pages_are_read_on_the_configured_host_only() {
    let many = |count: usize| {
        (0..count)
            .map(|number| Device::ready(&format!("{SERIAL}{number:02}")))
            .chain([Device::pending(SERIAL)])
    };
    let crowd = |count: usize| {
        (0..count)
            .map(|_| Device::ready(&format!("{SERIAL}9")))
            .chain([Device::pending(SERIAL)])
            .collect::<Vec<_>>()
    };
    let bench = Setting::of(many(2).collect()).bench().await.warmed().await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Wait(Reason::AssignmentPending)
    );
    assert_eq!(bench.tenant.counts().total, 1);

    // The exact row is the last one of the fifth page.
    bench.tenant.stock(|stock| stock.devices = crowd(1499));
    bench.tenant.forget();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Wait(Reason::AssignmentPending)
    );
    assert_eq!(bench.tenant.counts().total, 5);

    bench.tenant.stock(|stock| stock.devices = crowd(1500));
    bench.tenant.forget();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::GarbledAnswer),
        "more than five pages"
    );
    assert_eq!(bench.tenant.counts().total, 5);
    bench.assert_understood();
}

#[tokio::test]
async fn a_device_without_a_row_is_looked_for_among_the_enrolled() {
    let enrolled = Device {
        in_ade: false,
        enrollment: Enrollment::Enrolled,
        ..Device::ready(SERIAL)
    };
    let bench = Setting::of(vec![enrolled.clone()])
        .bench()
        .await
        .warmed()
        .await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::No(Reason::AlreadyEnrolled)
    );
    assert_eq!(bench.tenant.requests().len(), 2);
    bench.tenant.stock(|stock| {
        stock.put(Device {
            enrollment: Enrollment::Removed,
            ..enrolled
        })
    });
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::No(Reason::NotFound)
    );
    bench.tenant.faults().path(DEVICES, Effect::Status(500));
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::SourceError),
        "where it is needed it must be had"
    );
    bench.assert_understood();
}

#[tokio::test]
async fn not_found_names_the_last_fetch() {
    let bench = Setting::of(Vec::new()).bench().await;
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        (evidence.finding, evidence.known),
        (Finding::No(Reason::NotFound), false)
    );
    let detail = evidence.detail.unwrap();
    assert!(
        detail.starts_with("Last fetch 20") && detail.ends_with(" UTC."),
        "{detail}"
    );
}

#[tokio::test]
async fn a_broken_or_stale_token_makes_nobody_sure() {
    for (change, reason) in [
        (
            (|token| token.status = "BROKEN".to_owned()) as fn(&mut Token),
            Reason::MdmLinkBroken,
        ),
        (
            |token| token.expires_at = jiff::Timestamp::UNIX_EPOCH,
            Reason::MdmLinkBroken,
        ),
        (
            |token| token.fetched_ago = Some(Duration::from_hours(30)),
            Reason::Stale,
        ),
        (|token| token.fetched_ago = None, Reason::Stale),
    ] {
        let mut setting = Setting::of(vec![Device::ready(SERIAL)]);
        setting.options.stock.tokens.iter_mut().for_each(change);
        let bench = setting.bench().await;
        assert_eq!(bench.ask(SERIAL).await.finding, Finding::Unknown(reason));
        assert_eq!(
            bench.ask("TESTABSENT01").await.finding,
            Finding::Unknown(reason),
            "an unlisted box may be behind that token"
        );
        assert_eq!(
            bench.source.health().borrow().failing,
            None,
            "the way is good"
        );
    }
}

#[tokio::test]
async fn a_failing_token_list_is_never_passed_over() {
    let bench = Setting::of(vec![
        Device::ready(SERIAL),
        Device {
            enrollment: Enrollment::Enrolled,
            ..Device::ready("TESTENROLL01")
        },
    ])
    .bench()
    .await;
    bench.tenant.faults().path(ADE_TOKENS, Effect::Status(403));
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert_eq!(
        bench.ask("TESTENROLL01").await.finding,
        Finding::No(Reason::AlreadyEnrolled),
        "that needs no token list"
    );
    bench.tenant.faults().clear();
    assert_eq!(bench.ask(SERIAL).await.finding, READY);
    bench.tenant.faults().path(ADE_TOKENS, Effect::Status(500));
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        READY,
        "a list of less than 15 minutes is good"
    );
}

#[tokio::test]
async fn every_fault_of_the_way_has_its_reason_and_none_is_green() {
    let bad = [
        ("500", Reason::SourceError),
        ("503", Reason::SourceError),
        ("401", Reason::CredentialsRefused),
        ("403", Reason::CredentialsRefused),
        ("404", Reason::GarbledAnswer),
        ("418", Reason::GarbledAnswer),
        ("429", Reason::RateLimited),
        ("html", Reason::GarbledAnswer),
        ("cut-json", Reason::GarbledAnswer),
        ("cut-body", Reason::GarbledAnswer),
        ("huge:100000000", Reason::GarbledAnswer),
        ("reset", Reason::Offline),
        ("drop", Reason::Offline),
        ("date:no date", Reason::Stale),
        ("date:Sun, 06 Nov 1994 08:49:37 GMT", Reason::Stale),
    ];
    for (fault, reason) in bad {
        let bench = Setting::of(vec![Device::ready(SERIAL)])
            .bench()
            .await
            .warmed()
            .await;
        bench.tenant.faults().add(fault.parse().unwrap());
        let evidence = bench.ask(SERIAL).await;
        assert_eq!(
            evidence.finding,
            Finding::Unknown(reason),
            "{fault}: {evidence:?}"
        );
        bench.tenant.faults().clear();
        assert_eq!(bench.ask(SERIAL).await.finding, READY, "after {fault}");
        bench.assert_understood();
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench.tenant.faults().all(Effect::Huge { bytes: u64::MAX });
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        evidence.finding,
        Finding::Unknown(Reason::GarbledAnswer),
        "{evidence:?}"
    );
}

#[tokio::test]
async fn silence_ends_as_timeout_within_the_limit() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .short()
        .bench()
        .await;
    bench
        .tenant
        .faults()
        .all(Effect::Silence(Duration::from_secs(8)));
    let begun = Instant::now();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::Timeout)
    );
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_offline() {
    let bench = Setting::of(Vec::new()).bench().await;
    bench.tenant.stop();
    let begun = Instant::now();
    while bench.ask(SERIAL).await.finding != Finding::Unknown(Reason::Offline) {
        assert!(begun.elapsed() < TOTAL);
    }
    let nowhere = Setting {
        url: Some("https://no-such-host.invalid".to_owned()),
        ..Setting::of(Vec::new())
    }
    .bench()
    .await;
    assert_eq!(
        nowhere.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::Offline)
    );
}

#[tokio::test]
async fn the_credential_never_follows_a_redirect_to_another_host() {
    let elsewhere = serve(Options::new(TOKEN, Stock::of(vec![Device::ready(SERIAL)])))
        .await
        .unwrap();
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench
        .tenant
        .faults()
        .all(Effect::Redirect(elsewhere.base()));
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::GarbledAnswer)
    );
    assert_eq!(elsewhere.counts().total, 0);
    bench.tenant.faults().clear();
    bench
        .tenant
        .faults()
        .all(Effect::Redirect(bench.tenant.base()));
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::GarbledAnswer),
        "in a circle"
    );
    bench.tenant.faults().clear();
    bench.tenant.faults().all(Effect::Redirect(format!(
        "{}{ADE_TOKENS}?",
        bench.tenant.base()
    )));
    bench.tenant.forget();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::GarbledAnswer),
        "another question"
    );
    assert_eq!(bench.tenant.counts().total, 1);
}

#[tokio::test]
async fn the_slash_at_the_end_of_a_path_is_the_services_choice() {
    for slash in [Slash::Wanted, Slash::Unwanted, Slash::Either] {
        let mut setting = Setting::of(vec![Device::ready(SERIAL)]);
        setting.options.slash = slash;
        let bench = setting.bench().await;
        assert_eq!(bench.ask(SERIAL).await.finding, READY, "{slash:?}");
        assert_eq!(
            bench.ask("TESTABSENT01").await.finding,
            Finding::No(Reason::NotFound),
            "{slash:?}"
        );
        bench.assert_understood();
    }
}

#[tokio::test]
async fn no_request_leaves_inside_retry_after() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench.tenant.faults().add("429:2*1".parse().unwrap());
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
    assert!(evidence.detail.unwrap().contains("Try again at "));
    for _ in 0..20 {
        let evidence = bench.ask(SERIAL).await;
        assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
        assert!(evidence.detail.unwrap().contains("Try again at "));
    }
    assert_eq!(
        bench.source.probe().await.unwrap_err().reason,
        Reason::RateLimited
    );
    assert_eq!(
        bench.tenant.counts().total,
        1,
        "all but the first stayed here"
    );
    let begun = Instant::now();
    while bench.ask(SERIAL).await.finding != READY {
        assert!(begun.elapsed() < TOTAL);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bench.tenant.counts().total, 2);
}

#[tokio::test]
async fn a_retry_after_may_be_a_date() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    let then = jiff::Timestamp::now() + Duration::from_secs(3600);
    let retry_after = then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    bench.tenant.faults().all(Effect::TooMany {
        retry_after: Some(retry_after),
    });
    bench.ask(SERIAL).await;
    bench.tenant.faults().clear();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::RateLimited)
    );
    assert_eq!(bench.tenant.counts().total, 1);
}

#[tokio::test]
async fn a_recheck_leaves_the_last_fifth_of_the_quota_to_people() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench.tenant.set_quota_left(2002);
    assert_eq!(
        bench.ask_for(SERIAL, Purpose::Recheck).await.finding,
        READY,
        "2001 are left after it"
    );
    assert_eq!(
        bench.ask_for(SERIAL, Purpose::Recheck).await.finding,
        READY,
        "2000 are left after it"
    );
    let total = bench.tenant.counts().total;
    assert_eq!(
        bench.ask_for(SERIAL, Purpose::Recheck).await.finding,
        Finding::Unknown(Reason::RateLimited)
    );
    assert_eq!(bench.tenant.counts().total, total);
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        READY,
        "a person is answered"
    );
    let health = bench.source.health().borrow().clone();
    assert_eq!(
        (health.quota_left, health.quota_limit),
        (Some(1999), Some(10_000))
    );
    bench.tenant.set_quota_left(0);
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::RateLimited)
    );
}

#[tokio::test]
async fn the_own_limit_of_reads_a_minute_holds() {
    let mut setting = Setting::of(vec![Device::ready(SERIAL)]);
    setting.reads_per_minute = 5;
    let bench = setting.bench().await;
    for _ in 0..10 {
        bench.ask(SERIAL).await;
    }
    assert_eq!(bench.tenant.counts().total, 5);
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
    assert!(evidence.detail.unwrap().contains("own limit"));
}

#[tokio::test]
async fn a_station_keeps_to_its_share_of_the_tenants_limit() {
    let mut setting = Setting::of(vec![Device::ready(SERIAL)]);
    // Five of the tenant's 10,000 requests an hour: two for a probe, three scans.
    setting.quota_share = 0.0005;
    let bench = setting.bench().await.warmed().await;
    for _ in 0..2 {
        assert_eq!(bench.ask(SERIAL).await.finding, READY);
    }
    let kept = bench.ask_for(SERIAL, Purpose::Recheck).await;
    assert_eq!(kept.finding, Finding::Unknown(Reason::RateLimited));
    assert_eq!(bench.ask(SERIAL).await.finding, READY);
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(evidence.finding, Finding::Unknown(Reason::RateLimited));
    assert!(evidence.detail.unwrap().contains("quota_share"));
    assert_eq!(bench.tenant.counts().total, 3);
}

#[tokio::test]
async fn every_scan_asks_the_service_itself() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench
        .tenant
        .faults()
        .all(Effect::Delay(Duration::from_millis(200)));
    let (one, two, three) = tokio::join!(bench.ask(SERIAL), bench.ask(SERIAL), bench.ask(SERIAL));
    assert_eq!([one.finding, two.finding, three.finding], [READY; 3]);
    assert_eq!(bench.tenant.counts().total, 3);
}

#[tokio::test]
async fn a_box_scanned_again_while_its_first_look_up_hangs_is_answered() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench.tenant.faults().add("silence:9s*1".parse().unwrap());
    let source = bench.source.clone();
    let first = tokio::spawn(async move {
        source
            .ask(
                &Candidates::one(Serial::new(SERIAL).unwrap()),
                Purpose::Scan,
            )
            .await
            .evidence
            .remove(0)
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        assert_eq!(bench.ask(SERIAL).await.finding, READY);
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
    }
    assert_eq!(
        first.await.unwrap().finding,
        Finding::Unknown(Reason::Timeout)
    );
}

#[tokio::test]
async fn the_second_asker_is_answered_when_the_first_gives_up() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    bench
        .tenant
        .faults()
        .all(Effect::Delay(Duration::from_millis(200)));
    let impatient = tokio::time::timeout(Duration::from_millis(50), bench.ask(SERIAL));
    let (gone, answered) = tokio::join!(impatient, bench.ask(SERIAL));
    assert!(gone.is_err());
    assert_eq!(answered.finding, READY);
}

#[tokio::test]
async fn a_new_credential_counts_without_a_restart() {
    let bench = Setting::of(vec![Device::ready(SERIAL)]).bench().await;
    assert_eq!(bench.ask(SERIAL).await.finding, READY);
    bench.tenant.accept("another-t0ken");
    let refused = bench.ask(SERIAL).await;
    assert_eq!(
        refused.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    let detail = refused.detail.unwrap();
    assert!(
        detail.contains("permission")
            && detail.contains("administrator")
            && !detail.contains(TOKEN),
        "{detail}"
    );
    write_credential(&bench.folder, "another-t0ken");
    assert_eq!(bench.ask(SERIAL).await.finding, READY);
    let total = bench.tenant.counts().total;
    write_credential(&bench.folder, "two\nlines");
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    std::fs::remove_file(bench.folder.path().join("kandji-token")).unwrap();
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert_eq!(
        bench.tenant.counts().total,
        total,
        "nothing is sent without a credential"
    );
}

#[tokio::test]
async fn a_refused_credential_is_put_down_to_the_clock_only_where_nobody_vouches_for_it() {
    let refused = |clock| async move {
        let bench = Setting {
            clock,
            ..Setting::of(vec![Device::ready(SERIAL)])
        }
        .bench()
        .await
        .warmed()
        .await;
        bench.tenant.accept("another-t0ken");
        bench
    };
    let unsynced = ClockWatch::Fixed { synced: false };
    let far = Effect::Date("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());

    let bench = refused(unsynced).await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::CredentialsRefused),
        "the service's clock agrees with ours"
    );
    bench.tenant.faults().all(far.clone());
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::ClockUnsynced)
    );
    bench
        .tenant
        .faults()
        .replace(vec!["date:no date".parse().unwrap()]);
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::ClockUnsynced)
    );

    let bench = refused(SYNCED).await;
    bench.tenant.faults().all(far);
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    let bench = Setting {
        clock: unsynced,
        ..Setting::of(vec![Device::ready(SERIAL)])
    }
    .bench()
    .await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        READY,
        "an unsynchronised clock alone spoils nothing"
    );
}

#[tokio::test]
async fn plain_http_leaves_this_machine_never() {
    for url in [
        "http://kandji.example",
        "http://192.0.2.1",
        "ftp://127.0.0.1",
    ] {
        let settings = Settings {
            name: Name::new("kandji").unwrap(),
            url: url.parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: Default::default(),
            service: Service::Kandji(kandji_source::Settings {
                token: CredentialStore::new(&PathBuf::from("/nowhere")).credential("kandji-token"),
                policy: kandji_source::Policy {
                    tokens: Vec::new(),
                    max_fetch_age: Duration::from_hours(24),
                    expected_blueprints: Vec::new(),
                },
            }),
        };
        let fault = Source::new(settings, SYNCED).unwrap_err();
        assert!(
            matches!(
                fault,
                ClientFault::PlainHttp { .. } | ClientFault::NotHttp { .. }
            ),
            "{url}: {fault}"
        );
    }
}

#[tokio::test]
async fn what_does_not_speak_http_is_garbled() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut peer, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = peer.read(&mut [0; 1024]).await;
                let _ = peer.write_all(b"220 mail.example ESMTP ready\r\n").await;
                let _ = peer.read(&mut [0; 1024]).await;
            });
        }
    });
    let bench = Setting {
        url: Some(url),
        ..Setting::of(Vec::new())
    }
    .bench()
    .await;
    assert_eq!(
        bench.ask(SERIAL).await.finding,
        Finding::Unknown(Reason::GarbledAnswer)
    );
}

mod health {
    //! The station is unable only if a probe fails too, and able again after the first good answer.

    use super::*;

    async fn until(bench: &Bench, failing: Option<Reason>) {
        let mut health = bench.source.health();
        tokio::time::timeout(TOTAL, health.wait_for(|health| health.failing == failing))
            .await
            .expect("health never became so")
            .unwrap();
    }

    async fn kept(setting: Setting) -> (Bench, tokio::task::JoinHandle<()>) {
        let bench = setting.bench().await;
        let keeper = tokio::spawn(bench.source.clone().run(Pulse::default()));
        let mut health = bench.source.health();
        tokio::time::timeout(TOTAL, health.wait_for(|health| health.since.is_some()))
            .await
            .unwrap()
            .unwrap();
        (bench, keeper)
    }

    #[tokio::test]
    async fn the_first_probe_tells_freshness_expiry_and_quota() {
        let (bench, _keeper) = kept(Setting::of(Vec::new())).await;
        let health = bench.source.health().borrow().clone();
        assert_eq!(health.failing, None);
        assert!(health.as_of.is_some());
        assert!(matches!(health.credential_days, Some(199 | 200)));
        assert_eq!(
            (health.quota_left.is_some(), health.quota_limit),
            (true, Some(10_000))
        );
        bench.assert_understood();
    }

    #[tokio::test]
    async fn a_failed_look_up_counts_when_the_probe_fails_too() {
        let (bench, _keeper) = kept(Setting::of(vec![Device::ready(SERIAL)])).await;
        bench.tenant.faults().all(Effect::Status(500));
        bench.ask(SERIAL).await;
        until(&bench, Some(Reason::SourceError)).await;
        bench.tenant.faults().clear();
        assert_eq!(bench.ask(SERIAL).await.finding, READY);
        until(&bench, None).await;
    }

    #[tokio::test]
    async fn a_fault_of_one_look_up_alone_does_not_count() {
        let (bench, _keeper) = kept(Setting::of(vec![Device::ready(SERIAL)])).await;
        bench.tenant.forget();
        bench.tenant.faults().serial(SERIAL, Effect::Status(500));
        bench.ask(SERIAL).await;
        let probed = format!("GET {ADE_TOKENS}");
        let begun = Instant::now();
        while !(bench.tenant.requests().contains(&probed) && bench.tenant.counts().under_way == 0) {
            assert!(begun.elapsed() < TOTAL, "no probe came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bench.source.health().borrow().failing, None);
    }

    #[tokio::test]
    async fn a_garbled_answer_makes_nobody_unable() {
        let (bench, _keeper) = kept(Setting::of(vec![Device::ready(SERIAL)])).await;
        bench.tenant.faults().all(Effect::Html);
        bench.tenant.forget();
        assert_eq!(
            bench.ask(SERIAL).await.finding,
            Finding::Unknown(Reason::GarbledAnswer)
        );
        assert_eq!(
            bench.tenant.counts().total,
            1,
            "and no probe is started for it"
        );
        assert_eq!(bench.source.health().borrow().failing, None);
    }

    #[tokio::test]
    async fn a_permission_that_look_ups_need_is_probed_too() {
        let (bench, _keeper) = kept(Setting::of(vec![Device::ready(SERIAL)])).await;
        bench.tenant.faults().path(ADE_DEVICES, Effect::Status(403));
        bench.ask(SERIAL).await;
        until(&bench, Some(Reason::CredentialsRefused)).await;
    }

    #[tokio::test]
    async fn inside_retry_after_the_station_is_unable_and_asks_nothing() {
        let (bench, _keeper) = kept(Setting::of(vec![Device::ready(SERIAL)])).await;
        bench.tenant.forget();
        bench.tenant.faults().add("429:30*1".parse().unwrap());
        bench.ask(SERIAL).await;
        until(&bench, Some(Reason::RateLimited)).await;
        assert_eq!(bench.tenant.counts().total, 1);
    }

    #[tokio::test]
    async fn a_token_that_is_not_the_services_is_told_before_the_first_scan() {
        let mut setting = Setting::of(Vec::new());
        setting.options.token = "another-t0ken".to_owned();
        let (bench, _keeper) = kept(setting).await;
        until(&bench, Some(Reason::CredentialsRefused)).await;
    }

    #[tokio::test]
    async fn only_tokens_that_count_are_told_of() {
        let mut setting = Setting::of(Vec::new());
        setting.tokens = vec![HQ.to_owned()];
        let old = Token {
            fetched_ago: None,
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            ..Token::healthy("old", "Old", "00")
        };
        setting.options.stock.tokens.push(old);
        let (bench, _keeper) = kept(setting).await;
        assert!(matches!(
            bench.source.health().borrow().credential_days,
            Some(199 | 200)
        ));
        assert!(bench.source.health().borrow().as_of.is_some());
    }
}

mod tls {
    //! Certificates: which are trusted, and what a bad one is called.

    use std::sync::Arc;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn written(&self, folder: &TempDir) -> PathBuf {
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, self.0.pem()).unwrap();
            path
        }

        /// Terminates TLS in front of the tenant; returns an https URL with `host`.
        async fn front(
            &self,
            tenant: &Tenant,
            names: &[&str],
            host: &str,
            change: impl FnOnce(&mut CertificateParams),
        ) -> String {
            let key = KeyPair::generate().unwrap();
            let mut params =
                CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
                    .unwrap();
            change(&mut params);
            let certificate = params.signed_by(&key, &self.0).unwrap();
            let config = rustls::ServerConfig::builder_with_provider(Arc::new(
                rustls::crypto::ring::default_provider(),
            ))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
            let (acceptor, upstream) = (TlsAcceptor::from(Arc::new(config)), tenant.address());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                loop {
                    let (peer, _) = listener.accept().await.unwrap();
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        let Ok(mut peer) = acceptor.accept(peer).await else {
                            return;
                        };
                        let mut service = tokio::net::TcpStream::connect(upstream).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut peer, &mut service).await;
                    });
                }
            });
            format!("https://{host}:{port}")
        }
    }

    async fn finding(
        trusted: bool,
        names: &[&str],
        clock: ClockWatch,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Evidence {
        let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
        let behind = serve(Options::new(TOKEN, Stock::of(vec![Device::ready(SERIAL)])))
            .await
            .unwrap();
        let url = authority.front(&behind, names, "127.0.0.1", change).await;
        let ca_file = trusted.then(|| authority.written(&folder));
        let bench = Setting {
            url: Some(url),
            ca_file,
            clock,
            ..Setting::of(Vec::new())
        }
        .bench()
        .await;
        let evidence = bench.ask(SERIAL).await;
        if evidence.finding != READY {
            assert_eq!(behind.counts().total, 0, "nothing was asked");
        }
        evidence
    }

    #[tokio::test]
    async fn an_additional_authority_is_trusted() {
        assert_eq!(
            finding(true, &["127.0.0.1"], SYNCED, |_| {}).await.finding,
            READY
        );
    }

    #[tokio::test]
    async fn a_certificate_of_nobody_is_not_trusted() {
        let evidence = finding(false, &["127.0.0.1"], SYNCED, |_| {}).await;
        assert_eq!(evidence.finding, Finding::Unknown(Reason::TlsUntrusted));
        assert_eq!(
            evidence.detail.as_deref(),
            Some(
                "Its certificate is signed by an authority that this station does not trust: name that authority's certificate with `ca_file`."
            )
        );
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_not_trusted() {
        let evidence = finding(true, &["kandji.example"], SYNCED, |_| {}).await;
        assert_eq!(evidence.finding, Finding::Unknown(Reason::TlsUntrusted));
        let detail = evidence.detail.unwrap();
        assert!(
            detail.starts_with(
                "Its certificate is for another name than 127.0.0.1: kandji.example: "
            ) && detail.contains("subjectAltName IP:127.0.0.1"),
            "{detail}"
        );
    }

    #[tokio::test]
    async fn a_certificate_out_of_date_is_put_down_to_an_unsynchronised_clock() {
        let past = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
        let ahead = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);
        let unsynced = ClockWatch::Fixed { synced: false };
        assert_eq!(
            finding(true, &["127.0.0.1"], SYNCED, past).await.finding,
            Finding::Unknown(Reason::TlsUntrusted)
        );
        assert_eq!(
            finding(true, &["127.0.0.1"], SYNCED, ahead).await.finding,
            Finding::Unknown(Reason::TlsUntrusted)
        );
        assert_eq!(
            finding(true, &["127.0.0.1"], unsynced, past).await.finding,
            Finding::Unknown(Reason::ClockUnsynced)
        );
        assert_eq!(
            finding(true, &["127.0.0.1"], unsynced, ahead).await.finding,
            Finding::Unknown(Reason::ClockUnsynced)
        );
        assert_eq!(
            finding(false, &["127.0.0.1"], unsynced, |_| {})
                .await
                .finding,
            Finding::Unknown(Reason::TlsUntrusted)
        );
    }

    #[tokio::test]
    async fn a_ca_file_without_a_certificate_is_refused_at_the_start() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("ca.pem");
        for text in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "not a certificate",
        ] {
            std::fs::write(&path, text).unwrap();
            let settings = Settings {
                name: Name::new("kandji").unwrap(),
                url: "https://kandji.example".parse().unwrap(),
                ca_file: Some(path.clone()),
                reads_per_minute: 0,
                replica: Default::default(),
                service: Service::Kandji(kandji_source::Settings {
                    token: CredentialStore::new(folder.path()).credential("kandji-token"),
                    policy: kandji_source::Policy {
                        tokens: Vec::new(),
                        max_fetch_age: Duration::from_hours(24),
                        expected_blueprints: Vec::new(),
                    },
                }),
            };
            assert!(
                Source::new(settings, SYNCED)
                    .unwrap_err()
                    .to_string()
                    .contains("ca.pem")
            );
        }
    }
}
