//! Streams from their bytes to the station: standard input and TCP, over real pipes and sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::Ipv4Addr,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// A station that takes scans by hand.
pub(super) struct Bench {
    pub(super) scans: mpsc::Receiver<Scan>,
    pub(super) state: watch::Receiver<State>,
    pub(super) outlet: Outlet,
    pub(super) teller: Teller,
    places: Arc<Semaphore>,
}

impl Bench {
    pub(super) fn new(kind: Kind) -> Self {
        let name = Name::new("left").unwrap();
        let (sender, scans) = mpsc::channel(SCANS_IN_PROGRESS);
        let places = Arc::new(Semaphore::new(SCANS_IN_PROGRESS));
        let outlet = Outlet::new(name.clone(), sender, Arc::clone(&places));
        let (sender, state) = watch::channel(State::Starting);
        let teller = Teller { settings: Settings { name, lane: Name::new("main").unwrap(), kind }, state: sender, pulse: Pulse::default() };
        Self { scans, state, outlet, teller, places }
    }

    fn on_loopback() -> Self {
        Self::new(Kind::Tcp { listen: (Ipv4Addr::LOCALHOST, 0).into() })
    }

    /// The next scan; its place is free again at once.
    pub(super) async fn next(&mut self) -> Content {
        timeout(SOON, self.scans.recv()).await.expect("no scan came").expect("the scanner has ended").content
    }

    pub(super) async fn until(&mut self, wanted: impl Fn(&State) -> bool) -> State {
        timeout(SOON, self.state.wait_for(|state| wanted(state))).await.expect("the state did not come").unwrap().clone()
    }

    /// The scanner as `scanner::run` runs it, but with a listener whose port is known.
    async fn serve(&self) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (outlet, teller) = (self.outlet.clone(), self.teller.clone());
        (listener.local_addr().unwrap(), tokio::spawn(async move { tcp::serve(&listener, &outlet, &teller).await }))
    }
}

pub(super) fn code(text: &str) -> Content {
    Content::Code(text.as_bytes().to_vec())
}

#[tokio::test]
async fn each_line_of_standard_input_is_a_scan_and_the_end_is_said_when_all_are_taken() {
    let mut bench = Bench::new(Kind::Stdin);
    let (reader, mut writer) = io::pipe().unwrap();
    let (outlet, teller) = (bench.outlet.clone(), bench.teller.clone());
    tokio::spawn(async move { stdin::run("left", reader, &outlet, &teller).await });
    bench.until(|state| *state == State::Ok).await;
    writer.write_all(b"C02XK0AAJG5H\r\n\r\nC02XK0AAJG5J\nlast").unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    assert_eq!(bench.next().await, code("C02XK0AAJG5J"));
    drop(writer);
    assert_eq!(bench.next().await, code("last"));
    bench.until(|state| *state == State::Ended).await;
}

#[tokio::test]
async fn a_long_pipe_is_held_back_and_every_line_counts_from_when_it_gets_its_place() {
    let mut bench = Bench::new(Kind::Stdin);
    let lines = (0..500).map(|number| format!("LINE{number:04}\n")).collect::<String>();
    let (outlet, teller) = (bench.outlet.clone(), bench.teller.clone());
    let reading = tokio::spawn(async move { stdin::run("left", io::Cursor::new(lines), &outlet, &teller).await });
    let mut held = Vec::new();
    for _ in 0..SCANS_IN_PROGRESS {
        held.push(bench.scans.recv().await.unwrap());
    }
    assert_eq!(bench.places.available_permits(), 0);
    assert!(bench.scans.try_recv().is_err(), "nothing more comes while all places are taken");
    assert!(*bench.state.borrow() == State::Ok && !reading.is_finished());
    let freed = Moment::now();
    held.clear();
    for number in SCANS_IN_PROGRESS..500 {
        let scan = timeout(SOON, bench.scans.recv()).await.unwrap().unwrap();
        assert_eq!(scan.content, code(&format!("LINE{number:04}")));
        assert!(scan.at.boot >= freed.boot && scan.place.is_some());
    }
    bench.until(|state| *state == State::Ended).await;
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
    let mut bench = Bench::new(Kind::Stdin);
    stdin::run("left", Breaks(false), &bench.outlet, &bench.teller).await;
    assert_eq!(bench.next().await, code("A1"));
    assert!(matches!(bench.next().await, Content::Broken { bytes, .. } if bytes == b"B22"));
    assert!(matches!(&*bench.state.borrow(), State::Fault(words) if words.contains("gone")));
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
    assert_eq!(bench.next().await, code("FVFXY1"), "the other's half code is not mixed in");
    first.write_all(b"AAJG5H\n").await.unwrap();
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    second.write_all(b"no line end").await.unwrap();
    drop(second);
    assert_eq!(bench.next().await, code("no line end"));
}

#[tokio::test]
async fn a_client_that_never_ends_its_line_is_bounded_and_answered_once() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let mut endless = TcpStream::connect(address).await.unwrap();
    endless.write_all(&vec![b'X'; 1 << 20]).await.unwrap();
    endless.write_all(b"\nA1\n").await.unwrap();
    assert!(matches!(bench.next().await, Content::Broken { bytes, .. } if bytes.len() == framing::LONGEST));
    assert_eq!(bench.next().await, code("A1"));
}

#[tokio::test]
async fn connections_left_behind_do_not_lock_the_next_scanner_out() {
    let mut bench = Bench::on_loopback();
    let (address, _task) = bench.serve().await;
    let mut connections = Vec::new();
    for number in 0..tcp::CONNECTIONS + 8 {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(format!("SCANNER{number}\n").as_bytes()).await.unwrap();
        assert_eq!(bench.next().await, code(&format!("SCANNER{number}")));
        connections.push(connection);
    }
    let mut byte = [0];
    assert_eq!(timeout(SOON, tokio::io::AsyncReadExt::read(&mut connections[0], &mut byte)).await.unwrap().unwrap_or(0), 0, "the first was closed");
    connections.last_mut().unwrap().write_all(b"still here\n").await.unwrap();
    assert_eq!(bench.next().await, code("still here"));
}

#[tokio::test]
async fn a_port_in_use_is_said_and_taken_when_it_is_free() {
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listen = holder.local_addr().unwrap();
    let mut bench = Bench::new(Kind::Tcp { listen });
    assert_eq!(probe(&bench.teller.settings), State::Busy);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(bench.teller.settings.clone(), bench.outlet.clone(), bench.teller.state.clone(), stopped, Pulse::default()));
    bench.until(|state| *state == State::Busy).await;
    drop(holder);
    bench.until(|state| *state == State::Ok).await;
    let mut connection = TcpStream::connect(listen).await.unwrap();
    connection.write_all(b"A1\n").await.unwrap();
    assert_eq!(bench.next().await, code("A1"));
    stop.send(true).unwrap();
    timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(probe(&bench.teller.settings), State::Ok, "the port is free again");
}

#[test]
fn every_state_has_words_and_every_fault_a_remedy() {
    let device = Device::Auto;
    let kinds = [
        Kind::Hid { device: device.clone(), layout: Layout::Us, pause: Duration::from_millis(80) },
        Kind::Serial { device, baud: 9_600, pause: Duration::from_millis(80) },
        Kind::Stdin,
        Kind::Tcp { listen: (Ipv4Addr::LOCALHOST, 9_000).into() },
    ];
    for kind in kinds {
        let absent = State::Absent("seen: usb-Mouse-event-mouse".to_owned());
        assert!(absent.describe(&kind).ends_with(" is not there; seen: usb-Mouse-event-mouse"), "{}", absent.describe(&kind));
        for state in [State::Starting, State::Ok, State::Unended, absent, State::NoRight, State::Busy, State::Ended, State::Fault("odd".to_owned())] {
            assert!(!state.describe(&kind).is_empty());
            let well = matches!(state, State::Starting | State::Ok | State::Ended);
            assert_eq!(state.remedy(&kind).is_none(), well, "{kind:?} {state:?}");
        }
    }
}
