//! Scanners and lamps that are missing, in use or not permitted.
//!
//! The virtual bench (`tests/bench`) tests keyboard-type scanners and real pins.

use std::{
    fs::{self, File},
    io::Write,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use super::{
    Able, Answers, Row, Seen,
    bench::{Bench, PATIENCE, Running, system},
    row,
};
use crate::support::{dashboard::Received, free_port, lamps::Lit};

const NO_SCANNER: Able = Able::No("no_scanner");
/// Lamps that the virtual bench tests.
const LAMPS: &str = "tests/bench/guest/lamps.py";

/// "Within 2 s", and one more for a busy machine. Not measured by health, which is published at most every 5 s.
const BACK: Duration = Duration::from_secs(3);

pub static ROWS: &[Row] = &[
    row!(
        unplugged,
        "a scanner that is unplugged",
        "last scanner unplugged",
        Answers::Nothing,
        NO_SCANNER,
        "the scan in the wire",
        "replug, within 2 s"
    ),
    row!(
        no_right,
        "a scanner that may not be opened",
        "no right to the last scanner",
        Answers::Nothing,
        NO_SCANNER,
        "nothing",
        "the right, within 2 s"
    ),
    row!(
        grabbed,
        "a scanner that another program holds",
        "last scanner held by another program",
        Answers::Nothing,
        NO_SCANNER,
        "nothing",
        "its release, within 2 s"
    ),
    row!(
        port_taken,
        "a port that another program listens on",
        "port of the last scanner taken",
        Answers::Nothing,
        NO_SCANNER,
        "nothing",
        "its release"
    ),
    row!(
        one_of_two,
        "one scanner of two that is gone",
        "one scanner of several gone",
        Answers::AsAlways,
        Able::Yes,
        "the scan in the wire",
        "replug, within 2 s"
    ),
    row!(
        overrun,
        "a key queue that ran over",
        "key queue overrun",
        Answers::Rescan("unreadable"),
        Able::Yes,
        "that scan, said so",
        "scan again"
    ),
    row!(
        no_chip,
        "a lamp chip that is missing",
        "lamp chip missing",
        Answers::AsAlways,
        Able::Lamps("missing"),
        "nothing",
        "the chip, no restart"
    ),
    row!(
        line_busy,
        "a lamp line that another program holds",
        "lamp line busy",
        Answers::AsAlways,
        Able::Lamps("busy"),
        "nothing",
        "its release, no restart"
    ),
];

/// A serial scanner: the side it sends on, and the name under which the station looks for it.
struct Serial {
    name: PathBuf,
    port: Option<(OwnedFd, String)>,
}

impl Serial {
    fn new(bench: &Bench) -> Self {
        let folder = bench.home.path("by-id");
        fs::create_dir(&folder).unwrap();
        Self {
            name: folder.join("usb-scanner"),
            port: None,
        }
    }

    fn plug(&mut self) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        symlink(&path, &self.name).unwrap();
        self.port = Some((master, path));
    }

    fn unplug(&mut self) {
        fs::remove_file(&self.name).unwrap();
        self.port = None;
    }

    fn path(&self) -> &str {
        &self.port.as_ref().unwrap().1
    }

    fn scan(&self, code: &str) {
        File::from(self.port.as_ref().unwrap().0.try_clone().unwrap())
            .write_all(format!("{code}\r\n").as_bytes())
            .unwrap();
    }
}

/// A bench with a serial scanner only.
async fn with_serial(row: &'static Row) -> (Bench, Serial) {
    let bench = Bench::new(row).await;
    let serial = Serial::new(&bench);
    let device = format!("kind = \"serial\"\ndevice = {:?}\n", serial.name);
    bench.configure("the scanner", |text| {
        text.replace("kind = \"stdin\"\n", &device)
    });
    (bench, serial)
}

async fn state(bench: &Bench, wanted: &str) {
    bench
        .health("the scanner's state", |health| {
            health["scanners"]["pipe"]["state"] == wanted
        })
        .await;
}

/// The scanner works: a ready box is scanned.
async fn works(bench: &mut Bench, running: &Running, serial: &Serial) {
    let code = bench.ready_box();
    serial.scan(&code);
    let answer = bench.answer(running);
    assert_eq!(
        (answer.serial.as_str(), answer.reason.as_str()),
        (code.as_str(), "assigned")
    );
}

/// The only scanner cannot be used.
async fn day(
    mut bench: Bench,
    running: Running,
    serial: &mut Serial,
    wanted: &str,
    mend: impl FnOnce(&mut Serial),
) -> Seen {
    bench.health_is_as_expected().await;
    state(&bench, wanted).await;
    bench.idle_lamps(&running).await;
    mend(serial);
    bench.mend();
    bench
        .lamps(&running, "dark again", |lamps| lamps.now().0 == Lit::DARK)
        .await;
    let back = bench.since();
    assert!(back < BACK, "{}: taken up after {back:?}", bench.row.name);
    bench.seen.mended = Some(back);
    bench
        .health("able again", |health| health["able"] == true)
        .await;
    state(&bench, "ok").await;
    works(&mut bench, &running, serial).await;
    bench
        .lamps(&running, "green", |lamps| lamps.greens() > 0)
        .await;
    bench.end().await
}

async fn unplugged(row: &'static Row) -> Seen {
    let (mut bench, mut serial) = with_serial(row).await;
    serial.plug();
    let running = bench.start().await;
    state(&bench, "ok").await;
    works(&mut bench, &running, &serial).await;
    // Half a code is on the wire.
    File::from(serial.port.as_ref().unwrap().0.try_clone().unwrap())
        .write_all(b"KXHALF")
        .unwrap();
    serial.unplug();
    bench.break_it();
    day(bench, running, &mut serial, "absent", Serial::plug).await
}

async fn grabbed(row: &'static Row) -> Seen {
    let (mut bench, mut serial) = with_serial(row).await;
    serial.plug();
    let other = open(
        serial.path(),
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    bench.break_it();
    let running = bench.start_in_trouble();
    day(bench, running, &mut serial, "busy", move |_| drop(other)).await
}

async fn no_right(row: &'static Row) -> Seen {
    let (mut bench, mut serial) = with_serial(row).await;
    serial.plug();
    let command = match bench.home.command_as_nobody(&["run"]) {
        Ok(command) => command,
        Err(why) => return Seen::skipped(why),
    };
    system("chown", &["root", serial.path()]).unwrap();
    system("chmod", &["600", serial.path()]).unwrap();
    bench.break_it();
    let running = bench.start_as(command);
    day(bench, running, &mut serial, "no_right", |serial| {
        system("chmod", &["666", serial.path()]).unwrap()
    })
    .await
}

async fn port_taken(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let port = free_port();
    let other = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    bench.configure("the scanner", |text| {
        text.replace(
            "kind = \"stdin\"\n",
            &format!("kind = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\n"),
        )
    });
    bench.break_it();
    let running = bench.start_in_trouble();
    bench.health_is_as_expected().await;
    state(&bench, "busy").await;
    bench.idle_lamps(&running).await;
    drop(other);
    bench.mend();
    bench
        .lamps(&running, "dark again", |lamps| lamps.now().0 == Lit::DARK)
        .await;
    bench.seen.mended = Some(bench.since());
    bench
        .health("able again", |health| health["able"] == true)
        .await;
    let code = bench.ready_box();
    std::net::TcpStream::connect(("127.0.0.1", port))
        .unwrap()
        .write_all(format!("{code}\n").as_bytes())
        .unwrap();
    assert_eq!(bench.answer(&running).reason, "assigned");
    bench.end().await
}

async fn one_of_two(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let mut serial = Serial::new(&bench);
    let second = format!(
        "[[scanner]]\nname = \"serial\"\nkind = \"serial\"\ndevice = {:?}\nlane = \"main\"\n\n[[lane]]\nname = \"main\"\n\n[indicator]",
        serial.name
    );
    bench.configure("the second scanner", |text| {
        text.replace("kind = \"stdin\"\n", "kind = \"stdin\"\nlane = \"main\"\n")
            .replace("[indicator]", &second)
    });
    serial.plug();
    let mut running = bench.start().await;
    bench
        .health("both", |health| {
            health["scanners"]["serial"]["state"] == "ok"
        })
        .await;
    serial.unplug();
    bench.break_it();
    bench
        .health("one gone", |health| {
            health["scanners"]["serial"]["state"] == "absent"
        })
        .await;
    bench.scan_is_as_told(&mut running).await;
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    replug(&mut bench, &running, &mut serial).await;
    bench
        .health("both again", |health| {
            health["scanners"]["serial"]["state"] == "ok"
        })
        .await;
    works(&mut bench, &running, &serial).await;
    // Again at the worst time: right after it was missed.
    let before = said(&running, &serial, "is not there");
    serial.unplug();
    bench
        .lamps(&running, "the log says that it is gone", |_| {
            said(&running, &serial, "is not there") > before
        })
        .await;
    replug(&mut bench, &running, &mut serial).await;
    works(&mut bench, &running, &serial).await;
    bench.end().await
}

/// How many times the log has said that of the scanner.
fn said(running: &Running, serial: &Serial, words: &str) -> usize {
    running
        .lamps
        .text()
        .matches(&format!("scanner {} {words}", serial.name.display()))
        .count()
}

/// Plugs the scanner in again, and waits until the log says that it is open.
async fn replug(bench: &mut Bench, running: &Running, serial: &mut Serial) {
    let before = said(running, serial, "is open");
    serial.plug();
    bench.mend();
    bench
        .lamps(running, "the log says that it is open", |_| {
            said(running, serial, "is open") > before
        })
        .await;
    let back = bench.since();
    assert!(back < BACK, "{}: taken up after {back:?}", bench.row.name);
    bench.seen.mended = Some(back);
}

async fn overrun(_: &'static Row) -> Seen {
    let mut queue = Seen::held_by(
        "src/scanner/hid/tests.rs",
        "an_overrun_of_the_kernels_queue_breaks_the_code_and_not_the_next",
    );
    if let Err(why) = File::options().write(true).open("/dev/uinput") {
        queue.elsewhere = queue
            .elsewhere
            .map(|test| format!("{test} (SKIPPED here: /dev/uinput: {why})"));
    }
    let checks = [
        "overrun: said as rescan/unreadable",
        "overrun: never half a serial number",
        "overrun: the next scan is whole again",
    ];
    queue.and(Seen::held_by_bench(
        "tests/bench/guest/scanners.py",
        "stalled",
        &checks,
    ))
}

async fn line_busy(_: &'static Row) -> Seen {
    let checks = [
        "busy: health says busy",
        "busy, missing: the station is able all the same",
        "the scan is answered and delivered all the same",
        "the lamps are taken without a restart",
        "and they light again",
    ];
    Seen::held_by_bench(LAMPS, "lost", &checks)
}

async fn no_chip(row: &'static Row) -> Seen {
    let mut bench = Bench::new(row).await;
    let gpio =
        "kind = \"gpio\"\ndriver = \"gpiochip\"\nchip = \"no-such-chip\"\ngreen = 17\nred = 27\n";
    bench.configure("the lamps", |text| {
        text.replace("kind = \"terminal\"\n", gpio)
    });
    let mut running = bench.start().await;
    bench.break_it();
    bench.health_is_as_expected().await;
    // Without lamps on a terminal there are no result lines, but records and messages as always.
    for _ in 0..3 {
        let code = bench.ready_box();
        running.station.scan(code.as_bytes());
        let is_ready = |one: &Received| {
            let event = one.json();
            one.channel() == "scan"
                && event["subject"] == code.as_str()
                && event["data"]["verdict"] == "ready"
                && event["data"]["lamp"] == "ready"
        };
        bench
            .dashboard
            .wait("the scan", PATIENCE, |all| all.iter().any(is_ready))
            .await;
    }
    assert!(running.station.answer_within(Duration::ZERO).is_none());
    // Only the virtual bench can add a chip later.
    let comes = [
        "missing: health says missing",
        "the lamps are taken without a restart",
        "gone: the chip is back, the lamps are taken",
    ];
    bench
        .end()
        .await
        .and(Seen::held_by_bench(LAMPS, "lost", &comes))
}
