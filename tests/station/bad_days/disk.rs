//! Full, read-only and slow disks, and journals that cannot be read.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Able, Answers, Row, Seen,
    bench::{Bench, PATIENCE, Running, SmallDisk, system, tail},
    row,
};
use crate::support::dashboard::Received;

const SALVAGED: Able = Able::Alarm("journal_salvaged");
/// How many scans there are before the journal is damaged. Enough that half of the file holds the whole table of contents.
const PAST: u64 = 40;

pub static ROWS: &[Row] = &[
    row!(
        full,
        "a disk that is full",
        "disk full",
        Answers::Unknown("journal_fault"),
        Able::No("journal_fault"),
        "at most those scans' records (sent once, from memory)",
        "space, no restart"
    ),
    row!(
        read_only,
        "a disk that is read-only",
        "disk read-only",
        Answers::Unknown("journal_fault"),
        Able::No("journal_fault"),
        "at most those scans' records (sent once, from memory)",
        "a writable disk, no restart"
    ),
    row!(
        turned_read_only,
        "a disk that turns read-only under the station",
        "disk turns read-only by an error",
        Answers::Unknown("journal_fault"),
        Able::No("journal_fault"),
        "at most those scans' records (sent once, from memory)",
        "a writable disk in its place, no restart"
    ),
    row!(
        slow,
        "a disk that takes longer than a second",
        "a write takes over 1 s",
        Answers::Unknown("journal_fault"),
        Able::No("journal_fault"),
        "nothing: what is written late is taken back by a change",
        "a faster disk, no restart"
    ),
    row!(
        corrupt,
        "a journal that is corrupt",
        "journal corrupt from its first page on",
        Answers::AsAlways,
        SALVAGED,
        "nothing whose own page can be read; `lost: null`, nobody can count it",
        "new epoch by itself"
    ),
    row!(
        cut,
        "a journal that was cut",
        "journal cut",
        Answers::AsAlways,
        SALVAGED,
        "what could not be read, counted",
        "new epoch by itself"
    ),
    row!(
        nul,
        "a journal that is all NUL",
        "journal filled with NUL",
        Answers::AsAlways,
        SALVAGED,
        "what could not be read; `lost: null`, nobody can count it",
        "new epoch by itself"
    ),
    row!(
        newer,
        "a journal of a newer build",
        "journal of a newer build",
        Answers::AsAlways,
        SALVAGED,
        "nothing that could be read",
        "new epoch by itself"
    ),
    row!(
        moved,
        "a journal of another machine",
        "journal of another machine",
        Answers::AsAlways,
        SALVAGED,
        "nothing",
        "new epoch by itself"
    ),
];

/// Records that could not be written were sent once, without `epoch` and `seq`.
async fn went_out_without_a_place(bench: &Bench, from: usize) {
    let faulted: Vec<_> = bench.answers[from..]
        .iter()
        .filter(|answer| answer.reason == "journal_fault")
        .cloned()
        .collect();
    bench.arrived(&faulted).await;
    for answer in &faulted {
        let event = bench.event(&answer.id);
        assert!(
            event["data"]["epoch"].is_null() && event["data"]["seq"].is_null(),
            "{event}"
        );
    }
    let many = faulted.len() as u64;
    bench
        .health("the number of faulted scans", |health| {
            health["journal"]["faulted"].as_u64() >= Some(many)
        })
        .await;
}

async fn full(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let state = bench.home.path("state");
    let _disk = match SmallDisk::mount(&state, "2m") {
        Ok(disk) => disk,
        Err(why) => return Seen::skipped(why),
    };
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    let filler = state.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
    // Space that SQLite had reserved is used up first.
    let mut before = bench.answers.len();
    while bench.scan(&mut running).reason != "journal_fault" {
        before = bench.answers.len();
        assert!(before < 60, "the disk is full");
    }
    bench.break_it();
    bench.health_is_as_expected().await;
    bench
        .health("what is wrong with the disk", |health| {
            health["journal"]["state"] == "full"
        })
        .await;
    bench.scan_is_as_told(&mut running).await;
    went_out_without_a_place(&bench, before).await;
    bench.idle_lamps(&running).await;
    drop(file);
    fs::remove_file(filler).unwrap();
    bench.mend();
    bench.well_by_itself(&mut running).await;
    bench.end().await
}

async fn read_only(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let disk = match SmallDisk::mount(&bench.home.path("state"), "8m") {
        Ok(disk) => disk,
        Err(why) => return Seen::skipped(why),
    };
    disk.remount("ro");
    bench.break_it();
    let mut running = bench.start_in_trouble();
    bench.health_is_as_expected().await;
    bench
        .health("what is wrong with the disk", |health| {
            health["journal"]["state"] == "read_only"
        })
        .await;
    bench.idle_lamps(&running).await;
    bench.scan_is_as_told(&mut running).await;
    bench.scan_is_as_told(&mut running).await;
    went_out_without_a_place(&bench, 0).await;
    disk.remount("rw");
    bench.mend();
    bench.well_by_itself(&mut running).await;
    bench.end().await
}

/// As with a worn card: after an error ext4 refuses all writes, even to open files.
async fn turned_read_only(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let (state, image) = (bench.home.path("state"), bench.home.path("card"));
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let card = match Card::mount(&image, &state) {
        Ok(card) => card,
        Err(why) => return Seen::skipped(why),
    };
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    bench.nothing_is_lost().await;
    if let Err(why) = card.fail() {
        return Seen::skipped(why);
    }
    bench.break_it();
    let before = bench.answers.len();
    bench.scan_is_as_told(&mut running).await;
    bench.health_is_as_expected().await;
    bench
        .health("what is wrong with the disk", |health| {
            health["journal"]["state"] == "read_only"
        })
        .await;
    bench.scan_is_as_told(&mut running).await;
    went_out_without_a_place(&bench, before).await;
    bench.idle_lamps(&running).await;
    drop(card);
    let _disk = SmallDisk::mount(&state, "8m").unwrap();
    bench.mend();
    bench.well_by_itself(&mut running).await;
    bench.end().await
}

/// A filesystem in an image file.
struct Card(String);

impl Card {
    fn mount(image: &Path, place: &Path) -> Result<Self, String> {
        fs::create_dir_all(place).unwrap();
        let (image, place) = (image.to_str().unwrap(), place.to_str().unwrap());
        system("mkfs.ext4", &["-q", "-F", image])?;
        system("mount", &["-o", "loop,errors=remount-ro", image, place])
            .map_err(|why| format!("needs the right to mount: {why}"))?;
        Ok(Self(place.to_owned()))
    }

    fn fail(&self) -> Result<(), String> {
        let device = Command::new("findmnt")
            .args(["-n", "-o", "SOURCE", &self.0])
            .output()
            .map_err(|error| format!("findmnt: {error}"))?;
        let device = String::from_utf8(device.stdout).unwrap();
        let lever = format!(
            "/sys/fs/ext4/{}/trigger_fs_error",
            device.trim().trim_start_matches("/dev/")
        );
        fs::write(&lever, "a test").map_err(|error| format!("{lever}: {error}"))
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = system("umount", &["-l", &self.0]);
    }
}

/// Each sync of the running station takes this long, as on a worn card.
struct SlowSync(Child);

impl SlowSync {
    fn attach(running: &Running, time: Duration) -> Result<Self, String> {
        system("strace", &["-qq", "-o", "/dev/null", "true"])?;
        let pid = running.station.pid().to_string();
        let inject = format!("inject=fdatasync,fsync:delay_enter={}", time.as_micros());
        let child = Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync,fsync",
                "-e",
                &inject,
                "-p",
                &pid,
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let threads = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let is_traced = |status: String| {
            status
                .lines()
                .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        let deadline = Instant::now() + PATIENCE;
        while !threads()
            .all(|thread| fs::read_to_string(thread.path().join("status")).is_ok_and(is_traced))
        {
            assert!(Instant::now() < deadline, "the tracer attaches");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self(child))
    }
}

impl Drop for SlowSync {
    fn drop(&mut self) {
        // On SIGTERM the tracer detaches from the station.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

async fn slow(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    let slow = match SlowSync::attach(&running, Duration::from_millis(4_000)) {
        Ok(slow) => slow,
        Err(why) => return Seen::skipped(format!("needs strace: {why}")),
    };
    bench.break_it();
    bench.scan_is_as_told(&mut running).await;
    let late = bench.answers.last().unwrap().clone();
    bench.health_is_as_expected().await;
    bench
        .health("what is wrong with the disk", |health| {
            health["journal"]["state"] == "slow"
        })
        .await;
    bench.idle_lamps(&running).await;
    drop(slow);
    bench.mend();
    bench.well_by_itself(&mut running).await;
    // The commit succeeded after all: the record has its own id, and a change takes it back.
    let is_recorded = |one: &Received| {
        let event = one.json();
        one.channel() == "scan"
            && event["subject"] == late.serial.as_str()
            && event["data"]["seq"].is_u64()
    };
    bench
        .dashboard
        .wait("the late record", PATIENCE, |all| {
            all.iter().any(is_recorded)
        })
        .await;
    let record = bench
        .dashboard
        .on("scan")
        .into_iter()
        .find(is_recorded)
        .unwrap()
        .json();
    let takes_it_back = |one: &Received| {
        let event = one.json();
        let data = &event["data"];
        one.channel() == "change"
            && data["scan"] == record["id"]
            && data["cause"] == "late_commit"
            && data["reason"] == "journal_fault"
    };
    bench
        .dashboard
        .wait("the change", PATIENCE, |all| all.iter().any(takes_it_back))
        .await;
    assert_eq!(
        running.lamps.greens(),
        bench
            .answers
            .iter()
            .filter(|answer| answer.verdict == "ready")
            .count(),
        "never green late"
    );
    bench.end().await
}

/// A journal damaged while the station is down. `expected`: what health must say of saved and lost records.
async fn day(
    row: &'static Row,
    spoil: impl FnOnce(&fs::File),
    expected: fn(u64, Option<u64>) -> bool,
) -> Seen {
    let mut bench = Bench::new(row).await;
    let mut running = bench.start().await;
    for _ in 0..PAST {
        let answer = bench.scan(&mut running);
        assert_eq!(answer.reason, "assigned");
    }
    bench.nothing_is_lost().await;
    let epoch = bench.event(&bench.answers[0].id)["data"]["epoch"].clone();
    running.station.signal("TERM");
    assert!(running.station.ended_within(PATIENCE).unwrap().success());
    let journal: PathBuf = bench.home.path("state/journal.sqlite");
    spoil(
        &fs::File::options()
            .read(true)
            .write(true)
            .open(&journal)
            .unwrap(),
    );
    bench.break_it();
    let mut running = bench.start_in_trouble();
    bench.scan_is_as_told(&mut running).await;
    bench.seen.mended = Some(bench.since());
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.nothing_is_lost().await;
    let event = bench.event(&bench.answers.last().unwrap().id);
    assert!(event["data"]["epoch"] != epoch, "a new epoch");
    let copies = fs::read_dir(bench.home.path("state")).unwrap().flatten();
    assert!(
        copies
            .map(|entry| entry.file_name())
            .any(|name| name.to_string_lossy().starts_with("journal.corrupt-")),
        "{}",
        tail(&running.lamps)
    );
    // How much is lost is not known while it is still being read, so this health is of the process after the next start.
    bench
        .lamps(&running, "the end of the salvage", |lamps| {
            lamps.text().contains("salvaged what could be read")
        })
        .await;
    running.station.signal("TERM");
    assert!(running.station.ended_within(PATIENCE).unwrap().success());
    let _running = bench.start().await;
    let is_told = |health: &Value| match (
        health["journal"]["salvaged"].as_u64(),
        health["journal"].get("lost"),
    ) {
        (Some(saved), Some(lost)) => {
            (lost.is_null() || lost.is_u64()) && expected(saved, lost.as_u64())
        }
        _ => false,
    };
    bench
        .health("what was saved, and what was lost", is_told)
        .await;
    bench.seen
}

async fn corrupt(row: &'static Row) -> Seen {
    day(
        row,
        |file| file.write_all_at(&[0x5a; 4_000], 100).unwrap(),
        |saved, lost| saved == PAST && lost.is_none(),
    )
    .await
}

async fn cut(row: &'static Row) -> Seen {
    let halve = |file: &fs::File| {
        file.set_len(file.metadata().unwrap().len() / 2 + 100)
            .unwrap()
    };
    day(row, halve, |saved, lost| {
        saved < PAST && lost == Some(PAST - saved)
    })
    .await
}

async fn nul(row: &'static Row) -> Seen {
    let fill = |file: &fs::File| {
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all_at(&vec![0; length], 0).unwrap();
    };
    day(row, fill, |saved, lost| saved == 0 && lost.is_none()).await
}

async fn newer(row: &'static Row) -> Seen {
    // `user_version` of an SQLite file.
    day(
        row,
        |file| file.write_all_at(&9_999_u32.to_be_bytes(), 60).unwrap(),
        |saved, lost| saved == PAST && lost == Some(0),
    )
    .await
}

async fn moved(row: &'static Row) -> Seen {
    if let Err(why) = system("unshare", &["-m", "true"]) {
        return Seen::skipped(format!("needs a mount namespace: {why}"));
    }
    if fs::metadata("/proc/device-tree/serial-number").is_ok()
        || fs::metadata("/etc/machine-id").is_err()
    {
        return Seen::skipped("this machine is not known by /etc/machine-id");
    }
    let mut bench = Bench::new(row).await;
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    bench.nothing_is_lost().await;
    let epoch = bench.event(&bench.answers[0].id)["data"]["epoch"].clone();
    running.station.signal("TERM");
    assert!(running.station.ended_within(PATIENCE).unwrap().success());
    let other = bench.home.path("machine-id");
    fs::write(&other, "0123456789abcdef0123456789abcdef\n").unwrap();
    let inner = bench.home.command(&["run"]);
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "sh",
        "-c",
        &format!(
            "mount --bind {} /etc/machine-id && exec \"$@\"",
            other.display()
        ),
        "sh",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    bench.break_it();
    let mut running = bench.start_as(command);
    bench.scan_is_as_told(&mut running).await;
    bench.seen.mended = Some(bench.since());
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    let event = bench.event(&bench.answers.last().unwrap().id);
    assert!(
        event["data"]["epoch"] != epoch && event["data"]["seq"] == 1,
        "a new epoch: {event}"
    );
    bench
        .health("that nothing is lost", |health| {
            health["journal"]["lost"] == 0
        })
        .await;
    bench.end().await
}
