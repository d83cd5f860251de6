//! Several scanners at once, and the frames around codes, through the whole station.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpStream,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use benchlight::{readiness::kandji::simulator::stock::Device, simulator::faults::Effect};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use super::scans::World;
use crate::support::{dashboard::Received, eventually, free_port, station::Home};

const PATIENCE: Duration = Duration::from_secs(30);

/// A home with these scanners instead of the pipe.
fn home_with(world: &World, scanners: &str) -> Home {
    let home = world.home(false, "");
    let config = fs::read_to_string(home.config()).unwrap();
    let pipe = "[[scanner]]\nname = \"pipe\"\nkind = \"stdin\"\n";
    assert!(config.contains(pipe));
    fs::write(home.config(), config.replace(pipe, scanners)).unwrap();
    home
}

/// A serial scanner: the side it sends on, and its device file.
fn serial_line() -> (File, String) {
    let line: OwnedFd =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&line).unwrap();
    unlockpt(&line).unwrap();
    let path = ptsname(&line, Vec::new()).unwrap().into_string().unwrap();
    (File::from(line), path)
}

async fn connected(port: u16) -> TcpStream {
    let connect = || TcpStream::connect(("127.0.0.1", port));
    eventually("the port is open", PATIENCE, || connect().is_ok()).await;
    connect().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_one_lane_takes_no_scan_of_another_its_answer() {
    const BOXES: usize = 12;
    let world = World::new().await;
    let serial = |nth: usize| format!("KEYED{nth:05}");
    for nth in 0..BOXES {
        world
            .kandji
            .stock(|stock| stock.put(Device::ready(&serial(nth))));
    }
    world
        .kandji
        .faults()
        .all(Effect::Delay(Duration::from_millis(250)));
    let (mut keyed, device) = serial_line();
    let port = free_port();
    let home = home_with(
        &world,
        &format!(
            "[[lane]]\nname = \"net\"\n[[lane]]\nname = \"keyed\"\n\
             [[scanner]]\nname = \"flood\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\nlane = \"net\"\n\
             [[scanner]]\nname = \"keyed\"\nkind = \"serial\"\ndevice = {device:?}\nlane = \"keyed\"\n"
        ),
    );
    let station = home.start();
    let mut flood = connected(port).await;
    // It continues until the station ends: what is not read yet waits.
    let flooding = std::thread::spawn(move || {
        (0_u64..).find(|nth| writeln!(flood, "FLOOD{:05}", nth % 100_000).is_err())
    });
    let mut answers = Vec::new();
    let begun = Instant::now();
    let mut scanned = 0;
    let own = |answers: &[crate::support::station::ResultLine]| -> Vec<String> {
        answers
            .iter()
            .filter(|answer| answer.serial.starts_with("KEYED") && !answer.change)
            .map(|answer| answer.reason.clone())
            .collect()
    };
    while own(&answers).len() < BOXES {
        assert!(
            begun.elapsed() < 2 * PATIENCE,
            "answered: {:?}",
            own(&answers)
        );
        answers.extend(station.answer_within(Duration::from_millis(250)));
        answers.extend(station.so_far());
        // The flood first, then single boxes in the middle of it.
        let in_the_thick = answers.len() >= 32 + scanned;
        if in_the_thick && scanned < BOXES && own(&answers).len() == scanned {
            keyed
                .write_all(format!("{}\r", serial(scanned)).as_bytes())
                .unwrap();
            scanned += 1;
        }
    }
    assert_eq!(own(&answers), vec!["assigned"; BOXES]);
    assert!(
        answers
            .iter()
            .all(|answer| answer.reason != "station_fault"),
        "and a network scanner is held back, not refused"
    );
    drop(station);
    flooding.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_character_sets_of_network_scanners_are_no_part_of_a_serial_number() {
    let world = World::new().await;
    let port = free_port();
    let home = home_with(
        &world,
        &format!("[[scanner]]\nname = \"net\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\n"),
    );
    let station = home.start();
    let mut scanner = connected(port).await;
    let ready: Vec<String> = (0..6).map(|nth| format!("FRAME{nth:05}")).collect();
    for serial in &ready {
        world.kandji.stock(|stock| stock.put(Device::ready(serial)));
    }
    let framed = [
        format!("\x02{}\x03\r", ready[0]),
        format!("\x13\x11\0{}\r\0", ready[1]),
        format!("]Q2\\000026S{}\r\n", ready[2]),
        format!("\\000026{}\x0c\n", ready[3]),
        format!("\u{feff}{}\r\n", ready[4]),
        format!("\x02]d2[)>\x1e06\x1dS{}\x1e\x04\x03\r", ready[5]),
    ];
    for (code, serial) in framed.iter().zip(&ready) {
        scanner.write_all(code.as_bytes()).unwrap();
        let answer = station.answer();
        assert_eq!(
            (answer.serial.as_str(), answer.reason.as_str()),
            (serial.as_str(), "assigned"),
            "{code:?}"
        );
    }
    scanner.write_all(b"\\00026FRAME00000\r").unwrap();
    assert_eq!(
        station.answer().reason,
        "unreadable",
        "what only looks like a character set stays in the code"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_scanner_without_line_ends_is_answered_after_a_pause_and_named_by_health_and_doctor()
 {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let port = free_port();
    let home = home_with(
        &world,
        &format!(
            "[[scanner]]\nname = \"net\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\npause = \"300ms\"\n"
        ),
    );
    let station = home.start();
    let mut scanner = connected(port).await;
    for sample in world.demo.samples.iter().take(3) {
        scanner.write_all(sample.serial.as_bytes()).unwrap();
        let answer = station.answer();
        assert_eq!(
            (answer.serial.as_str(), answer.reason.as_str()),
            (sample.serial, sample.reason)
        );
    }
    let unended = |all: &[Received]| {
        let newest = all
            .iter()
            .rev()
            .find(|one| one.channel() == "health")
            .map(Received::json);
        newest.is_some_and(|health| health["scanners"]["net"]["unended"] == true)
    };
    dashboard.wait("health says so", PATIENCE, unended).await;
    let doctor = home.command(&["doctor", "--json"]).output().unwrap();
    let lines: Vec<Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let line = lines
        .iter()
        .find(|line| line["part"] == "scanner net")
        .unwrap();
    assert_eq!(line["state"], "warn", "{line}");
    assert!(
        line["finding"]
            .as_str()
            .unwrap()
            .contains("without an end key")
            && line["remedy"].as_str().unwrap().contains("suffix"),
        "{line}"
    );

    // A line end. From here on, a code without one is only part of a code.
    scanner
        .write_all(format!("{}\r\n", world.demo.samples[0].serial).as_bytes())
        .unwrap();
    assert_eq!(station.answer().serial, world.demo.samples[0].serial);
    scanner
        .write_all(&world.demo.samples[1].serial.as_bytes()[..9])
        .unwrap();
    let answer = station.answer();
    assert_eq!(
        (answer.serial.as_str(), answer.reason.as_str()),
        ("-", "unreadable"),
        "{answer:?}"
    );
    assert!(answer.message.contains("no line end"), "{answer:?}");
}
