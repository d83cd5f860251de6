//! The source and a simulated Fleet over real HTTP: its answers, and every way to get none.

use std::{os::unix::fs::OpenOptionsExt, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::{
    readiness::{
        Service, Source,
        evidence::Grade,
        examination::Outcome,
        fleet::simulator::{
            Options, Server, introduce, serve,
            stock::{self, Apple, Stock},
        },
        http::Limits,
        replica,
    },
    runtime::{clock::ClockWatch, credential::CredentialStore},
    simulator::{
        Order,
        faults::Effect,
        stock::{DEMO, Dep, PROFILE_UUID},
    },
};

const SERIAL: &str = "TESTFLEET001";
const READY: Finding = Finding::Ready(Grade::Apple);
const TOKEN: &str = "t0ken-of-the-tests";
const IDENTIFIER: &str = "/api/v1/fleet/hosts/identifier/TESTFLEET001";
const DAY: Duration = Duration::from_hours(24);

/// A source of a station and the server it asks.
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
        .open(folder.path().join("fleet-token"));
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
            name: Name::new("fleet").unwrap(),
            url: server.base().parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: replica::Settings::default(),
            service: Service::Fleet(Settings {
                token: CredentialStore::new(folder.path()).credential("fleet-token"),
                expected: Expected {
                    profiles: vec![PROFILE_UUID.to_owned()],
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

fn one(host: stock::Host) -> Options {
    Options::new(TOKEN, Stock::of(vec![host]))
}

#[tokio::test]
async fn an_assigned_profile_costs_two_questions_and_an_absent_host_one() {
    let bench = Bench::new(one(stock::Host::ready(SERIAL))).await;
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        (evidence.finding, evidence.known, evidence.heard),
        (READY, true, true)
    );
    assert!(evidence.assigned_at.is_some() && evidence.replied_at.is_some());
    assert!(
        !format!("{evidence:?}").contains("example.com"),
        "nothing personal is kept"
    );
    let requests = bench.server.requests();
    assert_eq!(
        requests[0],
        format!("GET {IDENTIFIER}?exclude_software=true")
    );
    assert!(
        requests[1].starts_with("GET /api/v1/fleet/hosts/")
            && requests[1].ends_with("/dep_assignment")
    );
    assert_eq!(requests.len(), 2);
    bench.server.forget();
    let nobody = bench.ask("TESTFLEET002").await;
    assert_eq!(
        (nobody.finding, nobody.known),
        (Finding::No(Reason::NotFound), false)
    );
    assert_eq!(bench.server.counts().total, 1);
    bench.source.probe().await.unwrap();
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
    let hosts = ["SDEMOTWIN027", "DEMOTWIN027"].map(stock::Host::ready);
    let bench = Bench::new(Options::new(TOKEN, Stock::of(hosts.into()))).await;
    let candidates = |scanned: &str| Candidates {
        scanned: Serial::new(scanned).unwrap(),
        stripped: Serial::new(&scanned[1..]),
        unless_known: None,
    };
    let found = async |scanned: &str| -> Vec<bool> {
        let answer = bench.source.ask(&candidates(scanned), Purpose::Scan).await;
        answer.evidence.iter().map(|one| one.known).collect()
    };
    assert_eq!(found("SDEMOTWIN027").await, [true, true]);
    assert_eq!(found("SSDEMOTWIN027").await, [false, true]);
    assert_eq!(found("SDEMOTWIN028").await, [false, false]);
    bench.assert_understood();
}

#[tokio::test]
async fn what_apple_refuses_to_tell_fleet_is_said_so() {
    for (apple, finding) in [
        (
            Apple::Says(Dep::NotAccessible),
            Finding::No(Reason::NotFound),
        ),
        (
            Apple::Fails(Some(
                "Fleet can't connect to Apple Business. An admin needs to renew the AB token.",
            )),
            Finding::Unknown(Reason::MdmLinkBroken),
        ),
        (Apple::Fails(None), Finding::Unknown(Reason::MdmLinkBroken)),
    ] {
        let mut host = stock::Host::ready(SERIAL);
        host.apple = apple;
        let bench = Bench::new(one(host)).await;
        assert_eq!(bench.finding().await, finding, "{apple:?}");
        bench.assert_understood();
    }
}

#[tokio::test]
async fn a_server_without_the_second_call_is_too_old_and_never_ready() {
    let bench = Bench::new(Options {
        asks_apple: false,
        ..one(stock::Host::ready(SERIAL))
    })
    .await;
    let evidence = bench.ask(SERIAL).await;
    assert_eq!(
        (evidence.finding, evidence.known),
        (Finding::Unknown(Reason::SourceError), true)
    );
    assert!(evidence.detail.unwrap().contains("too old"));
    let examined = bench.source.examine().await;
    assert_eq!(examined.remarks[0].outcome, Outcome::Fail);
    assert!(
        examined.remarks[0].finding.contains("too old"),
        "{examined:?}"
    );
}

/// At the second call a 404 has three meanings, and a web page is none of them.
#[tokio::test]
async fn a_404_of_the_second_call_is_an_old_server_a_vanished_host_or_another_page() {
    let bench = Bench::new(one(stock::Host::ready(SERIAL))).await;
    bench.ask(SERIAL).await;
    let requests = bench.server.requests();
    let second = requests[1].strip_prefix("GET ").unwrap();
    let own =
        "{\"message\":\"Resource Not Found\",\"errors\":[{\"name\":\"base\",\"reason\":\"x\"}]}";
    for (text, reason, words) in [
        ("404 page not found\n", Reason::SourceError, "too old"),
        (own, Reason::GarbledAnswer, "a moment later had not"),
        ("<html>blocked</html>", Reason::GarbledAnswer, "web page"),
        ("", Reason::GarbledAnswer, "404"),
    ] {
        let effect = Effect::Say {
            status: 404,
            text: text.to_owned(),
        };
        bench.server.faults().path(second, effect);
        let evidence = bench.ask(SERIAL).await;
        assert_eq!(evidence.finding, Finding::Unknown(reason), "{text}");
        let detail = evidence.detail.unwrap();
        assert!(detail.contains(words), "{text}: {detail}");
        bench.server.faults().clear();
    }
}

#[tokio::test]
async fn a_404_that_is_not_fleets_own_is_no_answer() {
    let bench = Bench::new(one(stock::Host::ready(SERIAL))).await;
    for effect in [
        Effect::Say {
            status: 404,
            text: "404 page not found".to_owned(),
        },
        Effect::Say {
            status: 404,
            text: "{\"detail\":\"Not found.\"}".to_owned(),
        },
        Effect::Say {
            status: 404,
            text: "<html>not here</html>".to_owned(),
        },
    ] {
        bench.server.faults().path(IDENTIFIER, effect.clone());
        assert_eq!(
            bench.finding().await,
            Finding::Unknown(Reason::GarbledAnswer),
            "{effect}"
        );
        bench.server.faults().clear();
    }
    assert_eq!(bench.finding().await, READY);
}

/// Each fault, at the first call and at the second one.
#[tokio::test]
async fn every_fault_of_the_way_is_unknown_with_its_reason() {
    let bench = Bench::with(one(stock::Host::ready(SERIAL)), Duration::from_millis(600)).await;
    bench.ask(SERIAL).await;
    let second = bench.server.requests()[1]
        .strip_prefix("GET ")
        .unwrap()
        .to_owned();
    let yesterday = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    for (effect, reason) in [
        (Effect::Status(500), Reason::SourceError),
        (Effect::Status(401), Reason::CredentialsRefused),
        (Effect::Status(403), Reason::CredentialsRefused),
        (Effect::Status(402), Reason::GarbledAnswer),
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
        for path in [IDENTIFIER, &second] {
            bench.server.faults().path(path, effect.clone());
            let evidence = bench.ask(SERIAL).await;
            assert_eq!(
                evidence.finding,
                Finding::Unknown(reason),
                "{effect} at {path}"
            );
            bench.server.faults().clear();
        }
        assert_eq!(bench.finding().await, READY, "mended after {effect}");
    }
}

#[tokio::test]
async fn a_new_token_counts_at_once_and_a_refused_one_says_what_it_needs() {
    let bench = Bench::new(one(stock::Host::ready(SERIAL))).await;
    bench.server.accept("another");
    let refused = bench.ask(SERIAL).await;
    assert_eq!(
        refused.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(refused.detail.unwrap().contains("Observer"));
    let examined = bench.source.examine().await;
    assert_eq!(examined.remarks.len(), 1, "{examined:?}");
    assert_eq!(examined.remarks[0].outcome, Outcome::Fail);
    write_token(&bench.folder, "another");
    assert_eq!(bench.finding().await, READY);
}

#[tokio::test]
async fn the_doctor_says_what_the_token_may_do_and_what_fleet_does_not_tell() {
    let bench = Bench::new(one(stock::Host::ready(SERIAL))).await;
    let examined = bench.source.examine().await;
    let words: Vec<&str> = examined
        .remarks
        .iter()
        .map(|remark| &*remark.finding)
        .collect();
    assert!(words[0].contains("accepts the token"), "{words:?}");
    assert!(
        words[1].contains("neither when Fleet's own token"),
        "{words:?}"
    );
    assert!(
        examined
            .remarks
            .iter()
            .all(|remark| remark.outcome == Outcome::Ok)
    );
    assert!(!bench.source.is_listed(), "it has no replica");
    bench.assert_understood();
}

/// A profile that Apple assigns while the station waits.
#[tokio::test]
async fn what_changes_at_apple_is_seen_at_the_next_question() {
    let bench = Bench::new(one(stock::Host::new(SERIAL, Dep::Empty))).await;
    assert_eq!(
        bench.finding().await,
        Finding::Wait(Reason::AssignmentPending)
    );
    bench
        .server
        .stock(|stock| stock.put(stock::Host::new(SERIAL, Dep::Assigned(DAY))));
    assert_eq!(bench.finding().await, READY);
    bench
        .server
        .stock(|stock| stock.put(stock::Host::new(SERIAL, Dep::Removed)));
    assert_eq!(bench.finding().await, Finding::No(Reason::ProfileRemoved));
}
