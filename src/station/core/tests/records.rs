//! What stands in the records of scans and changes, field by field: journal, messages and dashboards show nothing else.

use super::*;
use crate::record::Change;

/// All that a source can tell of a box.
fn told(serial: &str, finding: Finding) -> Evidence {
    Evidence {
        known: true,
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        assigned_at: "2026-01-09T22:01:10Z".parse().ok(),
        replied_at: "2026-11-23T09:00:00Z".parse().ok(),
        took: Duration::from_millis(300),
        ..Evidence::bare(
            name("kandji"),
            SourceKind::Kandji,
            Serial::new(serial).unwrap(),
            finding,
        )
    }
}

impl Bench {
    /// The newest question is answered with this evidence after 340 ms.
    fn tell(&mut self, evidence: &Evidence) {
        self.at += Duration::from_millis(340);
        let (question, ..) = self.asked.last().cloned().unwrap();
        let answer = Answer {
            by: By::Service,
            source: evidence.source.clone(),
            evidence: vec![evidence.clone()],
        };
        self.handle(Event::Answered { question, answer });
    }

    fn recording(&self) -> &Record {
        &self.recording[0].1[0]
    }

    /// Commits, and the journal fills in the earlier record of the same serial number, as it does.
    fn commit_after(&mut self, previous: Uuid) {
        let (batch, records) = self.recording.remove(0);
        let recorded = records.into_iter().map(|record| {
            let previous = Some(previous);
            Recorded::committed(Uuid::nil(), 1, Record { previous, ..record })
        });
        let recorded = Some(recorded.collect());
        self.handle(Event::Recorded { batch, recorded });
    }
}

#[test]
fn the_record_of_a_scan_names_the_mdm_in_its_next_action() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.tell(&told(READY, Finding::No(Reason::ProfileRemoved)));
    assert_eq!(
        bench.recording().action,
        "Assign the enrollment profile again in Kandji."
    );
}

#[test]
fn the_record_of_a_scan_holds_all_that_was_found_out() {
    let mut bench = Bench::new();
    bench.clock_synced = false;
    let scanned_at = bench.moment().wall;
    let id = bench.scan(READY);
    let evidence = told(READY, ready());
    bench.tell(&evidence);
    let serial = Serial::new(READY).unwrap();
    let expected = Record {
        id,
        raw_scan: Some(id),
        change: None,
        at: scanned_at,
        clock_synced: false,
        lane: name("left"),
        scanner: name("left"),
        serial: Some(serial.clone()),
        asked: vec![serial],
        raw: None,
        reason: Reason::Assigned,
        message: Reason::Assigned.message(None),
        action: Reason::Assigned.action().to_owned(),
        grade: Some(Grade::Relayed),
        model: evidence.model.clone(),
        family: evidence.family.clone(),
        assigned_at: evidence.assigned_at,
        took_ms: 340,
        lamp: Signal::Ready,
        previous: None,
        group: None,
        policy: "9f2c41d0".to_owned(),
        evidence: vec![evidence],
    };
    assert_eq!(*bench.recording(), expected);
}

#[test]
fn the_scanner_of_a_record_is_not_always_its_lane() {
    let mut bench = Bench::new();
    bench.core.lane_of.insert(name("hand"), name("right"));
    bench.scan_on("hand", READY);
    bench.tell(&told(READY, ready()));
    assert_eq!(
        (
            bench.recording().scanner.as_str(),
            bench.recording().lane.as_str()
        ),
        ("hand", "right")
    );
}

#[test]
fn a_wrong_barcodes_record_shows_what_was_read_and_no_serial_number() {
    let mut bench = Bench::new();
    let id = bench.scan(IMEI);
    let expected = Record {
        raw: Some(IMEI.to_owned()),
        policy: "9f2c41d0".to_owned(),
        message: Reason::Imei.message(None),
        ..Record::bare(id, bench.moment().wall, name("left"), Reason::Imei)
    };
    assert_eq!(*bench.recording(), expected);
}

#[test]
fn each_member_of_a_group_has_a_record_of_its_own() {
    let mut bench = Bench::new();
    let id = bench.scan(&format!(
        "[)>\u{1e}06\u{1d}S{READY}\u{1d}S{OTHER}\u{1e}\u{4}"
    ));
    bench.answer(READY, ready());
    bench.answer(OTHER, no(Reason::NotFound));
    let records = bench.recording[0].1.clone();
    assert_eq!(records[0].id, id);
    assert_ne!(records[1].id, id);
    assert!(
        records.iter().all(|record| record.raw_scan == Some(id)),
        "{records:?}"
    );
    let serials: Vec<_> = records
        .iter()
        .filter_map(|record| record.serial.as_ref())
        .map(Serial::as_str)
        .collect();
    assert_eq!(serials, [READY, OTHER]);
    // None of them reached the disk: each is a message by itself.
    bench.fail_commit();
    assert_eq!(bench.unrecorded.len(), 2);
    assert!(bench.unrecorded.iter().all(|record| record.group.is_none()));
}

#[test]
fn a_record_that_did_not_reach_the_disk_says_so_and_promises_nothing() {
    for (finding, signal) in [
        (ready(), Signal::Hold),
        (no(Reason::ProfileRemoved), Signal::Hold),
    ] {
        let mut bench = Bench::new();
        bench.scan(READY);
        bench.tell(&told(READY, finding));
        let meant = bench.recording().clone();
        bench.fail_commit();
        let unrecorded = bench.unrecorded[0].clone();
        assert_ne!(unrecorded.id, meant.id);
        let expected = Record {
            id: unrecorded.id,
            reason: Reason::JournalFault,
            message: Reason::JournalFault.message(None),
            action: Reason::JournalFault.action().to_owned(),
            lamp: signal,
            grade: None,
            ..meant
        };
        assert_eq!(unrecorded, expected);
        assert_eq!(bench.lamp(), Some(Signal::Hold));
    }
}

#[test]
fn a_record_that_did_not_reach_the_disk_had_the_lamp_that_it_had() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.scan(OTHER);
    bench.answer(READY, no(Reason::NotFound));
    assert_eq!(bench.recording().lamp, Signal::Alarm);
    bench.fail_commit();
    assert_eq!(
        (bench.unrecorded[0].lamp, bench.alarms()),
        (Signal::Alarm, 1)
    );
}

#[test]
fn the_change_of_a_box_that_was_asked_again_holds_what_is_true_now() {
    let mut bench = Bench::new();
    let id = bench.scan(READY);
    bench.tell(&told(READY, Finding::Wait(Reason::AssignmentPending)));
    let before = bench.recording().clone();
    let earlier = Uuid::now_v7();
    bench.commit_after(earlier);
    bench.pass_ms(10_000);
    bench.clock_synced = false;
    let evidence = Evidence {
        model: Some("MacBook Pro".to_owned()),
        family: Some("Laptop".to_owned()),
        assigned_at: "2026-11-23T08:58:00Z".parse().ok(),
        took: Duration::from_millis(250),
        ..told(READY, ready())
    };
    bench.tell(&evidence);
    let change = bench.recording().clone();
    assert_ne!(change.id, id);
    let expected = Record {
        id: change.id,
        raw_scan: None,
        change: Some(Change {
            scan: id,
            cause: Cause::Recheck,
            previous_reason: Reason::AssignmentPending,
        }),
        at: bench.moment().wall,
        clock_synced: false,
        reason: Reason::Assigned,
        message: Reason::Assigned.message(None),
        action: Reason::Assigned.action().to_owned(),
        grade: Some(Grade::Relayed),
        model: evidence.model.clone(),
        family: evidence.family.clone(),
        assigned_at: evidence.assigned_at,
        took_ms: 250,
        lamp: Signal::None,
        previous: None,
        evidence: vec![evidence],
        ..before
    };
    assert_eq!(change, expected);
}

#[test]
fn a_box_that_was_asked_again_is_judged_by_the_policy_of_now_and_keeps_its_name() {
    let mut before = Bench::new();
    before.scan(READY);
    before.tell(&told(READY, Finding::Wait(Reason::AssignmentPending)));
    before.commit();
    let record = Record {
        policy: "older".to_owned(),
        ..before.last().clone()
    };
    let mut bench = Bench::new();
    let now = bench.moment().boot;
    bench.core.restore(vec![(record, Duration::ZERO)], now);
    bench.pass_ms(10_000);
    bench.tell(&Evidence {
        model: None,
        family: None,
        ..told(READY, no(Reason::NoProfile))
    });
    let change = bench.recording();
    assert_eq!(change.policy, "9f2c41d0");
    assert_eq!(
        (change.model.as_deref(), change.family.as_deref()),
        (Some("MacBook Air"), Some("Mac")),
        "a source that does not say leaves them"
    );
}

#[test]
fn both_names_of_a_box_give_way_to_the_one_that_a_source_knows_by_now() {
    let mut bench = Bench::new();
    bench.scan("SC02XK0AAJG");
    let (question, candidates, _) = bench.asked[0].clone();
    let say = |findings: [Finding; 2]| {
        let evidence = candidates
            .iter()
            .zip(findings)
            .map(|(serial, finding)| Evidence {
                known: matches!(finding, Finding::Ready(_)),
                ..Evidence::bare(name("kandji"), SourceKind::Kandji, serial.clone(), finding)
            });
        Answer {
            by: By::Service,
            source: name("kandji"),
            evidence: evidence.collect(),
        }
    };
    bench.handle(Event::Answered {
        question,
        answer: say([no(Reason::NotFound), no(Reason::NotFound)]),
    });
    assert_eq!(
        bench.recording().serial.as_ref().unwrap().as_str(),
        "C02XK0AAJG",
        "by its length"
    );
    bench.commit();
    bench.pass_ms(10_000);
    let (question, ..) = bench.asked[1].clone();
    bench.handle(Event::Answered {
        question,
        answer: say([ready(), no(Reason::NotFound)]),
    });
    assert_eq!(
        (
            bench.recording().serial.as_ref().unwrap().as_str(),
            bench.recording().reason
        ),
        ("SC02XK0AAJG", Reason::Assigned)
    );
}

#[test]
fn a_change_of_a_groups_member_stays_in_the_group() {
    let mut bench = Bench::with(&[
        ("kandji", SourceKind::Kandji, true),
        ("apple", SourceKind::AppleDep, false),
    ]);
    let id = bench.scan(&format!(
        "[)>\u{1e}06\u{1d}S{READY}\u{1d}S{OTHER}\u{1e}\u{4}"
    ));
    bench.answer(READY, ready());
    bench.answer(OTHER, ready());
    let member = bench.recording[0].1[1].id;
    bench.commit();
    bench.clock_synced = false;
    bench.pass_ms(700);
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        OTHER,
        no(Reason::ProfileRemoved),
    );
    let change = bench.recording();
    let of = Change {
        scan: member,
        cause: Cause::LateAnswer,
        previous_reason: Reason::Assigned,
    };
    assert_eq!(
        (change.group, change.change.clone(), change.raw_scan),
        (Some(id), Some(of), None)
    );
    assert_eq!(
        (change.at, change.clock_synced, change.lamp),
        (bench.moment().wall, false, Signal::Alarm)
    );
}
