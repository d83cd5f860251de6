//! Standard input and TCP over real pipes and sockets, from bytes to the station.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    io::{Read, Write},
    net::Ipv4Addr,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::runtime::clock::Moment;

const SOON: Duration = Duration::from_secs(10);
/// Long enough for a busy machine to deliver together what was written together.
const PAUSE: Duration = Duration::from_millis(500);

/// A station that takes scans by hand.
pub(super) struct Bench {
    pub(super) scans: mpsc::Receiver<Scan>,
    pub(super) state: watch::Receiver<ScannerState>,
    pub(super) scan_sender: ScanSender,
    pub(super) reporter: Reporter,
}

impl Bench {
    pub(super) fn new(kind: ScannerKind) -> Self {
        let name = Name::new("left").unwrap();
        let (sender, scans) = mpsc::channel(SCANS_IN_PROGRESS);
        let scan_sender = ScanSender::new(name.clone(), sender);
        let (sender, state) = watch::channel(ScannerState::Starting);
        let reporter = Reporter::new(
            Settings {
                name,
                lane: Name::new("main").unwrap(),
                kind,
            },
            sender,
            Pulse::default(),
        );
        Self {
            scans,
            state,
            scan_sender,
            reporter,
        }
    }

    /// A port whose pause is too long to end a code in a test.
    fn on_loopback() -> Self {
        Self::with_pause(Duration::from_secs(3_600))
    }

    fn with_pause(pause: Duration) -> Self {
        Self::new(ScannerKind::Tcp {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            pause,
        })
    }

    /// The next scan; its place is free again at once.
    pub(super) async fn next(&mut self) -> ScannedCode {
        timeout(SOON, self.scans.recv())
            .await
            .expect("no scan came")
            .expect("the scanner has ended")
            .code
    }

    pub(super) async fn until(&mut self, wanted: impl Fn(&ScannerState) -> bool) -> ScannerState {
        timeout(SOON, self.state.wait_for(|state| wanted(state)))
            .await
            .expect("the state did not come")
            .unwrap()
            .clone()
    }

    /// Runs the scanner as `scanner::run` does, but with a listener whose port is known.
    async fn serve(&self) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (scan_sender, reporter) = (self.scan_sender.clone(), self.reporter.clone());
        let ScannerKind::Tcp { pause, .. } = reporter.settings.kind else {
            panic!("no port")
        };
        (
            listener.local_addr().unwrap(),
            tokio::spawn(
                async move { tcp::serve(&listener, pause, &scan_sender, &reporter).await },
            ),
        )
    }
}

pub(super) fn code(text: &str) -> ScannedCode {
    ScannedCode::Whole(text.as_bytes().to_vec())
}

#[tokio::test]
async fn each_line_of_standard_input_is_a_scan_and_the_end_is_said_when_all_are_taken() {
    let mut bench = Bench::new(ScannerKind::Stdin);
    let (reader, mut writer) = io::pipe().unwrap();
    let (scan_sender, reporter) = (bench.scan_sender.clone(), bench.reporter.clone());
    tokio::spawn(async move { stdin::run("left", reader, &scan_sender, &reporter).await });
    bench.until(|state| *state == ScannerState::Ok).await;
    writer
        .write_all(b"C02XK0AAJG5H\r\n\r\nC02XK0AAJG5J\nlast")
        .unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    assert_eq!(bench.next().await, code("C02XK0AAJG5J"));
    drop(writer);
    assert_eq!(bench.next().await, code("last"));
    bench.until(|state| *state == ScannerState::Ended).await;
}

/// All frames, one per line.
fn framed_lines() -> Vec<u8> {
    framing::FRAMED
        .iter()
        .flat_map(|framed| [framed, b"\r\n\0\x11\n".as_slice()].concat())
        .collect()
}

#[tokio::test]
async fn the_frame_around_a_code_is_dropped_on_standard_input_and_over_tcp() {
    let mut piped = Bench::new(ScannerKind::Stdin);
    let (scan_sender, reporter) = (piped.scan_sender.clone(), piped.reporter.clone());
    tokio::spawn(async move {
        stdin::run(
            "left",
            io::Cursor::new(framed_lines()),
            &scan_sender,
            &reporter,
        )
        .await
    });
    let mut connected = Bench::on_loopback();
    let (address, _task) = connected.serve().await;
    TcpStream::connect(address)
        .await
        .unwrap()
        .write_all(&framed_lines())
        .await
        .unwrap();
    for framed in framing::FRAMED {
        assert_eq!(
            piped.next().await,
            code("HLDRND0002"),
            "{:?}",
            framed.escape_ascii().to_string()
        );
        assert_eq!(
            connected.next().await,
            code("HLDRND0002"),
            "{:?}",
            framed.escape_ascii().to_string()
        );
    }
    piped.until(|state| *state == ScannerState::Ended).await;
    assert!(piped.scans.try_recv().is_err(), "noise is not a scan");
}

#[tokio::test]
async fn a_long_pipe_is_held_back_and_every_line_counts_from_when_it_gets_its_place() {
    let mut bench = Bench::new(ScannerKind::Stdin);
    let lines = (0..500)
        .map(|number| format!("LINE{number:04}\n"))
        .collect::<String>();
    let (scan_sender, reporter) = (bench.scan_sender.clone(), bench.reporter.clone());
    let reading = tokio::spawn(async move {
        stdin::run("left", io::Cursor::new(lines), &scan_sender, &reporter).await
    });
    let mut held = Vec::new();
    for _ in 0..SCANS_IN_PROGRESS {
        held.push(bench.scans.recv().await.unwrap());
    }
    assert_eq!(bench.scan_sender.places.available_permits(), 0);
    assert!(
        bench.scans.try_recv().is_err(),
        "nothing more comes while all places are taken"
    );
    assert!(*bench.state.borrow() == ScannerState::Ok && !reading.is_finished());
    let freed = Moment::now();
    held.clear();
    for number in SCANS_IN_PROGRESS..500 {
        let scan = timeout(SOON, bench.scans.recv()).await.unwrap().unwrap();
        assert_eq!(scan.code, code(&format!("LINE{number:04}")));
        assert!(scan.at.boot >= freed.boot && scan.place.is_some());
    }
    bench.until(|state| *state == ScannerState::Ended).await;
}

#[tokio::test]
async fn a_broken_pipe_spoils_the_line_it_broke() {
    struct Breaks(bool);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 {
                return Err(io::Error::other("gone"));
            }
            self.0 = true;
            buffer[..6].copy_from_slice(b"A1\nB22");
            Ok(6)
        }
    }
    let mut bench = Bench::new(ScannerKind::Stdin);
    stdin::run("left", Breaks(false), &bench.scan_sender, &bench.reporter).await;
    assert_eq!(bench.next().await, code("A1"));
    assert!(matches!(bench.next().await, ScannedCode::Broken { bytes, .. } if bytes == b"B22"));
    assert!(matches!(&*bench.state.borrow(), ScannerState::Fault(words) if words.contains("gone")));
}

#[tokio::test]
async fn each_connection_is_framed_for_itself_and_an_idle_one_blocks_nobody() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let _idle = TcpStream::connect(address).await.unwrap();
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    first.write_all(b"C02XK0").await.unwrap();
    second.write_all(b"FVFXY1\r\n").await.unwrap();
    assert_eq!(
        bench.next().await,
        code("FVFXY1"),
        "the other's half code is not mixed in"
    );
    first.write_all(b"AAJG5H\n").await.unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    second.write_all(b"FVFXY2").await.unwrap();
    drop(second);
    assert!(
        matches!(bench.next().await, ScannedCode::Broken { bytes, why } if bytes == b"FVFXY2" && why.contains("closed")),
        "its codes have line ends"
    );
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(b"no line end").await.unwrap();
    drop(third);
    assert_eq!(
        bench.next().await,
        code("no line end"),
        "one code, and closed"
    );
}

#[tokio::test]
async fn over_tcp_a_pause_ends_a_code_and_nothing_that_follows_joins_it() {
    let mut bench = Bench::with_pause(PAUSE);
    let (address, _task) = bench.serve().await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    for text in ["C02XK0AAJG5H", "C02XK0AAJG5J"] {
        connection.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(bench.next().await, code(text));
    }
    connection.write_all(b"C02XK0AAJG5K\r\n").await.unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5K"));
    // The connection has sent a line end by now: a code without one is only part of a code.
    connection.write_all(b"C02XK0AA").await.unwrap();
    assert!(
        matches!(bench.next().await, ScannedCode::Broken { bytes, why } if bytes == b"C02XK0AA" && why.contains("broke off"))
    );
    connection.write_all(b"C02XK0AAJG5L\r\n").await.unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5L"));
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(b"C02XK0AAJG5M").await.unwrap();
    assert_eq!(
        bench.next().await,
        code("C02XK0AAJG5M"),
        "another connection is judged by its own"
    );
}

#[tokio::test]
async fn a_line_end_that_ends_no_code_is_no_sign_that_codes_have_one() {
    let mut bench = Bench::with_pause(PAUSE);
    let (address, _task) = bench.serve().await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    for text in ["C02XK0AAJG5H", "C02XK0AAJG5J"] {
        connection
            .write_all(format!("\r\n\0\n{text}").as_bytes())
            .await
            .unwrap();
        assert_eq!(
            bench.next().await,
            code(text),
            "a sign of life between two codes"
        );
    }
}

#[tokio::test]
async fn over_tcp_codes_without_an_end_are_said_until_one_has_it_whatever_connection_brings_them() {
    let mut bench = Bench::with_pause(PAUSE);
    let (address, _task) = bench.serve().await;
    bench.until(|state| *state == ScannerState::Ok).await;
    for nth in 0..3 {
        assert_eq!(
            *bench.state.borrow(),
            ScannerState::Ok,
            "once or twice may be chance"
        );
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(b"C02XK0AAJG5H").await.unwrap();
        assert_eq!(bench.next().await, code("C02XK0AAJG5H"), "{nth}");
    }
    bench.until(|state| *state == ScannerState::Unended).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(b"\0").await.unwrap();
    connection.write_all(b"C02XK0AAJG5").await.unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5"));
    assert_eq!(
        *bench.state.borrow(),
        ScannerState::Unended,
        "a new connection alone changes nothing"
    );
    connection.write_all(b"C02XK0AAJG5H\r").await.unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    bench.until(|state| *state == ScannerState::Ok).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_sender_is_waited_for_from_character_to_character() {
    let (near, mut far) = (
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        Bench::with_pause(Duration::from_millis(500)),
    );
    let address = near.local_addr().unwrap();
    let (scan_sender, reporter) = (far.scan_sender.clone(), far.reporter.clone());
    let _task = tokio::spawn(async move {
        tcp::serve(&near, Duration::from_millis(500), &scan_sender, &reporter).await
    });
    let mut connection = TcpStream::connect(address).await.unwrap();
    for character in b"C02XK0AAJG5H" {
        connection.write_all(&[*character]).await.unwrap();
        // Let the connection's task read it before the clock moves on.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    connection.write_all(b"\n").await.unwrap();
    assert_eq!(far.next().await, code("C02XK0AAJG5H"));
}

#[tokio::test]
async fn connections_of_one_port_take_turns_while_the_station_is_busy() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let mut flood = TcpStream::connect(address).await.unwrap();
    flood
        .write_all("FLOOD\n".repeat(1_000).as_bytes())
        .await
        .unwrap();
    let mut held = std::collections::VecDeque::new();
    while held.len() < SCANS_IN_PROGRESS {
        held.push_back(bench.scans.recv().await.unwrap());
    }
    let mut person = TcpStream::connect(address).await.unwrap();
    person.write_all(b"C02XK0AAJG5H\n").await.unwrap();
    // The person's scan gets through as soon as its connection is read and a few places are free: it does not wait for the flood.
    let mut before = 0;
    loop {
        held.pop_front();
        let scan = timeout(SOON, bench.scans.recv()).await.unwrap().unwrap();
        if scan.code == code("C02XK0AAJG5H") {
            break;
        }
        before += 1;
        assert!(before < 900, "it waits for the whole flood");
        held.push_back(scan);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_flood_of_one_scanner_takes_no_place_of_another() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let mut flood = TcpStream::connect(address).await.unwrap();
    flood
        .write_all("FLOOD\n".repeat(100).as_bytes())
        .await
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..SCANS_IN_PROGRESS {
        held.push(timeout(SOON, bench.scans.recv()).await.unwrap().unwrap());
    }
    assert_eq!(bench.scan_sender.places.available_permits(), 0);
    // Next to it a keyboard scanner and a pipe of the same station.
    let keyboard = ScanSender::new(
        Name::new("right").unwrap(),
        bench.scan_sender.station.clone(),
    );
    let pipe = ScanSender::new(
        Name::new("pipe").unwrap(),
        bench.scan_sender.station.clone(),
    );
    for nth in 0..SCANS_IN_PROGRESS {
        assert!(
            timeout(SOON, pipe.send_waiting(code("PIPE")))
                .await
                .unwrap()
        );
        let (keyboard, text) = (keyboard.clone(), format!("KEYS{nth}"));
        assert!(
            tokio::task::spawn_blocking(move || keyboard.send_now(Moment::now(), code(&text)))
                .await
                .unwrap()
        );
        for _ in 0..2 {
            let scan = bench.scans.recv().await.unwrap();
            assert!(scan.place.is_some(), "{scan:?}");
            held.push(scan);
        }
    }
    let beyond =
        tokio::task::spawn_blocking(move || keyboard.send_now(Moment::now(), code("KEYS")));
    assert!(
        beyond.await.unwrap() && bench.scans.recv().await.unwrap().place.is_none(),
        "its own are used up"
    );
}

#[tokio::test]
async fn a_client_that_never_ends_its_line_is_bounded_and_answered_once() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let mut endless = TcpStream::connect(address).await.unwrap();
    endless.write_all(&vec![b'X'; 1 << 20]).await.unwrap();
    endless.write_all(b"\nA1\n").await.unwrap();
    assert!(
        matches!(bench.next().await, ScannedCode::Broken { bytes, .. } if bytes.len() == framing::LONGEST)
    );
    assert_eq!(bench.next().await, code("A1"));
}

#[tokio::test]
async fn connections_left_behind_do_not_lock_the_next_scanner_out() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let mut connections = Vec::new();
    for number in 0..tcp::CONNECTIONS + 8 {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection
            .write_all(format!("SCANNER{number}\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(bench.next().await, code(&format!("SCANNER{number}")));
        connections.push(connection);
    }
    let mut byte = [0];
    assert_eq!(
        timeout(
            SOON,
            tokio::io::AsyncReadExt::read(&mut connections[0], &mut byte)
        )
        .await
        .unwrap()
        .unwrap_or(0),
        0,
        "the first was closed"
    );
    connections
        .last_mut()
        .unwrap()
        .write_all(b"still here\n")
        .await
        .unwrap();
    assert_eq!(bench.next().await, code("still here"));
}

#[tokio::test]
async fn a_port_in_use_is_said_and_taken_when_it_is_free() {
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listen = holder.local_addr().unwrap();
    let mut bench = Bench::new(ScannerKind::Tcp {
        listen,
        pause: PAUSE,
    });
    assert_eq!(probe(&bench.reporter.settings), ScannerState::Busy);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(
        bench.reporter.settings.clone(),
        bench.scan_sender.clone(),
        bench.reporter.state.clone(),
        stopped,
        Pulse::default(),
    ));
    bench.until(|state| *state == ScannerState::Busy).await;
    drop(holder);
    bench.until(|state| *state == ScannerState::Ok).await;
    let mut connection = TcpStream::connect(listen).await.unwrap();
    connection.write_all(b"A1\n").await.unwrap();
    assert_eq!(bench.next().await, code("A1"));
    stop.send(true).unwrap();
    timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(
        probe(&bench.reporter.settings),
        ScannerState::Ok,
        "the port is free again"
    );
}

#[test]
fn every_state_has_words_and_every_fault_a_remedy() {
    let device = DeviceFile::Auto;
    let kinds = [
        ScannerKind::Hid {
            device: device.clone(),
            layout: Layout::Us,
            pause: Duration::from_millis(80),
        },
        ScannerKind::Serial {
            device,
            baud: 9_600,
            pause: Duration::from_millis(80),
        },
        ScannerKind::Stdin,
        ScannerKind::Tcp {
            listen: (Ipv4Addr::LOCALHOST, 9_000).into(),
            pause: PAUSE,
        },
    ];
    for kind in kinds {
        let absent = ScannerState::Absent("seen: usb-Mouse-event-mouse".to_owned());
        assert!(
            absent
                .describe(&kind)
                .ends_with(" is not there; seen: usb-Mouse-event-mouse"),
            "{}",
            absent.describe(&kind)
        );
        for state in [
            ScannerState::Starting,
            ScannerState::Ok,
            ScannerState::Unended,
            absent,
            ScannerState::NoRight,
            ScannerState::Busy,
            ScannerState::Ended,
            ScannerState::Fault("odd".to_owned()),
        ] {
            assert!(!state.describe(&kind).is_empty());
            let well = matches!(
                state,
                ScannerState::Starting | ScannerState::Ok | ScannerState::Ended
            );
            assert_eq!(state.remedy(&kind).is_none(), well, "{kind:?} {state:?}");
        }
    }
}
