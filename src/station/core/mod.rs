//! The pure heart of the station: events and the time in, actions out. No clock, no I/O, no task.

mod changes;
mod lane;
mod passes;
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    confirming::Confirming,
    status::{LampAnswer, LaneStatus},
    waiting::WaitingList,
};
use crate::{
    label::{self, Candidates, Meaning},
    readiness::{
        Passed, Purpose,
        evidence::{Answer, By, RowTerms},
        replica::rule,
    },
    reason::{Reason, Signal},
    record::{RawScan, Record, Recorded, ToRecord},
    runtime::{
        clock::{Boot, Moment},
        name::Name,
    },
    scanner::ScannedCode,
    verdict::Policy,
};
use changes::{PendingChange, Recheck};
use lane::Lane;
use passes::Walk;
pub use passes::{BoxToCompare, Look, RowsSay};
use scan::{Member, ScanInProgress, Stage};

/// A source outside `require` may still make an answer worse this long after the scan.
const LATE: Duration = Duration::from_secs(10);
/// This many `not_found` in a row from one scanner: its layout or prefix is likelier wrong than the boxes.
const STREAK: u32 = 5;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A scanner delivered something.
    Scanned(NewScan),
    /// A source answered a question.
    Answered {
        /// Which question.
        question: Uuid,
        /// What it said.
        answer: Answer,
    },
    /// The journal has committed records, or could not.
    Recorded {
        /// What asked for it.
        batch: Uuid,
        /// The records with their epoch and `seq`, or `None`: not recorded (the journal says why in health and log).
        recorded: Option<Vec<Recorded>>,
    },
    /// A complete pass has brought all rows of a source.
    Passed(Passed),
    /// What the rows say of the boxes that were to be compared with them.
    RowsSay { look: Look, said: Vec<RowsSay> },
    /// Time has passed.
    Timer,
}

/// A scan as it enters the station.
#[derive(Debug)]
pub struct NewScan {
    /// UUID v7, drawn by the driver.
    pub id: Uuid,
    /// The scanner.
    pub scanner: Name,
    /// When its last character came.
    pub at: Moment,
    /// What came.
    pub code: ScannedCode,
    /// All places for scans in progress were taken, and the scanner cannot be made to wait.
    pub overloaded: bool,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Show this on the lane's lamps.
    Show(Name, LaneStatus),
    /// Queue the scan's bytes for the journal; nobody waits for it.
    Journal(RawScan),
    /// Ask every source; each answer comes back as [`Event::Answered`].
    Ask {
        /// Comes back with the answers.
        question: Uuid,
        /// What to ask for.
        candidates: Candidates,
        /// For a person or for a re-check.
        purpose: Purpose,
        /// On what terms rows of replicas may answer a scan, and speak for their services otherwise; `None`: the services alone.
        rows: Option<RowTerms>,
    },
    /// Look up what the rows say of these boxes now; comes back as [`Event::RowsSay`].
    LookAtRows {
        look: Look,
        boxes: Vec<BoxToCompare>,
    },
    /// Commit these in one transaction; comes back as [`Event::Recorded`].
    Record {
        /// Comes back with the outcome.
        batch: Uuid,
        /// One scan's or group's, or a change.
        records: ToRecord,
    },
    /// A result for the terminal and the log.
    Tell {
        record: Record,
        /// From the scan until its answer was recorded; `None`: a change.
        took: Option<Duration>,
    },
    /// A scan that could not be recorded: published at best once.
    Unrecorded(Record),
    /// The scan is over: its place among the scans in progress is free.
    Finished(Uuid),
    /// The scan repeats the lane's newest one and ends with that: its place is free.
    Joined { scan: Uuid, newest: Uuid },
}

/// What the station has seen of one scanner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScannerRecord {
    /// It has yielded a serial number that a source knows, now or in an earlier run.
    pub proven: bool,
    /// `not_found` in a row, since the start.
    pub not_found_in_a_row: u32,
}

impl ScannerRecord {
    /// Is its layout or prefix likelier wrong than the boxes?
    pub const fn is_suspect(&self) -> bool {
        self.not_found_in_a_row >= STREAK
    }
}

/// The moment an event is handled, with what the kernel says of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Both clocks.
    pub moment: Moment,
    /// Is the wall clock synchronised?
    pub clock_synced: bool,
}

impl Now {
    /// How a record is dated.
    const fn dated(self) -> (Timestamp, bool) {
        (self.moment.wall, self.clock_synced)
    }
}

/// One lane as configured.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// Its name.
    pub name: Name,
    /// Its policy.
    pub policy: Policy,
}

/// The station's state.
pub struct Core {
    lanes: BTreeMap<Name, Lane>,
    lane_of: BTreeMap<Name, Name>,
    scans: HashMap<Uuid, ScanInProgress>,
    /// Open questions of scans: which scan, and which member of it. Those of re-checks are in `rechecks`.
    questions: HashMap<Uuid, (Uuid, usize)>,
    rechecks: HashMap<Uuid, Recheck>,
    changes: HashMap<Uuid, PendingChange>,
    waiting: WaitingList,
    confirming: Confirming,
    walks: VecDeque<Walk>,
    looking: bool,
    scanners: BTreeMap<Name, ScannerRecord>,
    repeats: u64,
    draw_id: fn() -> Uuid,
}

impl Core {
    /// A station at its start: all lanes dark. `lane_of` says which lane each scanner's scans count for.
    pub fn new(
        lanes: Vec<LaneSettings>,
        lane_of: BTreeMap<Name, Name>,
        now: Boot,
        draw_id: fn() -> Uuid,
    ) -> Self {
        Self {
            lanes: lanes
                .into_iter()
                .map(|one| (one.name, Lane::new(one.policy, now)))
                .collect(),
            scanners: lane_of
                .keys()
                .map(|scanner| (scanner.clone(), ScannerRecord::default()))
                .collect(),
            lane_of,
            scans: HashMap::new(),
            questions: HashMap::new(),
            rechecks: HashMap::new(),
            changes: HashMap::new(),
            waiting: WaitingList::default(),
            confirming: Confirming::default(),
            walks: VecDeque::new(),
            looking: false,
            repeats: 0,
            draw_id,
        }
    }

    /// Takes up which scanners had yielded a known serial number when the process ended.
    pub fn restore_proven(&mut self, scanners: &BTreeSet<Name>) {
        for (name, scanner) in &mut self.scanners {
            scanner.proven = scanners.contains(name);
        }
    }

    /// Boxes that are asked again by themselves.
    pub fn waiting(&self) -> usize {
        self.waiting.count()
    }

    /// Greens that rest on replica rows and are not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.confirming.count()
    }

    /// What was seen of each scanner.
    pub const fn scanners(&self) -> &BTreeMap<Name, ScannerRecord> {
        &self.scanners
    }

    /// Scans that only repeated the newest of their lane.
    pub const fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Is every scan answered and recorded?
    pub fn is_idle(&self) -> bool {
        self.scans.values().all(|scan| scan.stage == Stage::Late) && self.changes.is_empty()
    }

    /// When to send [`Event::Timer`] at the latest.
    pub fn wake_at(&self) -> Option<Boot> {
        let scans = self.scans.values().filter_map(|scan| match scan.stage {
            Stage::Asking => Some(scan.at.boot.plus(self.policy(&scan.lane)?.deadline)),
            Stage::Recording => None,
            Stage::Late => Some(scan.at.boot.plus(LATE)),
        });
        let rechecks = self.rechecks.values().map(|recheck| recheck.give_up);
        let retries = self.changes.values().filter_map(|change| change.retry_at);
        scans
            .chain(rechecks)
            .chain(retries)
            .chain(self.waiting.next())
            .chain(self.confirming.next())
            .min()
    }

    /// Handles one event, and whatever is due by now.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Scanned(scan) => self.scanned(scan, now, &mut actions),
            Event::Answered { question, answer } => {
                // The deadline first: an answer that waited in a stopped process did not come in time.
                self.timer(now, &mut actions);
                self.answered(question, answer, now, &mut actions);
            }
            Event::Recorded { batch, recorded } => {
                self.recorded(batch, recorded, now, &mut actions)
            }
            Event::Passed(passed) => actions.extend(self.passed(passed, now.moment.boot)),
            Event::RowsSay { look, said } => {
                actions.extend(self.rows_say(&look, said, now.moment.boot));
            }
            Event::Timer => {}
        }
        self.timer(now, &mut actions);
        actions
    }

    /// The lane's policy. A box of a lane that is no longer configured is judged by another lane's.
    fn policy(&self, lane: &Name) -> Option<&Policy> {
        self.lanes
            .get(lane)
            .or_else(|| self.lanes.values().next())
            .map(|lane| &lane.policy)
    }

    fn scanned(&mut self, new: NewScan, now: Now, actions: &mut Vec<Action>) {
        let Some(lane_name) = self.lane_of.get(&new.scanner).cloned() else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&lane_name) else {
            return;
        };
        let (bytes, why_broken) = match new.code {
            ScannedCode::Whole(bytes) => (bytes, None),
            ScannedCode::Broken { bytes, why } => (bytes, Some(why)),
        };
        let text = label::normalised(&bytes);
        if let (None, Some(newest)) = (why_broken, lane.repeats_newest(&text, new.at.boot)) {
            self.repeats += 1;
            actions.extend(
                lane.show_again(new.at.boot)
                    .map(|status| Action::Show(lane_name, status)),
            );
            actions.push(Action::Joined {
                scan: new.id,
                newest,
            });
            return;
        }
        let meaning = if why_broken.is_some() {
            Meaning::Wrong(Reason::Unreadable)
        } else {
            label::read(&bytes)
        };
        let is_serial = matches!(meaning, Meaning::Serials(_));
        let terms = lane.policy.row_terms(new.at.boot);
        let took_lane = is_serial || !lane.is_same_pull(new.at.boot);
        if took_lane {
            let overtaken = lane.take_over(new.id, text, new.at.boot, is_serial);
            actions.push(Action::Show(lane_name.clone(), lane.status));
            if let Some(wrong_code) = overtaken.and_then(|scan| self.scans.get_mut(&scan)) {
                wrong_code.excused |= is_serial;
            }
        }
        let raw = RawScan {
            id: new.id,
            at: new.at.wall,
            scanner: new.scanner,
            lane: lane_name.clone(),
            bytes,
        };
        actions.push(Action::Journal(raw.clone()));
        let members = self.members(meaning, why_broken, new.overloaded);
        self.ask(new.id, &members, &terms, actions);
        let scan = ScanInProgress {
            raw,
            at: new.at,
            lane: lane_name,
            took_lane,
            excused: false,
            members,
            stage: Stage::Asking,
        };
        self.scans.insert(new.id, scan);
        self.conclude(new.id, now, actions);
    }

    /// One member for each serial number of a code, or one for a wrong code.
    fn members(
        &mut self,
        meaning: Meaning,
        why_broken: Option<&'static str>,
        overloaded: bool,
    ) -> Vec<Member> {
        match meaning {
            Meaning::Wrong(reason) => vec![Member::wrong(reason, why_broken)],
            Meaning::Serials(codes) if overloaded => {
                codes.into_iter().map(Member::overloaded).collect()
            }
            Meaning::Serials(codes) => codes
                .into_iter()
                .map(|candidates| Member::open((self.draw_id)(), candidates))
                .collect(),
        }
    }

    /// Asks the sources about each member of a scan that needs it.
    fn ask(&mut self, scan: Uuid, members: &[Member], terms: &RowTerms, actions: &mut Vec<Action>) {
        for (nth, member) in members.iter().enumerate() {
            if let (Some(question), Some(candidates)) = (member.question, &member.candidates) {
                self.questions.insert(question, (scan, nth));
                actions.push(Action::Ask {
                    question,
                    candidates: candidates.clone(),
                    purpose: Purpose::Scan,
                    rows: Some(terms.clone()),
                });
            }
        }
    }

    fn answered(&mut self, question: Uuid, answer: Answer, now: Now, actions: &mut Vec<Action>) {
        if self.rechecks.contains_key(&question) {
            self.recheck_answered(question, answer, now, actions);
            return;
        }
        let Some((id, nth)) = self.questions.get(&question).copied() else {
            return;
        };
        let Some(scan) = self.scans.get_mut(&id) else {
            return;
        };
        let Some(lane) = self.lanes.get(&scan.lane) else {
            return;
        };
        let Some(member) = scan.members.get_mut(nth) else {
            return;
        };
        let earlier = member
            .answers
            .iter()
            .position(|one| one.source == answer.source);
        match earlier.and_then(|nth| member.answers.get_mut(nth)) {
            // The service itself, behind a row that has answered in its place. That it could not be asked says nothing new.
            Some(row) if row.by != By::Service && answer.by == By::Service => {
                if rule::gave_way(&answer.evidence, &row.evidence) {
                    return;
                }
                *row = answer;
            }
            Some(_) => return,
            None if member.decision.is_some() && lane.policy.requires(&answer.source) => {
                // Too late for this verdict; the re-check of the box will ask again.
                return;
            }
            None => member.answers.push(answer),
        }
        match scan.stage {
            Stage::Asking => self.conclude(id, now, actions),
            // What comes between the verdict and its record is weighed when it is recorded.
            Stage::Recording => {}
            Stage::Late => self.weigh_late_answers(id, now, actions),
        }
    }

    /// Decides every member that can be decided; when all are, asks the journal to record them.
    fn conclude(&mut self, id: Uuid, now: Now, actions: &mut Vec<Action>) {
        let Some(scan) = self.scans.get_mut(&id) else {
            return;
        };
        let Some(lane) = self.lanes.get(&scan.lane) else {
            return;
        };
        if scan.stage != Stage::Asking {
            return;
        }
        let over = now.moment.boot.since(scan.at.boot) >= lane.policy.deadline;
        for member in &mut scan.members {
            actions.extend(member.decide(&lane.policy, scan.at.boot, over));
        }
        if scan.members.iter().all(|member| member.decision.is_some()) {
            scan.stage = Stage::Recording;
            let records = scan.make_records(lane, self.draw_id, now);
            let records = ToRecord::new(records, self.draw_id);
            actions.push(Action::Record { batch: id, records });
        }
    }

    fn recorded(
        &mut self,
        batch: Uuid,
        recorded: Option<Vec<Recorded>>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let Some(change) = self.changes.remove(&batch) {
            self.change_recorded(batch, change, recorded, now, actions);
            return;
        }
        let Some(scan) = self.scans.get_mut(&batch) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&scan.lane) else {
            return;
        };
        let safe = recorded.is_some();
        let (answer, records): (_, Vec<Record>) = match recorded {
            Some(recorded) => (
                LampAnswer::recorded(&recorded),
                recorded.into_iter().map(|one| one.record).collect(),
            ),
            None => (LampAnswer::NOT_RECORDED, scan.faulted_records(self.draw_id)),
        };
        if scan.took_lane && lane.answer(batch, answer) {
            actions.push(Action::Show(scan.lane.clone(), lane.status));
        } else if scan.took_lane && !scan.excused && answer.signal() != Signal::Ready {
            lane.status.alarms += 1;
            actions.push(Action::Show(scan.lane.clone(), lane.status));
        }
        let times = lane.times();
        scan.stage = Stage::Late;
        let seen: Vec<(bool, Reason)> = scan.members.iter().filter_map(Member::seen).collect();
        let scanner = self.scanners.entry(scan.raw.scanner.clone()).or_default();
        for (known, reason) in seen {
            scanner.note(known, reason);
        }
        for (member, record) in scan.members.iter_mut().zip(&records) {
            member.record = Some(record.clone());
        }
        let took = Some(now.moment.boot.since(scan.at.boot));
        for record in records {
            actions.push(Action::Tell {
                record: record.clone(),
                took,
            });
            if safe {
                self.confirming.recorded(&record, now.moment.boot);
                self.waiting.settle(record, times, now.moment.boot);
            } else {
                actions.push(Action::Unrecorded(record));
            }
        }
        actions.push(Action::Finished(batch));
        if safe {
            self.weigh_late_answers(batch, now, actions);
        } else {
            self.forget(batch);
        }
    }

    fn forget(&mut self, scan: Uuid) {
        if let Some(scan) = self.scans.remove(&scan) {
            for question in scan.members.iter().filter_map(|member| member.question) {
                self.questions.remove(&question);
            }
        }
    }

    fn timer(&mut self, now: Now, actions: &mut Vec<Action>) {
        let boot = now.moment.boot;
        let due = |scan: &ScanInProgress| match scan.stage {
            Stage::Asking => self
                .policy(&scan.lane)
                .is_some_and(|policy| boot.since(scan.at.boot) >= policy.deadline),
            Stage::Recording => false,
            Stage::Late => boot.since(scan.at.boot) >= LATE,
        };
        let due: Vec<(Uuid, Stage)> = self
            .scans
            .iter()
            .filter(|(_, scan)| due(scan))
            .map(|(id, scan)| (*id, scan.stage))
            .collect();
        for (id, stage) in due {
            match stage {
                Stage::Asking => self.conclude(id, now, actions),
                Stage::Recording => {}
                Stage::Late => self.forget(id),
            }
        }
        self.due_changes(now, actions);
    }
}

impl ScannerRecord {
    fn note(&mut self, known: bool, reason: Reason) {
        if known {
            *self = Self {
                proven: true,
                not_found_in_a_row: 0,
            };
        } else if matches!(reason, Reason::NotFound | Reason::NotInOrg) {
            self.not_found_in_a_row = self.not_found_in_a_row.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
