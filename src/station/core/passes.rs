//! What complete passes say of greens that rest on rows, and of waiting boxes: they are compared with the rows, some at a time.

use uuid::Uuid;

use super::{Action, Core};
use crate::{
    label::{Candidates, Serial},
    readiness::{
        Passed,
        evidence::{Answer, Finding, RowTerms},
    },
    reason::{Reason, Verdict},
    runtime::{clock::Boot, name::Name},
    station::waiting::WaitingBox,
    verdict::{self, Decision},
};

/// So many boxes at a time: a scan waits for no more than these.
const AT_ONCE: usize = 64;

/// Which boxes are compared with which rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Greens with those of that source, on which they rest.
    Greens(Name),
    /// Waiting boxes with those of all sources.
    Waiting,
}

/// A box that is compared with the rows after a complete pass.
#[derive(Clone, Debug)]
pub struct BoxToCompare {
    pub record: Uuid,
    pub serial: Serial,
    pub candidates: Candidates,
    pub terms: RowTerms,
}

/// What the rows say of the box with that record.
#[derive(Clone, Debug)]
pub struct RowsSay {
    pub record: Uuid,
    pub serial: Serial,
    /// Of a green: only good news. Of a waiting box: of each source of which a row speaks.
    pub answers: Vec<Answer>,
}

/// The boxes that are left to be compared after a pass.
pub(super) struct Walk {
    look: Look,
    began: Boot,
    /// Those up to this one are done.
    after: Option<Serial>,
}

impl Core {
    /// A complete pass is in.
    pub(super) fn passed(&mut self, passed: Passed, now: Boot) -> Option<Action> {
        for look in [Look::Greens(passed.source), Look::Waiting] {
            self.walks.retain(|walk| walk.look != look);
            self.walks.push_back(Walk {
                look,
                began: passed.began,
                after: None,
            });
        }
        if self.looking {
            return None;
        }
        self.look_on(now)
    }

    /// Takes what the rows say, and goes on with the next boxes.
    pub(super) fn rows_say(
        &mut self,
        look: &Look,
        said: Vec<RowsSay>,
        now: Boot,
    ) -> Option<Action> {
        for one in said {
            match look {
                Look::Greens(source) => self.green_said(source, &one, now),
                Look::Waiting => self.waiting_said(&one, now),
            }
        }
        self.look_on(now)
    }

    fn look_on(&mut self, now: Boot) -> Option<Action> {
        self.looking = false;
        while let Some(walk) = self.walks.front_mut() {
            let (began, after) = (walk.began, walk.after.as_ref());
            let boxes: Vec<&WaitingBox> = match &walk.look {
                Look::Greens(source) => {
                    let greens = self.confirming.of(source, began, after);
                    greens.take(AT_ONCE).collect()
                }
                Look::Waiting => self.waiting.riding(began, after).take(AT_ONCE).collect(),
            };
            let Some(last) = boxes.last() else {
                self.walks.pop_front();
                continue;
            };
            walk.after = Some(last.serial.clone());
            let look = walk.look.clone();
            let compare = |one: &WaitingBox| {
                Some(BoxToCompare {
                    record: one.record,
                    serial: one.serial.clone(),
                    candidates: one.candidates(),
                    terms: self.policy(&one.lane)?.row_terms(now),
                })
            };
            let boxes = boxes.into_iter().filter_map(compare).collect();
            self.looking = true;
            return Some(Action::LookAtRows { look, boxes });
        }
        None
    }

    fn green_said(&mut self, source: &Name, said: &RowsSay, now: Boot) {
        if said.answers.iter().any(|row| row.is_of(&said.serial)) {
            self.confirming
                .row_agrees(source, &said.serial, said.record);
        } else {
            self.confirming.row_differs(&said.serial, said.record, now);
        }
    }

    /// Where a row does not speak, or what they say tells nothing, the services are asked when it is time.
    fn waiting_said(&mut self, said: &RowsSay, now: Boot) {
        let Some(one) = self.waiting.held(&said.serial, said.record) else {
            return;
        };
        let Some(policy) = self.policy(&one.lane) else {
            return;
        };
        if !policy.all_have_answered(&said.answers) {
            // It waits for a list that was to be read, and that is in now.
            if one.reason == Reason::SyncPending && has_list_said_more(&said.answers) {
                self.waiting.differs(&said.serial, one.reason, now);
            }
            return;
        }
        let decision = verdict::decide_by_rows(&one.candidates(), &said.answers, policy);
        if decision.reason == one.reason {
            // The other services are asked live at first, whatever their rows say.
            if !self.waiting.is_early(&said.serial, now) {
                self.waiting.rode(&said.serial, now);
            }
        } else if tells_something(&decision) {
            self.waiting.differs(&said.serial, decision.reason, now);
        }
    }
}

/// Is there an answer of a list, other than that it must be read again?
fn has_list_said_more(answers: &[Answer]) -> bool {
    let evidence = answers.iter().flat_map(|answer| &answer.evidence);
    let mut of_lists = evidence.filter(|one| one.kind.is_list_only());
    of_lists.any(|one| {
        !matches!(
            one.finding,
            Finding::Unknown(_) | Finding::Wait(Reason::SyncPending)
        )
    })
}

/// May a re-check that ends so change a box?
pub(super) const fn tells_something(decision: &Decision) -> bool {
    !matches!(
        decision.reason.verdict(),
        Verdict::Unknown | Verdict::Rescan
    )
}
