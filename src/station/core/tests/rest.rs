//! When the station rests, when it wakes, and the edges of the times that lanes and re-checks keep.

use super::*;

const WITH_APPLE: [(&str, SourceKind, bool); 2] = [
    ("kandji", SourceKind::Kandji, true),
    ("apple", SourceKind::AppleDep, false),
];

#[test]
fn the_station_is_idle_once_everything_is_answered_and_recorded() {
    let mut bench = Bench::with(&WITH_APPLE);
    assert!(bench.core.is_idle());
    bench.scan(READY);
    assert!(!bench.core.is_idle(), "asking");
    bench.answer(READY, ready());
    assert!(!bench.core.is_idle(), "recording");
    bench.commit();
    assert!(bench.core.is_idle(), "a late answer is not waited for");
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        no(Reason::ProfileRemoved),
    );
    assert!(
        !bench.core.is_idle(),
        "a change is on its way to the journal"
    );
    bench.commit();
    assert!(bench.core.is_idle());
}

#[test]
fn a_scan_that_nothing_can_be_added_to_is_forgotten() {
    // A source outside `require` may still speak: the scan is kept for it, ten seconds at most.
    let mut bench = Bench::with(&WITH_APPLE);
    let at = |ms| {
        Some(Boot::from_duration(
            Duration::from_secs(1000) + Duration::from_millis(ms),
        ))
    };
    bench.scan(READY);
    bench.answer(READY, ready());
    assert_eq!(
        bench.core.wake_at(),
        None,
        "the journal is not waited for by the clock"
    );
    bench.commit();
    assert_eq!(bench.core.wake_at(), at(10_000));
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        Finding::Ready(Grade::Apple),
    );
    assert_eq!(
        (bench.core.wake_at(), bench.recording.len()),
        (None, 0),
        "a late answer that agrees changes nothing"
    );
    // A wrong barcode has nobody to wait for.
    bench.scan(IMEI);
    bench.commit();
    assert_eq!(bench.core.wake_at(), None);
}

#[test]
fn a_late_answer_to_a_box_that_was_not_green_is_told_without_alarm() {
    let mut bench = Bench::with(&WITH_APPLE);
    bench.scan(READY);
    bench.answer(READY, Finding::Wait(Reason::AssignmentPending));
    bench.commit();
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        no(Reason::ProfileRemoved),
    );
    assert_eq!(bench.recording[0].1[0].lamp, Signal::None);
    bench.commit();
    assert_eq!(
        (bench.alarms(), bench.last().reason),
        (0, Reason::ProfileRemoved)
    );
}

#[test]
fn a_recall_that_cannot_be_recorded_is_offered_again_after_ten_seconds_under_a_new_id() {
    let mut bench = Bench::with(&WITH_APPLE);
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.commit();
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        no(Reason::ProfileRemoved),
    );
    let first = bench.recording[0].1[0].id;
    bench.fail_commit();
    bench.pass_ms(9_999);
    assert!(bench.recording.is_empty());
    bench.pass_ms(1);
    assert_ne!(
        bench.recording[0].1[0].id, first,
        "the first may have reached the disk after all"
    );
}

#[test]
fn a_re_check_that_nobody_answers_is_given_up_after_ten_seconds_and_tried_again_later() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.answer(READY, Finding::Wait(Reason::AssignmentPending));
    bench.commit();
    bench.pass_ms(10_000);
    assert_eq!(bench.asked.len(), 2);
    let gives_up = Boot::from_duration(bench.at + Duration::from_secs(10));
    assert_eq!(bench.core.wake_at(), Some(gives_up));
    bench.pass_ms(10_000);
    bench.answer(READY, ready());
    assert!(bench.recording.is_empty(), "its answer comes too late");
    bench.pass_ms(19_999);
    assert_eq!(bench.asked.len(), 2);
    bench.pass_ms(1);
    assert_eq!(bench.asked.len(), 3, "20 s after the attempt");
}

#[test]
fn a_serial_number_overtaken_within_half_a_second_is_still_news() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.pass_ms(300);
    bench.scan(OTHER);
    bench.answer(READY, no(Reason::NotFound));
    bench.commit();
    assert_eq!(bench.alarms(), 1, "only a wrong barcode is excused");
}

#[test]
fn a_wrong_barcode_that_is_overtaken_later_is_news() {
    let mut bench = Bench::new();
    bench.scan(IMEI);
    bench.pass_ms(501);
    bench.scan(READY);
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (None, 1));
}

#[test]
fn the_same_text_after_a_second_and_a_half_is_a_scan_of_its_own() {
    for (pause, asked) in [(1_500, 1), (1_501, 2)] {
        let mut bench = Bench::new();
        bench.scan(READY);
        bench.pass_ms(pause);
        bench.scan(READY);
        assert_eq!(bench.asked.len(), asked, "{pause} ms");
    }
}

#[test]
fn a_code_that_only_looks_like_a_serial_number_is_asked_for_and_named_when_nobody_knows_it() {
    for (code, reason) in [
        ("F0D1A9BC23E4", Reason::Unreadable),
        ("A000000F1234AB", Reason::Unreadable),
        ("RR473124829GB", Reason::Tracking),
    ] {
        let mut bench = Bench::new();
        bench.scan(code);
        bench.answer(code, no(Reason::NotFound));
        bench.commit();
        assert_eq!(
            (
                bench.last().reason,
                bench.lamp(),
                bench.last().serial.clone()
            ),
            (reason, Some(Signal::Rescan), None),
            "{code}"
        );
        // A device's after all.
        bench.pass_ms(10_000);
        bench.scan(code);
        bench.answer(code, ready());
        bench.commit();
        assert_eq!(
            (bench.last().reason, bench.lamp()),
            (Reason::Assigned, Some(Signal::Ready)),
            "{code}"
        );
    }
}

#[test]
fn such_a_code_that_nobody_could_speak_of_never_turns_into_a_box_that_is_not_found() {
    let mut bench = Bench::new();
    bench.scan("F0D1A9BC23E4");
    bench.answer("F0D1A9BC23E4", Finding::Unknown(Reason::Offline));
    bench.commit();
    assert_eq!(
        (bench.last().reason, bench.core.waiting()),
        (Reason::Offline, 1)
    );
    bench.pass_ms(10_000);
    bench.answer("F0D1A9BC23E4", no(Reason::NotFound));
    assert!(bench.recording.is_empty(), "{:?}", bench.recording);
}

#[test]
fn a_green_ends_when_a_late_answer_leaves_open_which_box_it_is() {
    let mut bench = Bench::with(&WITH_APPLE);
    let id = bench.scan("SC02XK0AAJG");
    let (question, candidates, _) = bench.asked[0].clone();
    let answer = |source, kind, known: [bool; 2]| {
        let evidence = candidates.iter().zip(known).map(|(serial, known)| {
            let finding = if known { ready() } else { no(Reason::NotFound) };
            Evidence {
                known,
                ..Evidence::bare(name(source), kind, serial.clone(), finding)
            }
        });
        Event::Answered {
            question,
            answer: Answer {
                by: By::Service,
                source: name(source),
                evidence: evidence.collect(),
            },
        }
    };
    bench.handle(answer("kandji", SourceKind::Kandji, [false, true]));
    bench.commit();
    assert_eq!(
        (bench.lamp(), bench.last().reason),
        (Some(Signal::Ready), Reason::Assigned)
    );
    bench.handle(answer("apple", SourceKind::AppleDep, [true, true]));
    let change = bench.recording[0].1[0].clone();
    assert_eq!(
        (change.reason, change.lamp),
        (Reason::Ambiguous, Signal::Alarm)
    );
    assert_eq!(
        change.serial.as_ref().map(Serial::as_str),
        Some("C02XK0AAJG"),
        "the box that lost its green is named"
    );
    assert_eq!(
        (change.change.map(|change| change.scan), change.raw),
        (Some(id), None)
    );
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (Some(Signal::Rescan), 1));
}
