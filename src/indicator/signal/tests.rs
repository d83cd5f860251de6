//! Signals over time: each one as a picture, the rules between them, and a sweep over random days.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;

use super::*;

const HOLD: Duration = Duration::from_secs(3);
/// The default deadline of 2 s and the 2 s after it.
const LIMIT: Duration = Duration::from_secs(4);
const BARE: Fitted = Fitted {
    amber: false,
    buzzer: false,
};
const FULL: Fitted = Fitted {
    amber: true,
    buzzer: true,
};

fn at(ms: u64) -> Boot {
    Boot::from_duration(Duration::from_secs(1000) + Duration::from_millis(ms))
}

fn ms(time: Boot) -> u64 {
    u64::try_from(time.since(at(0)).as_millis()).unwrap()
}

/// What the lamps are to show.
#[derive(Clone, Copy, Debug)]
struct Shown {
    lane: LaneStatus,
    unable: bool,
}

fn dark_lane() -> Shown {
    Shown {
        lane: LaneStatus::at_start(at(0)),
        unable: false,
    }
}

/// What happens to a lane.
#[derive(Clone, Copy, Debug)]
enum Event {
    Scan,
    Answer(Signal),
    Alarm,
    Unable(bool),
}
use Event::{Alarm, Answer, Scan, Unable};

fn happen(status: &mut Shown, event: Event, now: Boot) {
    match event {
        Scan => {
            status.lane = LaneStatus {
                scan: status.lane.scan + 1,
                scanned_at: now,
                answer: None,
                ..status.lane
            }
        }
        Answer(signal) => status.lane.answer = Some(LampAnswer::in_a_test(signal)),
        Alarm => status.lane.alarms += 1,
        Unable(unable) => status.unable = unable,
    }
}

/// A stretch of unchanged levels.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u64,
    to: u64,
    levels: Levels,
    playing: Option<Playing>,
    status: Shown,
}

/// Plays a script of (milliseconds, event), looking when something happens and when the player asks for it.
fn play(fitted: Fitted, script: &[(u64, Event)], until: u64) -> Vec<Stretch> {
    let mut player = Player::new(fitted, HOLD, LIMIT, at(0));
    let mut status = dark_lane();
    let mut script = script.iter().copied().peekable();
    let mut stretches = Vec::new();
    let mut now = 0;
    while now < until {
        while let Some((_, event)) = script.next_if(|(time, _)| *time <= now) {
            happen(&mut status, event, at(now));
        }
        let look = player.look(status.lane, status.unable, at(now));
        let next = [
            look.again.map(ms),
            script.peek().map(|(time, _)| *time),
            Some(until),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap();
        assert!(next > now, "time stands still at {now}");
        stretches.push(Stretch {
            from: now,
            to: next,
            levels: look.levels,
            playing: player.playing,
            status,
        });
        now = next;
    }
    stretches
}

/// One character for 50 ms: the lamp that is lit at that moment.
fn lamps(stretches: &[Stretch]) -> String {
    picture(stretches, |levels| {
        match (levels.green, levels.red, levels.amber) {
            (false, false, false) => '.',
            (true, false, false) => 'G',
            (false, true, false) => 'R',
            (false, false, true) => 'A',
            _ => '!',
        }
    })
}

fn buzzer(stretches: &[Stretch]) -> String {
    picture(stretches, |levels| if levels.buzzer { 'b' } else { '.' })
}

fn picture(stretches: &[Stretch], letter: impl Fn(Levels) -> char) -> String {
    let end = stretches.last().map_or(0, |last| last.to);
    (0..end)
        .step_by(50)
        .map(|time| {
            letter(
                stretches
                    .iter()
                    .find(|stretch| stretch.from <= time && time < stretch.to)
                    .unwrap()
                    .levels,
            )
        })
        .collect()
}

/// The picture of an answer that comes 200 ms after its scan, from the moment it shows, for four seconds.
fn answer(fitted: Fitted, signal: Signal) -> (String, String) {
    let stretches = play(fitted, &[(0, Scan), (200, Answer(signal))], 4200);
    (
        lamps(&stretches)[4..].to_owned(),
        buzzer(&stretches)[4..].to_owned(),
    )
}

/// The pictures in `docs/operating.md`.
fn pictures() -> String {
    let mut out = String::from(
        "              0s                  1s                  2s                  3s\n",
    );
    let mut row = |name: &str, picture: &str| out.push_str(&format!("{name:<14}{picture}\n"));
    for signal in [Signal::Ready, Signal::Stop, Signal::Hold, Signal::Rescan] {
        let (lamps, buzzer) = answer(FULL, signal);
        row(signal.code(), &lamps);
        if signal == Signal::Hold {
            row("  no amber", &answer(BARE, signal).0);
        }
        row("  buzzer", &buzzer);
    }
    let alarm = play(FULL, &[(200, Alarm)], 4200);
    row("alarm", &lamps(&alarm)[4..]);
    row("  buzzer", &buzzer(&alarm)[4..]);
    row("working", &lamps(&play(FULL, &[(200, Scan)], 4200))[4..]);
    row(
        "unable",
        &lamps(&play(FULL, &[(200, Unable(true))], 4200))[4..],
    );
    out
}

#[test]
fn each_signal_has_the_rhythm_that_the_operating_manual_shows() {
    let manual =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let pictures = pictures();
    assert!(
        manual.contains(&pictures),
        "docs/operating.md must show exactly this:\n{pictures}"
    );
}

#[test]
fn each_signal_looks_as_promised() {
    let red_only = |signal| answer(BARE, signal).0;
    assert_eq!(
        red_only(Signal::Ready),
        format!("{}{}", "G".repeat(60), ".".repeat(20))
    );
    assert_eq!(red_only(Signal::Stop), "RRRRRRRRRR..........".repeat(4));
    assert_eq!(
        red_only(Signal::Hold),
        format!("RR{}", ".".repeat(38)).repeat(2)
    );
    assert_eq!(
        red_only(Signal::Rescan),
        format!("{}{}", "RRRR...RRRR.........".repeat(2), ".".repeat(40))
    );
    assert_eq!(red_only(Signal::None), ".".repeat(80));
    assert_eq!(
        answer(FULL, Signal::Hold).0,
        "A".repeat(80),
        "amber takes the place of the red wink"
    );
    for signal in [Signal::Ready, Signal::Stop, Signal::Rescan] {
        assert_eq!(
            answer(FULL, signal).0,
            answer(BARE, signal).0,
            "amber changes {signal:?}"
        );
        assert_eq!(
            answer(BARE, signal).1,
            ".".repeat(80),
            "no buzzer is fitted"
        );
    }
    let alarm = lamps(&play(BARE, &[(0, Alarm)], 3000));
    assert_eq!(
        alarm,
        format!(
            "..{}{}",
            "RRR....RRR...RRRR...RRR....RRR...RRRR",
            ".".repeat(21)
        )
    );
    assert_eq!(
        lamps(&play(BARE, &[(0, Unable(true))], 1000)),
        format!("..{}", "R".repeat(18)),
        "unable is red and steady"
    );
}

#[test]
fn the_buzzer_tells_the_signals_apart() {
    let tones = |signal| answer(FULL, signal).1.trim_end_matches('.').to_owned();
    assert_eq!(tones(Signal::Ready), "bbb");
    assert_eq!(tones(Signal::Hold), "bbb...bbb");
    assert_eq!(tones(Signal::Stop), "bbb...bbb...bbb");
    assert_eq!(tones(Signal::Rescan), "b".repeat(14));
    let stretches = play(FULL, &[(200, Alarm)], 1500);
    let rising = stretches
        .windows(2)
        .filter(|pair| !pair[0].levels.buzzer && pair[1].levels.buzzer)
        .count();
    assert_eq!(
        rising + usize::from(stretches[0].levels.buzzer),
        5,
        "five fast tones"
    );
}

#[test]
fn a_lane_is_dark_at_start() {
    assert_eq!(lamps(&play(FULL, &[], 1000)), ".".repeat(20));
    let mut player = Player::new(FULL, HOLD, LIMIT, at(0));
    assert_eq!(
        player.look(dark_lane().lane, false, at(0)),
        Look {
            levels: Levels::DARK,
            again: None
        },
        "and nothing wakes it"
    );
}

#[test]
fn an_answer_without_a_scan_shows_nothing() {
    assert_eq!(
        lamps(&play(FULL, &[(300, Answer(Signal::Ready))], 1000)),
        ".".repeat(20)
    );
}

#[test]
fn a_dark_lane_answers_at_once_and_a_lit_one_80_ms_after_the_scan_that_darkened_it() {
    let mut player = Player::new(BARE, HOLD, LIMIT, at(0));
    let mut status = dark_lane();
    happen(&mut status, Scan, at(1000));
    happen(&mut status, Answer(Signal::Ready), at(1000));
    assert!(
        player
            .look(status.lane, status.unable, at(1000))
            .levels
            .green,
        "dark for a second: at once"
    );
    happen(&mut status, Scan, at(1500));
    assert_eq!(
        player.look(status.lane, status.unable, at(1500)).levels,
        Levels::DARK,
        "a new scan darkens at once"
    );
    happen(&mut status, Answer(Signal::Ready), at(1510));
    assert_eq!(
        player.look(status.lane, status.unable, at(1510)),
        Look {
            levels: Levels::DARK,
            again: Some(at(1580))
        }
    );
    assert!(
        player
            .look(status.lane, status.unable, at(1580))
            .levels
            .green
    );
    happen(&mut status, Scan, at(2000));
    assert_eq!(
        player.look(status.lane, status.unable, at(2000)).levels,
        Levels::DARK
    );
    happen(&mut status, Answer(Signal::Ready), at(2080));
    assert!(
        player
            .look(status.lane, status.unable, at(2080))
            .levels
            .green,
        "dark for long enough: at once"
    );
}

#[test]
fn two_equal_answers_are_seen_as_two_even_when_their_statuses_melt_into_one() {
    let script = [
        (0, Scan),
        (0, Answer(Signal::Ready)),
        (1000, Scan),
        (1000, Answer(Signal::Ready)),
    ];
    assert_eq!(
        lamps(&play(BARE, &script, 2000)),
        format!("..{}..{}", "G".repeat(18), "G".repeat(18))
    );
}

#[test]
fn the_working_signal_shows_after_300_ms_and_the_answer_replaces_it_at_once() {
    let script = [(0, Scan), (1000, Answer(Signal::Ready))];
    assert_eq!(
        lamps(&play(FULL, &script, 2000)),
        format!("......AAAAA.....AAAA{}", "G".repeat(20)),
        "with amber"
    );
    assert_eq!(
        lamps(&play(BARE, &script, 2000)),
        format!("{}{}", ".".repeat(20), "G".repeat(20)),
        "without: dark, then at once"
    );
    assert_eq!(
        lamps(&play(FULL, &[(0, Scan)], 6000))
            .trim_end_matches('.')
            .len(),
        80,
        "given up when no answer can be expected"
    );
    let script = [
        (0, Scan),
        (310, Answer(Signal::Hold)),
        (1000, Scan),
        (1310, Answer(Signal::Ready)),
    ];
    let green = play(FULL, &script, 2000)
        .into_iter()
        .find(|stretch| stretch.levels.green)
        .unwrap();
    assert_eq!(
        green.from, 1310,
        "between two answers the lane was dark before it worked"
    );
}

/// One box after the other from a lit lane, answered all alike after `service`.
fn paced(fitted: Fitted, service: u64, pace: u64, boxes: u64) -> Vec<Stretch> {
    let scans = (0..boxes).map(|nth| (1000 + nth * pace, Scan));
    // An answer to a box that another has overtaken is not the lane's.
    let in_time = |nth: u64| service < pace || nth + 1 == boxes;
    let answers = (0..boxes)
        .filter(|nth| in_time(*nth))
        .map(|nth| (1000 + nth * pace + service, Answer(Signal::Ready)));
    let mut script: Vec<(u64, Event)> = scans.chain(answers).collect();
    script.sort_by_key(|(time, event)| (*time, matches!(event, Answer(_))));
    play(fitted, &script, 1000 + boxes * pace + 5000)
}

#[test]
fn every_ready_box_is_green_as_soon_as_it_is_answered_and_as_long_as_there_is_time() {
    const BOXES: u64 = 10;
    for (service, pace, fitted) in [0, 50, 250, 310, 600]
        .into_iter()
        .flat_map(|service| [1000, 400].map(|pace| (service, pace)))
        .flat_map(|(s, p)| [BARE, FULL].map(|f| (s, p, f)))
    {
        let stretches = paced(fitted, service, pace, BOXES);
        for nth in 0..BOXES {
            let green: Vec<&Stretch> = stretches
                .iter()
                .filter(|stretch| stretch.levels.green && stretch.status.lane.scan == nth + 1)
                .collect();
            let scanned = 1000 + nth * pace;
            let last = nth + 1 == BOXES;
            if service >= pace && !last {
                assert!(
                    green.is_empty(),
                    "{service} ms at one in {pace} ms: box {nth} was overtaken"
                );
                continue;
            }
            // Only the first finds a lane that no answer has lit.
            let shown = scanned + if nth == 0 { service } else { service.max(80) };
            let until = if last { shown + 3000 } else { scanned + pace };
            assert_eq!(
                green.first().map(|first| first.from),
                Some(shown),
                "{service} ms at one in {pace} ms, box {nth}, {fitted:?}"
            );
            assert_eq!(
                green.last().map(|last| last.to),
                Some(until),
                "{service} ms at one in {pace} ms, box {nth}, {fitted:?}"
            );
        }
    }
}

#[test]
fn green_ends_with_the_time_after_its_scan() {
    let late = lamps(&play(
        BARE,
        &[(0, Scan), (2500, Answer(Signal::Ready))],
        6000,
    ));
    assert_eq!(
        late,
        format!("{}{}{}", ".".repeat(50), "G".repeat(30), ".".repeat(40)),
        "cut short at deadline + 2 s"
    );
    let too_late = lamps(&play(
        BARE,
        &[(0, Scan), (4000, Answer(Signal::Ready))],
        6000,
    ));
    assert_eq!(too_late, ".".repeat(120), "no green at all");
}

#[test]
fn a_machine_that_slept_wakes_without_green() {
    let mut player = Player::new(BARE, HOLD, LIMIT, at(0));
    let mut status = dark_lane();
    happen(&mut status, Scan, at(1000));
    happen(&mut status, Answer(Signal::Ready), at(1000));
    let look = player.look(status.lane, status.unable, at(1000));
    assert!(look.levels.green);
    assert_eq!(
        look.again,
        Some(at(1100)),
        "green looks at the clock often, since a timer may sleep with the machine"
    );
    assert_eq!(
        player.look(status.lane, status.unable, at(3_600_000)),
        Look {
            levels: Levels::DARK,
            again: None
        }
    );
}

#[test]
fn a_second_answer_to_one_scan_is_never_green() {
    let script = [
        (0, Scan),
        (200, Answer(Signal::Hold)),
        (1000, Answer(Signal::Ready)),
    ];
    assert!(!lamps(&play(BARE, &script, 4000)).contains('G'));
    let script = [
        (0, Scan),
        (200, Answer(Signal::Ready)),
        (1000, Answer(Signal::Stop)),
    ];
    assert_eq!(
        lamps(&play(BARE, &script, 2000)),
        "....GGGGGGGGGGGGGGGG..RRRRRRRRRR........",
        "a worse one shows"
    );
}

#[test]
fn an_alarm_interrupts_and_green_does_not_come_back() {
    let green = lamps(&play(
        BARE,
        &[(0, Scan), (200, Answer(Signal::Ready)), (500, Alarm)],
        5000,
    ));
    assert_eq!(&green[..16], "....GGGGGG..RRR.");
    assert!(!green[10..].contains('G'));
    let stop = lamps(&play(
        BARE,
        &[(0, Scan), (200, Answer(Signal::Stop)), (500, Alarm)],
        5000,
    ));
    assert_eq!(
        &stop[51..],
        ".RRRRRRRRRR..........RRRRRRRRRR..........RRRRRRRR",
        "a stop comes back after it"
    );
}

#[test]
fn an_answer_that_falls_into_an_alarm_is_shown_when_it_ends() {
    let script = [(0, Scan), (200, Alarm), (700, Answer(Signal::Ready))];
    let ready = lamps(&play(BARE, &script, 5000));
    assert_eq!(
        ready.find('G'),
        Some(44),
        "the alarm ends 2 s after it began, the lane was dark just before"
    );
    assert_eq!(
        ready.rfind('G'),
        Some(79),
        "and the time after the scan still counts"
    );
    let script = [(0, Scan), (2500, Alarm), (2600, Answer(Signal::Ready))];
    assert!(
        !lamps(&play(BARE, &script, 6000)).contains('G'),
        "too late when it ends"
    );
}

#[test]
fn a_new_scan_ends_the_alarm_at_the_lamp() {
    let script = [(0, Alarm), (700, Scan), (900, Answer(Signal::Ready))];
    let picture = lamps(&play(BARE, &script, 2000));
    assert!(!picture[14..].contains('R'), "{picture}");
    assert_eq!(picture.find('G'), Some(18));
}

#[test]
fn an_alarm_that_arrives_together_with_a_new_scan_is_seen() {
    assert!(lamps(&play(BARE, &[(500, Scan), (500, Alarm)], 1000)).contains('R'));
}

#[test]
fn a_second_alarm_begins_anew() {
    let one = lamps(&play(BARE, &[(200, Alarm)], 6000))
        .rfind('R')
        .unwrap();
    let two = lamps(&play(BARE, &[(200, Alarm), (1200, Alarm)], 6000))
        .rfind('R')
        .unwrap();
    assert_eq!(
        two - one,
        20,
        "two seconds from the second one, a second later"
    );
}

#[test]
fn stop_and_hold_end_after_30_s_alarms_or_not() {
    for signal in [Signal::Stop, Signal::Hold] {
        for alarms in [
            vec![],
            vec![(5000, Alarm)],
            vec![(29_000, Alarm)],
            vec![(5000, Alarm), (20_000, Alarm)],
        ] {
            let script: Vec<_> = [(0, Scan), (200, Answer(signal))]
                .into_iter()
                .chain(alarms)
                .collect();
            let stretches = play(FULL, &script, 60_000);
            let last = stretches
                .iter()
                .filter(|stretch| {
                    matches!(
                        stretch.playing,
                        Some(Playing {
                            show: Show::Answer(_),
                            ..
                        })
                    )
                })
                .map(|s| s.to)
                .max();
            assert!(
                last.unwrap() <= 30_200,
                "{signal:?} was shown until {last:?}"
            );
            assert!(!stretches.last().unwrap().levels.lit());
        }
    }
}

#[test]
fn unable_shows_while_idle_only() {
    let script = [
        (0, Unable(true)),
        (1000, Scan),
        (1200, Answer(Signal::Rescan)),
        (4000, Unable(false)),
    ];
    let picture = lamps(&play(BARE, &script, 5000));
    assert_eq!(
        &picture[..26],
        "..RRRRRRRRRRRRRRRRRR....RR",
        "a scan darkens it, its answer shows"
    );
    assert_eq!(
        &picture[60..],
        format!("..{}{}", ".".repeat(2), picture[64..].to_owned()),
        "dark between the answer and it"
    );
    assert_eq!(
        &picture[64..],
        format!("{}{}", "R".repeat(16), ".".repeat(20)),
        "then it shows again until the station is able"
    );
    let waiting = lamps(&play(BARE, &[(0, Scan), (0, Unable(true))], 1000));
    assert_eq!(waiting, ".".repeat(20), "not while an answer is awaited");
}

#[test]
fn a_lamp_that_does_not_change_asks_for_no_look() {
    let look = |fitted, script: &[(u64, Event)], now: u64| {
        let mut player = Player::new(fitted, HOLD, LIMIT, at(0));
        let mut status = dark_lane();
        for (time, event) in script {
            happen(&mut status, *event, at(*time));
            player.look(status.lane, status.unable, at(*time));
        }
        player.look(status.lane, status.unable, at(now)).again
    };
    assert_eq!(look(BARE, &[], 10), None, "nothing has happened");
    assert_eq!(
        look(BARE, &[(1000, Unable(true))], 1010),
        None,
        "steady until the station is able"
    );
    let amber = Fitted {
        amber: true,
        buzzer: false,
    };
    assert_eq!(
        look(amber, &[(1000, Scan), (1010, Answer(Signal::Hold))], 1020),
        Some(at(31_010)),
        "steady until it is over"
    );
    assert_eq!(
        look(BARE, &[(1000, Scan), (1010, Answer(Signal::Rescan))], 3010),
        None,
        "it is over"
    );
}

#[test]
fn lamps_that_could_not_be_driven_in_time_stay_without_green() {
    let mut player = Player::new(BARE, HOLD, LIMIT, at(0));
    let mut status = dark_lane();
    happen(&mut status, Scan, at(1000));
    happen(&mut status, Answer(Signal::Ready), at(1000));
    assert!(
        player
            .look(status.lane, status.unable, at(1000))
            .levels
            .green
    );
    player.forget_green();
    assert_eq!(
        player.look(status.lane, status.unable, at(1100)).levels,
        Levels::DARK
    );
    happen(&mut status, Scan, at(2000));
    happen(&mut status, Answer(Signal::Ready), at(2010));
    assert_eq!(
        player.look(status.lane, status.unable, at(2010)).levels,
        Levels {
            green: true,
            ..Levels::DARK
        },
        "the next one is green again"
    );
}

fn event() -> impl Strategy<Value = Event> {
    let signal = prop_oneof![
        4 => Just(Signal::Ready),
        2 => Just(Signal::Stop),
        2 => Just(Signal::Hold),
        1 => Just(Signal::Rescan),
        1 => Just(Signal::None),
    ];
    prop_oneof![6 => Just(Scan), 6 => signal.prop_map(Answer), 2 => Just(Alarm), 1 => any::<bool>().prop_map(Unable)]
}

fn script() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let pause =
        prop_oneof![3 => 0..60_u64, 3 => 60..600_u64, 2 => 600..5000_u64, 1 => 5000..40_000_u64];
    prop::collection::vec((pause, event()), 1..40).prop_map(|steps| {
        let mut now = 0;
        let mut timed = |(pause, event)| {
            now += pause;
            (now, event)
        };
        steps.into_iter().map(&mut timed).collect()
    })
}

fn fitted() -> impl Strategy<Value = Fitted> {
    (any::<bool>(), any::<bool>()).prop_map(|(amber, buzzer)| Fitted { amber, buzzer })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_green_is_lit_only_for_a_fresh_ready_answer(script in script(), fitted in fitted()) {
        let end = script.last().unwrap().0 + 40_000;
        let stretches = play(fitted, &script, end);
        for stretch in &stretches {
            let Levels { green, red, amber, .. } = stretch.levels;
            prop_assert!(u8::from(green) + u8::from(red) + u8::from(amber) <= 1, "two lamps at once: {stretch:?}");
            prop_assert!(fitted.amber || !amber);
            prop_assert!(fitted.buzzer || !stretch.levels.buzzer);
            if green {
                prop_assert_eq!(stretch.status.lane.answer.map(LampAnswer::signal), Some(Signal::Ready));
                prop_assert!(stretch.status.lane.scan > 0);
                prop_assert!(at(stretch.to) <= stretch.status.lane.scanned_at.plus(LIMIT), "lit too late: {stretch:?}");
                prop_assert!(at(stretch.from) >= stretch.status.lane.scanned_at);
            }
        }
        // At most one green of at most its hold for each scan.
        for scan in 1..=stretches.last().unwrap().status.lane.scan {
            let green: Vec<_> = stretches.iter().filter(|stretch| stretch.levels.green && stretch.status.lane.scan == scan).collect();
            if let (Some(first), Some(last)) = (green.first(), green.last()) {
                prop_assert!(last.to - first.from <= 3000);
                prop_assert!(green.iter().map(|stretch| stretch.to - stretch.from).sum::<u64>() == last.to - first.from, "green came back");
            }
        }
    }

    #[test]
    fn whatever_happens_two_signals_are_told_apart_by_darkness(script in script(), fitted in fitted()) {
        let end = script.last().unwrap().0 + 40_000;
        let stretches = play(fitted, &script, end);
        let works = |stretch: &Stretch| stretch.playing.is_some_and(|playing| playing.show == Show::Working);
        for pair in stretches.windows(2) {
            // The working signal may give way to the new scan's answer at once.
            if pair[0].status.lane.scan != pair[1].status.lane.scan && pair[0].levels.lit() && !works(&pair[0]) {
                prop_assert_eq!(pair[1].levels, Levels::DARK, "a new scan darkens at once");
            }
        }
        let lit: Vec<_> = stretches.iter().filter(|stretch| stretch.levels.lit()).copied().collect();
        for pair in lit.windows(2) {
            if pair[0].playing != pair[1].playing && !works(&pair[0]) {
                prop_assert!(pair[1].from - pair[0].to >= 80, "{:?} then {:?}", pair[0], pair[1]);
            }
        }
    }

    #[test]
    fn whatever_happens_no_signal_flashes_faster_than_three_times_a_second(script in script(), fitted in fitted()) {
        let end = script.last().unwrap().0 + 40_000;
        let stretches = play(fitted, &script, end);
        let mut lit_at: Option<(u64, Option<Playing>)> = None;
        for pair in stretches.windows(2) {
            if !pair[0].levels.lit() && pair[1].levels.lit() {
                if let Some((before, playing)) = lit_at
                    && playing == pair[1].playing
                {
                    prop_assert!(pair[1].from - before >= 333, "{:?}", pair[1]);
                }
                lit_at = Some((pair[1].from, pair[1].playing));
            }
        }
    }

    #[test]
    fn whatever_happens_looking_in_between_shows_nothing_new(script in script(), fitted in fitted(), part in 0.0..1.0_f64) {
        let mut player = Player::new(fitted, HOLD, LIMIT, at(0));
        let mut status = dark_lane();
        let mut now = 0;
        for (time, event) in script.iter().copied().chain([(script.last().unwrap().0 + 40_000, Alarm)]) {
            while now < time {
                let look = player.look(status.lane, status.unable, at(now));
                let next = look.again.map_or(time, ms).min(time);
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a random moment between two others")]
                let between = now + ((next - now) as f64 * part) as u64;
                prop_assert_eq!(player.clone().look(status.lane, status.unable, at(between)).levels, look.levels, "missed between {} and {}", now, next);
                now = next;
            }
            happen(&mut status, event, at(now));
        }
    }

    #[test]
    fn whatever_happens_a_late_look_lights_no_late_green(script in script(), fitted in fitted(), jitter in prop::collection::vec(0..400_u64, 64)) {
        let mut player = Player::new(fitted, HOLD, LIMIT, at(0));
        let mut status = dark_lane();
        for ((time, event), late) in script.iter().copied().zip(jitter) {
            happen(&mut status, event, at(time));
            let now = at(time + late);
            if player.look(status.lane, status.unable, now).levels.green {
                prop_assert_eq!(status.lane.answer.map(LampAnswer::signal), Some(Signal::Ready));
                prop_assert!(now < status.lane.scanned_at.plus(LIMIT));
            }
        }
    }
}
