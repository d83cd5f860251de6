//! The journal on the disk: what a scan writes there, and what a long record and thousands of waiting boxes cost.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};

use crate::{
    report::{Promise, Report, Times, megabytes, number},
    rig::{Rig, Way, serial},
    support::{dashboard::Dashboard, mosquitto::DASHBOARD, station::Memory},
};

/// A station whose result lines are read.
struct Scanning {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Scanning {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self {
            stdin: child.stdin.take().unwrap(),
            child,
            lines,
        }
    }

    /// Scans one box and waits for its result line.
    fn scan(&mut self, code: &str) -> Duration {
        let begun = Instant::now();
        writeln!(self.stdin, "{code}").unwrap();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).unwrap();
            if line.contains(code) && !line.contains("changed") {
                return begun.elapsed();
            }
        }
    }

    /// Stops in good order, and returns how many bytes the process has sent to the disk by then.
    fn stop(mut self) -> Option<u64> {
        terminate(self.child.id());
        let pid = self.child.id();
        let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !stat().contains(") Z ") {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The kernel tells it until somebody has waited for the process.
        let written = written_by(pid);
        self.child.wait().unwrap();
        written
    }
}

fn terminate(pid: u32) {
    let kill = Command::new("kill").arg(pid.to_string()).status();
    assert!(kill.unwrap().success());
}

/// Bytes that a process has caused to be written to a disk: whole pages of the page cache.
fn written_by(pid: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))?;
    line.parse().ok()
}

/// Serial numbers in no order, as boxes come.
fn shuffled(nth: u64) -> String {
    format!(
        "C{:09X}",
        (nth + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 28
    )
}

pub async fn wear(report: &mut Report) {
    const SCANS: u64 = 2_800;
    for stored in [0, 100_000] {
        let rig = Rig::with_boxes(Way::Plain, "", (0..SCANS + 20).map(shuffled)).await;
        let dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
        if stored > 0 {
            grow(&rig, stored, None);
        }
        let mut station = Scanning::start(rig.command(&["run"]));
        for nth in 0..20 {
            station.scan(&shuffled(SCANS + nth));
        }
        let before = written_by(station.child.id()).unwrap();
        for nth in 0..SCANS {
            station.scan(&shuffled(nth));
        }
        dashboard
            .wait("every scan", Duration::from_secs(60), |all| {
                all.iter().filter(|one| one.channel() == "scan").count() as u64 >= SCANS + 20
            })
            .await;
        report.note(&format!(
            "a journal of {stored} records, {SCANS} scans, from the scan to its delivered mark and the checkpoint"
        ));
        match station.stop() {
            Some(after) => report.figure(
                "  bytes to the disk for one scan, by the process",
                number(after - before) / number(SCANS) / 1e3,
                "kB",
                Promise::Under(16.0),
            ),
            None => {
                report.note("  the kernel does not tell this user what the process has written")
            }
        }
    }
    syncs(report).await;
}

/// Counts the calls that wait for the disk, by a tracer.
async fn syncs(report: &mut Report) {
    const SCANS: u64 = 100;
    let rig = Rig::with_boxes(Way::Plain, "", (0..SCANS + 20).map(shuffled)).await;
    let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let calls = rig.home.path("calls");
    let traced = rig.command(&["run"]);
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=fsync,fdatasync,sync_file_range",
            "-o",
        ])
        .arg(&calls)
        .arg(traced.get_program())
        .args(traced.get_args());
    if Command::new("strace").arg("-V").output().is_err() {
        return report.note("syncs are counted by strace, which is not installed here");
    }
    let mut station = Scanning::start(command);
    let count = || {
        let text = fs::read_to_string(&calls).unwrap_or_default();
        text.lines()
            .filter(|line| line.contains("sync") && line.contains('('))
            .count() as u64
    };
    for nth in 0..20 {
        station.scan(&shuffled(SCANS + nth));
    }
    let before = count();
    for nth in 0..SCANS {
        station.scan(&shuffled(nth));
    }
    report.figure(
        "syncs for one scan",
        number(count() - before) / number(SCANS),
        "",
        Promise::Under(1.1),
    );
    terminate_children(station.child.id());
    station.child.wait().unwrap();
}

/// The tracer ends with what it traces.
fn terminate_children(pid: u32) {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for child in children.split_whitespace() {
        terminate(child.parse().unwrap());
    }
}

/// Makes a journal of `records` records of the last 90 days, all delivered, out of the newest one that is there. With a reason all of
/// them are boxes of the last hour that ended by it.
fn grow(rig: &Rig, records: u64, reason: Option<&str>) {
    let mut station = Scanning::start(rig.command(&["run"]));
    station.scan(&serial(0));
    station.scan(&serial(1));
    station.stop();
    let conn = rusqlite::Connection::open(rig.home.path("state/journal.sqlite")).unwrap();
    conn.execute_batch("PRAGMA synchronous = off; PRAGMA cache_size = -65536")
        .unwrap();
    let columns: Vec<String> = conn
        .prepare("SELECT name FROM pragma_table_info('record')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let step = match reason {
        Some(_) => 3_600_000_000_000 / records.max(1),
        None => 90 * 86_400_000_000_000 / records.max(1),
    };
    let reason = reason.map_or("reason".to_owned(), |reason| format!("'{reason}'"));
    let values: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            "row" => "row + i".to_owned(),
            "id" => "unhex(printf('019a%012x7000%012x', i, i))".to_owned(),
            "at" => format!("at - ({records} - i) * {step}"),
            "serial" | "asked" => "printf('C%09X', (i * 2654435761) & 68719476735)".to_owned(),
            "delivered_at" => "at".to_owned(),
            "reason" => reason.clone(),
            "previous" | "raw_scan" => "NULL".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    conn.execute_batch(&format!(
        "BEGIN; CREATE TEMP TABLE seed AS SELECT * FROM record ORDER BY row DESC LIMIT 1;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 2 < {records})
         INSERT INTO record ({}) SELECT {} FROM n, seed;
         UPDATE epoch SET next_seq = next_seq + (SELECT count(*) FROM record) - 2; COMMIT;
         PRAGMA wal_checkpoint(truncate)",
        columns.join(", "),
        values.join(", ")
    ))
    .unwrap();
    let _ = conn.close();
    // A mark that lags is right; one of another number would not be.
    let _ = fs::remove_file(rig.home.path("state/journal.mark"));
    let conn = rusqlite::Connection::open(rig.home.path("state/journal.sqlite")).unwrap();
    conn.execute_batch("DELETE FROM counter WHERE name = 'has_mark'")
        .unwrap();
}

pub async fn growth(report: &mut Report) {
    for records in [2, 100_000, 1_300_000] {
        let rig = Rig::new(Way::Plain, "").await;
        grow(&rig, records, None);
        let journal = rig.home.path("state/journal.sqlite");
        report.note(&format!(
            "a journal of {records} records, {} MB",
            fs::metadata(&journal).unwrap().len() / 1_000_000
        ));
        for (what, clean, cold) in [
            ("after a clean stop, in the page cache", true, false),
            ("after a kill, in the page cache", false, false),
            ("after a kill, not in the page cache", false, true),
        ] {
            let mut times = Times::default();
            for _ in 0..5 {
                let (station, _) = rig.time_to_ready();
                std::thread::sleep(Duration::from_millis(500));
                if clean {
                    terminate(station.pid());
                    let running = || fs::metadata(format!("/proc/{}/io", station.pid())).is_ok();
                    let begun = Instant::now();
                    while running() && begun.elapsed() < Duration::from_secs(5) {
                        std::thread::sleep(Duration::from_millis(20));
                        if written_by(station.pid()).is_none() || is_zombie(station.pid()) {
                            break;
                        }
                    }
                }
                drop(station);
                if cold {
                    let file = File::open(&journal).unwrap();
                    file.sync_all().unwrap();
                    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
                }
                let (_station, took) = rig.time_to_ready();
                times.add(took);
            }
            report.figure(
                &format!("  start to ready {what}, median of 5"),
                times.median(),
                "ms",
                Promise::Under(200.0),
            );
            report.figure("  .. longest", times.longest(), "ms", Promise::Nothing);
        }
    }
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

pub async fn waiting(report: &mut Report) {
    const BOXES: u64 = 20_000;
    let mut empty: Option<(u64, f64)> = None;
    for boxes in [0, BOXES] {
        let rig = Rig::with_boxes(Way::Plain, "", (0..600).map(shuffled)).await;
        let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
        if boxes > 0 {
            grow(&rig, boxes, Some("not_found"));
        }
        let mut station = Scanning::start(rig.command(&["run"]));
        let mut times = Times::default();
        for nth in 0..600 {
            let took = station.scan(&shuffled(nth));
            if nth >= 100 {
                times.add(took);
            }
        }
        std::thread::sleep(Duration::from_secs(3));
        let (memory, median) = (Memory::of(station.child.id()).own, times.median());
        report.figure(
            &format!("scan to result line with {boxes} boxes waiting, 500 scans, p50"),
            median,
            "ms",
            Promise::Nothing,
        );
        report.figure("  .. p99", times.percentile(99), "ms", Promise::Nothing);
        match empty {
            None => empty = Some((memory, median)),
            Some((without, fast)) => {
                report.figure(
                    "  memory for them",
                    megabytes(memory.saturating_sub(without)),
                    "MB",
                    Promise::Under(20.0),
                );
                report.figure(
                    "  .. times as long as without them",
                    median / fast,
                    "",
                    Promise::Under(1.2),
                );
            }
        }
        station.stop();
    }
}
