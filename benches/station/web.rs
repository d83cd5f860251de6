//! The page beside the scans: a scan's time with 32 readers that do not read beside without, memory, and bytes of the page's files.

use std::{io::Write, net::TcpStream, time::Duration};

use crate::{
    report::{Promise, Report, Times, megabytes, number},
    rig::{Rig, Way},
    support::{
        dashboard::Dashboard, free_port, http::Server, mosquitto::DASHBOARD, station::Memory,
    },
    whole::{DARK, GREEN, OnTerminal},
};

/// As many as there are places.
const READERS: usize = 32;
const BLOCKS: u64 = 10;
/// Scans of one block: it is over before the readers are let go.
const SCANS: u64 = 14;
/// The files that an open page has loaded, with one language.
const FILES: [&str; 5] = ["/", "/page.css", "/page.js", "/icon.svg", "/lang/en.json"];

pub async fn web(report: &mut Report) {
    let page = Server::on(free_port());
    let more = format!(
        "ready_hold = \"{}ms\"\n[web]\nlisten = \"{}\"\n",
        GREEN.as_millis(),
        page.0
    );
    let rig = Rig::new(Way::Plain, &more).await;
    let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let mut station = OnTerminal::start(&rig);
    let page = page.awaited();
    // The first scans find no connection to the service and cold caches.
    block(&mut station, 10, &mut Times::default()).await;
    memory(report, "resident memory, no page open", &station);
    let (mut without, mut with) = (Times::default(), Times::default());
    for _ in 0..BLOCKS {
        block(&mut station, SCANS, &mut without).await;
        let readers: Vec<TcpStream> = (0..READERS).map(|_| reader(page)).collect();
        block(&mut station, SCANS, &mut with).await;
        drop(readers);
    }
    for (what, times) in [
        ("without a reader", &mut without),
        ("beside 32 that do not read", &mut with),
    ] {
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            report.figure(
                &format!("scan to green drawn, {what}, {name}"),
                times.percentile(percent),
                "ms",
                if percent == 99 {
                    Promise::Under(20.0)
                } else {
                    Promise::Nothing
                },
            );
        }
    }
    let mut open = page.events();
    open.find("beat", |_| true);
    memory(report, "resident memory, one page open", &station);
    let loaded: u64 = FILES
        .iter()
        .map(|path| u64::try_from(page.get(path).body.len()).unwrap())
        .sum();
    report.figure(
        "the page as loaded, with one language",
        number(loaded) / 1e3,
        "kB",
        Promise::Under(60.0),
    );
}

fn memory(report: &mut Report, what: &str, station: &OnTerminal) {
    let memory = Memory::of(station.pid());
    report.figure(what, megabytes(memory.resident), "MB", Promise::Under(20.0));
    report.figure(
        "  of which its own, not mapped from its file",
        megabytes(memory.own),
        "MB",
        Promise::Nothing,
    );
}

async fn block(station: &mut OnTerminal, scans: u64, lamps: &mut Times) {
    for nth in 0..scans {
        tokio::time::sleep(GREEN + DARK).await;
        lamps.add(station.scan(nth).1);
    }
}

/// A page that asks for the events and never reads one.
fn reader(page: Server) -> TcpStream {
    let mut stream = page.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2_048).unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", page.0);
    stream.write_all(request.as_bytes()).unwrap();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    stream
}
