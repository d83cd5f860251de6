//! Which dates are of now, and how a host's time is set anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

const BEGUN: f64 = 1_000.0;

fn boot(seconds: f64) -> Boot {
    Boot::from_duration(Duration::from_secs_f64(BEGUN + seconds))
}

fn true_time(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
    Timestamp::from_second(
        start
            .checked_add(Duration::from_secs_f64(seconds))
            .unwrap()
            .as_second(),
    )
    .unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// A reply at that second whose clock is so much ahead of the true time.
fn reply(at: f64, ahead: SignedDuration) -> Dated {
    Dated {
        date: true_time(at).checked_add(ahead).unwrap(),
        sent: boot(at - 0.1),
        came: boot(at),
    }
}

/// The same stored reply, handed out at that second.
fn stored(at: f64, date: Timestamp) -> Dated {
    Dated {
        date,
        sent: boot(at - 0.1),
        came: boot(at),
    }
}

#[test]
fn before_the_first_reply_our_own_kept_clock_tells() {
    for (seconds, of_now) in [
        (0, true),
        (299, true),
        (-300, true),
        (300, true),
        (-301, false),
        (301, false),
        (-72_000, false),
    ] {
        let mut host = HostTime::from_disk("2001-01-01T00:00:00Z".parse().unwrap());
        let result = host.judge(
            reply(0.0, SignedDuration::from_secs(seconds)),
            Some(true_time(0.0)),
        );
        assert_eq!(result.is_ok(), of_now, "{seconds}");
        if let Err(not) = result {
            assert_eq!((not.by, not.ahead.as_secs()), (Measure::OwnClock, seconds));
        }
    }
}

#[test]
fn what_the_host_said_before_counts_more_than_our_own_clock() {
    let mut host = HostTime::default();
    assert!(host.judge(reply(0.0, SignedDuration::ZERO), None).is_ok());
    assert!(
        host.judge(
            reply(10.0, SignedDuration::ZERO),
            Some(true_time(10.0) - hours(10_000))
        )
        .is_ok(),
        "our clock is years off"
    );
    let not = host
        .judge(reply(20.0, hours(-20)), Some(true_time(20.0) - hours(20)))
        .unwrap_err();
    assert_eq!((not.by, not.ahead), (Measure::Host, hours(-20)));
}

#[test]
fn a_host_heard_nothing_of_is_bound_below_by_the_disk() {
    let floor = true_time(0.0);
    for (ahead, of_now) in [
        (SignedDuration::from_mins(-5), true),
        (SignedDuration::from_secs(-301), false),
        (hours(-20), false),
        (hours(24 * 400), true),
    ] {
        let result = HostTime::from_disk(floor).judge(reply(0.0, ahead), None);
        assert_eq!(
            result.map_err(|not| (not.ahead, not.by)),
            if of_now {
                Ok(())
            } else {
                Err((ahead, Measure::Disk))
            }
        );
    }
    assert!(
        HostTime::default()
            .judge(reply(0.0, hours(-20)), None)
            .is_ok(),
        "nothing is known at all"
    );
}

#[test]
fn the_newest_date_is_carried_on_while_the_machine_sleeps() {
    let mut host = HostTime::default();
    host.judge(reply(0.0, SignedDuration::ZERO), None).unwrap();
    host.judge(reply(1.0, SignedDuration::from_secs(-200)), None)
        .unwrap();
    let old = stored(40_000.0, true_time(0.0));
    assert_eq!(host.judge(old, None).unwrap_err().ahead.as_secs(), -40_000);
    assert!(
        host.judge(reply(40_001.0, SignedDuration::from_secs(-299)), None)
            .is_ok(),
        "of the newest, not of the last"
    );
    assert!(
        host.judge(reply(40_002.0, SignedDuration::from_secs(-302)), None)
            .is_err()
    );
}

#[test]
fn a_clock_that_goes_on_sets_the_time_anew_with_the_third_reply() {
    let mut host = HostTime::default();
    host.judge(reply(0.0, hours(3)), None).unwrap();
    assert!(host.judge(reply(10.0, SignedDuration::ZERO), None).is_err());
    assert!(
        host.judge(reply(12.0, SignedDuration::ZERO), None).is_err(),
        "too soon to count"
    );
    assert!(
        host.judge(reply(15.0, SignedDuration::from_secs(1)), None)
            .is_err()
    );
    assert!(
        host.judge(reply(19.9, SignedDuration::ZERO), None).is_err(),
        "too soon to count"
    );
    assert!(host.judge(reply(20.0, SignedDuration::ZERO), None).is_ok());
    assert!(host.judge(reply(20.1, SignedDuration::ZERO), None).is_ok());
    assert!(
        host.judge(reply(21.0, hours(3)), None).is_err(),
        "what was believed before is not of now any more"
    );
}

#[test]
fn a_stored_reply_never_sets_the_time_anew_however_often_it_comes() {
    for gap in [0.3_f64, 2.0, 5.0, 7.0, 60.0] {
        let mut host = HostTime::default();
        host.judge(reply(0.0, SignedDuration::ZERO), None).unwrap();
        let yesterday = true_time(0.0) - hours(20);
        for number in 1..50 {
            assert!(
                host.judge(stored(f64::from(number) * gap, yesterday), None)
                    .is_err(),
                "{gap} {number}"
            );
        }
    }
}

#[test]
fn a_clock_that_jumps_about_is_never_believed() {
    let mut host = HostTime::default();
    host.judge(reply(0.0, SignedDuration::ZERO), None).unwrap();
    for number in 1..50 {
        let ahead = SignedDuration::from_secs(4_000 + 3 * i64::from(number));
        assert!(
            host.judge(reply(f64::from(number) * 6.0, ahead), None)
                .is_err(),
            "{number}"
        );
    }
}

#[test]
fn dates_at_the_ends_of_the_calendar_end_nobody() {
    for own in [
        None,
        Some(true_time(0.0)),
        Some(Timestamp::MIN),
        Some(Timestamp::MAX),
    ] {
        for first in [Timestamp::MIN, Timestamp::MAX] {
            let mut host = HostTime::from_disk(first);
            for (number, date) in [
                first,
                Timestamp::MAX,
                Timestamp::MIN,
                Timestamp::MAX,
                Timestamp::MAX,
            ]
            .into_iter()
            .enumerate()
            {
                let at = Boot::from_duration(Duration::from_secs(u64::MAX / 8 * number as u64));
                let _ = host.judge(
                    Dated {
                        date,
                        sent: at,
                        came: at,
                    },
                    own,
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_came_before_a_date_that_stands_still_is_believed_for_five_minutes_at_most(
        before in proptest::collection::vec((0.0..1_000.0_f64, -100_000..100_000_i64), 0..12),
        age in 0..100_000_i64,
        gaps in proptest::collection::vec(0.1..400.0_f64, 1..20),
    ) {
        let mut host = HostTime::default();
        let mut at = 0.0;
        for (gap, ahead) in before {
            at += gap;
            let _ = host.judge(reply(at, SignedDuration::from_secs(ahead)), None);
        }
        let date = true_time(at) - SignedDuration::from_secs(age);
        let mut first_believed: Option<f64> = None;
        for gap in gaps {
            at += gap;
            if host.judge(stored(at, date), None).is_ok() {
                let first = *first_believed.get_or_insert(at);
                // Carried on by the boot-time clock it is five minutes old then, whatever it was at first; and once more five where the host was ahead.
                prop_assert!(at - first <= 602.0, "believed for {}", at - first);
            }
        }
    }

    #[test]
    fn a_true_clock_is_believed_again_within_three_requests(
        before in proptest::collection::vec((0.0..1_000.0_f64, -100_000..100_000_i64), 0..12), gap in 5.0..100.0_f64,
    ) {
        let mut host = HostTime::default();
        let mut at = 0.0;
        for (gap, ahead) in before {
            at += gap;
            let _ = host.judge(reply(at, SignedDuration::from_secs(ahead)), None);
        }
        let mut believed = false;
        for _ in 0..4 {
            at += gap;
            believed = host.judge(reply(at, SignedDuration::ZERO), None).is_ok();
        }
        prop_assert!(believed);
    }
}

fn eventually(condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const UNSYNCED: ClockWatch = ClockWatch::Fixed { synced: false };

#[test]
fn what_was_heard_outlives_the_process_in_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path());
    let clocks = Clocks::keeping(UNSYNCED, folder.path());
    clocks
        .judge("mdm.example:443", reply(0.0, SignedDuration::ZERO))
        .unwrap();
    eventually(|| file.exists());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let again = Clocks::keeping(UNSYNCED, folder.path());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600,
        "whoever opened it to others"
    );
    for next in [again, Clocks::reading(UNSYNCED, folder.path())] {
        let not = next
            .judge("mdm.example:443", reply(1.0, hours(-20)))
            .unwrap_err();
        assert_eq!(not.by, Measure::Disk);
        assert!(
            next.judge("other.example:443", reply(1.0, hours(-20)))
                .is_ok(),
            "another host's time says nothing"
        );
    }
}

#[test]
fn the_file_is_written_rarely_and_also_when_the_time_was_set_anew() {
    let folder = tempfile::tempdir().unwrap();
    let clocks = Clocks::keeping(UNSYNCED, folder.path());
    let holds =
        |wanted: Timestamp| read(&path(folder.path())).get("mdm.example:443") == Some(&wanted);
    let hear = |reply: Dated| clocks.judge("mdm.example:443", reply);
    hear(reply(0.0, hours(3))).unwrap();
    eventually(|| holds(reply(0.0, hours(3)).date));
    let before = fs::metadata(path(folder.path()))
        .unwrap()
        .modified()
        .unwrap();
    for second in 1..590 {
        hear(reply(f64::from(second), hours(3))).unwrap();
    }
    for second in [600.0, 606.0] {
        hear(reply(second, SignedDuration::ZERO)).unwrap_err();
    }
    assert_eq!(
        fs::metadata(path(folder.path()))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
    hear(reply(612.0, SignedDuration::ZERO)).unwrap();
    eventually(|| holds(reply(612.0, SignedDuration::ZERO).date));
}

#[test]
fn a_damaged_file_is_no_fault() {
    for text in [
        "",
        "{",
        "[]",
        "{\"mdm.example:443\":7}",
        "{\"mdm.example:443\":\"soon\"}",
        "\u{0}\u{0}\u{0}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path()), text).unwrap();
        let clocks = Clocks::keeping(UNSYNCED, folder.path());
        clocks
            .judge("mdm.example:443", reply(0.0, SignedDuration::ZERO))
            .unwrap();
        eventually(|| read(&path(folder.path())).contains_key("mdm.example:443"));
    }
    let nowhere = Clocks::keeping(UNSYNCED, Path::new("/nowhere"));
    assert!(
        nowhere
            .judge("mdm.example:443", reply(0.0, SignedDuration::ZERO))
            .is_ok()
    );
}
