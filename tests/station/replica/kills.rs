//! The agent is killed while it writes the replica: the file is then an earlier state of itself.

use std::time::Duration;

use benchlight::simulator::{faults::Effect, fleet};

use super::{OTHER, READY, SELDOM, World, answered, possible, scan};
use crate::support::{clocks::Clocks, station::Home, system};

const BOXES: u32 = 3_000;
/// Of them: so many stay, over half, so that one pass is believed.
const LEFT: u32 = 2_000;

fn tracer() -> bool {
    let found = system("strace", &["-V"]);
    if let Err(why) = &found {
        println!("SKIPPED: {why}");
    }
    found.is_ok()
}

/// Kills the agent at that write, or after all of them.
async fn killed(home: &Home, write: u64) {
    let mut station = home.start_and_kill_at("pwrite64", write);
    for _ in 0..400 {
        if station.ended_within(Duration::ZERO).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    station.kill();
}

async fn killed_during_the_first_fill(writes: &[u64]) {
    if !tracer() {
        return;
    }
    let world = World::with_boxes(BOXES).await;
    for write in writes {
        let home = world.home(&format!("replica = \"fallback\"\n{SELDOM}"));
        killed(&home, *write).await;
        // Without a complete pass no row answers, and the file is used or replaced without a word of a person.
        world.spoil_list(Effect::Status(500), 0);
        let mut station = home.start();
        let answer = scan(&mut station, READY);
        let complete = home.log().contains("the replica is filled");
        let expected = if complete {
            answered("ready", "assigned")
        } else {
            answered("unknown", "source_error")
        };
        assert_eq!(answer, expected, "killed at write {write}\n{}", home.log());
        world.kandji.faults().clear();
        let known = world.dashboard.count("health");
        world
            .until_health("it is filled", |kandji, _| {
                world.dashboard.count("health") > known && kandji["replica"]["state"] == "ok"
            })
            .await;
        world.kandji.faults().all(Effect::Reset);
        assert_eq!(scan(&mut station, OTHER), answered("ready", "assigned"));
        world.kandji.faults().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_the_first_fill_leaves_a_file_that_is_filled_again() {
    killed_during_the_first_fill(&[20, 200]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn kills_at_many_writes_of_the_first_fill() {
    killed_during_the_first_fill(&[1, 2, 3, 5, 8, 12, 16, 30, 50, 80, 120, 300, 400, 600, 900])
        .await;
}

/// A later pass finds that most boxes are gone, and the agent is killed while it deletes their rows.
async fn killed_during_the_deletions(writes: &[u64]) {
    if !tracer() {
        return;
    }
    for write in writes {
        let world = World::with_boxes(BOXES).await;
        let home = world.home(&format!("replica = \"fallback\"\n{SELDOM}"));
        let mut station = world.filled(&home).await;
        station.signal("TERM");
        station.ended_within(super::PATIENCE).unwrap();
        world.kandji.stock(|stock| {
            (LEFT..BOXES).for_each(|number| stock.remove(&fleet::serial(number)));
            stock.remove(OTHER);
        });
        // With another credential a pass is made at once.
        world.kandji.accept("another-token");
        home.credential("kandji-token", "another-token");
        let before = world.pass_at();
        killed(&home, *write).await;
        // Two hours later a pass is due.
        let Some(clocks) = possible(Clocks::with_boot_time(&home.path(""))) else {
            return;
        };
        clocks.slept(Duration::from_secs(7_200));
        let mut station = home.start_with(&clocks);
        world.until_pass_after(&before).await;
        let rows = world.health()["sources"]["kandji"]["replica"]["rows"]
            .as_u64()
            .unwrap();
        assert!(
            rows < u64::from(BOXES),
            "killed at write {write}: {rows} rows"
        );
        world.kandji.faults().all(Effect::Reset);
        assert_eq!(
            scan(&mut station, READY),
            answered("ready", "assigned"),
            "killed at write {write}"
        );
        assert_eq!(
            scan(&mut station, OTHER),
            answered("unknown", "offline"),
            "killed at write {write}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_the_deletions_of_a_later_pass_brings_no_row_back() {
    killed_during_the_deletions(&[40]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn kills_at_many_writes_of_a_later_pass() {
    killed_during_the_deletions(&[1, 3, 6, 10, 20, 30, 50, 70, 100, 150]).await;
}
