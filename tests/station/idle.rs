//! What a station does while nobody scans: next to nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{scans::World, support::station::Station};

/// Much longer than the tenth of a second that it takes, and shorter than the half minute after which the files are looked at anyway.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the station's threads of this name have gone to sleep so far.
fn sleeps(station: &Station, name: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", station.pid())).unwrap();
    let of_name = threads
        .map(|thread| thread.unwrap().path())
        .filter(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
    let counts: Vec<u64> = of_name
        .map(|thread| {
            let status = fs::read_to_string(thread.join("status")).unwrap();
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.unwrap().trim().parse().unwrap()
        })
        .collect();
    assert!(!counts.is_empty(), "no thread {name:?}");
    counts.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_of_an_idle_station_sleeps() {
    let world = World::new().await;
    let home = world.home(false, "");
    let mut station = home.start();
    station.scan(world.demo.samples[0].serial.as_bytes());
    station.answer();
    // Until it has written down where it is, and what the broker has taken.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = sleeps(&station, "journal");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let more = sleeps(&station, "journal") - before;
    assert!(more <= 1, "woken {more} times in 3 s");
    // And yet what becomes of its files is noticed.
    fs::remove_file(home.path("state/journal.sqlite")).unwrap();
    let began = Instant::now();
    while !home.log().contains("the file was deleted") {
        assert!(began.elapsed() < PATIENCE, "not noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
