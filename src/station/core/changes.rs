//! Changes of recorded boxes: answers that come after the verdict, and boxes that are asked about again.

use std::time::Duration;

use uuid::Uuid;

use super::{Action, Core, Now, passes::tells_something, scan::Stage};
use crate::{
    label::Serial,
    readiness::{
        Purpose,
        evidence::{Answer, By},
        replica::rule,
    },
    reason::{Signal, Verdict},
    record::{Cause, Record, Recorded, ToRecord},
    runtime::clock::Boot,
    station::{
        confirming::{Confirmation, Confirming, Scanned, confirms},
        status::{LampAnswer, Warning},
        waiting::{RecheckTimes, WaitingBox},
    },
    verdict::{self, Decision, Policy},
};

/// How long a re-check waits for its sources.
const RECHECK_PATIENCE: Duration = Duration::from_secs(10);
/// A recall that the journal could not take is offered again after this time.
const RETRY: Duration = Duration::from_secs(10);

/// A waiting box, or a green that is to be confirmed, that is being asked about.
pub(super) struct Recheck {
    one: WaitingBox,
    /// When the green was scanned; `None`: a waiting box.
    green: Option<Scanned>,
    /// Rows speak for the services that have them.
    by_rows: bool,
    answers: Vec<Answer>,
    pub(super) give_up: Boot,
}

/// A change on its way to the journal.
pub(super) struct PendingChange {
    record: Record,
    /// The box as the waiting list knows it, for a re-check.
    rechecked: Option<Serial>,
    /// Raised with the change's record, or without it: a lost green is said even if it cannot be recorded.
    alarm: bool,
    pub(super) retry_at: Option<Boot>,
}

/// Why `before` changes by what came after it; `None`: it stays. `live`: the services themselves have said all of `decision`. `ago`:
/// since the scan.
fn late_cause(
    before: &Record,
    decision: &Decision,
    (live, ago): (bool, Duration),
    confirming: &mut Confirming,
) -> Option<Cause> {
    if !before.is_green_by_row() {
        return verdict::worse(decision.reason, before.reason).then_some(Cause::LateAnswer);
    }
    // Another record is newer, or this one is recalled or confirmed already.
    let serial = before.serial.as_ref();
    let serial = serial.filter(|serial| confirming.holds(serial, before.id))?;
    let confirmation = confirms(decision, serial, ago);
    let recalled = confirmation == Confirmation::Recall;
    if recalled || live && confirmation == Confirmation::Confirmed {
        confirming.confirmed(serial, before.id);
    }
    recalled.then_some(Cause::Recall)
}

impl Core {
    /// Takes up boxes that waited when the process ended: the newest record of each serial number, with its age.
    pub fn restore(&mut self, newest_records: Vec<(Record, Duration)>, now: Boot) {
        for (record, age) in newest_records {
            if let Some(policy) = self.policy(&record.lane) {
                let times = RecheckTimes::of(policy);
                if !self.waiting.has_newer(&record) {
                    self.confirming.restore(&record, now, age);
                }
                self.waiting.restore(record, times, now, age);
            }
        }
    }

    /// All of them were taken up.
    pub fn restored(&mut self) {
        self.waiting.restored();
    }

    /// Weighs what sources outside `require` said after the verdict: it can only make it worse.
    pub(super) fn weigh_late_answers(&mut self, id: Uuid, now: Now, actions: &mut Vec<Action>) {
        let Some(scan) = self.scans.get(&id) else {
            return;
        };
        let Some(lane) = self.lanes.get(&scan.lane) else {
            return;
        };
        if scan.stage != Stage::Late {
            return;
        }
        let ago = now.moment.boot.since(scan.at.boot);
        let mut changes = Vec::new();
        for (nth, member) in scan.members.iter().enumerate() {
            let (Some(candidates), Some(before)) = (&member.candidates, &member.record) else {
                continue;
            };
            if member.question.is_none() {
                continue;
            }
            let decision = verdict::decide(candidates, &member.answers, &lane.policy);
            let is_live = |one: &Answer| {
                one.by == By::Service && one.evidence.iter().all(|one| one.row_age.is_none())
            };
            let live = member.answers.iter().all(is_live);
            if let Some(cause) = late_cause(before, &decision, (live, ago), &mut self.confirming) {
                let record = scan.make_record(member, &decision, lane, now);
                changes.push((
                    nth,
                    record.change_of(before, cause, (self.draw_id)(), now.dated()),
                ));
            }
        }
        let all_answered = scan.members.iter().all(|member| {
            member.question.is_none()
                || lane.policy.all_have_answered(&member.answers)
                    && member.answers.iter().all(|one| one.by != By::Substitute)
        });
        for (nth, record) in changes {
            let alarm = record.lamp == Signal::Alarm;
            if let Some(member) = self
                .scans
                .get_mut(&id)
                .and_then(|scan| scan.members.get_mut(nth))
            {
                member.record = Some(record.clone());
            }
            self.send_change(
                PendingChange {
                    record,
                    rechecked: None,
                    alarm,
                    retry_at: None,
                },
                actions,
            );
        }
        if all_answered {
            self.forget(id);
        }
    }

    fn send_change(&mut self, change: PendingChange, actions: &mut Vec<Action>) {
        let batch = change.record.id;
        actions.push(Action::Record {
            batch,
            records: ToRecord::new(vec![change.record.clone()], self.draw_id),
        });
        self.changes.insert(batch, change);
    }

    pub(super) fn change_recorded(
        &mut self,
        batch: Uuid,
        mut change: PendingChange,
        recorded: Option<Vec<Recorded>>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if change.alarm {
            change.alarm = false;
            self.raise_alarm(&change.record, actions);
        }
        let Some(recorded) = recorded else {
            match &change.rechecked {
                Some(serial) => self.waiting.attempted(serial, now.moment.boot),
                None => {
                    change.retry_at = Some(now.moment.boot.plus(RETRY));
                    self.changes.insert(batch, change);
                }
            }
            return;
        };
        for Recorded { record, .. } in recorded {
            actions.push(Action::Tell {
                record: record.clone(),
                took: None,
            });
            let Some(policy) = self.policy(&record.lane) else {
                continue;
            };
            let times = RecheckTimes::of(policy);
            self.confirming.recorded(&record, now.moment.boot);
            match &change.rechecked {
                Some(serial) => self.waiting.changed(serial, record, times, now.moment.boot),
                None => self.waiting.settle(record, times, now.moment.boot),
            }
        }
    }

    /// News of an earlier box: the lane's alarm. If the lamp is still that box's, its green is gone for good.
    fn raise_alarm(&mut self, record: &Record, actions: &mut Vec<Action>) {
        let Some(lane) = self.lanes.get_mut(&record.lane) else {
            return;
        };
        let scan = record
            .group
            .or_else(|| record.change.as_ref().map(|change| change.scan));
        if let Some(scan) = scan {
            lane.answer(scan, LampAnswer::Warning(Warning::of(record.reason)));
        }
        lane.status.alarms += 1;
        actions.push(Action::Show(record.lane.clone(), lane.status));
    }

    pub(super) fn recheck_answered(
        &mut self,
        question: Uuid,
        answer: Answer,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(recheck) = self.rechecks.get_mut(&question) else {
            return;
        };
        recheck.answers.push(answer);
        let Some(recheck) = self.rechecks.get(&question) else {
            return;
        };
        if self
            .policy(&recheck.one.lane)
            .is_some_and(|policy| policy.all_have_answered(&recheck.answers))
        {
            self.finish_recheck(question, now, actions);
        }
    }

    fn finish_recheck(&mut self, question: Uuid, now: Now, actions: &mut Vec<Action>) {
        let Some(recheck) = self.rechecks.remove(&question) else {
            return;
        };
        match recheck.green {
            Some(scanned) => self.finish_confirmation(recheck, scanned, now, actions),
            None => self.finish_waiting(recheck, now, actions),
        }
    }

    /// A changed verdict or reason is recorded and published; one that ends `unknown` is an attempt and changes nothing.
    fn finish_waiting(&mut self, recheck: Recheck, now: Now, actions: &mut Vec<Action>) {
        let Recheck {
            one,
            by_rows,
            answers,
            ..
        } = recheck;
        let boot = now.moment.boot;
        let Some(policy) = self.policy(&one.lane) else {
            return;
        };
        if self.waiting.held(&one.serial, one.record).is_none() {
            return;
        }
        let decide = if by_rows {
            verdict::decide_by_rows
        } else {
            verdict::decide
        };
        let decision = decide(&one.candidates(), &answers, policy);
        if !tells_something(&decision) || decision.reason == one.reason {
            self.waiting.attempted(&one.serial, boot);
            return;
        }
        if by_rows {
            self.ask_again(one, (Purpose::Recheck, None, false), boot, actions);
            return;
        }
        let before = one.before();
        let renewed = before.renewed(&decision, &policy.hash);
        let record = renewed.change_of(&before, Cause::Recheck, (self.draw_id)(), now.dated());
        self.send_change(
            PendingChange {
                record,
                rechecked: Some(one.serial),
                alarm: false,
                retry_at: None,
            },
            actions,
        );
    }

    pub(super) fn due_changes(&mut self, now: Now, actions: &mut Vec<Action>) {
        let boot = now.moment.boot;
        let over: Vec<Uuid> = self
            .rechecks
            .iter()
            .filter(|(_, recheck)| recheck.give_up <= boot)
            .map(|(id, _)| *id)
            .collect();
        for question in over {
            self.finish_recheck(question, now, actions);
        }
        let again: Vec<Uuid> = self
            .changes
            .iter()
            .filter(|(_, change)| change.retry_at.is_some_and(|at| at <= boot))
            .map(|(id, _)| *id)
            .collect();
        for mut change in again
            .into_iter()
            .filter_map(|id| self.changes.remove(&id))
            .collect::<Vec<_>>()
        {
            // A new id: the first try may have reached the disk after all, too late to be believed.
            change.record.id = (self.draw_id)();
            change.retry_at = None;
            self.send_change(change, actions);
        }
        if let Some(one) = self.waiting.due(boot) {
            let is_mixed = self.policy(&one.lane).is_some_and(Policy::is_mixed);
            let by_rows = is_mixed && !self.waiting.is_early(&one.serial, boot);
            self.ask_again(one, (Purpose::Recheck, None, by_rows), boot, actions);
        }
        for green in self.confirming.due(boot) {
            // What a pass contradicts is asked about even where little of the quota is left, and a row may be enough.
            let purpose = if green.doubted {
                Purpose::Recheck
            } else {
                Purpose::Confirmation
            };
            let asked_as = (purpose, Some(green.scanned), green.doubted);
            self.ask_again(green.one, asked_as, boot, actions);
        }
    }

    fn ask_again(
        &mut self,
        one: WaitingBox,
        (purpose, green, by_rows): (Purpose, Option<Scanned>, bool),
        boot: Boot,
        actions: &mut Vec<Action>,
    ) {
        let question = (self.draw_id)();
        let policy = self.policy(&one.lane).filter(|_| by_rows);
        actions.push(Action::Ask {
            question,
            candidates: one.candidates(),
            purpose,
            rows: policy.map(|policy| policy.row_terms(boot)),
        });
        let recheck = Recheck {
            one,
            green,
            by_rows,
            answers: Vec::new(),
            give_up: boot.plus(RECHECK_PATIENCE),
        };
        self.rechecks.insert(question, recheck);
    }

    /// What the services, or a row that a pass has brought, say of a green that rested on rows.
    fn finish_confirmation(
        &mut self,
        recheck: Recheck,
        scanned: Scanned,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Recheck {
            one,
            by_rows,
            answers,
            ..
        } = recheck;
        let boot = now.moment.boot;
        let Some(policy) = self.policy(&one.lane) else {
            return;
        };
        if !self.confirming.holds(&one.serial, one.record) {
            return;
        }
        let decision = verdict::decide(&one.candidates(), &answers, policy);
        // That a row is missing is no word of the service, and good news of a row confirms its own source alone.
        let is_missing = |answer: &Answer| answer.by != By::Service && !answer.is_of(&one.serial);
        let is_open = answers.iter().any(is_missing)
            || by_rows && decision.reason.verdict() == Verdict::Ready;
        let confirmation = if is_open {
            Confirmation::Open
        } else {
            confirms(&decision, &one.serial, scanned.ago(boot))
        };
        match confirmation {
            Confirmation::Confirmed => self.confirming.confirmed(&one.serial, one.record),
            Confirmation::Open if by_rows => {
                let asked_as = (Purpose::Recheck, Some(scanned), false);
                self.ask_again(one, asked_as, boot, actions);
            }
            Confirmation::Open => {
                let heard = !answers.iter().all(|one| rule::gave_way(&one.evidence, &[]));
                self.confirming.attempted(&one.serial, heard, boot);
            }
            Confirmation::Recall => {
                let before = one.before();
                let renewed = before.renewed(&decision, &policy.hash);
                let record =
                    renewed.change_of(&before, Cause::Recall, (self.draw_id)(), now.dated());
                self.confirming.confirmed(&one.serial, one.record);
                let change = PendingChange {
                    record,
                    rechecked: None,
                    alarm: true,
                    retry_at: None,
                };
                self.send_change(change, actions);
            }
        }
    }
}
