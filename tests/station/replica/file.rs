//! The replica's file on a full disk, or changed by somebody else.

use std::{fs, io::Write, path::Path, time::Duration};

use benchlight::simulator::faults::Effect;

use super::{
    OTHER, PATIENCE, READY, SELDOM, World, answered, fast_world, files, possible, scan, scanned,
    size,
};
use crate::{
    bad_days::SmallDisk,
    support::{eventually, station::Home},
};

/// Writes into a file until so many bytes are left on its disk.
fn fill_up(folder: &Path, left: u64) {
    let free = || {
        let found = rustix::fs::statvfs(folder).unwrap();
        found.f_bavail * found.f_frsize
    };
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    while free() > left + 4_096 && file.write_all(&[1; 4_096]).is_ok() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_would_fill_the_disk_leaves_room_for_the_journal_and_is_filled_later() {
    let replica = format!("replica = \"first\"\n{SELDOM}");
    let Some((world, home, clocks)) = fast_world(6_000, &replica).await else {
        return;
    };
    let state = home.path("state");
    let Some(_disk) = possible(SmallDisk::mount(&state, "16m")) else {
        return;
    };
    fill_up(&state, 3 << 20);
    let mut station = home.start_with(&clocks);
    world.until_replica("filling", Some("station_fault")).await;
    let mut answers = Vec::new();
    for serial in [READY, OTHER].repeat(6) {
        answers.push(scanned(&mut station, serial));
        let answer = answers.last().unwrap();
        assert_eq!(answer.verdict, "ready", "{answer:?}\n{}", home.log());
        assert!(world.evidence_of(&answer.id).await["from"].is_null());
        tokio::time::sleep(Duration::from_millis(320)).await;
    }
    world
        .until_health("the journal is well", |_, health| {
            health["journal"]["state"] == "ok" && health["able"] == true
        })
        .await;
    assert_eq!(
        home.log()
            .matches("No space is left for the replica")
            .count(),
        1
    );
    fs::remove_file(state.join("filler")).unwrap();
    world.until_filled().await;
    assert_eq!(
        scan(&mut station, "C02XK0AAJG7K"),
        answered("wait", "assignment_pending")
    );
    answers.push(scanned(&mut station, READY));
    world.nothing_is_lost(&answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_somebody_fills_during_a_pass_ends_neither_the_agent_nor_the_journal() {
    let replica = format!("replica = \"first\"\n{SELDOM}");
    let Some((world, home, clocks)) = fast_world(3_000, &replica).await else {
        return;
    };
    let state = home.path("state");
    let Some(_disk) = possible(SmallDisk::mount(&state, "16m")) else {
        return;
    };
    world.spoil_list(Effect::Delay(Duration::from_millis(100)), 0);
    let mut station = home.start_with(&clocks);
    world
        .until_health("rows are written", |kandji, _| {
            kandji["replica"]["rows"].as_u64() >= Some(600)
        })
        .await;
    fill_up(&state, 0);
    world.until_replica("filling", Some("station_fault")).await;
    let mut answers = vec![scanned(&mut station, READY)];
    fs::remove_file(state.join("filler")).unwrap();
    world.kandji.faults().clear();
    world.until_filled().await;
    world
        .until_health("able again", |_, health| health["able"] == true)
        .await;
    let green = scanned(&mut station, OTHER);
    assert_eq!(green.verdict, "ready");
    assert_eq!(world.evidence_of(OTHER).await["from"], "replica");
    answers.push(green);
    answers.retain(|answer| answer.reason != "journal_fault");
    world.nothing_is_lost(&answers).await;
}

/// Somebody spoils the file, while the station runs and while it is stopped.
async fn spoiled(spoil: fn(&Home)) {
    let replica = "replica = \"first\"\nrefresh = \"10s\"\nmax_replica_age = \"1m\"";
    let Some((world, home, clocks)) = fast_world(600, replica).await else {
        return;
    };
    let mut station = world.filled_under(&home, &clocks).await;
    spoil(&home);
    for _ in 0..2 {
        // What is still in memory may answer; the next pass notices at the latest.
        let before = world.pass_at();
        assert_eq!(scan(&mut station, READY), answered("ready", "assigned"));
        world.until_pass_after(&before).await;
    }
    let evidence = world.scan_is_ready(&mut station, OTHER).await;
    assert_eq!(evidence["from"], "replica");
    station.kill();
    spoil(&home);
    let before = world.pass_at();
    let mut station = home.start_with(&clocks);
    world.until_pass_after(&before).await;
    let evidence = world.scan_is_ready(&mut station, READY).await;
    assert_eq!(evidence["from"], "replica");
    let said = home.log().matches("is deleted and filled again").count();
    assert!(said <= 2, "once each time:\n{}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_deleted_cut_or_overwritten_is_filled_again() {
    tokio::join!(
        spoiled(|home| {
            for file in files(home) {
                let _ = fs::remove_file(file);
            }
        }),
        spoiled(|home| {
            let file = fs::File::options().write(true).open(&files(home)[0]);
            file.unwrap().set_len(size(home) / 8_192 * 4_096).unwrap();
        }),
        spoiled(|home| {
            let zeros = vec![0; usize::try_from(size(home)).unwrap()];
            let file = fs::File::options().write(true).open(&files(home)[0]);
            file.unwrap().write_all(&zeros).unwrap();
        }),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_filled_again_without_waiting_for_the_next_pass() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    let before = world.pass_at();
    for file in files(&home) {
        let _ = fs::remove_file(file);
    }
    let evidence = world.scan_is_ready(&mut station, READY).await;
    assert!(evidence["from"].is_null());
    world.until_pass_after(&before).await;
    let evidence = world.scan_is_ready(&mut station, OTHER).await;
    assert_eq!(evidence["from"], "replica");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_file_a_station_whose_service_is_away_is_unable() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"fallback\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    world.kandji.faults().all(Effect::Reset);
    assert_eq!(scan(&mut station, READY), answered("ready", "assigned"));
    world
        .until_health("the rows answer", |kandji, health| {
            kandji["state"] == "offline" && health["able"] == true
        })
        .await;
    for file in files(&home) {
        let _ = fs::remove_file(file);
    }
    assert_eq!(scan(&mut station, OTHER), answered("unknown", "offline"));
    world
        .until_health("nothing answers any more", |kandji, health| {
            kandji["replica"]["state"] == "filling" && health["able"] == false
        })
        .await;
    world.kandji.faults().clear();
    eventually("the box is asked about again", PATIENCE, || {
        world.dashboard.count("change") > 0
    })
    .await;
    world.until_filled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_account_answer_for_nobody() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    station.kill();
    // The other tenant has other servers and another credential, and does not know the box.
    let other = World::new().await;
    other.kandji.accept("another-token");
    other.kandji.stock(|stock| stock.remove(READY));
    let config = fs::read_to_string(home.config()).unwrap();
    let moved = config.replace(&world.kandji.base(), &other.kandji.base());
    fs::write(home.config(), moved).unwrap();
    home.credential("kandji-token", "another-token");
    other.spoil_list(Effect::Delay(Duration::from_millis(700)), 0);
    let mut station = home.start();
    for _ in 0..2 {
        assert_eq!(
            scan(&mut station, READY),
            answered("not_ready", "not_found")
        );
        tokio::time::sleep(Duration::from_millis(1_600)).await;
    }
    other.kandji.faults().clear();
    world.until_filled().await;
    assert_eq!(
        scan(&mut station, READY),
        answered("not_ready", "not_found")
    );
    assert_eq!(scan(&mut station, OTHER), answered("ready", "assigned"));
    assert!(home.log().contains("of another account"), "{}", home.log());
}
