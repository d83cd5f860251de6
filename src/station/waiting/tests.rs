#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Which boxes are asked again, when, for how long, and for what.

use jiff::Timestamp;

use super::*;
use crate::{
    record::{Cause, Change},
    runtime::name::Name,
};

const FIRST: &str = "C02XK0AAJG5H";
const SECOND: &str = "C02XK0AAJG6J";
const TIMES: RecheckTimes = RecheckTimes {
    recheck: secs(10),
    recheck_for: secs(86_400),
    ride: None,
    listed: false,
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A moment, counted from the first scan.
fn at(seconds: u64) -> Boot {
    Boot::from_duration(secs(1_000 + seconds))
}

fn serial(text: &str) -> Serial {
    Serial::new(text).unwrap()
}

fn record(text: &str, reason: Reason) -> Record {
    let serial = serial(text);
    Record {
        asked: vec![serial.clone()],
        serial: Some(serial),
        ..Record::bare(
            Uuid::now_v7(),
            Timestamp::UNIX_EPOCH,
            Name::new("left").unwrap(),
            reason,
        )
    }
}

/// A list with these boxes, all scanned just now.
fn waiting(boxes: &[(&str, Reason)]) -> WaitingList {
    let mut list = WaitingList::default();
    for (text, reason) in boxes {
        list.settle(record(text, *reason), TIMES, at(0));
    }
    list
}

/// The seconds at which one box is asked for, while no attempt changes anything.
fn asked_at(list: &mut WaitingList, seconds: u64) -> Vec<u64> {
    let mut asked = Vec::new();
    for second in 0..=seconds {
        if let Some(one) = list.due(at(second)) {
            asked.push(second);
            list.attempted(&one.serial, at(second));
        }
    }
    asked
}

#[test]
fn exactly_the_boxes_that_may_become_ready_by_themselves_or_by_somebodys_hand_are_asked_again() {
    use Reason::*;
    for reason in Reason::ALL.iter().copied() {
        let expected = match reason.verdict() {
            Verdict::Wait | Verdict::Unknown => true,
            Verdict::NotReady => {
                [NotFound, NotInOrg, Unassigned, NoProfile, AssignmentFailed].contains(&reason)
            }
            Verdict::Ready | Verdict::Rescan => false,
        };
        assert_eq!(is_asked_again(reason), expected, "{}", reason.code());
        assert_eq!(
            waiting(&[(FIRST, reason)]).count(),
            usize::from(expected),
            "{}",
            reason.code()
        );
    }
}

#[test]
fn what_is_no_serial_number_never_waits() {
    let mut list = WaitingList::default();
    list.settle(
        Record {
            serial: None,
            ..record(FIRST, Reason::Offline)
        },
        TIMES,
        at(0),
    );
    assert_eq!((list.count(), list.next()), (0, None));
}

#[test]
fn the_time_doubles_up_to_a_quarter_of_an_hour_and_ends_with_recheck_for() {
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    assert_eq!(
        asked_at(&mut list, 3_000),
        [10, 30, 70, 150, 310, 630, 1_270, 2_170]
    );
    assert!(list.due(at(86_399)).is_some());
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    assert!(list.due(at(86_400)).is_none(), "recheck_for is over");
    assert_eq!(list.count(), 0);
}

#[test]
fn a_first_re_check_that_is_slower_than_a_quarter_of_an_hour_stays_as_slow() {
    let mut list = WaitingList::default();
    list.settle(
        record(FIRST, Reason::NotFound),
        RecheckTimes {
            recheck: secs(1_800),
            ..TIMES
        },
        at(0),
    );
    assert_eq!(asked_at(&mut list, 6_000), [1_800, 3_600, 5_400]);
}

#[test]
fn failed_and_throttled_assignments_are_asked_for_hourly_for_three_days_at_least() {
    for reason in [Reason::AssignmentFailed, Reason::AssignmentThrottled] {
        let mut list = waiting(&[(FIRST, reason)]);
        assert_eq!(asked_at(&mut list, 11_000), [3_600, 7_200, 10_800]);
        assert!(
            list.due(at(72 * 3_600 - 1)).is_some(),
            "longer than recheck_for says"
        );
        let mut list = waiting(&[(FIRST, reason)]);
        assert!(list.due(at(72 * 3_600)).is_none());
    }
    assert_eq!(followed_for(secs(1)), secs(72 * 3_600));
    assert_eq!(
        followed_for(secs(100 * 3_600)),
        secs(100 * 3_600),
        "or as long as recheck_for says, if that is longer"
    );
}

#[test]
fn a_restart_goes_on_with_the_time_that_a_box_had_left_and_about_its_interval() {
    let restored = |age| {
        let mut list = WaitingList::default();
        list.restore(record(FIRST, Reason::NotFound), TIMES, at(0), age);
        list
    };
    assert_eq!(restored(secs(60)).next(), Some(at(60)));
    assert_eq!(
        restored(secs(1)).next(),
        Some(at(10)),
        "never sooner than a new one"
    );
    assert_eq!(
        restored(secs(80_000)).next(),
        Some(at(900)),
        "never slower than the slowest"
    );
    let mut list = restored(secs(86_400 - 1_000));
    assert!(list.due(at(999)).is_some());
    let mut list = restored(secs(86_400 - 1_000));
    assert!(list.due(at(1_000)).is_none());
    assert_eq!(restored(secs(86_400 - 1)).count(), 1);
    assert_eq!(restored(secs(86_400)).count(), 0, "its time is over");
}

#[test]
fn boxes_are_asked_for_the_longest_due_first_and_one_a_second_at_most() {
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    list.settle(
        record(SECOND, Reason::NotFound),
        RecheckTimes {
            recheck: secs(5),
            ..TIMES
        },
        at(0),
    );
    assert_eq!(list.next(), Some(at(5)));
    assert!(list.due(at(4)).is_none());
    assert_eq!(list.due(at(20)).map(|one| one.serial), Some(serial(SECOND)));
    assert_eq!(
        list.next(),
        Some(at(21)),
        "the other is due by now, and must wait its second"
    );
    let early = Boot::from_duration(secs(1_021).saturating_sub(Duration::from_millis(1)));
    assert!(list.due(early).is_none());
    assert_eq!(list.due(at(21)).map(|one| one.serial), Some(serial(FIRST)));
    assert_eq!(list.next(), None, "both are on their way");
    assert!(list.due(at(40)).is_none(), "and are not asked for twice");
    list.attempted(&serial(FIRST), at(25));
    assert_eq!(list.next(), Some(at(45)));
}

#[test]
fn a_box_that_is_on_its_way_when_its_time_is_over_stays_until_the_answer() {
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    assert!(list.due(at(86_399)).is_some());
    assert!(list.due(at(86_500)).is_none());
    assert_eq!(list.count(), 1);
    list.attempted(&serial(FIRST), at(86_500));
    assert!(list.due(at(86_600)).is_none());
    assert_eq!(list.count(), 0);
}

#[test]
fn an_attempt_for_one_box_leaves_the_others_as_they_are() {
    let mut list = waiting(&[(FIRST, Reason::NotFound), (SECOND, Reason::NotFound)]);
    list.attempted(&serial(SECOND), at(0));
    assert_eq!(list.next(), Some(at(10)));
    list.attempted(&serial(FIRST), at(0));
    assert_eq!(list.next(), Some(at(20)));
}

#[test]
fn both_candidates_of_a_code_are_asked_for_again() {
    let (scanned, stripped) = (serial("SC02XK0AAJG5H"), serial(FIRST));
    let mut list = WaitingList::default();
    let both = Record {
        asked: vec![scanned.clone(), stripped.clone()],
        ..record(FIRST, Reason::Offline)
    };
    list.settle(both, TIMES, at(0));
    let due = list.due(at(10)).unwrap();
    assert_eq!(
        due.candidates(),
        Candidates {
            scanned,
            stripped: Some(stripped.clone()),
            unless_known: None
        }
    );
    assert_eq!(due.serial, stripped);
    let mut list = waiting(&[(FIRST, Reason::Offline)]);
    assert_eq!(
        list.due(at(10)).unwrap().candidates(),
        Candidates::one(serial(FIRST))
    );
}

#[test]
fn a_box_scanned_again_has_its_newest_record_only() {
    let mut list = waiting(&[(FIRST, Reason::NotFound), (SECOND, Reason::NotFound)]);
    let older = list.due(at(10)).unwrap();
    assert!(list.held(&older.serial, older.record).is_some());
    let newer = record(FIRST, Reason::Offline);
    list.settle(newer.clone(), TIMES, at(11));
    assert_eq!(list.count(), 2);
    assert!(
        list.held(&older.serial, older.record).is_none(),
        "an answer that is still on its way is about a record of the past"
    );
    assert!(list.held(&serial(FIRST), newer.id).is_some());
    list.settle(record(FIRST, Reason::Assigned), TIMES, at(12));
    assert_eq!(list.count(), 1, "a box that is ready waits no longer");
    assert!(list.held(&serial(FIRST), newer.id).is_none());
}

/// A change of `before` to `reason`.
fn change(before: &Record, reason: Reason) -> Record {
    let change = Change {
        scan: before.id,
        cause: Cause::Recheck,
        previous_reason: before.reason,
    };
    Record {
        change: Some(change),
        ..record(FIRST, reason)
    }
}

#[test]
fn what_an_older_scan_ends_in_leaves_the_newer_one_waiting() {
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    let older = list.due(at(10)).unwrap();
    let newer = record(FIRST, Reason::SyncPending);
    list.settle(newer.clone(), TIMES, at(11));
    // Its re-check, and an answer that came late, were recorded after the newer scan.
    let end = change(&older.before(), Reason::AssignmentPending);
    list.changed(&serial(FIRST), end.clone(), TIMES, at(12));
    list.settle(end, TIMES, at(12));
    let due = list.due(at(21)).map(|one| (one.record, one.reason));
    assert_eq!(due, Some((newer.id, Reason::SyncPending)));
    assert_eq!(list.count(), 1);
}

#[test]
fn a_changed_box_begins_anew_within_the_time_that_it_had_left() {
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    asked_at(&mut list, 1_000);
    let one = list.due(at(1_270)).unwrap();
    list.changed(
        &serial(FIRST),
        change(&one.before(), Reason::AssignmentPending),
        TIMES,
        at(1_271),
    );
    assert_eq!(
        list.next(),
        Some(at(1_281)),
        "something moves: the first interval again"
    );
    assert_eq!(
        list.due(at(1_281)).map(|after| after.scan),
        Some(one.scan),
        "it is still the box of that scan"
    );
    list.attempted(&serial(FIRST), at(86_390));
    assert!(
        list.due(at(86_400)).is_none(),
        "and no longer than a day after its scan"
    );
    assert_eq!(list.count(), 0);
}

#[test]
fn a_box_whose_assignment_failed_at_a_re_check_is_followed_for_three_days_from_then() {
    let mut list = waiting(&[(FIRST, Reason::NotFound)]);
    let one = list.due(at(1_000)).unwrap();
    list.changed(
        &serial(FIRST),
        change(&one.before(), Reason::AssignmentFailed),
        TIMES,
        at(1_000),
    );
    assert!(list.due(at(1_000 + 72 * 3_600 - 1)).is_some());
}

#[test]
fn a_change_that_ends_the_waiting_leaves_the_time_of_the_other_boxes_alone() {
    let mut list = waiting(&[
        (FIRST, Reason::NotFound),
        (SECOND, Reason::AssignmentFailed),
    ]);
    let one = list.due(at(10)).unwrap();
    list.changed(
        &serial(FIRST),
        change(&one.before(), Reason::Assigned),
        TIMES,
        at(11),
    );
    assert_eq!(list.count(), 1);
    assert!(
        list.due(at(72 * 3_600 - 1)).is_some(),
        "the other is followed for three days"
    );
    list.changed(
        &serial(FIRST),
        change(&one.before(), Reason::NotFound),
        TIMES,
        at(12),
    );
    assert_eq!(
        list.count(),
        1,
        "a box that is not on the list is not put there by a change"
    );
}

/// A box by its number.
fn numbered(number: usize, reason: Reason) -> Record {
    record(&format!("C02X{number:08}"), reason)
}

#[test]
fn the_list_has_an_end_and_the_oldest_leave_first() {
    let mut list = WaitingList::default();
    for number in 0..MOST + 2 {
        list.settle(numbered(number, Reason::NotFound), TIMES, at(0));
        assert_eq!(list.count(), MOST.min(number + 1));
    }
    let waits = |number: usize| {
        list.numbers
            .contains_key(&serial(&format!("C02X{number:08}")))
    };
    assert!(!waits(0) && !waits(1) && waits(2) && waits(MOST + 1));
}

#[test]
fn a_box_that_was_scanned_before_its_earlier_record_was_read_keeps_the_newer_one() {
    let mut list = WaitingList::default();
    list.settle(record(FIRST, Reason::Assigned), TIMES, at(5));
    list.settle(record(SECOND, Reason::Offline), TIMES, at(5));
    for text in [FIRST, SECOND, "C02XK0AAJG7K"] {
        list.restore(record(text, Reason::NotFound), TIMES, at(6), secs(60));
    }
    assert_eq!(list.count(), 2, "the first is ready by now");
    assert_eq!(
        list.due(at(15)).map(|one| (one.serial, one.reason)),
        Some((serial(SECOND), Reason::Offline))
    );
    list.restored();
    assert_eq!(
        list.due(at(66)).map(|one| one.serial),
        Some(serial("C02XK0AAJG7K"))
    );
}

/// What this list must do, done with a plain list that is walked whole.
#[derive(Default)]
struct Plain {
    boxes: Vec<(Serial, Boot, Duration, Boot, bool)>,
}

impl Plain {
    fn settle(&mut self, record: &Record, now: Boot) {
        let serial = record.serial.clone().unwrap();
        self.boxes.retain(|one| one.0 != serial);
        if is_asked_again(record.reason) {
            let until = now.plus(TIMES.recheck_for);
            self.boxes
                .push((serial, now.plus(TIMES.recheck), TIMES.recheck, until, false));
        }
    }

    fn due(&mut self, now: Boot) -> Option<Serial> {
        self.boxes.retain(|one| one.4 || one.3 > now);
        let waiting = self.boxes.iter_mut().filter(|one| !one.4 && one.1 <= now);
        let one = waiting.min_by_key(|one| one.1)?;
        one.4 = true;
        Some(one.0.clone())
    }

    fn attempted(&mut self, serial: &Serial, now: Boot) {
        if let Some(one) = self.boxes.iter_mut().find(|one| one.0 == *serial) {
            one.2 = one.2.saturating_mul(2).min(SLOWEST);
            (one.1, one.4) = (now.plus(one.2), false);
        }
    }
}

proptest::proptest! {
    #[test]
    fn boxes_come_and_go_as_in_a_list_that_is_walked_whole(
        steps in proptest::collection::vec((0..6_usize, 0..4_u8, 1..40_000_u64), 1..200)
    ) {
        let (mut list, mut plain, mut second) = (WaitingList::default(), Plain::default(), 0);
        for (number, step, seconds) in steps {
            second += seconds;
            match step {
                0 | 1 => {
                    let reason = if step == 0 { Reason::NotFound } else { Reason::Assigned };
                    let record = numbered(number, reason);
                    plain.settle(&record, at(second));
                    list.settle(record, TIMES, at(second));
                }
                2 => {
                    let due = list.due(at(second));
                    proptest::prop_assert_eq!(due.map(|one| one.serial), plain.due(at(second)));
                }
                _ => {
                    let serial = numbered(number, Reason::NotFound).serial.unwrap();
                    plain.attempted(&serial, at(second));
                    list.attempted(&serial, at(second));
                }
            }
            proptest::prop_assert_eq!(list.count(), plain.boxes.len());
            let queued = plain.boxes.iter().filter(|one| !one.4).count();
            proptest::prop_assert_eq!((list.due.len(), list.ends.len()), (queued, queued));
        }
    }
}

#[test]
fn what_the_next_record_follows_from_is_kept_whole() {
    let group = Uuid::now_v7();
    let scanned = Record {
        group: Some(group),
        scanner: Name::new("hand").unwrap(),
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        ..record(FIRST, Reason::NoProfile)
    };
    let changed = Record {
        change: Some(Change {
            scan: scanned.id,
            cause: Cause::Recheck,
            previous_reason: Reason::Timeout,
        }),
        ..record(SECOND, Reason::NoProfile)
    };
    for newest in [scanned, changed] {
        let mut list = WaitingList::default();
        list.settle(newest.clone(), TIMES, at(0));
        let before = list.due(at(10)).unwrap().before();
        assert_eq!(before.id, newest.id);
        assert_eq!(before.scan(), newest.scan());
        assert_eq!(before.change.is_some(), newest.change.is_some());
        assert_eq!(before.serial, newest.serial);
        assert_eq!(before.asked, newest.asked);
        assert_eq!(before.group, newest.group);
        assert_eq!((before.lane, before.scanner), (newest.lane, newest.scanner));
        assert_eq!((before.model, before.family), (newest.model, newest.family));
        assert_eq!(before.reason, newest.reason);
    }
}

#[test]
fn no_box_of_an_earlier_run_comes_after_the_last_one() {
    let mut list = WaitingList::default();
    list.restore(record(FIRST, Reason::NoProfile), TIMES, at(0), secs(60));
    list.restored();
    list.restore(record(SECOND, Reason::NoProfile), TIMES, at(0), secs(60));
    assert_eq!(list.count(), 1);
}
