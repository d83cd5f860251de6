//! Nobody reads the station's output: standard error, standard output, a terminal, systemd. It still answers scans, and ends when
//! asked to.

use std::{
    fs::File,
    io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Action, Winsize, tcflow, tcsetwinsize},
};

use crate::{
    scans::World,
    support::{
        dashboard::{Dashboard, Received},
        station::{Home, Station},
    },
};

const PATIENCE: Duration = Duration::from_secs(60);
/// SIGTERM ends the agent within this time, whatever is not read.
const END: Duration = Duration::from_secs(5);
/// More lines than a queue holds.
const SCANS: usize = 1_200;

/// A station whose standard output and error go to the given files.
fn start(home: &Home, out: impl Into<Stdio>, log: impl Into<Stdio>) -> Station {
    let mut command = home.command(&["run"]);
    command.stdout(out).stderr(log);
    Station::as_told(command)
}

/// A full pipe that nobody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (unread, full) = pipe().unwrap();
    rustix::fs::fcntl_setfl(&full, OFlags::NONBLOCK).unwrap();
    while (&full).write(&[b'\n'; 1024]).is_ok() {}
    rustix::fs::fcntl_setfl(&full, OFlags::empty()).unwrap();
    (unread, full)
}

fn nobody() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

/// Scans this many unknown boxes. Each is answered, recorded and delivered.
async fn every_scan_is_answered(station: &mut Station, dashboard: &Dashboard, many: usize) {
    let before = dashboard.places().len();
    for number in 0..many {
        station.scan(format!("C02X{:06}", before + number).as_bytes());
    }
    dashboard
        .wait("every scan", PATIENCE, |all| {
            all.iter().filter(|one| one.channel() == "scan").count() >= before + many
        })
        .await;
    let mut places: Vec<u64> = dashboard.places().into_keys().map(|(_, seq)| seq).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        (1..=(before + many) as u64).collect::<Vec<_>>(),
        "each is recorded, and none is missing"
    );
}

fn ends_when_asked(mut station: Station) {
    station.signal("TERM");
    let status = station.ended_within(END).expect("SIGTERM ends it in 5 s");
    assert!(status.success(), "{status}");
}

/// The newest published health.
fn health(all: &[Received], field: &str) -> u64 {
    all.iter()
        .rev()
        .find(|one| one.channel() == "health")
        .and_then(|one| one.json()[field].as_u64())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_no_scan_and_what_it_loses_is_counted() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let (unread, log) = full_pipe();
    let home = world.home(false, "");
    let mut station = start(&home, nobody(), log);
    every_scan_is_answered(&mut station, &dashboard, SCANS).await;
    dashboard
        .wait("the count of lost lines", PATIENCE, |all| {
            health(all, "log_dropped") > 0
        })
        .await;
    assert_eq!(health(&dashboard.all(), "results_dropped"), 0);
    ends_when_asked(station);
    drop((unread, home));
}

#[tokio::test(flavor = "multi_thread")]
async fn result_lines_that_nobody_reads_stop_no_scan_and_are_counted() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let (unread, out) = full_pipe();
    let home = world.home(false, "");
    let mut station = start(&home, out, nobody());
    every_scan_is_answered(&mut station, &dashboard, SCANS).await;
    dashboard
        .wait("the count of lost lines", PATIENCE, |all| {
            health(all, "results_dropped") > 0
        })
        .await;
    assert_eq!(health(&dashboard.all(), "log_dropped"), 0);
    ends_when_asked(station);
    drop((unread, home));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_the_log_is_told_in_one_line_how_much_was_dropped() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let ((unread, log), (unread_results, out)) = (full_pipe(), full_pipe());
    let home = world.home(false, "");
    let mut station = start(&home, out, log);
    every_scan_is_answered(&mut station, &dashboard, SCANS).await;
    dashboard
        .wait("the counts", PATIENCE, |all| {
            health(all, "log_dropped") > 0 && health(all, "results_dropped") > 0
        })
        .await;

    let lines = lines(unread);
    let lines_in_log = |what: &str| {
        lines
            .iter()
            .find(|line| line.contains(what))
            .and_then(|line| line.split("lines=").nth(1)?.split(' ').next()?.parse().ok())
    };
    let dropped: u64 = lines_in_log("the log was not read").expect("a number of lines");
    std::thread::spawn(move || BufReader::new(unread_results).lines().for_each(drop));
    let results: u64 = lines_in_log("standard output was not read").expect("a number of lines");
    let counted = |all: &[Received]| {
        health(all, "log_dropped") == dropped && health(all, "results_dropped") == results
    };
    dashboard.wait("the same counts", PATIENCE, counted).await;
    every_scan_is_answered(&mut station, &dashboard, 3).await;
    ends_when_asked(station);
    let rest: Vec<String> = lines.into_iter().collect();
    assert!(
        !rest.iter().any(|line| line.contains("was not read")),
        "one line is enough: {rest:?}"
    );
    assert!(
        rest.iter().any(|line| line.contains("asked to stop")),
        "what can be read is written before the end"
    );
}

/// The lines of a pipe, read by a thread until the pipe is closed.
fn lines(from: PipeReader) -> std::sync::mpsc::Receiver<String> {
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(from)
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    lines
}

/// A terminal of 24 rows and 80 columns: the user's side, and the side of the programs on it.
fn terminal() -> (OwnedFd, OwnedFd) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let program = open(
        ptsname(&screen, Vec::new()).unwrap(),
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    tcsetwinsize(
        &program,
        Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    (screen, program)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_terminal_stops_no_scan() {
    for stopped in [true, false] {
        let world = World::new().await;
        let dashboard = world.dashboard().await;
        let (screen, program) = terminal();
        if stopped {
            // Ctrl-S. Without it the terminal's screen is merely not read, and still takes some kilobytes.
            tcflow(&program, Action::OOff).unwrap();
        }
        let home = world.home(false, "");
        let mut command = home.command(&["run"]);
        command
            .env("TERM", "xterm")
            .stdout(program.try_clone().unwrap())
            .stderr(program);
        let mut station = Station::as_told(command);
        every_scan_is_answered(&mut station, &dashboard, 50).await;
        // Longer than a lamp's thread may hang before the agent ends itself.
        tokio::time::sleep(Duration::from_secs(9)).await;
        every_scan_is_answered(&mut station, &dashboard, 50).await;
        ends_when_asked(station);
        drop(screen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_does_not_listen_stops_no_scan() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    let path: PathBuf = home.path("notify");
    let deaf = UnixDatagram::bind(&path).unwrap();
    let mut command = home.command(&["run"]);
    // The watchdog is fed ten times a second, and a socket holds at most some hundred messages.
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "30000")
        .env_remove("WATCHDOG_PID")
        .stdout(nobody())
        .stderr(nobody());
    let mut station = Station::as_told(command);
    every_scan_is_answered(&mut station, &dashboard, 20).await;
    let full = std::time::Instant::now() + PATIENCE;
    let probe = UnixDatagram::unbound().unwrap();
    probe.set_nonblocking(true).unwrap();
    while probe.send_to(b"X=1", &path).is_ok() {
        assert!(std::time::Instant::now() < full);
    }
    every_scan_is_answered(&mut station, &dashboard, 50).await;
    ends_when_asked(station);
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_reads_nothing_and_a_journald_that_hangs_stop_no_scan() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    // A socket like journald's, but full.
    let (unread, log) = UnixStream::pair().unwrap();
    log.set_nonblocking(true).unwrap();
    while (&log).write(&[b'\n'; 1024]).is_ok() {}
    log.set_nonblocking(false).unwrap();
    let mut command = home.command(&["run"]);
    command.stderr(OwnedFd::from(log));
    let mut station = Station::of(command);
    every_scan_is_answered(&mut station, &dashboard, 5).await;
    for _ in 0..5 {
        station.answer();
    }
    world.mosquitto.freeze();
    for number in 0..50 {
        station.scan(format!("C02Y{number:06}").as_bytes());
    }
    for _ in 0..50 {
        station.answer();
    }
    ends_when_asked(station);
    drop(unread);
}

/// The demo writes its instructions first.
#[cfg(feature = "demo")]
#[test]
fn a_demo_that_nobody_reads_ends_when_it_is_asked_to() {
    let ((unread, full), (results, out)) = (full_pipe(), pipe().unwrap());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_benchlight"));
    command.arg("demo").stdout(out).stderr(full);
    let mut station = Station::as_told(command);
    station.scan(b"DEMOREADY001");
    let answer = lines(results).recv_timeout(PATIENCE).expect("an answer");
    assert!(answer.contains("DEMOREADY001"), "{answer}");
    ends_when_asked(station);
    drop(unread);
}
