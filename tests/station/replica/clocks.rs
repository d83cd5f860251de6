//! Rows and their ages over hours without a network, reboots, wrong clocks, and clocks that jump during a pass.

use std::time::Duration;

use benchlight::simulator::faults::Effect;
use jiff::Timestamp;

use super::{OTHER, READY, World, answered, possible, scan};
use crate::support::clocks::Clocks;

const HOUR: u64 = 3_600;
const WORKDAY: &str = "replica = \"fallback\"\nrefresh = \"10m\"\nmax_replica_age = \"8h\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_workday_with_the_cable_out_a_power_cut_and_a_clock_six_hours_slow() {
    let world = World::new().await;
    let home = world.home(WORKDAY);
    let Some(clocks) = possible(Clocks::with_boot_time(&home.path(""))) else {
        return;
    };
    clocks.set(0, Some(true));
    let mut station = world.filled_under(&home, &clocks).await;
    world.kandji.faults().all(Effect::Reset);
    // Both clocks go on.
    let it_is = |hours: u64, minutes: u64| {
        let seconds = hours * HOUR + minutes * 60;
        clocks.slept(Duration::from_secs(seconds));
        clocks.set(seconds.cast_signed(), Some(true));
    };
    it_is(5, 0);
    let evidence = world.scan_is_ready(&mut station, READY).await;
    let age = evidence["age_s"].as_u64().unwrap();
    assert!((5 * HOUR..5 * HOUR + 60).contains(&age), "{age}");
    // The power is cut, and the clock of the next boot is six hours slow and kept by nobody.
    station.kill();
    clocks.reboot();
    clocks.set(-HOUR.cast_signed(), Some(false));
    let mut station = home.start_with(&clocks);
    for serial in [READY, OTHER] {
        assert_eq!(scan(&mut station, serial), answered("unknown", "offline"));
    }
    world
        .until_health("nothing answers", |kandji, health| {
            kandji["state"] == "offline" && health["able"] == false
        })
        .await;
    // By such a clock the rows are of the future, even if somebody keeps it.
    clocks.set(-HOUR.cast_signed(), Some(true));
    assert_eq!(scan(&mut station, READY), answered("unknown", "offline"));
    // One that is right and kept gives them their age, up to the last minute of the eight hours.
    for (hours, minutes) in [(5, 30), (7, 57)] {
        it_is(hours, minutes);
        let evidence = world.scan_is_ready(&mut station, READY).await;
        let age = evidence["age_s"].as_u64().unwrap();
        let true_age = hours * HOUR + minutes * 60;
        assert!((true_age..true_age + 60).contains(&age), "{age}");
    }
    it_is(8, 1);
    assert_eq!(scan(&mut station, OTHER), answered("unknown", "offline"));
    // The service is back, and everything settles by itself.
    let (before, back) = (world.pass_at(), format!("clock:{}s", 8 * HOUR + 60));
    world.kandji.faults().replace(vec![back.parse().unwrap()]);
    world.until_pass_after(&before).await;
    world
        .until_health("able, and nobody waits", |kandji, health| {
            kandji["state"] == "ok" && health["able"] == true && health["waiting"] == 0
        })
        .await;
}

/// A pass of some seconds, during which the test does something to the clocks; how old its rows are by themselves, and by the start of
/// the pass.
async fn during_a_pass(jump: impl AsyncFn(&World, &Clocks) -> Duration) -> Option<(u64, i64)> {
    let world = World::with_boxes(1_500).await;
    let home = world.home("replica = \"fallback\"\nrefresh = \"1h\"\nmax_replica_age = \"8h\"");
    let clocks = possible(Clocks::with_boot_time(&home.path("")))?;
    clocks.set(0, Some(false));
    world.spoil_list(Effect::Delay(Duration::from_millis(500)), 0);
    let mut station = home.start_with(&clocks);
    world
        .until_health("a pass is under way", |kandji, _| {
            kandji["replica"]["rows"].as_u64() >= Some(300)
        })
        .await;
    let slept = jump(&world, &clocks).await;
    world.until_filled().await;
    let began: Timestamp = world.pass_at().parse().unwrap();
    let now = Timestamp::now() + slept;
    world.kandji.faults().replace(Vec::new());
    world.kandji.faults().all(Effect::Reset);
    let evidence = world.scan_is_ready(&mut station, READY).await;
    assert_eq!(evidence["from"], "replica", "{evidence}");
    let age = evidence["age_s"].as_u64().unwrap();
    Some((age, now.duration_since(began).as_secs()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_during_a_pass_spoils_neither_the_pass_nor_its_age() {
    let ages = during_a_pass(async |_, clocks| {
        for years in [3, -20, 0, 1] {
            clocks.set(years * 365 * 24 * HOUR.cast_signed(), Some(false));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Duration::ZERO
    });
    if let Some((age, since_its_start)) = ages.await {
        assert!(age < 30 && since_its_start < 30, "{age} {since_its_start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_over_which_the_machine_slept_is_as_old_as_its_start() {
    let slept = Duration::from_secs(3 * HOUR);
    let ages = during_a_pass(async |world, clocks| {
        clocks.slept(slept);
        let later = format!("clock:{}s", slept.as_secs());
        world.kandji.faults().replace(vec![later.parse().unwrap()]);
        slept
    });
    // A page that was on its way then may break the pass: then the next one counts.
    if let Some((age, since_its_start)) = ages.await {
        assert!(
            age.cast_signed().abs_diff(since_its_start) < 10,
            "{age} {since_its_start}"
        );
    }
}
