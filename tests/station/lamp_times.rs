//! When green can be seen, through the whole station: with quick and slow services, and boxes in quick succession.

use std::time::{Duration, Instant};

use benchlight::{readiness::kandji::simulator::stock::Device, simulator::faults::Effect};

use super::scans::{World, start_on};
use crate::support::lamps::Lamps;

const BOXES: usize = 8;
/// On a busy machine a line or a lamp is seen up to this much later.
const SLACK: Duration = Duration::from_millis(150);
/// A green that would last less than this before the next scan need not be seen.
const GLIMPSE: Duration = Duration::from_millis(50);
/// The time between two answers.
const GAP: Duration = Duration::from_millis(80);

struct Scanned {
    serial: String,
    ready: bool,
    at: Instant,
    answered: Option<Instant>,
}

/// Every fourth box still waits for its profile.
fn is_ready(nth: usize) -> bool {
    nth % 4 != 3
}

/// Scans one box every `pace`, with a service that takes `service` per request. Returns how many boxes were seen to be green.
async fn greens(service: Duration, pace: Duration) -> usize {
    let world = World::new().await;
    let home = world.home(false, "");
    let serial = |nth: usize| format!("LAMPS{nth:05}");
    for nth in 0..BOXES {
        let device = if is_ready(nth) {
            Device::ready(&serial(nth))
        } else {
            Device::pending(&serial(nth))
        };
        world.kandji.stock(|stock| stock.put(device));
    }
    let (lamps, terminal) = Lamps::open();
    let mut station = start_on(terminal, &home, &["run"]);
    // The first look-up makes more requests than the others.
    station.scan(b"DEMOREADY001");
    assert_eq!(station.answer().reason, "assigned");
    if !service.is_zero() {
        world.kandji.faults().all(Effect::Delay(service));
    }

    let mut scans: Vec<Scanned> = Vec::new();
    let mut due = Instant::now() + Duration::from_secs(1);
    while scans.iter().any(|scan| scan.answered.is_none()) || scans.len() < BOXES {
        let now = Instant::now();
        for answer in station.so_far().iter().filter(|answer| !answer.change) {
            let scan = scans
                .iter_mut()
                .find(|scan| scan.serial == answer.serial)
                .expect("nobody else was scanned");
            assert_eq!(
                answer.reason,
                if scan.ready {
                    "assigned"
                } else {
                    "assignment_pending"
                }
            );
            scan.answered = Some(now);
        }
        if scans.len() < BOXES && now >= due {
            let nth = scans.len();
            scans.push(Scanned {
                serial: serial(nth),
                ready: is_ready(nth),
                at: Instant::now(),
                answered: None,
            });
            station.scan(serial(nth).as_bytes());
            due += pace;
        }
        assert!(now < due + Duration::from_secs(20), "an answer is missing");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The last box's green lasts its full time.
    tokio::time::sleep(SLACK).await;
    let end = Instant::now();
    judge(
        &scans,
        &lamps,
        end,
        &format!("{service:?} at one in {pace:?}"),
    )
}

/// Each green belongs to the newest box, and each box that was ready in time has one.
fn judge(scans: &[Scanned], lamps: &Lamps, end: Instant, what: &str) -> usize {
    let changes = lamps.changes();
    let since = |time: Instant| time.saturating_duration_since(scans[0].at).as_millis();
    let story = || {
        changes
            .iter()
            .map(|(at, lit)| (since(*at), *lit))
            .collect::<Vec<_>>()
    };
    let mut seen = 0;
    for (nth, scan) in scans.iter().enumerate() {
        let next = scans.get(nth + 1).map_or(end, |next| next.at);
        let which = || {
            format!(
                "{what}: box {nth}, scanned at {} ms, answered at {:?} ms: {:?}",
                since(scan.at),
                scan.answered.map(since),
                story()
            )
        };
        let answered = scan.answered.unwrap();
        let green = changes
            .iter()
            .find(|(at, lit)| lit.green && *at >= scan.at && *at < next)
            .map(|(at, _)| *at);
        if let Some(green) = green {
            assert!(
                scan.ready && answered <= green + SLACK,
                "a green that is not this box's own: {}",
                which()
            );
            let dark = changes
                .iter()
                .find(|(at, lit)| !lit.green && *at > green)
                .map(|(at, _)| *at);
            assert!(
                nth + 1 == scans.len() || dark.is_some_and(|dark| dark < next + SLACK),
                "its green outlasts the next scan: {}",
                which()
            );
            seen += 1;
        } else {
            let in_time = answered.max(scan.at + GAP) + GLIMPSE < next;
            assert!(
                !(scan.ready && in_time),
                "its green was not seen: {}",
                which()
            );
        }
    }
    seen
}

/// One box a second and one every 400 ms, at the same time.
async fn both_paces(service_ms: u64) -> (usize, usize) {
    let service = Duration::from_millis(service_ms);
    tokio::join!(
        greens(service, Duration::from_secs(1)),
        greens(service, Duration::from_millis(400))
    )
}

const READY: usize = BOXES - BOXES / 4;

#[tokio::test(flavor = "multi_thread")]
async fn every_ready_box_of_a_service_that_takes_no_time_is_seen_to_be_green() {
    assert_eq!(both_paces(0).await, (READY, READY));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ready_box_of_a_service_that_takes_50_ms_is_seen_to_be_green() {
    assert_eq!(both_paces(50).await, (READY, READY));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ready_box_of_a_service_that_takes_250_ms_is_seen_to_be_green() {
    let (slowly, quickly) = both_paces(250).await;
    assert_eq!(slowly, READY);
    assert!(
        quickly > READY / 2,
        "{quickly} at one in 400 ms: less than half came in time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ready_box_of_a_service_that_takes_310_ms_is_seen_to_be_green_if_it_is_answered_in_time()
 {
    let (slowly, quickly) = both_paces(310).await;
    assert_eq!(slowly, READY);
    println!("{quickly} of {READY} ready boxes were seen to be green at one in 400 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_the_next_has_overtaken_is_never_seen_to_be_green() {
    let (slowly, quickly) = both_paces(600).await;
    assert_eq!(slowly, READY);
    assert!(
        quickly <= READY / 2,
        "{quickly}: only a scan that was late by itself leaves the one before it some time"
    );
}
