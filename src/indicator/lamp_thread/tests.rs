//! A lane on its real thread and clock, with an output that writes down what it is driven to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc as blocking,
    },
    time::Instant as Clock,
};

use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    indicator::{
        held::Registry,
        output::Output,
        recording::{Recording, Tape},
    },
    reason::Signal,
    station::status::{LampAnswer, LaneStatus},
};

const GREEN: Levels = Levels {
    green: true,
    ..Levels::DARK
};

/// A lane under test, and the station's side of it.
struct Bench {
    feed: LampFeed,
    state: watch::Receiver<LampState>,
    stop: watch::Sender<bool>,
    tape: Tape,
    unplugged: Arc<AtomicBool>,
    lane: JoinHandle<()>,
}

/// Runs a lane whose openings end as `openings` say, and well when these are used up. The first recording fails on `fails_on`.
fn bench(openings: Vec<LampState>, fails_on: Option<Levels>) -> Bench {
    let feed = LampFeed::dark(Boot::now());
    let (states, state) = watch::channel(LampState::None);
    let (stop, stopped) = watch::channel(false);
    let tape = Tape::default();
    let registry: &'static Registry = Box::leak(Box::new(Registry::new()));
    let mut openings = VecDeque::from(openings);
    let mut fails_on = fails_on;
    let (recorded, unplugged) = (tape.clone(), Arc::new(AtomicBool::new(false)));
    let gone = Arc::clone(&unplugged);
    let open = move || match openings.pop_front() {
        Some(state) => Err(state),
        None => Ok(registry.hold(Output::Recording(Recording {
            tape: recorded.clone(),
            fails_on: fails_on.take(),
            unplugged: Some(Arc::clone(&gone)),
            ..Recording::default()
        }))),
    };
    let lamps = Lamps {
        name: Name::new("left").unwrap(),
        settings: Settings::Terminal {
            ready_hold: Duration::from_secs(3),
        },
        ready_limit: Duration::from_secs(4),
        retry: Duration::from_millis(50),
        feed: feed.clone(),
        state: states,
    };
    Bench {
        feed,
        state,
        stop,
        tape,
        unplugged,
        lane: tokio::spawn(run(lamps, stopped, Pulse::default(), open)),
    }
}

impl Bench {
    fn scan(&self) {
        let status = self.feed.now().status;
        self.feed.show(LaneStatus {
            scan: status.scan + 1,
            scanned_at: Boot::now(),
            answer: None,
            ..status
        });
    }

    fn answer(&self, signal: Signal) {
        let answer = Some(LampAnswer::in_a_test(signal));
        let status = self.feed.now().status;
        self.feed.show(LaneStatus { answer, ..status });
    }

    async fn state(&mut self, wanted: &LampState) {
        timeout(
            Duration::from_secs(5),
            self.state.wait_for(|state| state == wanted),
        )
        .await
        .expect("the state is told")
        .unwrap();
    }

    /// Waits for the levels and says when they were driven.
    async fn driven(&self, levels: Levels) -> Clock {
        let end = Clock::now() + Duration::from_secs(5);
        loop {
            match self.tape.all().last() {
                Some((when, last)) if *last == levels => return *when,
                _ => assert!(
                    Clock::now() < end,
                    "{levels:?} is never driven: {:?}",
                    self.tape.all()
                ),
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_new_scan_darkens_the_lane_within_20_ms() {
    let mut bench = bench(vec![], None);
    bench.state(&LampState::Ok).await;
    let mut took = Vec::new();
    for _ in 0..9 {
        bench.scan();
        bench.answer(Signal::Ready);
        bench.driven(GREEN).await;
        let scanned = Clock::now();
        bench.scan();
        took.push(bench.driven(Levels::DARK).await.duration_since(scanned));
    }
    took.sort();
    assert!(took[4] < Duration::from_millis(20), "{took:?}");
}

#[tokio::test]
async fn lamps_start_dark_and_end_dark() {
    let bench = bench(vec![], None);
    bench.driven(Levels::DARK).await;
    bench.scan();
    bench.answer(Signal::Ready);
    bench.driven(GREEN).await;
    bench.stop.send_replace(true);
    bench.lane.await.unwrap();
    assert_eq!(bench.tape.last(), Some(Levels::DARK));
    assert_eq!(
        bench.tape.all()[0].1,
        Levels::DARK,
        "the first thing driven is darkness"
    );
}

#[tokio::test]
async fn a_station_that_is_gone_leaves_dark_lamps() {
    let bench = bench(vec![], None);
    bench.scan();
    bench.answer(Signal::Ready);
    bench.driven(GREEN).await;
    bench.feed.end();
    bench.lane.await.unwrap();
    assert_eq!(bench.tape.last(), Some(Levels::DARK));
}

#[tokio::test]
async fn lamps_that_cannot_be_had_are_told_and_come_back_by_themselves_without_a_late_green() {
    for state in [
        LampState::Busy("GPIO17 is held by \"fan\"".to_owned()),
        LampState::Missing("there is no GPIO chip".to_owned()),
        LampState::NoRight("no right to open it".to_owned()),
        LampState::Fault("odd".to_owned()),
    ] {
        comes_back(state).await;
    }
}

async fn comes_back(trouble: LampState) {
    let mut bench = bench(vec![trouble.clone(); 8], None);
    bench.scan();
    bench.answer(Signal::Ready);
    bench.state(&trouble).await;
    bench.state(&LampState::Ok).await;
    bench.driven(Levels::DARK).await;
    bench.scan();
    bench.answer(Signal::Ready);
    bench.driven(GREEN).await;
    let greens = bench
        .tape
        .all()
        .iter()
        .filter(|(_, levels)| levels.green)
        .count();
    assert_eq!(
        greens,
        1,
        "only the scan after the opening is green: {:?}",
        bench.tape.all()
    );
}

#[tokio::test]
async fn lamps_that_are_lost_are_told_and_opened_again() {
    let mut bench = bench(vec![], Some(GREEN));
    bench.state(&LampState::Ok).await;
    bench.scan();
    bench.answer(Signal::Ready);
    bench.state(&LampState::Fault("unplugged".to_owned())).await;
    bench.state(&LampState::Ok).await;
    bench.driven(Levels::DARK).await;
    assert!(
        !bench.tape.all().iter().any(|(_, levels)| levels.green),
        "the green of the lost lamps does not come late"
    );
}

#[tokio::test]
async fn a_chip_that_goes_while_the_lamps_are_dark_is_told_and_its_return_lights_them_again() {
    let mut bench = bench(vec![], None);
    bench.state(&LampState::Ok).await;
    bench.driven(Levels::DARK).await;
    bench.unplugged.store(true, Ordering::SeqCst);
    // Nobody scans.
    bench.state(&LampState::Fault("unplugged".to_owned())).await;
    bench.unplugged.store(false, Ordering::SeqCst);
    bench.state(&LampState::Ok).await;
    bench.scan();
    bench.answer(Signal::Ready);
    bench.driven(GREEN).await;
}

#[tokio::test]
async fn blinking_keeps_its_rhythm() {
    let mut bench = bench(vec![], None);
    bench.state(&LampState::Ok).await;
    let status = bench.feed.now().status;
    bench.feed.show(LaneStatus {
        alarms: 1,
        ..status
    });
    sleep(Duration::from_millis(2500)).await;
    let red: Vec<Clock> = bench
        .tape
        .all()
        .iter()
        .filter(|(_, levels)| levels.red)
        .map(|(when, _)| *when)
        .collect();
    assert_eq!(red.len(), 6, "six flashes in two seconds");
    let late = red
        .iter()
        .zip(0..)
        .map(|(when, flash)| {
            when.duration_since(red[0])
                .abs_diff(Duration::from_millis(334) * flash)
        })
        .max()
        .unwrap();
    assert!(
        late < Duration::from_millis(100),
        "off by {late:?} on a busy machine"
    );
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_hangs_ends_the_lane() {
    let (state, _state) = watch::channel(LampState::None);
    let (_stop, stop) = watch::channel(false);
    let (release, hang) = blocking::channel::<()>();
    let hang = Arc::new(Mutex::new(hang));
    let open = move || {
        let _ = hang.lock().unwrap().recv();
        Err(LampState::None)
    };
    let lamps = Lamps {
        name: Name::new("left").unwrap(),
        settings: Settings::Terminal {
            ready_hold: Duration::from_secs(3),
        },
        ready_limit: Duration::from_secs(4),
        retry: RETRY,
        feed: LampFeed::dark(Boot::now()),
        state,
    };
    run(lamps, stop, Pulse::default(), open).await;
    drop(release);
}
