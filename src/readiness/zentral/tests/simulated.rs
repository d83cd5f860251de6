//! The source and a simulated Zentral over real HTTP: its answers, and every way to get none.

use std::{os::unix::fs::OpenOptionsExt, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::{
    readiness::{
        Service, Source,
        evidence::Grade,
        examination::Outcome,
        http::Limits,
        replica,
        zentral::simulator::{
            Options, Server, introduce, serve,
            stock::{self, OURS, Stock},
        },
    },
    runtime::{clock::ClockWatch, credential::CredentialStore},
    simulator::{Order, faults::Effect, stock::DEMO},
};

const SERIAL: &str = "TESTZENTRL01";
const READY: Finding = Finding::Ready(Grade::Relayed);
const GARBLED: Finding = Finding::Unknown(Reason::GarbledAnswer);
const TOKEN: &str = "t0ken-of-the-tests";

/// A source of a station and the Zentral it asks.
struct Bench {
    server: Server,
    source: Source,
    folder: TempDir,
}

fn write_token(folder: &TempDir, token: &str) {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(folder.path().join("zentral-token"));
    std::io::Write::write_all(&mut file.unwrap(), token.as_bytes()).unwrap();
}

impl Bench {
    async fn new(options: Options) -> Self {
        Self::with(options, Duration::from_secs(5)).await
    }

    async fn with(options: Options, total: Duration) -> Self {
        let folder = TempDir::new().unwrap();
        write_token(&folder, &options.token);
        let server = serve(options).await.unwrap();
        let settings = crate::readiness::Settings {
            name: Name::new("zentral").unwrap(),
            url: server.base().parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: replica::Settings::default(),
            service: Service::Zentral(Settings {
                token: CredentialStore::new(folder.path()).credential("zentral-token"),
                policy: Policy {
                    servers: vec![OURS.to_string()],
                },
            }),
        };
        let limits = Limits {
            connect: total,
            total,
            ..Limits::default()
        };
        let source =
            Source::with_limits(settings, ClockWatch::Fixed { synced: true }, limits).unwrap();
        Self {
            server,
            source,
            folder,
        }
    }

    async fn ask(&self, serial: &str) -> Evidence {
        let candidates = Candidates::one(Serial::new(serial).unwrap());
        let mut answer = self.source.ask(&candidates, Purpose::Scan).await;
        assert_eq!(answer.evidence.len(), 1);
        answer.evidence.remove(0)
    }

    async fn finding(&self) -> Finding {
        self.ask(SERIAL).await.finding
    }

    fn assert_understood(&self) {
        assert_eq!(self.server.violations(), Vec::<String>::new());
    }
}

fn one() -> Options {
    Options::new(TOKEN, Stock::of(vec![stock::Device::ready(SERIAL)]))
}

#[tokio::test]
async fn a_box_costs_one_question_in_the_services_own_form() {
    let bench = Bench::new(one()).await;
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        (evidence.finding, evidence.known, evidence.heard),
        (READY, true, true)
    );
    assert_eq!(evidence.as_of, None);
    assert!(
        !format!("{evidence:?}").contains("example.com"),
        "nothing personal is kept"
    );
    let requests = bench.server.requests();
    assert_eq!(
        requests,
        [format!("GET /api/mdm/dep/devices/?serial_number={SERIAL}")]
    );
    let nobody = bench.ask("TESTZENTRL02").await;
    assert_eq!(
        (nobody.finding, nobody.known),
        (Finding::No(Reason::NotFound), false)
    );
    bench.source.probe().await.unwrap();
    assert!(!bench.source.is_listed(), "it has no replica");
    bench.assert_understood();
}

/// Asked alone, each box of the demo is answered as it is introduced; a generated one by its story.
#[tokio::test]
async fn every_box_is_answered_as_it_is_introduced() {
    let order = Order {
        listen: "127.0.0.1:0".parse().unwrap(),
        boxes: 3,
        limits: false,
    };
    let introduced = introduce(order).await.unwrap();
    assert!(introduced.source.contains(&introduced.running.base()));
    for (serial, reason) in introduced.differs {
        let demo = DEMO.iter().find(|demo| demo.serial == *serial).unwrap();
        assert_ne!(demo.expected, *reason, "{serial} does not differ");
    }
    let mut options = Options::demo();
    options.stock.generated = crate::simulator::fleet::Fleet::of(1);
    let bench = Bench::with(options, Duration::from_secs(4)).await;
    assert_eq!(introduced.boxes.len(), DEMO.len());
    for (serial, expected, words) in introduced.boxes {
        if expected == "ambiguous" {
            continue;
        }
        let evidence = bench.ask(serial).await;
        // The rule calls it settling when a profile was assigned just before the reply.
        let settling = evidence
            .assigned_at
            .zip(evidence.replied_at)
            .is_some_and(|(assigned, now)| now.duration_since(assigned).as_secs() < 60);
        let reason = match evidence.judged(false) {
            READY if settling => "settling",
            finding => finding.reason().unwrap().code(),
        };
        assert_eq!(reason, expected, "{serial}, {words}: {evidence:?}");
    }
    let generated = crate::simulator::fleet::serial(0);
    assert!(bench.ask(&generated).await.known);
    bench.assert_understood();
}

#[tokio::test]
async fn each_candidate_is_asked_by_itself() {
    let devices = ["SDEMOTWIN027", "DEMOTWIN027"].map(stock::Device::ready);
    let bench = Bench::new(Options::new(TOKEN, Stock::of(devices.into()))).await;
    let found = async |scanned: &str| -> Vec<bool> {
        let candidates = Candidates {
            scanned: Serial::new(scanned).unwrap(),
            stripped: Serial::new(&scanned[1..]),
            unless_known: None,
        };
        let answer = bench.source.ask(&candidates, Purpose::Scan).await;
        answer.evidence.iter().map(|one| one.known).collect()
    };
    assert_eq!(found("SDEMOTWIN027").await, [true, true]);
    assert_eq!(found("SSDEMOTWIN027").await, [false, true]);
    assert_eq!(found("SDEMOTWIN028").await, [false, false]);
    bench.assert_understood();
}

#[tokio::test]
async fn more_rows_than_a_device_can_have_are_no_answer() {
    let many = vec![stock::Device::ready(SERIAL); 51];
    let bench = Bench::new(Options::new(TOKEN, Stock::of(many))).await;
    assert_eq!(bench.finding().await, GARBLED);
    bench.assert_understood();
}

#[tokio::test]
async fn a_filter_that_nobody_heeds_is_no_answer() {
    let bench = Bench::new(one()).await;
    let to = "TESTZENTRL99".to_owned();
    let from = SERIAL.to_owned();
    bench.server.faults().all(Effect::Replace { from, to });
    assert_eq!(bench.finding().await, GARBLED);
}

#[tokio::test]
async fn every_fault_of_the_way_is_unknown_with_its_reason() {
    let bench = Bench::with(one(), Duration::from_millis(600)).await;
    let yesterday = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    for (effect, reason) in [
        (Effect::Status(500), Reason::SourceError),
        (Effect::Status(401), Reason::CredentialsRefused),
        (Effect::Status(403), Reason::CredentialsRefused),
        (Effect::Status(404), Reason::GarbledAnswer),
        (Effect::TooMany { retry_after: None }, Reason::RateLimited),
        (Effect::Html, Reason::GarbledAnswer),
        (Effect::CutJson, Reason::GarbledAnswer),
        (Effect::CutBody, Reason::GarbledAnswer),
        (Effect::Silence(Duration::from_secs(2)), Reason::Timeout),
        (Effect::Reset, Reason::Offline),
        (Effect::Drop, Reason::Offline),
        (
            Effect::Redirect("http://127.0.0.1:9".to_owned()),
            Reason::GarbledAnswer,
        ),
        (Effect::Date(yesterday), Reason::Stale),
        (Effect::As(206), Reason::GarbledAnswer),
        (
            Effect::Header {
                name: "Age".to_owned(),
                value: "72000".to_owned(),
            },
            Reason::Stale,
        ),
    ] {
        bench.server.faults().all(effect.clone());
        assert_eq!(bench.finding().await, Finding::Unknown(reason), "{effect}");
        bench.server.faults().clear();
        assert_eq!(bench.finding().await, READY, "mended after {effect}");
    }
}

#[tokio::test]
async fn a_new_token_counts_at_once_and_a_refused_one_says_what_it_needs() {
    let bench = Bench::new(one()).await;
    bench.server.accept("another");
    let refused = bench.ask(SERIAL).await;
    assert_eq!(
        refused.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(refused.detail.unwrap().contains("mdm.view_depdevice"));
    write_token(&bench.folder, "another");
    assert_eq!(bench.finding().await, READY);
    let blind = Bench::new(Options {
        may_view: false,
        ..one()
    })
    .await;
    let examined = blind.source.examine().await;
    assert_eq!(examined.remarks.len(), 1, "{examined:?}");
    assert_eq!(examined.remarks[0].outcome, Outcome::Fail);
}

#[tokio::test]
async fn the_doctor_says_what_the_token_may_do_and_what_zentral_does_not_tell() {
    let bench = Bench::new(one()).await;
    let examined = bench.source.examine().await;
    let words: Vec<&str> = examined
        .remarks
        .iter()
        .map(|remark| &*remark.finding)
        .collect();
    assert!(words[0].contains("accepts the token"), "{words:?}");
    assert!(
        words[1].contains("last heard from Apple") && words[1].contains("released"),
        "{words:?}"
    );
    assert!(
        examined
            .remarks
            .iter()
            .all(|remark| remark.outcome == Outcome::Ok)
    );
    bench.assert_understood();
}
