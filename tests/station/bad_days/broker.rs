//! Brokers that cannot be reached, refuse, hang or have no subscribers.

use std::time::Duration;

use super::{
    Able, Answers, Row, Seen,
    bench::{Bench, PATIENCE, tail},
    row,
};
use crate::{
    scans::World,
    support::{
        dashboard::{Dashboard, Received},
        mosquitto::{DASHBOARD, Differences, Mosquitto, STATION, TELEGRAF},
        proxy::Proxy,
    },
};

pub static ROWS: &[Row] = &[
    row!(
        away,
        "a broker that is away",
        "broker away",
        Answers::AsAlways,
        Able::Yes,
        "nothing; a backlog",
        "reconnect"
    ),
    row!(
        refusing,
        "a broker that refuses the station",
        "broker refuses the station",
        Answers::AsAlways,
        Able::Yes,
        "nothing; a backlog",
        "reconnect, new credential file"
    ),
    row!(
        frozen,
        "a broker that is frozen",
        "broker frozen",
        Answers::AsAlways,
        Able::Yes,
        "nothing; a backlog",
        "reconnect"
    ),
    row!(
        half_open,
        "a link that is half-open",
        "link half-open (a pulled cable)",
        Answers::AsAlways,
        Able::Yes,
        "nothing; a backlog",
        "reconnect"
    ),
    row!(
        one_message,
        "one message that the broker refuses",
        "broker refuses one message",
        Answers::AsAlways,
        Able::Yes,
        "that one is set aside, listed in health",
        "fixed broker: offered at the next start, and hourly"
    ),
    row!(
        nobody_listens,
        "a broker where nobody listens",
        "nobody listens (0x10)",
        Answers::AsAlways,
        Able::Yes,
        "nothing while kept",
        "first listener: at the next scan, within a minute without one"
    ),
];

/// The broker cannot be reached during three scans. A frozen broker may still deliver what it had received, so not everything is
/// `replayed`.
async fn day(
    mut bench: Bench,
    replayed: bool,
    spoil: impl AsyncFnOnce(&mut Bench),
    mend: impl AsyncFnOnce(&mut Bench),
) -> Seen {
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    bench.nothing_is_lost().await;
    spoil(&mut bench).await;
    bench.break_it();
    for _ in 0..3 {
        bench.scan_is_as_told(&mut running).await;
    }
    bench.idle_lamps(&running).await;
    // The log says so; health cannot be published.
    bench
        .lamps(&running, "that the link is given up", |lamps| {
            tail(lamps).contains("the broker is away; records wait in the journal")
        })
        .await;
    bench.seen.reported = Some(bench.since());
    let before = bench.answers.len();
    mend(&mut bench).await;
    bench.mend();
    bench.arrived_with_the_next_boxes(&mut running).await;
    bench.seen.mended = Some(bench.since());
    if replayed {
        let late = &bench.answers[before - 3..before];
        assert!(
            late.iter()
                .all(|answer| bench.event(&answer.id)["data"]["replay"] == true),
            "a backlog"
        );
    }
    bench.scan_is_green(&mut running).await;
    let reported = bench.seen.reported;
    bench.health_is_as_expected().await;
    bench.seen.reported = reported;
    bench
        .health("a link", |health| {
            health["broker"]["state"] == "connected" && health["journal"]["unsent"] == 0
        })
        .await;
    bench.end().await
}

async fn away(row: &'static Row) -> Seen {
    day(
        Bench::new(row).await,
        true,
        async |bench| bench.world.mosquitto.kill(),
        async |bench| bench.world.mosquitto.run(),
    )
    .await
}

async fn refusing(row: &'static Row) -> Seen {
    let spoil = async |bench: &mut Bench| {
        // The link that is up would stay: passwords are asked at a connection.
        bench.home.credential("mqtt-password", "not the password");
        bench.world.mosquitto.stop();
        bench.world.mosquitto.run();
    };
    day(Bench::new(row).await, true, spoil, async |bench| {
        bench.home.credential("mqtt-password", STATION.1)
    })
    .await
}

async fn frozen(row: &'static Row) -> Seen {
    day(
        Bench::new(row).await,
        false,
        async |bench| bench.world.mosquitto.freeze(),
        async |bench| bench.world.mosquitto.thaw(),
    )
    .await
}

async fn half_open(row: &'static Row) -> Seen {
    let bench = Bench::new(row).await;
    let (proxy, direct) = (
        Proxy::start(bench.world.mosquitto.plain).await,
        bench.world.mosquitto.plain,
    );
    bench.configure("the proxy", |text| {
        text.replace(
            &format!("mqtt://127.0.0.1:{direct}"),
            &format!("mqtt://127.0.0.1:{}", proxy.port),
        )
    });
    day(bench, true, async |_| proxy.stall(), async |_| {}).await
}

async fn one_message(row: &'static Row) -> Seen {
    let mut world = World::new().await;
    world.mosquitto = Mosquitto::start_with(Differences {
        max_packet_size: Some(3_000),
        ..Differences::default()
    });
    let mut bench = Bench::in_world(row, world).await;
    bench.configure("raw texts", |text| {
        text.replace("[mqtt]\n", "[mqtt]\npublish_raw = true\n")
    });
    let mut running = bench.start().await;
    bench.scan_is_as_told(&mut running).await;
    bench.break_it();
    // Sooner after a serial number it would be taken for a stray code of the same trigger pull, and show nothing.
    tokio::time::sleep(Duration::from_millis(600)).await;
    // A code of 4,000 characters is not a serial number, and its text makes the message too large.
    running.station.scan(&[b'A'; 4_000]);
    let large = bench.answer(&running);
    assert_eq!(large.verdict, "rescan");
    bench.answers.pop();
    bench.scan_is_as_told(&mut running).await;
    bench
        .health("the one set aside", |health| {
            health["journal"]["set_aside"][0]
                == serde_json::json!({"seq": 2, "why": "packet_too_large"})
        })
        .await;
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.arrived(&bench.answers).await;
    running.station.signal("TERM");
    assert!(running.station.ended_within(PATIENCE).unwrap().success());
    bench.world.mosquitto.differences.max_packet_size = None;
    bench.world.mosquitto.stop();
    bench.world.mosquitto.run();
    bench.mend();
    let mut running = bench.start().await;
    bench.answers.push(large);
    bench.arrived_with_the_next_boxes(&mut running).await;
    bench.seen.mended = Some(bench.since());
    bench.scan_is_green(&mut running).await;
    bench
        .health("nothing set aside", |health| {
            health["journal"]["set_aside"] == serde_json::json!([])
        })
        .await;
    bench.end().await
}

async fn nobody_listens(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    // Somebody subscribes to health, but nobody to scans.
    bench.dashboard = Dashboard::connect(
        bench.world.mosquitto.plain,
        TELEGRAF,
        "benchlight/v1/+/+/health",
    )
    .await;
    let mut running = bench.start().await;
    bench.break_it();
    for _ in 0..3 {
        bench.scan_is_as_told(&mut running).await;
    }
    bench
        .health("that nobody listens", |health| {
            health["broker"]["nobody_listens"] == true && health["journal"]["unsent"] == 3
        })
        .await;
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.dashboard =
        Dashboard::connect(bench.world.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    bench.mend();
    bench.scan_is_green(&mut running).await;
    bench.arrived(&bench.answers).await;
    bench.seen.mended = Some(bench.since());
    bench
        .health("listeners", |health| {
            health["broker"]["nobody_listens"] == false && health["journal"]["unsent"] == 0
        })
        .await;
    bench.end().await
}

/// Without scans the oldest row is sent once a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: more than a minute"]
async fn what_nobody_heard_is_offered_every_minute_without_a_scan() {
    let row = ROWS
        .iter()
        .find(|row| row.name == "a broker where nobody listens")
        .unwrap();
    let mut bench = Bench::new(row).await;
    bench.dashboard = Dashboard::connect(
        bench.world.mosquitto.plain,
        TELEGRAF,
        "benchlight/v1/+/+/health",
    )
    .await;
    let mut running = bench.start().await;
    bench.scan_is_as_told(&mut running).await;
    bench
        .health("that nobody listens", |health| {
            health["broker"]["nobody_listens"] == true
        })
        .await;
    bench.dashboard =
        Dashboard::connect(bench.world.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    bench
        .dashboard
        .wait("the scan", Duration::from_secs(70), |all| {
            all.iter()
                .map(Received::channel)
                .any(|channel| channel == "scan")
        })
        .await;
}
