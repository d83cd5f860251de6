//! One scan from rest beside the floor under it: one HTTP round trip to the same service and one sync on the same disk.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    report::{Promise, Report, Times},
    rig::{Rig, TOKEN, Way, serial},
    support::{dashboard::Dashboard, mosquitto::DASHBOARD},
    whole::{DARK, GREEN, OnTerminal, processor_time},
};

const SCANS: u64 = 150;
const IDLE: Duration = Duration::from_secs(20);
/// What a commit appends to the log for one scan.
const APPENDED: [u8; 4_096] = [7; 4_096];

pub async fn rest(report: &mut Report) {
    let hold = format!("ready_hold = \"{}ms\"\n", GREEN.as_millis());
    let rig = Rig::new(Way::Plain, &hold).await;
    let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let mut station = OnTerminal::start(&rig);
    let mut floor = Floor::new(&rig);
    // The first scans find no connection to the service and cold caches.
    for nth in 0..10 {
        tokio::time::sleep(GREEN + DARK).await;
        station.scan(nth);
        floor.take(nth);
    }

    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, begun) = (processor_time(station.pid()), Instant::now());
    tokio::time::sleep(IDLE).await;
    let idle =
        (processor_time(station.pid()) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    report.figure(
        "processor at rest, over 20 s",
        idle * 100.0,
        "% of one",
        Promise::Under(0.05),
    );

    let (mut lamps, mut floors) = (Times::default(), Times::default());
    let (before, begun) = (processor_time(station.pid()), Instant::now());
    for nth in 10..10 + SCANS {
        tokio::time::sleep(GREEN + DARK).await;
        lamps.add(station.scan(nth).1);
        tokio::time::sleep(GREEN + DARK).await;
        floors.add(floor.take(nth));
    }
    let busy = (processor_time(station.pid()) - before).as_secs_f64();
    let each =
        (busy - idle * begun.elapsed().as_secs_f64()) / f64::from(u32::try_from(SCANS).unwrap());
    report.figure(
        "processor time of one scan from rest, all threads, to PUBACK",
        each * 1_000.0,
        "ms",
        Promise::Under(2.0),
    );
    report.figure(
        "the floor: one HTTP round trip and one sync from rest, p50",
        floors.median(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "the floor, p90",
        floors.percentile(90),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "scan to green drawn from rest, p50",
        lamps.median(),
        "ms",
        Promise::Under(2.0 * floors.median()),
    );
    report.figure(
        "scan to green drawn from rest, p90",
        lamps.percentile(90),
        "ms",
        Promise::Nothing,
    );
}

/// What no station could do without, by a program that does nothing else.
struct Floor {
    service: BufReader<TcpStream>,
    host: String,
    file: File,
}

impl Floor {
    fn new(rig: &Rig) -> Self {
        let address = rig.kandji.address();
        let service = TcpStream::connect(address).unwrap();
        service.set_nodelay(true).unwrap();
        Self {
            service: BufReader::new(service),
            host: address.to_string(),
            file: File::create(rig.home.path("state").with_file_name("floor")).unwrap(),
        }
    }

    /// Asks the service about a box and syncs what a commit appends.
    fn take(&mut self, nth: u64) -> Duration {
        let request = format!(
            "GET /api/v1/integrations/apple/ade/devices?serial_number={} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\naccept: application/json\r\n\r\n",
            serial(nth),
            self.host
        );
        let begun = Instant::now();
        self.service
            .get_mut()
            .write_all(request.as_bytes())
            .unwrap();
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            assert!(self.service.read_line(&mut line).unwrap() > 0);
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.service.read_exact(&mut body).unwrap();
        self.file
            .write_all(&APPENDED)
            .and_then(|()| self.file.sync_data())
            .unwrap();
        begun.elapsed()
    }
}
