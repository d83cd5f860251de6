//! The whole station: from the pipe to the lamp, at rest, at start-up, and with a backlog.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use benchlight::{
    journal::{Journal, reader::Reader},
    simulator::faults::Effect,
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    report::{Promise, Report, Times, megabytes, milliseconds, number},
    rig::{Rig, Way, journal_settings, record, serial},
    support::{dashboard::Dashboard, mosquitto::DASHBOARD, station::Memory},
};

/// How long green is shown in these runs, and how long a lane must be dark to count as dark.
pub const GREEN: Duration = Duration::from_millis(100);
pub const DARK: Duration = Duration::from_millis(180);

pub async fn start(report: &mut Report) {
    let rig = Rig::new(Way::Tls, "").await;
    let (station, first) = rig.time_to_ready();
    drop(station);
    report.figure(
        "start to ready, new journal",
        milliseconds(first),
        "ms",
        Promise::Nothing,
    );
    let mut times = Times::default();
    for _ in 0..5 {
        let (station, took) = rig.time_to_ready();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(station);
        times.add(took);
    }
    report.figure(
        "start to ready, after a power cut, median of 5",
        times.median(),
        "ms",
        Promise::Under(200.0),
    );
    report.figure(
        "start to ready, after a power cut, longest of 5",
        times.longest(),
        "ms",
        Promise::Nothing,
    );
}

pub async fn idle(report: &mut Report) {
    let rig = Rig::new(Way::Tls, "").await;
    let dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let mut station = rig.home.start();
    dashboard
        .wait("the station's birth", Duration::from_secs(20), |all| {
            all.iter().any(|message| message.channel() == "health")
        })
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pid = station.pid();
    let memory = station.memory();
    report.figure(
        "resident memory at rest, TLS to service and broker",
        megabytes(memory.resident),
        "MB",
        Promise::Under(20.0),
    );
    report.figure(
        "  of which its own, not mapped from its file",
        megabytes(memory.own),
        "MB",
        Promise::Nothing,
    );
    let (before, begun) = (processor_time(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let share =
        (processor_time(pid) - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    report.figure(
        "processor at rest, over 20 s",
        share,
        "% of one",
        Promise::Under(0.05),
    );
    let before = processor_time(pid);
    for nth in 0..1_000 {
        station.scan(serial(nth).as_bytes());
        // The same box within 1.5 s would only repeat its scan.
        if nth % 20 == 19 {
            for _ in 0..20 {
                assert_eq!(station.answer().verdict, "ready");
            }
            tokio::time::sleep(Duration::from_millis(1_550)).await;
        }
    }
    let each = (processor_time(pid) - before).as_secs_f64();
    let memory = station.memory();
    report.figure(
        "resident memory after 1,000 scans",
        megabytes(memory.resident),
        "MB",
        Promise::Nothing,
    );
    report.figure(
        "  of which its own, not mapped from its file",
        megabytes(memory.own),
        "MB",
        Promise::Nothing,
    );
    report.figure(
        "processor time for a scan, all threads, from pipe to PUBACK",
        each,
        "ms",
        Promise::Nothing,
    );
}

pub async fn scan_to_lamp(report: &mut Report) {
    let rig = Rig::new(
        Way::Plain,
        &format!("ready_hold = \"{}ms\"\n", GREEN.as_millis()),
    )
    .await;
    let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let mut measured = lit(&rig, 500).await;
    report.figure(
        "scan to result line, 500 scans, p50",
        measured.lines.median(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "scan to result line, p99",
        measured.lines.percentile(99),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "scan to result line, longest",
        measured.lines.longest(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "scan to green drawn, from a dark lane, 500 scans, p50",
        measured.lamps.median(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "scan to green drawn, p99",
        measured.lamps.percentile(99),
        "ms",
        Promise::Under(20.0),
    );
    report.figure(
        "scan to green drawn, longest",
        measured.lamps.longest(),
        "ms",
        Promise::Nothing,
    );
}

pub async fn overhead(report: &mut Report) {
    let rig = Rig::new(
        Way::Plain,
        &format!("ready_hold = \"{}ms\"\n", GREEN.as_millis()),
    )
    .await;
    let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    for source in [0, 50, 250, 310, 600].map(Duration::from_millis) {
        rig.kandji.faults().clear();
        if !source.is_zero() {
            rig.kandji.faults().all(Effect::Delay(source));
        }
        let mut measured = lit(&rig, 100).await;
        let own = |time: f64| time - milliseconds(source);
        report.note(&format!(
            "a source that takes {} ms; its simulator's own work is counted as the station's",
            source.as_millis()
        ));
        report.figure(
            "  green drawn after the source's answer, dark lane, p50",
            own(measured.lamps.median()),
            "ms",
            Promise::Under(3.0),
        );
        report.figure(
            "  the same, p99",
            own(measured.lamps.percentile(99)),
            "ms",
            Promise::Nothing,
        );
    }
}

pub async fn drain(report: &mut Report) {
    const BACKLOG: u64 = 100_000;
    let rig = Rig::new(Way::Plain, "").await;
    let state_dir = rig.home.path("state");
    let journal = Journal::open(
        &journal_settings(&state_dir),
        &benchlight::runtime::machine::identity(),
    )
    .unwrap();
    let begun = Instant::now();
    for group in 0..BACKLOG / 500 {
        journal
            .record(
                (0..500)
                    .map(|nth| record(group * 500 + nth))
                    .collect::<Vec<_>>(),
            )
            .await
            .unwrap();
    }
    journal.close().await;
    report.figure(
        "records a second in groups of 500, synced",
        number(BACKLOG) / begun.elapsed().as_secs_f64(),
        "records/s",
        Promise::Nothing,
    );

    let dashboard =
        Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/+/+/+/scan").await;
    let (station, ready) = rig.time_to_ready();
    report.figure(
        "start to ready with the whole backlog in the journal",
        milliseconds(ready),
        "ms",
        Promise::Nothing,
    );
    let begun = Instant::now();
    let wait = async |what: &str, enough: &dyn Fn() -> bool| {
        while !enough() {
            assert!(
                begun.elapsed() < Duration::from_mins(5),
                "not within five minutes: {what}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait("the first message", &|| dashboard.count("scan") > 0).await;
    let (first, early) = (Instant::now(), number(dashboard.count("scan") as u64));
    let processor = processor_time(station.pid());
    wait("the last message", &|| {
        dashboard.count("scan") as u64 >= BACKLOG
    })
    .await;
    let rate = (number(BACKLOG) - early) / first.elapsed().as_secs_f64();
    let each =
        (processor_time(station.pid()) - processor).as_secs_f64() * 1e6 / (number(BACKLOG) - early);
    report.figure(
        "100,000 messages to mosquitto and on to a subscriber",
        rate,
        "messages/s",
        Promise::AtLeast(2_000.0),
    );
    report.figure(
        "  processor time of the station for a message",
        each,
        "µs",
        Promise::Nothing,
    );
    let mut reader = Reader::open(&state_dir).unwrap();
    while reader.outbox().unwrap().0 > 0 {
        assert!(
            begun.elapsed() < Duration::from_mins(5),
            "the outbox does not empty"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let places = dashboard.places();
    report.note(&format!(
        "a subscriber got {} messages, {} different, of {BACKLOG}",
        dashboard.count("scan"),
        places.len()
    ));
    assert_eq!(places.len() as u64, BACKLOG);
    let memory = Memory::of(station.pid());
    report.figure(
        "resident memory after it",
        megabytes(memory.resident),
        "MB",
        Promise::Nothing,
    );
    report.figure(
        "  the most there was",
        megabytes(memory.peak),
        "MB",
        Promise::Nothing,
    );
}

pub async fn size(report: &mut Report) {
    report.note("cargo build --profile dist --no-default-features --target-dir target/packaged (the first time takes minutes)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--profile",
            "dist",
            "--no-default-features",
            "--bin",
            "benchlight",
            "--target-dir",
            "target/packaged",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(build.unwrap().success());
    let packaged = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/packaged/dist/benchlight"
    );
    report.figure(
        "packaged binary, without the demo's broker",
        megabytes(fs::metadata(packaged).unwrap().len()),
        "MB",
        Promise::Under(15.0),
    );
    report.figure(
        "binary with the demo",
        megabytes(
            fs::metadata(env!("CARGO_BIN_EXE_benchlight"))
                .unwrap()
                .len(),
        ),
        "MB",
        Promise::Nothing,
    );
}

/// The processor time that a process has used since its start.
pub fn processor_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|text| text.parse().ok())
            .map_or(Duration::ZERO, Duration::from_nanos)
    };
    threads.map_while(Result::ok).map(of_thread).sum()
}

struct Measured {
    lines: Times,
    lamps: Times,
}

/// Scans `many` boxes one after the other, each on a dark lane, and measures the times to the result line and to the green lamp
/// on a terminal.
async fn lit(rig: &Rig, many: u64) -> Measured {
    let mut station = OnTerminal::start(rig);
    let mut measured = Measured {
        lines: Times::default(),
        lamps: Times::default(),
    };
    // The first scans have no connection to the service yet, and cold caches.
    for nth in 0..many + 10 {
        tokio::time::sleep(GREEN + DARK).await;
        let (line, lamp) = station.scan(nth);
        if nth >= 10 {
            measured.lines.add(line);
            measured.lamps.add(lamp);
        }
    }
    measured
}

/// A station that draws its lamps on a terminal.
pub struct OnTerminal {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<(String, Instant)>,
    greens: Receiver<Instant>,
}

impl OnTerminal {
    pub fn start(rig: &Rig) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        tcsetwinsize(
            &terminal,
            Winsize {
                ws_row: 24,
                ws_col: 200,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .unwrap();
        let path = ptsname(&terminal, Vec::new())
            .unwrap()
            .into_string()
            .unwrap();
        let station_side = File::options().read(true).write(true).open(path).unwrap();
        let mut command = rig.command(&["run"]);
        command
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(station_side);
        let mut child = command.spawn().unwrap();
        let (tell_line, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell_line.send((line, Instant::now()));
            }
        });
        let (tell_green, greens) = channel();
        let mut screen = File::from(terminal);
        std::thread::spawn(move || {
            let mut seen: Vec<u8> = Vec::new();
            let mut buffer = [0; 4_096];
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                let now = Instant::now();
                seen.extend_from_slice(&buffer[..read]);
                let lit = "[✓".as_bytes();
                let len = lit.len();
                while let Some(at) = seen.windows(len).position(|text| text == lit) {
                    seen.drain(..at + len);
                    let _ = tell_green.send(now);
                }
                // Keep what may be the beginning of a signal.
                seen.drain(..seen.len().saturating_sub(len - 1));
            }
        });
        Self {
            stdin: child.stdin.take().unwrap(),
            child,
            lines,
            greens,
        }
    }
}

impl OnTerminal {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Scans a box; how long it took to the result line and to the green lamp.
    pub fn scan(&mut self, nth: u64) -> (Duration, Duration) {
        while self.greens.try_recv().is_ok() {}
        let begun = Instant::now();
        writeln!(self.stdin, "{}", serial(nth)).unwrap();
        let (line, read) = self.lines.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(line.contains(" ready assigned "), "{line}");
        let lamp = self.greens.recv_timeout(Duration::from_secs(10)).unwrap();
        (read - begun, lamp - begun)
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
