//! What complete passes say: of greens that rest on rows, and of waiting boxes, which ride on the passes.

use super::{
    rows::{BUSINESS, DEP, KANDJI},
    *,
};

const REFRESH: Duration = Duration::from_mins(10);
const PENDING: Finding = Finding::Wait(Reason::AssignmentPending);

/// A station whose sources have a replica where the third word is true.
fn replicas(sources: &[((&str, SourceKind), bool)]) -> Bench {
    let source = |((text, kind), has): &((&str, SourceKind), bool)| PolicySource {
        name: name(text),
        kind: *kind,
        required: true,
        refresh: has.then_some(REFRESH),
    };
    Bench::of(sources.iter().map(source).collect())
}

/// What a row says of a box; `None`: it has no row.
fn by_row((source, kind): (&str, SourceKind), serial: &Serial, says: Option<Finding>) -> Answer {
    let (finding, row_age) = match says {
        Some(finding) => (finding, Some(Duration::from_secs(3))),
        None => (no(kind.not_known()), None),
    };
    Answer {
        source: name(source),
        by: By::Row,
        evidence: vec![Evidence {
            known: says.is_some(),
            row_age,
            ..Evidence::bare(name(source), kind, serial.clone(), finding)
        }],
    }
}

impl Bench {
    /// A pass of Kandji's list that begins and is complete now. The boxes that are looked up have that row, and no other look follows.
    fn passed(&mut self, says: impl Fn(&Serial) -> Vec<Answer>) -> usize {
        let began = Boot::from_duration(self.at);
        let source = name(KANDJI.0);
        self.handle(Event::Passed(Passed { source, began }));
        let mut seen = 0;
        while let Some((look, boxes)) = self.looks.pop() {
            assert!(self.looks.is_empty() && boxes.len() <= 64);
            seen += boxes.len();
            let say = |one: BoxToCompare| RowsSay {
                answers: says(&one.serial),
                record: one.record,
                serial: one.serial,
            };
            let said = boxes.into_iter().map(say).collect();
            self.handle(Event::RowsSay { look, said });
        }
        seen
    }

    /// The same where every box has that row of Kandji.
    fn passed_with(&mut self, says: Option<Finding>) -> usize {
        self.passed(|serial| vec![by_row(KANDJI, serial, says)])
    }

    /// A box that waits since then, and is not asked for early any more.
    fn waits(&mut self, serial: &str, finding: Finding) {
        self.scan(serial);
        self.answer(serial, finding);
        self.commit();
        let asked = self.asked.len();
        for _ in 0..300 {
            self.pass(Duration::from_secs(1));
            if let Some((question, candidates, _)) = self.asked.get(asked..).and_then(<[_]>::last)
                && !self.by_rows.contains(question)
                && self.core.rechecks.contains_key(question)
            {
                assert_eq!(candidates.scanned.as_str(), serial);
                self.answer(serial, finding);
            }
        }
        self.asked.clear();
    }

    fn asked_for(&self) -> Vec<(&str, Purpose, bool)> {
        let asked = self.asked.iter().map(|(question, candidates, purpose)| {
            let by_rows = self.by_rows.contains(question);
            (candidates.scanned.as_str(), *purpose, by_rows)
        });
        asked.collect()
    }
}

const LIVE: (&str, Purpose, bool) = (READY, Purpose::Recheck, false);
const BY_ROWS: (&str, Purpose, bool) = (READY, Purpose::Recheck, true);

#[test]
fn a_box_is_asked_for_live_in_its_first_minutes_and_then_rides_on_the_passes() {
    let mut bench = replicas(&[(KANDJI, true)]);
    bench.scan(READY);
    bench.answer(READY, PENDING);
    bench.commit();
    let scanned = bench.at;
    let mut asked = Vec::new();
    for _ in 0..7_200 {
        bench.pass(Duration::from_secs(1));
        if bench.asked.len() > 1 {
            asked.push((bench.at - scanned).as_secs());
            bench.answer(READY, PENDING);
            bench.asked.truncate(1);
        }
        if (bench.at - scanned).as_secs().is_multiple_of(600) {
            bench.passed_with(Some(PENDING));
        }
    }
    assert_eq!(asked, [10, 30, 70, 150]);
    assert_eq!(bench.core.waiting(), 1);
}

#[test]
fn what_a_pass_changes_is_asked_live_at_once_before_it_is_a_change() {
    let mut bench = replicas(&[(KANDJI, true)]);
    bench.waits(READY, PENDING);
    assert_eq!(bench.passed_with(Some(ready())), 1);
    assert_eq!(bench.asked_for(), [LIVE]);
    assert!(bench.recording.is_empty(), "a row alone changes nothing");
    bench.answer(READY, ready());
    bench.commit();
    let (cause, reason, _) = bench.change();
    assert_eq!((cause, reason), (Cause::Recheck, Reason::Assigned));
    assert_eq!(bench.core.waiting(), 0);
}

#[test]
fn a_box_that_the_service_does_not_know_rides_without_a_row() {
    for kind in [KANDJI, BUSINESS] {
        let mut bench = replicas(&[(kind, true)]);
        let unknown = no(kind.1.not_known());
        bench.scan(READY);
        bench.answer_from(kind.0, kind.1, READY, unknown);
        bench.commit();
        bench.pass(Duration::from_secs(299));
        bench.answer_from(kind.0, kind.1, READY, unknown);
        bench.pass(Duration::from_secs(1));
        bench.asked.clear();
        for _ in 0..100 {
            bench.pass(REFRESH);
            bench.passed(|serial| vec![by_row(kind, serial, None)]);
        }
        assert_eq!(bench.asked_for(), [], "{kind:?}");
        bench.passed(|serial| vec![by_row(kind, serial, Some(ready()))]);
        assert_eq!(bench.asked_for(), [LIVE], "{kind:?}");
    }
}

#[test]
fn what_the_service_contradicts_is_asked_again_at_the_boxs_own_times_only() {
    let mut bench = replicas(&[(KANDJI, true)]);
    bench.waits(READY, no(Reason::NotFound));
    let mut asked = Vec::new();
    for second in 0..7_200 {
        bench.pass(Duration::from_secs(1));
        if second % 10 == 0 {
            bench.passed_with(Some(PENDING));
        }
        if bench.asked_for() == [LIVE] {
            asked.push(second);
            bench.answer(READY, no(Reason::NotFound));
            bench.asked.clear();
        }
    }
    assert!((8..=12).contains(&asked.len()), "{asked:?}");
    assert!(bench.recording.is_empty());
}

#[test]
fn a_row_that_does_not_speak_and_a_pass_that_fails_leave_no_box_unasked() {
    // Struck, damaged or too old: no answer. No pass at all: nothing comes.
    for passes in [true, false] {
        let mut bench = replicas(&[(KANDJI, true)]);
        bench.waits(READY, PENDING);
        let mut asked = Vec::new();
        for second in 0..7_200 {
            bench.pass(Duration::from_secs(1));
            if passes && second % 600 == 0 {
                bench.passed(|_| Vec::new());
            }
            if bench.asked_for() == [LIVE] {
                asked.push(second);
                bench.answer(READY, PENDING);
                bench.asked.clear();
            }
        }
        let first = asked.first().copied().unwrap();
        assert!(first <= 1_200, "two passes have failed by then: {asked:?}");
        assert!(asked.len() >= 6, "and then as without a replica: {asked:?}");
    }
}

#[test]
fn a_failed_assignment_rides_from_the_start_and_long_before_its_hour() {
    let mut bench = replicas(&[(KANDJI, true)]);
    bench.scan(READY);
    bench.answer(READY, no(Reason::AssignmentFailed));
    bench.commit();
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.passed_with(Some(ready())), 1);
    assert_eq!(bench.asked.len(), 2);
}

#[test]
fn a_pass_that_began_before_the_newest_answer_judges_nothing() {
    let mut bench = replicas(&[(KANDJI, true)]);
    bench.waits(READY, PENDING);
    let source = name(KANDJI.0);
    let began = Boot::from_duration(bench.at - Duration::from_secs(200));
    bench.handle(Event::Passed(Passed { source, began }));
    assert!(bench.looks.is_empty());
}

#[test]
fn where_one_source_has_no_replica_the_others_rows_speak_at_the_boxs_own_times() {
    let mut bench = replicas(&[(KANDJI, true), (BUSINESS, false)]);
    let business = Finding::NoObjection;
    bench.scan(READY);
    bench.hand(KANDJI, READY, PENDING, By::Service);
    bench.hand(BUSINESS, READY, business, By::Service);
    bench.commit();
    bench.asked.clear();
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.asked_for(), [LIVE], "early: all services");
    bench.hand(KANDJI, READY, PENDING, By::Service);
    bench.hand(BUSINESS, READY, business, By::Service);
    bench.pass(Duration::from_secs(400));
    assert_eq!(
        bench.asked_for(),
        [LIVE, BY_ROWS],
        "the last of the early ones came late"
    );
    assert_eq!(
        bench.passed_with(Some(ready())),
        0,
        "no pass judges it alone"
    );
    // What rows and services say together is the same: nobody else is asked.
    let serial = Serial::new(READY).unwrap();
    let (question, ..) = bench.asked.last().cloned().unwrap();
    let answer = by_row(KANDJI, &serial, Some(PENDING));
    bench.handle(Event::Answered { question, answer });
    bench.hand(BUSINESS, READY, business, By::Service);
    assert_eq!(bench.asked.len(), 2);
    bench.pass(Duration::from_secs(40));
    // Now they say otherwise: all services are asked at once.
    let (question, ..) = bench.asked.last().cloned().unwrap();
    let answer = by_row(KANDJI, &serial, Some(ready()));
    bench.handle(Event::Answered { question, answer });
    bench.hand(BUSINESS, READY, business, By::Service);
    assert_eq!(bench.asked_for(), [LIVE, BY_ROWS, BY_ROWS, LIVE]);
    assert!(bench.recording.is_empty());
    bench.hand(KANDJI, READY, ready(), By::Service);
    bench.hand(BUSINESS, READY, business, By::Service);
    bench.commit();
    assert_eq!(bench.last().reason, Reason::Assigned);
}

#[test]
fn a_row_of_apple_is_good_enough_to_ask_where_only_apples_own_word_makes_a_box_green() {
    let mut bench = replicas(&[(DEP, true)]);
    let apple = |finding| move |serial: &Serial| vec![by_row(DEP, serial, Some(finding))];
    bench.scan(READY);
    bench.hand(DEP, READY, no(Reason::NoProfile), By::Service);
    bench.commit();
    for lane in bench.core.lanes.values_mut() {
        lane.policy.min_grade = Grade::Apple;
    }
    bench.pass(Duration::from_secs(299));
    bench.hand(DEP, READY, no(Reason::NoProfile), By::Service);
    bench.asked.clear();
    bench.passed(apple(no(Reason::NoProfile)));
    assert_eq!(bench.asked_for(), []);
    bench.pass(REFRESH);
    bench.passed(apple(ready()));
    assert_eq!(bench.asked_for(), [LIVE]);
}

#[test]
fn ten_thousand_waiting_boxes_cost_no_question_in_hours_of_passes_after_a_restart() {
    let mut bench = replicas(&[(KANDJI, true), (DEP, true)]);
    let boxes = (0..10_000).map(|number| {
        let serial = Serial::new(&format!("C02X{number:08}")).unwrap();
        let record = Record {
            asked: vec![serial.clone()],
            serial: Some(serial),
            ..Record::bare(
                Uuid::now_v7(),
                Timestamp::UNIX_EPOCH,
                name("left"),
                Reason::NotFound,
            )
        };
        (record, Duration::from_secs(600 + number))
    });
    let now = bench.moment().boot;
    let boxes: Vec<_> = boxes.collect();
    let last = boxes.last().unwrap().0.serial.clone().unwrap();
    bench.core.restore(boxes, now);
    bench.core.restored();
    let both = |found: Option<Finding>| {
        let last = last.clone();
        move |serial: &Serial| {
            let says = found.filter(|_| *serial == last);
            vec![by_row(KANDJI, serial, says), by_row(DEP, serial, says)]
        }
    };
    for _ in 0..18 {
        for _ in 0..10 {
            bench.pass(Duration::from_mins(1));
        }
        assert_eq!(bench.passed(both(None)), 10_000);
    }
    assert_eq!((bench.core.waiting(), bench.asked.len()), (10_000, 0));
    bench.passed(both(Some(ready())));
    assert_eq!(
        bench.asked_for(),
        [(last.as_str(), Purpose::Recheck, false)]
    );
}

#[test]
fn a_complete_pass_confirms_by_its_rows() {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    bench.green_by_row(OTHER);
    let passed = |source, began| {
        let source = name(source);
        Event::Passed(Passed { source, began })
    };
    bench.pass_ms(100);
    bench.handle(passed("another", Boot::from_duration(bench.at)));
    // Its rows may have been read before the scans.
    let earlier = Boot::from_duration(Duration::from_secs(999));
    bench.handle(passed(KANDJI.0, earlier));
    assert!(bench.looks.is_empty());
    let agrees = |serial: &Serial| match serial.as_str() {
        READY => vec![by_row(KANDJI, serial, Some(ready()))],
        _ => Vec::new(),
    };
    assert_eq!(bench.passed(agrees), 2);
    assert_eq!(bench.core.unconfirmed(), 1);
    let last = bench.asked_for().last().copied();
    assert_eq!(last, Some((OTHER, Purpose::Recheck, true)));
}

/// A green of Kandji's row that a pass contradicts; what its rows, and then (`None`: nobody is asked) the services, say.
fn contradicted(says: Option<Finding>, live: Option<Finding>) -> Bench {
    let mut bench = Bench::new();
    bench.green_by_row(READY);
    bench.pass_ms(100);
    bench.asked.clear();
    bench.passed(|_| Vec::new());
    assert_eq!(bench.asked_for(), [BY_ROWS]);
    let (question, ..) = bench.asked.last().cloned().unwrap();
    let answer = by_row(KANDJI, &Serial::new(READY).unwrap(), says);
    bench.handle(Event::Answered { question, answer });
    if let Some(live) = live {
        assert_eq!(bench.asked_for(), [BY_ROWS, LIVE], "{says:?}");
        assert!(bench.recording.is_empty(), "{says:?}");
        bench.answer(READY, live);
    } else {
        assert_eq!(bench.asked_for(), [BY_ROWS], "{says:?}");
    }
    bench
}

#[test]
fn a_row_that_says_otherwise_at_a_complete_pass_is_enough_for_a_recall() {
    for says in [
        no(Reason::ProfileRemoved),
        no(Reason::Unassigned),
        PENDING,
        Finding::Wait(Reason::AssignmentThrottled),
    ] {
        let mut bench = contradicted(Some(says), None);
        bench.commit();
        let reason = says.reason().unwrap();
        assert_eq!(bench.change(), (Cause::Recall, reason, Signal::Alarm));
        assert_eq!((bench.alarms(), bench.core.unconfirmed()), (1, 0));
        assert_eq!(
            bench.last().evidence[0].row_age,
            Some(Duration::from_secs(3))
        );
    }
}

#[test]
fn no_row_that_is_missing_or_says_nothing_certain_recalls_a_green() {
    for says in [
        None,
        Some(Finding::Unknown(Reason::Stale)),
        Some(Finding::Unknown(Reason::MdmLinkBroken)),
        Some(Finding::Wait(Reason::SyncPending)),
        Some(Finding::Wait(Reason::Settling)),
        Some(ready()),
    ] {
        let confirmed = contradicted(says, Some(ready()));
        assert_eq!(
            (confirmed.recording.len(), confirmed.core.unconfirmed()),
            (0, 0),
            "{says:?}"
        );
        let open = contradicted(says, Some(Finding::Unknown(Reason::Offline)));
        assert_eq!((open.recording.len(), open.core.unconfirmed()), (0, 1));
        let mut recalled = contradicted(says, Some(no(Reason::NotFound)));
        recalled.commit();
        assert_eq!(recalled.change().0, Cause::Recall);
    }
}

#[test]
fn an_enrolment_that_a_row_tells_of_ends_the_confirmation_unless_it_was_before_the_scan() {
    let read: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
    for (used, recalled) in [(None, false), (Some(30), false), (Some(90), true)] {
        let mut bench = Bench::new();
        bench.green_by_row(READY);
        bench.pass(Duration::from_millis(1_500));
        bench.asked.clear();
        bench.passed(|_| Vec::new());
        bench.pass(Duration::from_secs(9));
        // Scanned 10.5 s ago, read 3 s ago, used so long before that it was read.
        let (question, ..) = bench.asked.first().cloned().unwrap();
        let mut answer = by_row(
            KANDJI,
            &Serial::new(READY).unwrap(),
            Some(no(Reason::AlreadyEnrolled)),
        );
        answer.evidence[0].replied_at = Some(read);
        answer.evidence[0].used_at =
            used.map(|tenths| read - jiff::SignedDuration::from_millis(tenths * 100));
        bench.handle(Event::Answered { question, answer });
        assert_eq!(bench.recording.len(), usize::from(recalled), "{used:?}");
        assert_eq!(bench.core.unconfirmed(), 0, "{used:?}");
    }
}

#[test]
fn rows_that_were_read_before_the_newest_live_word_recall_nothing() {
    let mut bench = Bench::with(&[(KANDJI.0, KANDJI.1, true), (BUSINESS.0, BUSINESS.1, true)]);
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Row);
    bench.hand(BUSINESS, READY, Finding::NoObjection, By::Service);
    bench.commit();
    let began = Boot::from_duration(bench.at + Duration::from_secs(1));
    bench.pass(Duration::from_secs(3));
    // Kandji says ready by now; Apple does not answer, so the green stays open.
    bench.hand(KANDJI, READY, ready(), By::Service);
    let offline = Finding::Unknown(Reason::Offline);
    bench.hand(BUSINESS, READY, offline, By::Service);
    let source = name(KANDJI.0);
    bench.handle(Event::Passed(Passed { source, began }));
    assert!(bench.looks.is_empty());
    assert_eq!(bench.core.unconfirmed(), 1);
}

#[test]
fn two_services_that_contradict_each_other_by_row_recall_nothing() {
    let mut bench = replicas(&[(KANDJI, true), (DEP, true)]);
    bench.scan(READY);
    bench.hand(KANDJI, READY, ready(), By::Row);
    bench.hand(DEP, READY, ready(), By::Row);
    bench.commit();
    bench.pass_ms(100);
    bench.asked.clear();
    bench.passed(|_| Vec::new());
    let serial = Serial::new(READY).unwrap();
    let (question, ..) = bench.asked.first().cloned().unwrap();
    for answer in [
        by_row(KANDJI, &serial, Some(no(Reason::ProfileRemoved))),
        by_row(DEP, &serial, Some(ready())),
    ] {
        bench.handle(Event::Answered { question, answer });
    }
    assert!(bench.recording.is_empty());
    assert_eq!(bench.asked_for(), [BY_ROWS, LIVE]);
}
