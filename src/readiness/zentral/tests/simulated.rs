//! The source and a simulated Zentral over real HTTP: its answers, and every way to get none.

use std::time::Duration;

use super::*;
use crate::{
    readiness::{
        Service,
        evidence::Grade,
        examination::Outcome,
        testing::{Bench, faults},
        zentral::simulator::{
            Options, Server, introduce, serve,
            stock::{self, OURS, Stock},
        },
    },
    simulator::{Order, faults::Effect},
};

const SERIAL: &str = "TESTZENTRL01";
const READY: Finding = Finding::Ready(Grade::Relayed);
const GARBLED: Finding = Finding::Unknown(Reason::GarbledAnswer);
const TOKEN: &str = "t0ken-of-the-tests";

async fn started(options: Options) -> Bench<Server> {
    started_within(options, Duration::from_secs(5)).await
}

async fn started_within(options: Options, total: Duration) -> Bench<Server> {
    let token = options.token.clone();
    let server = serve(options).await.unwrap();
    Bench::new(server, (SERIAL, &token), total, |token| {
        let servers = vec![OURS.to_string()];
        let policy = Policy { servers };
        Service::Zentral(Settings { token, policy })
    })
}

fn one() -> Options {
    Options::new(TOKEN, Stock::of(vec![stock::Device::ready(SERIAL)]))
}

#[tokio::test]
async fn a_box_costs_one_question_in_the_services_own_form() {
    let bench = started(one()).await;
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
    let mut options = Options::demo();
    options.stock.generated = crate::simulator::fleet::Fleet::of(1);
    let bench = started_within(options, Duration::from_secs(4)).await;
    bench.assert_as_introduced(introduced).await;
}

#[tokio::test]
async fn each_candidate_is_asked_by_itself() {
    let devices = ["SDEMOTWIN027", "DEMOTWIN027"].map(stock::Device::ready);
    let bench = started(Options::new(TOKEN, Stock::of(devices.into()))).await;
    assert_eq!(bench.known("SDEMOTWIN027").await, [true, true]);
    assert_eq!(bench.known("SSDEMOTWIN027").await, [false, true]);
    assert_eq!(bench.known("SDEMOTWIN028").await, [false, false]);
    bench.assert_understood();
}

#[tokio::test]
async fn more_rows_than_a_device_can_have_are_no_answer() {
    let many = vec![stock::Device::ready(SERIAL); 51];
    let bench = started(Options::new(TOKEN, Stock::of(many))).await;
    assert_eq!(bench.finding().await, GARBLED);
    bench.assert_understood();
}

#[tokio::test]
async fn a_filter_that_nobody_heeds_is_no_answer() {
    let bench = started(one()).await;
    let to = "TESTZENTRL99".to_owned();
    let from = SERIAL.to_owned();
    bench.server.faults().all(Effect::Replace { from, to });
    assert_eq!(bench.finding().await, GARBLED);
}

#[tokio::test]
async fn every_fault_of_the_way_is_unknown_with_its_reason() {
    let bench = started_within(one(), Duration::from_millis(600)).await;
    let more = [(Effect::Status(404), Reason::GarbledAnswer)];
    for (effect, reason) in faults().into_iter().chain(more) {
        bench.server.faults().all(effect.clone());
        assert_eq!(bench.finding().await, Finding::Unknown(reason), "{effect}");
        bench.server.faults().clear();
        assert_eq!(bench.finding().await, READY, "mended after {effect}");
    }
}

#[tokio::test]
async fn a_new_token_counts_at_once_and_a_refused_one_says_what_it_needs() {
    let bench = started(one()).await;
    bench.server.accept("another");
    let refused = bench.ask(SERIAL).await;
    assert_eq!(
        refused.finding,
        Finding::Unknown(Reason::CredentialsRefused)
    );
    assert!(refused.detail.unwrap().contains("mdm.view_depdevice"));
    bench.write_token("another");
    assert_eq!(bench.finding().await, READY);
    let blind = started(Options {
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
    let bench = started(one()).await;
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
