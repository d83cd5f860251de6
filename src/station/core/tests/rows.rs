//! Rows of replicas in the place of services: what a green may rest on, how it is confirmed, and when it is taken back.

use super::*;
use crate::reason::Verdict;

pub(super) const KANDJI: (&str, SourceKind) = ("kandji", SourceKind::Kandji);
pub(super) const DEP: (&str, SourceKind) = ("apple", SourceKind::AppleDep);
pub(super) const BUSINESS: (&str, SourceKind) = ("axm", SourceKind::AppleBusiness);

impl Bench {
    /// The newest question about `serial` is answered by a row or by the service.
    pub(super) fn hand(
        &mut self,
        (source, kind): (&str, SourceKind),
        serial: &str,
        finding: Finding,
        by: By,
    ) {
        self.hand_with(
            source,
            by,
            |serial| Evidence {
                known: !matches!(finding, Finding::Unknown(_) | Finding::No(Reason::NotFound)),
                heard: by == By::Service && !matches!(finding, Finding::Unknown(_)),
                row_age: (by != By::Service).then_some(Duration::from_secs(90)),
                ..Evidence::bare(name(source), kind, serial, finding)
            },
            serial,
        );
    }

    /// A green of that serial number that rests on a row of Kandji.
    pub(super) fn green_by_row(&mut self, serial: &str) -> Uuid {
        let id = self.scan(serial);
        self.hand(KANDJI, serial, ready(), By::Row);
        self.commit();
        assert_eq!(self.lamp(), Some(Signal::Ready));
        id
    }

    /// What the newest change says.
    pub(super) fn change(&self) -> (Cause, Reason, Signal) {
        let last = self.last();
        (
            last.change.as_ref().expect("a change").cause,
            last.reason,
            last.lamp,
        )
    }

    /// Time passes until the services are asked to confirm.
    fn until_confirmation(&mut self) {
        let known = self.asked.len();
        for _ in 0..2_000 {
            self.pass(Duration::from_millis(500));
            if let Some((_, _, purpose)) = self.asked.get(known) {
                assert_eq!(*purpose, Purpose::Confirmation);
                return;
            }
        }
        panic!("nobody was asked");
    }
}

#[test]
fn a_row_makes_a_box_green_at_once_and_the_record_says_how_old_it_was() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    let record = bench.last();
    assert_eq!(
        record.evidence[0].row_age,
        Some(Duration::from_secs(90)),
        "{record:?}"
    );
    assert!(
        record
            .message
            .ends_with("By the station's replica, read 90 s ago."),
        "{}",
        record.message
    );
    assert!(bench.asked_again.is_empty());
}

#[test]
fn what_is_not_green_never_rests_on_a_row_that_answered_at_once() {
    let mut bench = Bench::with(&[(KANDJI.0, KANDJI.1, true), (DEP.0, DEP.1, true)]);
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Row);
    bench.hand(DEP, READY, no(Reason::ProfileRemoved), By::Service);
    assert!(bench.recording.is_empty());
    assert_eq!(bench.asked_again, [vec![name(KANDJI.0)]]);
    bench.hand(KANDJI, READY, no(Reason::AlreadyEnrolled), By::Service);
    let record = &bench.recording[0].1[0];
    assert_eq!(record.reason, Reason::AlreadyEnrolled);
    assert!(record.evidence.iter().all(|one| one.row_age.is_none()));
}

#[test]
fn a_service_that_is_asked_again_and_stays_silent_is_unknown_at_the_deadline() {
    let mut bench = Bench::with(&[(KANDJI.0, KANDJI.1, true), (DEP.0, DEP.1, true)]);
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Row);
    bench.hand(
        DEP,
        READY,
        Finding::Unknown(Reason::GarbledAnswer),
        By::Service,
    );
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.recording[0].1[0].reason, Reason::Timeout);
}

#[test]
fn a_row_at_the_deadline_answers_no_scan_whose_other_source_is_missing() {
    let mut bench = Bench::with(&[(KANDJI.0, KANDJI.1, true), (DEP.0, DEP.1, true)]);
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Row);
    bench.pass(Duration::from_secs(2));
    let record = &bench.recording[0].1[0];
    assert_eq!(record.reason, Reason::Timeout);
    assert!(record.evidence.iter().all(|one| one.row_age.is_none()));
}

#[test]
fn the_service_behind_a_substitute_recalls_confirms_or_says_nothing() {
    for (behind, expected) in [
        (no(Reason::ProfileRemoved), Some(Reason::ProfileRemoved)),
        (no(Reason::NotFound), Some(Reason::NotFound)),
        (
            Finding::Wait(Reason::AssignmentPending),
            Some(Reason::AssignmentPending),
        ),
        (ready(), None),
        (Finding::Wait(Reason::SyncPending), None),
        (Finding::Unknown(Reason::Offline), None),
        (Finding::Unknown(Reason::CredentialsRefused), None),
    ] {
        let mut bench = Bench::new();
        let scan = bench.scan(READY);
        bench.hand(KANDJI, READY, ready(), By::Substitute);
        bench.commit();
        assert_eq!(bench.lamp(), Some(Signal::Ready));
        bench.pass(Duration::from_secs(1));
        bench.hand(KANDJI, READY, behind, By::Service);
        match expected {
            Some(reason) => {
                bench.commit();
                assert_eq!(bench.change(), (Cause::Recall, reason, Signal::Alarm));
                assert_eq!(bench.last().change.as_ref().unwrap().scan, scan);
                assert_eq!(bench.alarms(), 1);
                assert_eq!(bench.core.unconfirmed(), 0);
            }
            None => {
                assert!(bench.recording.is_empty(), "{behind:?}");
                let left = usize::from(behind != ready());
                assert_eq!(bench.core.unconfirmed(), left, "{behind:?}");
            }
        }
    }
}

#[test]
fn what_comes_behind_a_substitute_before_the_record_is_on_disk_counts_too() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Substitute);
    bench.hand(KANDJI, READY, no(Reason::ProfileRemoved), By::Service);
    bench.commit();
    bench.commit();
    assert_eq!(
        bench.change(),
        (Cause::Recall, Reason::ProfileRemoved, Signal::Alarm)
    );
}

#[test]
fn every_green_by_a_row_is_confirmed_by_asking_and_recalled_where_the_service_says_no() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    bench.until_confirmation();
    bench.hand(KANDJI, READY, no(Reason::NotFound), By::Service);
    bench.commit();
    assert_eq!(
        bench.change(),
        (Cause::Recall, Reason::NotFound, Signal::Alarm)
    );
    assert_eq!(
        (
            bench.alarms(),
            bench.core.waiting(),
            bench.core.unconfirmed()
        ),
        (1, 1, 0),
        "it waits by its new reason"
    );
}

#[test]
fn a_box_that_enrolled_after_its_green_is_no_recall_and_one_that_had_enrolled_before_is() {
    let scanned: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
    for (reason, used, recalled) in [
        (Reason::AlreadyEnrolled, None, false),
        (Reason::AlreadyEnrolled, Some(5), false),
        (Reason::AlreadyEnrolled, Some(-5), true),
        (Reason::PreviouslyActivated, Some(5), false),
        (Reason::PreviouslyActivated, Some(-5), true),
    ] {
        let mut bench = Bench::new();
        bench.green_by_row(READY);
        let scanned_at = bench.at;
        bench.until_confirmation();
        // The service's clock is years ahead of ours.
        let replied_at = scanned + jiff::SignedDuration::from_hours(30_000);
        let ago = jiff::SignedDuration::try_from(bench.at - scanned_at).unwrap();
        let used_at =
            used.map(|seconds| replied_at - ago + jiff::SignedDuration::from_secs(seconds));
        bench.hand_with(
            KANDJI.0,
            By::Service,
            |serial| Evidence {
                known: true,
                replied_at: Some(replied_at),
                used_at,
                ..Evidence::bare(name(KANDJI.0), KANDJI.1, serial, no(reason))
            },
            READY,
        );
        assert_eq!(
            bench.recording.len(),
            usize::from(recalled),
            "{reason:?} {used:?}"
        );
        assert_eq!(bench.core.unconfirmed(), 0);
    }
}

#[test]
fn what_confirms_nothing_is_asked_again_and_later_each_time() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let begun = bench.at;
        bench.until_confirmation();
        gaps.push((bench.at - begun).as_secs());
        bench.hand(
            KANDJI,
            READY,
            Finding::Unknown(Reason::RateLimited),
            By::Service,
        );
        assert!(bench.recording.is_empty());
    }
    assert_eq!(gaps, [2, 4, 8, 16]);
    bench.until_confirmation();
    bench.hand(KANDJI, READY, ready(), By::Service);
    assert_eq!(bench.core.unconfirmed(), 0);
}

#[test]
fn only_the_newest_record_of_a_serial_number_is_confirmed() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    bench.until_confirmation();
    let asked = bench.asked.last().cloned().unwrap();
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Service);
    bench.commit();
    bench.asked.push(asked);
    bench.hand(KANDJI, READY, no(Reason::NotFound), By::Service);
    assert!(bench.recording.is_empty());
    assert_eq!(bench.core.unconfirmed(), 0);
}

#[test]
fn a_green_is_recalled_once_whoever_hears_first_that_it_is_wrong() {
    let mut bench = Bench::new();
    bench.scan(READY);
    let behind = bench.asked.last().cloned().unwrap();
    bench.hand(KANDJI, READY, ready(), By::Substitute);
    bench.commit();
    bench.until_confirmation();
    let confirmation = bench.asked.last().cloned().unwrap();
    for question in [confirmation, behind.clone()] {
        bench.asked.push(question);
        bench.hand(KANDJI, READY, no(Reason::ProfileRemoved), By::Service);
    }
    assert_eq!(bench.recording.len(), 1);

    let mut bench = Bench::new();
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Substitute);
    bench.commit();
    bench.hand(KANDJI, READY, no(Reason::ProfileRemoved), By::Service);
    bench.fail_commit();
    for _ in 0..8 {
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.asked.len(), 1, "its recall waits for the disk");
    assert_eq!(bench.alarms(), 1);
}

#[test]
fn what_comes_late_behind_an_older_record_takes_nothing_back() {
    let mut bench = Bench::new();
    bench.scan(READY);
    let behind = bench.asked.last().cloned().unwrap();
    bench.hand(KANDJI, READY, ready(), By::Substitute);
    bench.commit();
    bench.pass(Duration::from_secs(5));
    bench.scan(READY);
    bench.hand(KANDJI, READY, no(Reason::ProfileRemoved), By::Service);
    bench.commit();
    bench.asked.push(behind);
    bench.hand(KANDJI, READY, no(Reason::ProfileRemoved), By::Service);
    assert!(bench.recording.is_empty());
}

#[test]
fn the_recall_of_an_older_record_leaves_the_newer_green_to_be_confirmed() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    bench.until_confirmation();
    let confirmation = bench.asked.last().cloned().unwrap();
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Row);
    bench.asked.push(confirmation);
    bench.hand(KANDJI, READY, no(Reason::NotFound), By::Service);
    bench.commit();
    bench.commit();
    assert_eq!(bench.change().0, Cause::Recall);
    assert_eq!(bench.core.unconfirmed(), 1);
}

#[test]
fn a_recall_that_cannot_be_recorded_raises_the_alarm_and_is_recorded_later() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    bench.until_confirmation();
    bench.hand(KANDJI, READY, no(Reason::Unassigned), By::Service);
    bench.fail_commit();
    assert_eq!(bench.alarms(), 1);
    bench.pass(Duration::from_secs(10));
    bench.commit();
    assert_eq!(
        bench.change(),
        (Cause::Recall, Reason::Unassigned, Signal::Alarm)
    );
    assert_eq!(bench.alarms(), 1);
}

/// How one source answers a scan whose rows are all true.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Live,
    /// Its row answers at once, if it is good news.
    AtOnce,
    /// The service fails; its row takes its place, if it is good news.
    Fails,
}

/// The answer's reason where each source says what `world` says, in those ways.
fn reason_of(world: &[((&str, SourceKind), Finding)], ways: &[Way]) -> Reason {
    let sources: Vec<_> = world
        .iter()
        .map(|((name, kind), _)| (*name, *kind, true))
        .collect();
    let mut bench = Bench::with(&sources);
    bench.scan(READY);
    let is_good = |finding| matches!(finding, Finding::Ready(_) | Finding::NoObjection);
    let of_row = |finding| match finding {
        Finding::Ready(_) => ready(),
        finding => finding,
    };
    let live = |bench: &mut Bench, source, finding, way| match way {
        Way::Fails if is_good(finding) => {
            bench.hand(source, READY, of_row(finding), By::Substitute)
        }
        Way::Fails => bench.hand(
            source,
            READY,
            Finding::Unknown(Reason::Offline),
            By::Service,
        ),
        _ => bench.hand(source, READY, finding, By::Service),
    };
    for ((source, finding), way) in world.iter().zip(ways) {
        match way {
            Way::AtOnce if is_good(*finding) => {
                bench.hand(*source, READY, of_row(*finding), By::Row)
            }
            way => live(&mut bench, *source, *finding, *way),
        }
    }
    for again in std::mem::take(&mut bench.asked_again).into_iter().flatten() {
        let (source, finding) = world
            .iter()
            .find(|((source, _), _)| name(source) == again)
            .unwrap();
        live(&mut bench, *source, *finding, Way::Live);
    }
    bench.recording[0].1[0].reason
}

/// Three sources, each with every sort of finding, and every mixture of live answers, rows and faults.
#[test]
fn while_the_rows_are_true_no_mixture_is_greener_or_worse_than_the_services_themselves() {
    let proves = [
        no(Reason::NotFound),
        no(Reason::ProfileRemoved),
        no(Reason::AlreadyEnrolled),
        Finding::Wait(Reason::AssignmentPending),
        Finding::Unknown(Reason::Stale),
    ];
    let with = |first: Finding, rest: &[Finding]| [&[first], rest].concat();
    let kandji = with(ready(), &proves);
    let dep = with(Finding::Ready(Grade::Apple), &proves[..4]);
    let business = with(
        Finding::NoObjection,
        &[no(Reason::Unassigned), Finding::Wait(Reason::SyncPending)],
    );
    let ways = [Way::Live, Way::AtOnce, Way::Fails];
    let mut greens = 0;
    for (k, d, b) in kandji.iter().flat_map(|k| {
        let business = &business;
        dep.iter()
            .flat_map(move |d| business.iter().map(move |b| (*k, *d, *b)))
    }) {
        let world = [(KANDJI, k), (DEP, d), (BUSINESS, b)];
        for mixture in 0..27 {
            let ways = [ways[mixture % 3], ways[mixture / 3 % 3], ways[mixture / 9]];
            let mixed = reason_of(&world, &ways);
            // A service that fails without a row to take its place fails in the comparison too.
            let lost = |finding, way| {
                let good = matches!(finding, Finding::Ready(_) | Finding::NoObjection);
                if way == Way::Fails && !good {
                    Way::Fails
                } else {
                    Way::Live
                }
            };
            let live = reason_of(
                &world,
                &[lost(k, ways[0]), lost(d, ways[1]), lost(b, ways[2])],
            );
            assert_eq!(
                mixed.verdict(),
                live.verdict(),
                "{world:?} {ways:?}: {mixed:?}, live {live:?}"
            );
            greens += u32::from(mixed.verdict() == Verdict::Ready);
        }
    }
    assert_eq!(
        greens, 27,
        "the one world in which all agree, in every mixture"
    );
}

#[test]
fn another_box_than_the_green_confirms_nothing() {
    let mut bench = Bench::new();
    let label = format!("S{READY}");
    let (with_s, without) = (Serial::new(&label).unwrap(), Serial::new(READY).unwrap());
    bench.scan(&label);
    let says = |ready: Serial, by: By| {
        move |serial: Serial| {
            let is_it = serial == ready;
            let finding = if is_it {
                self::ready()
            } else {
                no(Reason::NotFound)
            };
            Evidence {
                known: is_it,
                row_age: (is_it && by == By::Row).then_some(Duration::from_secs(5)),
                ..Evidence::bare(name(KANDJI.0), KANDJI.1, serial, finding)
            }
        }
    };
    bench.hand_with(KANDJI.0, By::Row, says(without.clone(), By::Row), &label);
    bench.commit();
    assert_eq!(bench.last().serial, Some(without));
    bench.until_confirmation();
    bench.hand_with(KANDJI.0, By::Service, says(with_s, By::Service), &label);
    assert_eq!((bench.recording.len(), bench.core.unconfirmed()), (0, 1));
}

#[test]
fn greens_by_rows_of_apple_are_asked_about_together_once_a_minute() {
    let mut bench = Bench::with(&[(DEP.0, DEP.1, true)]);
    let begun = bench.at;
    for nth in 0..10 {
        let serial = format!("C02XK0AAJG{nth}H");
        bench.scan(&serial);
        bench.hand(DEP, &serial, ready(), By::Row);
        bench.commit();
        bench.pass(Duration::from_secs(5));
    }
    bench.asked.clear();
    while bench.asked.is_empty() {
        bench.pass_ms(500);
    }
    assert_eq!((bench.at - begun).as_secs(), 60);
    let confirms = |(_, _, purpose): &(_, _, Purpose)| *purpose == Purpose::Confirmation;
    assert!(bench.asked.len() == 10 && bench.asked.iter().all(confirms));
    for nth in 0..10 {
        bench.hand(DEP, &format!("C02XK0AAJG{nth}H"), ready(), By::Service);
    }
    assert_eq!(bench.core.unconfirmed(), 0);
}
