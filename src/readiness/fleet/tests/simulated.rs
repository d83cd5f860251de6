//! The source and a simulated Fleet over real HTTP: its answers, and every way to get none.

use std::time::Duration;

use super::*;
use crate::{
    readiness::{
        Service,
        evidence::Grade,
        examination::Outcome,
        fleet::simulator::{
            Options, Server, introduce, serve,
            stock::{self, Apple, Stock},
        },
        testing::{Bench, faults},
    },
    simulator::{
        Order,
        faults::Effect,
        stock::{Dep, PROFILE_UUID},
    },
};

const SERIAL: &str = "TESTFLEET001";
const READY: Finding = Finding::Ready(Grade::Apple);
const TOKEN: &str = "t0ken-of-the-tests";
const IDENTIFIER: &str = "/api/v1/fleet/hosts/identifier/TESTFLEET001";
const DAY: Duration = Duration::from_hours(24);

async fn started(options: Options) -> Bench<Server> {
    started_within(options, Duration::from_secs(5)).await
}

async fn started_within(options: Options, total: Duration) -> Bench<Server> {
    let token = options.token.clone();
    let server = serve(options).await.unwrap();
    Bench::new(server, (SERIAL, &token), total, |token| {
        let profiles = vec![PROFILE_UUID.to_owned()];
        let expected = Expected { profiles };
        Service::Fleet(Settings { token, expected })
    })
}

fn one(host: stock::Host) -> Options {
    Options::new(TOKEN, Stock::of(vec![host]))
}

#[tokio::test]
async fn an_assigned_profile_costs_two_questions_and_an_absent_host_one() {
    let bench = started(one(stock::Host::ready(SERIAL))).await;
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
    let mut options = Options::demo();
    options.stock.generated = crate::simulator::fleet::Fleet::of(1);
    let bench = started_within(options, Duration::from_secs(4)).await;
    bench.assert_as_introduced(introduced).await;
}

#[tokio::test]
async fn each_candidate_is_asked_by_itself() {
    let hosts = ["SDEMOTWIN027", "DEMOTWIN027"].map(stock::Host::ready);
    let bench = started(Options::new(TOKEN, Stock::of(hosts.into()))).await;
    assert_eq!(bench.known("SDEMOTWIN027").await, [true, true]);
    assert_eq!(bench.known("SSDEMOTWIN027").await, [false, true]);
    assert_eq!(bench.known("SDEMOTWIN028").await, [false, false]);
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
        let bench = started(one(host)).await;
        assert_eq!(bench.finding().await, finding, "{apple:?}");
        bench.assert_understood();
    }
}

#[tokio::test]
async fn a_server_without_the_second_call_is_too_old_and_never_ready() {
    let bench = started(Options {
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
    let bench = started(one(stock::Host::ready(SERIAL))).await;
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
    let bench = started(one(stock::Host::ready(SERIAL))).await;
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
    let bench = started_within(one(stock::Host::ready(SERIAL)), Duration::from_millis(600)).await;
    bench.ask(SERIAL).await;
    let second = bench.server.requests()[1]
        .strip_prefix("GET ")
        .unwrap()
        .to_owned();
    let more = [(Effect::Status(402), Reason::GarbledAnswer)];
    for (effect, reason) in faults().into_iter().chain(more) {
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
    let bench = started(one(stock::Host::ready(SERIAL))).await;
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
    bench.write_token("another");
    assert_eq!(bench.finding().await, READY);
}

#[tokio::test]
async fn the_doctor_says_what_the_token_may_do_and_what_fleet_does_not_tell() {
    let bench = started(one(stock::Host::ready(SERIAL))).await;
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
    let bench = started(one(stock::Host::new(SERIAL, Dep::Empty))).await;
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
