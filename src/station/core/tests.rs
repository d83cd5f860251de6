#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
//! The ten points of "order of things in one scan", each by name, without clock and without network.

use super::*;
use crate::{
    label::Serial,
    readiness::evidence::{By, Evidence, Finding, Grade, SourceKind},
    reason::Signal,
    record::Cause,
    verdict::PolicySource,
};

mod passes;
mod records;
mod rest;
mod rows;

const READY: &str = "C02XK0AAJG5H";
const OTHER: &str = "C02XK0AAJG6J";
const IMEI: &str = "490154203237518";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

struct Bench {
    core: Core,
    at: Duration,
    /// Questions asked and not answered yet, newest last.
    asked: Vec<(Uuid, Candidates, Purpose)>,
    /// The sources that were asked again without a row at once.
    asked_again: Vec<Vec<Name>>,
    /// Boxes that are to be compared with rows.
    looks: Vec<(Look, Vec<BoxToCompare>)>,
    /// Questions in which rows speak for the services that have them.
    by_rows: Vec<Uuid>,
    /// Records on their way to the journal.
    recording: Vec<(Uuid, Vec<Record>)>,
    lamps: BTreeMap<Name, LaneStatus>,
    told: Vec<Record>,
    /// How long the one that was told last has taken.
    took: Option<Duration>,
    unrecorded: Vec<Record>,
    finished: Vec<Uuid>,
    joined: Vec<(Uuid, Uuid)>,
    journalled: Vec<RawScan>,
    seq: u64,
    clock_synced: bool,
    last_kinds: Vec<&'static str>,
}

impl Bench {
    fn new() -> Self {
        Self::with(&[("kandji", SourceKind::Kandji, true)])
    }

    fn with(sources: &[(&str, SourceKind, bool)]) -> Self {
        let source = |(text, kind, required): &(&str, SourceKind, bool)| PolicySource {
            name: name(text),
            kind: *kind,
            required: *required,
            refresh: None,
        };
        Self::of(sources.iter().map(source).collect())
    }

    fn of(sources: Vec<PolicySource>) -> Self {
        let policy = Policy {
            sources,
            min_grade: Grade::Relayed,
            deadline: Duration::from_secs(2),
            allow_returned: false,
            settle: Duration::ZERO,
            recheck: Duration::from_secs(10),
            recheck_for: Duration::from_secs(86_400),
            hash: "9f2c41d0".to_owned(),
        };
        let lanes = ["left", "right"].map(|lane| LaneSettings {
            name: name(lane),
            policy: policy.clone(),
        });
        let lane_of =
            BTreeMap::from([(name("left"), name("left")), (name("right"), name("right"))]);
        let core = Core::new(
            lanes.to_vec(),
            lane_of,
            Boot::from_duration(Duration::from_secs(1000)),
            Uuid::now_v7,
        );
        Self {
            core,
            at: Duration::from_secs(1000),
            asked: Vec::new(),
            asked_again: Vec::new(),
            looks: Vec::new(),
            by_rows: Vec::new(),
            recording: Vec::new(),
            lamps: BTreeMap::new(),
            told: Vec::new(),
            took: None,
            unrecorded: Vec::new(),
            finished: Vec::new(),
            joined: Vec::new(),
            journalled: Vec::new(),
            seq: 0,
            clock_synced: true,
            last_kinds: Vec::new(),
        }
    }

    fn moment(&self) -> Moment {
        let wall: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        Moment {
            boot: Boot::from_duration(self.at),
            wall: wall + (self.at - Duration::from_secs(1000)),
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Now {
            moment: self.moment(),
            clock_synced: self.clock_synced,
        };
        self.last_kinds.clear();
        for action in self.core.handle(event, now) {
            self.last_kinds.push(match action {
                Action::Show(lane, status) => {
                    self.lamps.insert(lane, status);
                    "show"
                }
                Action::Journal(raw) => {
                    self.journalled.push(raw);
                    "journal"
                }
                Action::Ask {
                    question,
                    candidates,
                    purpose,
                    rows,
                } => {
                    if purpose != Purpose::Scan && rows.is_some() {
                        self.by_rows.push(question);
                    }
                    self.asked_again.extend(rows.and_then(|terms| terms.again));
                    self.asked.push((question, candidates, purpose));
                    "ask"
                }
                Action::LookAtRows { look, boxes } => {
                    self.looks.push((look, boxes));
                    "look_at_rows"
                }
                Action::Record { batch, records } => {
                    self.recording.push((batch, records.records));
                    "record"
                }
                Action::Tell { record, took } => {
                    self.told.push(record);
                    self.took = took;
                    "tell"
                }
                Action::Unrecorded(record) => {
                    self.unrecorded.push(record);
                    "unrecorded"
                }
                Action::Finished(id) => {
                    self.finished.push(id);
                    "finished"
                }
                Action::Joined { scan, newest } => {
                    self.finished.push(scan);
                    self.joined.push((scan, newest));
                    "joined"
                }
            });
        }
    }

    fn scan(&mut self, text: &str) -> Uuid {
        self.scan_on("left", text)
    }

    fn scan_on(&mut self, scanner: &str, text: &str) -> Uuid {
        let id = Uuid::now_v7();
        let scanned = ScannedCode::Whole(text.as_bytes().to_vec());
        self.handle(Event::Scanned(NewScan {
            id,
            scanner: name(scanner),
            at: self.moment(),
            code: scanned,
            overloaded: false,
        }));
        id
    }

    fn pass(&mut self, time: Duration) {
        self.at += time;
        self.handle(Event::Timer);
    }

    fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// Answers the newest question about `serial` for one source.
    fn answer_from(&mut self, source: &str, kind: SourceKind, serial: &str, finding: Finding) {
        let evidence = |one| Evidence {
            known: !matches!(finding, Finding::Unknown(_) | Finding::No(Reason::NotFound)),
            ..Evidence::bare(name(source), kind, one, finding)
        };
        self.hand_with(source, By::Service, evidence, serial);
    }

    fn hand_with(
        &mut self,
        source: &str,
        by: By,
        evidence: impl Fn(Serial) -> Evidence,
        serial: &str,
    ) {
        let (question, candidates, _) = self
            .asked
            .iter()
            .rev()
            .find(|(_, candidates, _)| candidates.scanned.as_str() == serial)
            .cloned()
            .expect("it was asked");
        let answer = Answer {
            source: name(source),
            by,
            evidence: candidates.iter().cloned().map(evidence).collect(),
        };
        self.handle(Event::Answered { question, answer });
    }

    fn answer(&mut self, serial: &str, finding: Finding) {
        self.answer_from("kandji", SourceKind::Kandji, serial, finding);
    }

    fn commit(&mut self) {
        let (batch, records) = self.recording.remove(0);
        let recorded = records.into_iter().map(|record| {
            self.seq += 1;
            Recorded::committed(Uuid::nil(), self.seq, record)
        });
        let recorded = Some(recorded.collect());
        self.handle(Event::Recorded { batch, recorded });
    }

    fn fail_commit(&mut self) {
        let (batch, _) = self.recording.remove(0);
        self.handle(Event::Recorded {
            batch,
            recorded: None,
        });
    }

    fn lamp(&self) -> Option<Signal> {
        self.lamps[&name("left")].answer.map(LampAnswer::signal)
    }

    fn alarms(&self) -> u64 {
        self.lamps[&name("left")].alarms
    }

    fn last(&self) -> &Record {
        self.told.last().unwrap()
    }
}

const fn ready() -> Finding {
    Finding::Ready(Grade::Relayed)
}

const fn no(reason: Reason) -> Finding {
    Finding::No(reason)
}

#[test]
fn point_1_the_lane_goes_dark_first_then_the_bytes_are_queued_then_sources_are_asked() {
    let mut bench = Bench::new();
    bench.scan(READY);
    assert_eq!(bench.last_kinds, ["show", "journal", "ask"]);
    assert_eq!((bench.lamp(), bench.lamps[&name("left")].scan), (None, 1));
}

#[test]
fn point_2_the_deadline_counts_from_the_scan() {
    let mut bench = Bench::new();
    bench.scan(READY);
    assert_eq!(
        bench.core.wake_at(),
        Some(Boot::from_duration(Duration::from_secs(1002)))
    );
    bench.pass_ms(1999);
    assert!(bench.recording.is_empty());
    bench.pass_ms(1);
    assert_eq!(bench.recording[0].1[0].reason, Reason::Timeout);
    bench.commit();
    assert_eq!(bench.lamp(), Some(Signal::Hold));
    bench.answer(READY, ready());
    assert!(
        bench.recording.is_empty(),
        "a late answer of a required source changes nothing"
    );
}

#[test]
fn point_2_an_answer_that_waited_in_a_stopped_process_did_not_come_in_time() {
    let mut bench = Bench::new();
    bench.scan(READY);
    // No timer ran while the process was stopped; the answer is the first thing that it sees.
    bench.at += Duration::from_secs(5);
    bench.answer(READY, ready());
    assert_eq!(bench.recording[0].1[0].reason, Reason::Timeout);
    bench.commit();
    assert_eq!(
        (bench.lamp(), bench.recording.len()),
        (Some(Signal::Hold), 0)
    );
}

#[test]
fn a_scan_takes_until_its_answer_is_recorded_and_its_record_says_when_it_was_judged() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.pass_ms(90);
    bench.answer(READY, ready());
    bench.pass_ms(400);
    bench.commit();
    assert_eq!(bench.took, Some(Duration::from_millis(490)));
    assert_eq!(bench.last().took_ms, 90);
}

#[test]
fn point_3_the_lamp_answers_only_after_the_record_is_committed() {
    let mut bench = Bench::new();
    let id = bench.scan(READY);
    bench.answer(READY, ready());
    assert_eq!(bench.lamp(), None);
    assert_eq!(
        (bench.recording[0].1[0].id, bench.recording[0].1[0].lamp),
        (id, Signal::Ready)
    );
    bench.commit();
    assert_eq!(bench.lamp(), Some(Signal::Ready));
    assert_eq!(
        (
            bench.last().reason,
            bench.last().serial.as_ref().unwrap().as_str()
        ),
        (Reason::Assigned, READY)
    );
    assert_eq!(bench.finished, [id]);
}

#[test]
fn point_3_a_commit_that_is_not_confirmed_shows_journal_fault_under_an_id_of_its_own() {
    let mut bench = Bench::new();
    let id = bench.scan(READY);
    bench.answer(READY, ready());
    bench.fail_commit();
    assert_eq!(bench.lamp(), Some(Signal::Hold));
    assert_eq!(
        (bench.unrecorded[0].reason, bench.unrecorded[0].lamp),
        (Reason::JournalFault, Signal::Hold)
    );
    assert_ne!(bench.unrecorded[0].id, id);
    assert_eq!(bench.finished, [id]);
}

#[test]
fn point_5_a_newer_scan_takes_the_lane_over_and_a_bad_end_of_the_older_one_is_an_alarm() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.pass_ms(600);
    bench.scan(OTHER);
    bench.answer(READY, no(Reason::ProfileRemoved));
    assert_eq!(bench.recording[0].1[0].lamp, Signal::Alarm);
    bench.commit();
    assert_eq!(
        (bench.lamp(), bench.alarms()),
        (None, 1),
        "news of the earlier box is never the newest one's answer"
    );
    bench.answer(OTHER, ready());
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (Some(Signal::Ready), 1));
}

#[test]
fn point_5_an_overtaken_scan_that_ends_ready_is_recorded_without_any_lamp() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.scan(OTHER);
    bench.answer(READY, ready());
    assert_eq!(bench.recording[0].1[0].lamp, Signal::None);
    bench.commit();
    assert_eq!(
        (bench.lamp(), bench.alarms(), bench.last().reason),
        (None, 0, Reason::Assigned)
    );
}

#[test]
fn point_5_a_scan_overtaken_while_its_record_is_on_the_way_never_lights_the_lane() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.scan(OTHER);
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (None, 0));
}

#[test]
fn point_5_a_wrong_barcode_of_the_same_trigger_pull_does_not_take_the_lane_over() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.pass_ms(500);
    bench.scan(IMEI);
    assert_eq!(
        (bench.recording[0].1[0].reason, bench.recording[0].1[0].lamp),
        (Reason::Imei, Signal::None)
    );
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (None, 0));
    bench.answer(READY, ready());
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (Some(Signal::Ready), 0));
}

#[test]
fn point_5_a_wrong_barcode_later_takes_the_lane_over() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.pass_ms(501);
    bench.scan(IMEI);
    bench.commit();
    assert_eq!(bench.lamp(), Some(Signal::Rescan));
    bench.answer(READY, no(Reason::NotFound));
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (Some(Signal::Rescan), 1));
}

#[test]
fn point_5_a_serial_number_right_after_a_wrong_barcode_replaces_its_signal_without_alarm() {
    let mut bench = Bench::new();
    bench.scan(IMEI);
    bench.pass_ms(300);
    bench.scan(READY);
    bench.commit();
    assert_eq!((bench.lamp(), bench.alarms()), (None, 0));
}

#[test]
fn point_7_a_repeat_joins_the_scan_it_repeats() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.pass_ms(1000);
    let repeat = bench.scan(&READY.to_lowercase());
    assert_eq!(
        (
            bench.finished.as_slice(),
            bench.asked.len(),
            bench.journalled.len()
        ),
        (&[repeat][..], 1, 1),
        "no row, no question"
    );
    bench.answer(READY, ready());
    bench.commit();
    let shown = bench.lamps[&name("left")].scan;
    bench.pass_ms(400);
    bench.scan(READY);
    assert_eq!(
        (bench.lamp(), bench.lamps[&name("left")].scan),
        (Some(Signal::Ready), shown + 1),
        "the same lamp again"
    );
    assert_eq!((bench.told.len(), bench.core.repeats()), (1, 2));
    // Sliding, but at most 5 s after the first.
    for _ in 0..3 {
        bench.pass_ms(1200);
        bench.scan(READY);
    }
    assert_eq!(bench.asked.len(), 1);
    bench.pass_ms(1200);
    bench.scan(READY);
    assert_eq!(
        bench.asked.len(),
        2,
        "6.2 s after the first it is a scan of its own"
    );
}

#[test]
fn point_7_a_repeat_on_another_lane_or_of_an_overtaken_scan_is_a_scan_of_its_own() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.scan_on("right", READY);
    assert_eq!(bench.asked.len(), 2);
    bench.scan(OTHER);
    bench.scan(READY);
    assert_eq!(bench.asked.len(), 4);
}

#[test]
fn point_8_several_serials_in_one_code_are_a_group_with_the_worst_ones_lamp() {
    let mut bench = Bench::new();
    let envelope = format!("[)>\u{1e}06\u{1d}S{READY}\u{1d}S{OTHER}\u{1e}\u{4}");
    let id = bench.scan(&envelope);
    assert_eq!(bench.asked.len(), 2);
    bench.answer(READY, ready());
    assert!(bench.recording.is_empty());
    bench.answer(OTHER, no(Reason::NotFound));
    let records = &bench.recording[0].1;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].id, id);
    assert!(
        records
            .iter()
            .all(|record| record.group == Some(id) && record.lamp == Signal::Stop)
    );
    bench.commit();
    assert_eq!(bench.lamp(), Some(Signal::Stop));
    assert_eq!(bench.told.len(), 2);
}

#[test]
fn point_9_a_waiting_box_is_asked_again_and_its_change_is_told_without_a_lamp() {
    let mut bench = Bench::new();
    let id = bench.scan(READY);
    bench.answer(READY, Finding::Wait(Reason::AssignmentPending));
    bench.commit();
    let lamp = bench.lamps[&name("left")];
    assert_eq!(bench.core.waiting(), 1);
    bench.pass_ms(9_999);
    assert_eq!(bench.asked.len(), 1);
    bench.pass_ms(1);
    assert_eq!(bench.asked[1].2, Purpose::Recheck);
    bench.answer(READY, Finding::Unknown(Reason::Offline));
    assert!(
        bench.recording.is_empty(),
        "an attempt that ends unknown changes nothing"
    );
    bench.pass_ms(19_999);
    assert_eq!(bench.asked.len(), 2, "the time doubles");
    bench.pass_ms(1);
    bench.answer(READY, ready());
    let change = bench.recording[0].1[0].clone();
    let what = change.change.as_ref().unwrap();
    assert_eq!(
        (what.scan, what.cause, what.previous_reason, change.lamp),
        (id, Cause::Recheck, Reason::AssignmentPending, Signal::None)
    );
    bench.commit();
    assert_eq!(
        bench.lamps[&name("left")],
        lamp,
        "never green for a re-check"
    );
    assert_eq!(
        (bench.core.waiting(), bench.last().reason),
        (0, Reason::Assigned)
    );
}

#[test]
fn point_9_a_box_scanned_again_leaves_its_older_entry_and_a_late_re_check_of_it_is_dropped() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.answer(READY, Finding::Wait(Reason::AssignmentPending));
    bench.commit();
    bench.pass_ms(10_000);
    let recheck = bench.asked[1].0;
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.commit();
    assert_eq!(bench.core.waiting(), 0);
    let evidence = vec![Evidence::bare(
        name("kandji"),
        SourceKind::Kandji,
        Serial::new(READY).unwrap(),
        no(Reason::NotFound),
    )];
    bench.handle(Event::Answered {
        question: recheck,
        answer: Answer {
            by: By::Service,
            source: name("kandji"),
            evidence,
        },
    });
    assert!(bench.recording.is_empty());
}

#[test]
fn point_9_at_most_one_box_a_second_and_failed_assignments_hourly() {
    let mut bench = Bench::new();
    for nth in 0..5 {
        let serial = format!("C02XK0AAJG{nth}H");
        bench.scan(&serial);
        bench.answer(&serial, Finding::Wait(Reason::AssignmentPending));
        bench.commit();
    }
    bench.scan(OTHER);
    bench.answer(OTHER, no(Reason::AssignmentFailed));
    bench.commit();
    let asked = bench.asked.len();
    for second in 0..5 {
        bench.pass_ms(if second == 0 { 10_000 } else { 1_000 });
        bench.pass_ms(0);
        assert_eq!(bench.asked.len(), asked + second + 1);
    }
    bench.pass(Duration::from_secs(3600));
    let hourly = bench.asked.iter().any(|(_, candidates, purpose)| {
        candidates.scanned.as_str() == OTHER && *purpose == Purpose::Recheck
    });
    for _ in 0..10 {
        bench.pass_ms(1_000);
    }
    let later = bench.asked.iter().any(|(_, candidates, purpose)| {
        candidates.scanned.as_str() == OTHER && *purpose == Purpose::Recheck
    });
    assert!(hourly || later);
}

#[test]
fn point_9_the_list_survives_a_restart() {
    let mut bench = Bench::new();
    bench.scan(READY);
    bench.answer(READY, Finding::Wait(Reason::AssignmentPending));
    bench.commit();
    let record = bench.last().clone();
    let mut restarted = Bench::new();
    let now = restarted.moment().boot;
    restarted
        .core
        .restore(vec![(record.clone(), Duration::from_secs(60))], now);
    assert_eq!(restarted.core.waiting(), 1);
    restarted.core.restored();
    let late = Record {
        serial: Serial::new(OTHER),
        ..record
    };
    restarted
        .core
        .restore(vec![(late, Duration::from_secs(60))], now);
    assert_eq!(restarted.core.waiting(), 1, "the list was closed");
    restarted.pass(Duration::from_secs(60));
    assert_eq!(
        restarted.asked.len(),
        1,
        "the interval it had reached is about its age"
    );
}

#[test]
fn point_10_a_late_answer_only_makes_it_worse_and_takes_the_green_away() {
    let sources = [
        ("kandji", SourceKind::Kandji, true),
        ("apple", SourceKind::AppleDep, false),
    ];
    let mut bench = Bench::with(&sources);
    let id = bench.scan(READY);
    bench.answer(READY, ready());
    bench.commit();
    assert_eq!(bench.lamp(), Some(Signal::Ready));
    bench.pass_ms(3_000);
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        no(Reason::ProfileRemoved),
    );
    let change = bench.recording[0].1[0].clone();
    let what = change.change.as_ref().unwrap();
    assert_eq!(
        (what.scan, what.cause, change.lamp),
        (id, Cause::LateAnswer, Signal::Alarm)
    );
    bench.commit();
    assert_eq!(bench.alarms(), 1);
    assert_ne!(
        bench.lamp(),
        Some(Signal::Ready),
        "its green does not come back"
    );
    // A repeat of the same scan shows what is true now.
    bench.scan(READY);
    assert_ne!(bench.lamp(), Some(Signal::Ready));
}

#[test]
fn point_10_an_answer_between_the_verdict_and_its_record_counts_as_late() {
    let sources = [
        ("kandji", SourceKind::Kandji, true),
        ("apple", SourceKind::AppleDep, false),
    ];
    let mut bench = Bench::with(&sources);
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.answer_from("apple", SourceKind::AppleDep, READY, no(Reason::NoProfile));
    bench.commit();
    assert_eq!(bench.recording[0].1[0].reason, Reason::NoProfile);
    bench.commit();
    assert_eq!(bench.alarms(), 1);
}

#[test]
fn point_10_an_answer_after_ten_seconds_is_not_heard() {
    let sources = [
        ("kandji", SourceKind::Kandji, true),
        ("apple", SourceKind::AppleDep, false),
    ];
    let mut bench = Bench::with(&sources);
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.commit();
    bench.pass_ms(10_000);
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        no(Reason::ProfileRemoved),
    );
    assert!(bench.recording.is_empty());
}

#[test]
fn a_recall_that_cannot_be_recorded_still_alarms_and_is_offered_again() {
    let sources = [
        ("kandji", SourceKind::Kandji, true),
        ("apple", SourceKind::AppleDep, false),
    ];
    let mut bench = Bench::with(&sources);
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.commit();
    bench.answer_from(
        "apple",
        SourceKind::AppleDep,
        READY,
        no(Reason::ProfileRemoved),
    );
    bench.fail_commit();
    assert_eq!(bench.alarms(), 1);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.recording.len(), 1);
    bench.commit();
    assert_eq!(
        (bench.alarms(), bench.last().reason),
        (1, Reason::ProfileRemoved)
    );
}

#[test]
fn too_many_scans_at_once_are_the_stations_fault_and_not_the_boxs() {
    let mut bench = Bench::new();
    let scanned = ScannedCode::Whole(READY.as_bytes().to_vec());
    let scan = NewScan {
        id: Uuid::now_v7(),
        scanner: name("left"),
        at: bench.moment(),
        code: scanned,
        overloaded: true,
    };
    bench.handle(Event::Scanned(scan));
    bench.commit();
    assert_eq!(
        (bench.last().reason, bench.lamp()),
        (Reason::StationFault, Some(Signal::Hold))
    );
    assert_eq!(bench.last().serial.as_ref().unwrap().as_str(), READY);
}

#[test]
fn a_broken_scan_asks_for_a_rescan_and_says_why() {
    let mut bench = Bench::new();
    let scanned = ScannedCode::Broken {
        bytes: b"C02".to_vec(),
        why: "the scanner's key queue ran over",
    };
    bench.handle(Event::Scanned(NewScan {
        id: Uuid::now_v7(),
        scanner: name("left"),
        at: bench.moment(),
        code: scanned,
        overloaded: false,
    }));
    bench.commit();
    assert_eq!(
        (bench.last().reason, bench.last().serial.clone()),
        (Reason::Unreadable, None)
    );
    assert!(
        bench.last().message.contains("key queue"),
        "{}",
        bench.last().message
    );
}

#[test]
fn five_not_found_in_a_row_from_one_scanner_make_it_suspect_until_a_known_one() {
    let mut bench = Bench::new();
    for nth in 0..5 {
        let serial = format!("C02XK0AAJG{nth}H");
        bench.scan(&serial);
        bench.answer(&serial, no(Reason::NotFound));
        bench.commit();
    }
    let left = bench.core.scanners()[&name("left")];
    assert!(left.is_suspect() && !left.proven);
    bench.scan(READY);
    bench.answer(READY, ready());
    bench.commit();
    let left = bench.core.scanners()[&name("left")];
    assert!(!left.is_suspect() && left.proven);
}

#[test]
fn a_scanner_that_was_proven_before_the_start_still_is() {
    let mut bench = Bench::new();
    bench
        .core
        .restore_proven(&BTreeSet::from([name("left"), name("gone")]));
    let proven: Vec<_> = bench
        .core
        .scanners()
        .iter()
        .map(|(name, scanner)| (name.as_str(), scanner.proven))
        .collect();
    assert_eq!(proven, [("left", true), ("right", false)]);
    bench.scan(OTHER);
    bench.answer(OTHER, no(Reason::NotFound));
    bench.commit();
    let left = bench.core.scanners()[&name("left")];
    assert_eq!((left.proven, left.not_found_in_a_row), (true, 1));
}

#[test]
fn a_serial_number_that_nobody_knows_with_a_letter_that_none_has_is_said_to_be_doubtful() {
    let mut bench = Bench::new();
    for (serial, doubtful) in [("CO2XK0AAJG5H", true), (READY, false)] {
        bench.scan(serial);
        bench.answer(serial, no(Reason::NotFound));
        bench.commit();
        assert_eq!(
            bench.last().message.contains("misread"),
            doubtful,
            "{}",
            bench.last().message
        );
    }
}
