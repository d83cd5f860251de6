//! Wall clocks that are years off, or jump during scans.

use std::time::Duration;

use benchlight::simulator::faults::Effect;
use serde_json::Value;

use super::{
    Able, Answers, Row, Seen,
    bench::{Bench, PATIENCE, tail},
    row,
    services::{over_tls, with_apple, with_business},
};
use crate::support::{certificates::Validity, clocks::Clocks, tls_terminator::TlsTerminator};

const YEAR: i64 = 365 * 24 * 3_600;

pub static ROWS: &[Row] = &[
    row!(
        years_behind,
        "a clock that is 20 years behind",
        "clock years behind, the service's clock good",
        Answers::AsAlways,
        Able::Yes,
        "nothing",
        "time sync"
    ),
    row!(
        years_ahead,
        "a clock that is 10 years ahead",
        "clock years ahead, the service's clock good",
        Answers::AsAlways,
        Able::Yes,
        "nothing",
        "time sync"
    ),
    row!(
        jumps,
        "a clock that jumps while scans run",
        "clock jumps while scans run",
        Answers::AsAlways,
        Able::Yes,
        "nothing",
        "-"
    ),
    row!(
        tls_fails,
        "a clock so far off that TLS fails",
        "clock off so that TLS fails",
        Answers::Unknown("clock_unsynced"),
        Able::No("clock_unsynced"),
        "nothing",
        "time sync"
    ),
    row!(
        oauth_fails,
        "a clock so far off that OAuth fails",
        "clock off so that OAuth fails",
        Answers::Unknown("clock_unsynced"),
        Able::No("clock_unsynced"),
        "nothing",
        "time sync"
    ),
    row!(
        jwt_fails,
        "a clock so far off that the JWT fails",
        "clock off so that the JWT fails",
        Answers::Unknown("clock_unsynced"),
        Able::No("clock_unsynced"),
        "nothing",
        "time sync"
    ),
    row!(
        broker_fails,
        "a clock so far off that the broker's TLS fails",
        "clock off so that the broker's TLS fails",
        Answers::AsAlways,
        Able::Yes,
        "nothing; a backlog",
        "time sync"
    ),
    row!(
        kept_clock,
        "a clock that somebody keeps is not blamed",
        "certificate out of date, the clock is kept",
        Answers::Unknown("tls_untrusted"),
        Able::No("tls_untrusted"),
        "nothing",
        "the service"
    ),
];

/// A bench whose station has its own clock. `Err`: why that is not possible here.
async fn bench(row: &'static Row) -> Result<Bench, String> {
    with_clock(Bench::new(row).await)
}

fn with_clock(mut bench: Bench) -> Result<Bench, String> {
    if std::fs::metadata("/run/systemd/timesync/synchronized").is_ok() {
        return Err("systemd-timesyncd vouches for this machine's clock".to_owned());
    }
    let folder = bench.home.path("");
    bench.clock = Some(Clocks::new(&folder)?);
    Ok(bench)
}

fn set(bench: &Bench, seconds: i64, synced: bool) {
    bench.clock.as_ref().unwrap().set(seconds, Some(synced));
}

async fn off(row: &'static Row, seconds: i64) -> Seen {
    let mut bench = match bench(row).await {
        Ok(bench) => bench,
        Err(why) => return Seen::skipped(why),
    };
    set(&bench, seconds, false);
    let mut running = bench.start().await;
    bench.break_it();
    bench.scan_is_as_told(&mut running).await;
    bench.scan_is_as_told(&mut running).await;
    bench
        .health("that nobody keeps the clock", |health| {
            health["clock"] == "unsynced"
        })
        .await;
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.nothing_is_lost().await;
    let event = bench.event(&bench.answers[0].id);
    assert_eq!(event["data"]["clock"], "unsynced", "the record says so");
    let year = |event: &Value| event["time"].as_str().unwrap()[..4].parse::<i64>().unwrap();
    let off_by = year(&event)
        - jiff::Timestamp::now()
            .strftime("%Y")
            .to_string()
            .parse::<i64>()
            .unwrap();
    assert!(
        (off_by - seconds / YEAR).abs() <= 1,
        "the test's clock is read: {event}"
    );
    // Stale stays stale: it is decided by the service's clock.
    bench
        .world
        .kandji
        .faults()
        .all(Effect::Date("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
    let answer = bench.scan(&mut running);
    assert_eq!(
        (answer.verdict.as_str(), answer.reason.as_str()),
        ("unknown", "stale"),
        "a fetch in the service's own future"
    );
    bench.world.kandji.faults().clear();
    // Time synchronisation sets the clock while the station runs.
    set(&bench, 0, true);
    bench.mend();
    bench.scan_is_green(&mut running).await;
    bench
        .health("that somebody keeps the clock", |health| {
            health["clock"] == "synced"
        })
        .await;
    bench.seen.mended = Some(bench.since());
    bench.nothing_is_lost().await;
    assert_eq!(
        bench.event(&bench.answers.last().unwrap().id)["data"]["clock"],
        "synced"
    );
    // A restart after the step continues the journal in the same epoch.
    running.station.signal("TERM");
    assert!(running.station.ended_within(PATIENCE).unwrap().success());
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    bench.nothing_is_lost().await;
    let epochs: std::collections::BTreeSet<String> = bench
        .dashboard
        .places()
        .into_keys()
        .map(|(epoch, _)| epoch)
        .collect();
    assert_eq!(
        epochs.len(),
        1,
        "one epoch over the step\n{}",
        tail(&running.lamps)
    );
    bench.seen
}

async fn years_behind(row: &'static Row) -> Seen {
    off(row, -20 * YEAR).await
}

async fn years_ahead(row: &'static Row) -> Seen {
    off(row, 10 * YEAR).await
}

async fn jumps(row: &'static Row) -> Seen {
    let mut bench = match bench(row).await {
        Ok(bench) => bench,
        Err(why) => return Seen::skipped(why),
    };
    let mut running = bench.start().await;
    bench.break_it();
    // Each answer takes a while, and meanwhile the clock jumps: years ahead, years behind, an hour, and back.
    bench
        .world
        .kandji
        .faults()
        .all(Effect::Delay(Duration::from_millis(400)));
    for seconds in [3 * YEAR, -20 * YEAR, 3_600, 0, -7_200, 0] {
        let greens = running.lamps.greens();
        let serial = bench.ready_box();
        running.station.scan(serial.as_bytes());
        tokio::time::sleep(Duration::from_millis(150)).await;
        set(&bench, seconds, true);
        let answer = bench.answer(&running);
        assert_eq!(
            (answer.verdict.as_str(), answer.reason.as_str()),
            ("ready", "assigned"),
            "{answer:?}"
        );
        bench
            .lamps(&running, "green", |lamps| lamps.greens() == greens + 1)
            .await;
    }
    // Repeated scans are recognised by the boot-time clock.
    let last = bench.ready_box();
    running.station.scan(last.as_bytes());
    assert_eq!(bench.answer(&running).reason, "assigned");
    set(&bench, 5 * YEAR, true);
    running.station.scan(last.as_bytes());
    assert!(
        running
            .station
            .answer_within(Duration::from_millis(900))
            .is_none_or(|answer| answer.serial != last),
        "a repeat within 1.5 s is not a new scan"
    );
    bench.world.kandji.faults().clear();
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.nothing_is_lost().await;
    for answer in &bench.answers {
        let took = bench.event(&answer.id)["data"]["took_ms"].as_u64().unwrap();
        assert!((400..3_000).contains(&took), "took_ms is true: {took}");
    }
    assert!(bench.dashboard.on("change").is_empty(), "no change");
    bench.end().await
}

async fn tls_fails(row: &'static Row) -> Seen {
    over_a_short_certificate(row, false).await
}

async fn kept_clock(row: &'static Row) -> Seen {
    over_a_short_certificate(row, true).await
}

async fn over_a_short_certificate(row: &'static Row, synced: bool) -> Seen {
    let mut bench = match bench(row).await {
        Ok(bench) => bench,
        Err(why) => return Seen::skipped(why),
    };
    let certificate = bench
        .world
        .mosquitto
        .authority
        .server("localhost", Validity::Briefly);
    let terminator = TlsTerminator::start(bench.world.kandji.address(), &certificate).await;
    over_tls(&bench, terminator.port);
    set(&bench, -20 * YEAR, synced);
    bench.break_it();
    let mut running = bench.start_in_trouble();
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.scan_is_as_told(&mut running).await;
    set(&bench, 0, true);
    bench.mend();
    bench.well_by_itself(&mut running).await;
    bench.end().await
}

async fn broker_fails(row: &'static Row) -> Seen {
    let mut bench = match bench(row).await {
        Ok(bench) => bench,
        Err(why) => return Seen::skipped(why),
    };
    let mosquitto = &bench.world.mosquitto;
    mosquitto.use_certificate(&mosquitto.authority.server("localhost", Validity::Briefly));
    let (plain, tls, ca) = (mosquitto.plain, mosquitto.tls, mosquitto.path("ca.pem"));
    bench.world.mosquitto.stop();
    bench.world.mosquitto.run();
    bench.configure("TLS to the broker", |text| {
        text.replace(
            &format!("url = \"mqtt://127.0.0.1:{plain}\""),
            &format!("url = \"mqtts://localhost:{tls}\"\nca_file = {ca:?}"),
        )
    });
    set(&bench, -20 * YEAR, false);
    bench.break_it();
    let mut running = bench.start_in_trouble();
    bench.scan_is_as_told(&mut running).await;
    bench.scan_is_as_told(&mut running).await;
    bench.idle_lamps(&running).await;
    assert!(bench.dashboard.all().is_empty(), "nothing got through");
    set(&bench, 0, true);
    bench.mend();
    bench.arrived_with_the_next_boxes(&mut running).await;
    bench.seen.mended = Some(bench.since());
    bench.scan_is_green(&mut running).await;
    let mended = bench.seen.mended;
    bench.health_is_as_expected().await;
    bench.seen = Seen {
        mended,
        ..Seen::default()
    };
    bench.end().await
}

async fn oauth_fails(row: &'static Row) -> Seen {
    an_hour_off(with_apple(row).await, -3_600).await
}

/// Apple refuses assertions from the future.
async fn jwt_fails(row: &'static Row) -> Seen {
    an_hour_off(with_business(row).await, 3_600).await
}

/// An hour is far more than Apple accepts, but all certificates would still be valid.
async fn an_hour_off(bench: Bench, seconds: i64) -> Seen {
    let mut bench = match with_clock(bench) {
        Ok(bench) => bench,
        Err(why) => return Seen::skipped(why),
    };
    set(&bench, seconds, false);
    bench.break_it();
    let mut running = bench.start_in_trouble();
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.scan_is_as_told(&mut running).await;
    set(&bench, 0, true);
    bench.mend();
    bench.well_by_itself(&mut running).await;
    bench.end().await
}
