//! A station that is killed, hangs, or has the same name as another.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use benchlight::simulator::faults::Effect;

use super::{
    Able, Answers, Row, Seen,
    bench::{Bench, PATIENCE, Running, is_told, tail},
    row,
};
use crate::support::{
    dashboard::Received,
    lamps::{Lamps, Lit},
    station::Home,
};

pub static ROWS: &[Row] = &[
    row!(
        killed,
        "a station that is killed",
        "killed, panicked, power cut",
        Answers::Nothing,
        Able::Offline,
        "a scan not answered yet",
        "systemd"
    ),
    row!(
        hung,
        "a station that hangs",
        "hung (stopped)",
        Answers::Nothing,
        Able::Offline,
        "nothing: it answers late, and never green too late",
        "systemd's watchdog, 10 s"
    ),
    row!(
        namesakes,
        "two stations with one name",
        "second station with the same name",
        Answers::AsAlways,
        Able::Alarm("session_taken_over"),
        "nothing; a backlog",
        "rename"
    ),
];

async fn availability(bench: &Bench, wanted: &str) {
    let newest = |all: &[Received]| {
        all.iter()
            .rev()
            .find(|one| one.channel() == "availability")
            .map(Received::text)
    };
    bench
        .dashboard
        .wait(wanted, PATIENCE, |all| {
            newest(all).as_deref() == Some(wanted)
        })
        .await;
}

async fn killed(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    availability(&bench, "online").await;
    // A scan is in progress.
    bench
        .world
        .kandji
        .faults()
        .all(Effect::Delay(Duration::from_secs(1)));
    let under_way = bench.ready_box();
    running.station.scan(under_way.as_bytes());
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.station.kill();
    bench.break_it();
    availability(&bench, "offline").await;
    bench.seen.reported = Some(bench.since());
    bench.world.kandji.faults().clear();
    bench.mend();
    let mut running = bench.start().await;
    availability(&bench, "online").await;
    bench.seen.mended = Some(bench.since());
    bench
        .health("the interrupted scan is counted", |health| {
            health["journal"]["interrupted"] == 1
        })
        .await;
    assert_eq!(
        running.lamps.greens(),
        0,
        "nothing of the process before is shown"
    );
    bench.scan_is_green(&mut running).await;
    bench.nothing_is_lost().await;
    assert!(
        bench
            .dashboard
            .on("scan")
            .iter()
            .all(|one| one.json()["subject"] != under_way.as_str()),
        "no message of the interrupted scan"
    );
    bench.seen
}

async fn hung(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    bench
        .lamps(&running, "dark after green", |lamps| {
            lamps.now().0 == Lit::DARK
        })
        .await;
    let greens = running.lamps.greens();
    bench
        .world
        .kandji
        .faults()
        .all(Effect::Delay(Duration::from_millis(700)));
    let under_way = bench.ready_box();
    running.station.scan(under_way.as_bytes());
    tokio::time::sleep(Duration::from_millis(250)).await;
    running.station.signal("STOP");
    bench.break_it();
    availability(&bench, "offline").await;
    bench.seen.reported = Some(bench.since());
    // Longer than the deadline and the time allowed after it.
    tokio::time::sleep(Duration::from_millis(5_000).saturating_sub(bench.since())).await;
    running.station.signal("CONT");
    bench.mend();
    let answer = bench.answer(&running);
    assert_eq!(
        (answer.serial.as_str(), answer.verdict.as_str()),
        (under_way.as_str(), "unknown"),
        "{answer:?}\n{}",
        tail(&running.lamps)
    );
    availability(&bench, "online").await;
    bench.seen.mended = Some(bench.since());
    assert_eq!(running.lamps.greens(), greens, "never green so late");
    bench.world.kandji.faults().clear();
    bench.scan_is_green(&mut running).await;
    bench.end().await
}

/// A second station with the same name and its own journal.
fn namesake(bench: &Bench) -> Home {
    let other = bench.world.home(false, "");
    let (own, others) = (bench.home.path("state"), other.path("state"));
    let config = fs::read_to_string(bench.home.config())
        .unwrap()
        .replace(own.to_str().unwrap(), others.to_str().unwrap());
    fs::write(other.config(), config).unwrap();
    other
}

/// Runs both until one logs the alarm. Returns that one first, and the command that restarts it.
async fn both(bench: &mut Bench, other: &Home) -> (Running, Running, Command) {
    let mut first = bench.start().await;
    bench.scan_is_green(&mut first).await;
    bench.nothing_is_lost().await;
    bench.break_it();
    let second = bench.start_as(other.command(&["run"]));
    let alarmed = |lamps: &Lamps| {
        tail(lamps).contains("session_taken_over") || lamps.text().contains("session_taken_over")
    };
    let deadline = Instant::now() + PATIENCE;
    while !alarmed(&first.lamps) && !alarmed(&second.lamps) {
        assert!(
            Instant::now() < deadline,
            "one of them raises the alarm:\n{}\n---\n{}",
            tail(&first.lamps),
            tail(&second.lamps)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if alarmed(&first.lamps) {
        (first, second, bench.home.command(&["run"]))
    } else {
        (second, first, other.command(&["run"]))
    }
}

async fn namesakes(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let other = namesake(&bench);
    let (mut gone, mut stays, again) = both(&mut bench, &other).await;
    bench.seen.reported = Some(bench.since());
    bench.scan_is_as_told(&mut stays).await;
    bench.scan_is_as_told(&mut gone).await;
    let kept_back = bench.answers.pop().unwrap();
    // Stop the one that stays away from the broker.
    gone.station.signal("TERM");
    assert!(gone.station.ended_within(PATIENCE).unwrap().success());
    bench.mend();
    bench.scan_is_green(&mut stays).await;
    bench.nothing_is_lost().await;
    bench.seen.mended = Some(bench.since());
    bench.health("able", |health| health["able"] == true).await;
    // Now the only one with the name, it delivers what it has kept.
    stays.station.signal("TERM");
    assert!(stays.station.ended_within(PATIENCE).unwrap().success());
    let _gone = bench.start_as(again);
    bench.answers.push(kept_back);
    let alarm = "the_alarm_of_two_stations_with_one_name_is_in_health_once_its_station_is_back";
    bench
        .end()
        .await
        .and(Seen::held_by("tests/station/bad_days/process.rs", alarm))
}

/// The station that raised the alarm stays away from the broker for at least two and a half minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: up to five minutes"]
async fn the_alarm_of_two_stations_with_one_name_is_in_health_once_its_station_is_back() {
    let row = ROWS
        .iter()
        .find(|row| row.name == "two stations with one name")
        .unwrap();
    let mut bench = Bench::new(row).await;
    let other = namesake(&bench);
    let (mut alarmed, mut calm, _) = both(&mut bench, &other).await;
    bench.scan_is_as_told(&mut calm).await;
    bench.scan_is_as_told(&mut alarmed).await;
    let alarm_raised = |all: &[Received]| {
        all.iter()
            .any(|one| one.channel() == "health" && is_told(row.able, &one.json()))
    };
    bench
        .dashboard
        .wait(
            "the alarm in health",
            Duration::from_secs(310),
            alarm_raised,
        )
        .await;
    println!(
        "the alarm stood in health after {:.0} s",
        bench.since().as_secs_f32()
    );
    bench.nothing_is_lost().await;
}
