//! What the page shows, kept up from the station's news: lanes by the lamps' own rule and clock, answers, shelves. Pure.

use std::{collections::VecDeque, time::Duration};

use super::{
    shapes::{Answer, Lane, Scanned, boot_ms, scanned_text},
    shelves::Shelves,
};
use crate::{
    indicator::signal::{Fitted, Player},
    reason::Signal,
    record::{Cause, Record},
    runtime::{
        clock::{Boot, Moment},
        name::Name,
    },
    station::{news::News, status::LaneStatus},
};

/// So many answers are listed.
pub(super) const ANSWERS: usize = 50;
/// A light waits so long for the record that belongs to it.
const TOGETHER: Duration = Duration::from_millis(20);

/// What the page must know of a lane's lamps.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    pub name: Name,
    /// How long a ready answer is green.
    pub ready_hold: Duration,
    /// How long after its scan a box may be green.
    pub ready_limit: Duration,
}

/// What is new for the page.
#[derive(Debug, PartialEq)]
pub(super) enum New {
    Lane(Lane),
    Answer(Answer),
    Change(Answer),
}

/// All of it.
#[derive(Debug)]
pub(super) struct Board {
    lanes: Vec<LaneBoard>,
    /// Newest first.
    answers: VecDeque<Answer>,
    pub(super) shelves: Shelves,
    /// The shelves are others than they were sent.
    pub(super) shelves_changed: bool,
    pub(super) unable: bool,
}

/// One lane.
#[derive(Debug)]
struct LaneBoard {
    name: Name,
    player: Player,
    status: LaneStatus,
    /// A scan has taken the lane over; its text comes next.
    text_follows: bool,
    /// What the lamps show has changed, and the record that says why comes next.
    held_until: Option<Boot>,
    shown: Lane,
    /// As the page was told last.
    sent: Option<Lane>,
}

impl Board {
    pub(super) fn new(lanes: &[LaneSettings], now: Boot) -> Self {
        Self {
            lanes: lanes.iter().map(|lane| LaneBoard::new(lane, now)).collect(),
            answers: VecDeque::new(),
            shelves: Shelves::default(),
            shelves_changed: false,
            unable: false,
        }
    }

    /// Takes one piece of news in; what is new for the page beside the lanes ([`Self::look`]).
    pub(super) fn hear(&mut self, news: &News, now: Moment) -> Option<New> {
        match news {
            News::Lane(name, status) => {
                self.lane(name)?.follow(*status, now.boot);
                None
            }
            News::Scanned { lane, at, bytes } => {
                let lane = self.lane(lane)?;
                if std::mem::take(&mut lane.text_follows) {
                    lane.shown.scanned = Some(Scanned {
                        text: scanned_text(&String::from_utf8_lossy(bytes)),
                        at_ms: at.as_millis(),
                    });
                }
                None
            }
            News::Told(record) => Some(self.told(record, now)),
        }
    }

    fn told(&mut self, record: &Record, now: Moment) -> New {
        let answer = Answer::live(record, now.boot);
        if let Some(lane) = self.lane(&record.lane) {
            lane.told(record, &answer);
        }
        self.shelves_changed |= self.shelves.told(record, answer.at_ms, now.boot);
        self.answers.push_front(answer.clone());
        self.answers.truncate(ANSWERS);
        match record.change {
            None => New::Answer(answer),
            Some(_) => New::Change(answer),
        }
    }

    /// The newest records of an earlier run, newest first.
    pub(super) fn restore_answers(&mut self, records: &[Record], now: Moment) {
        for record in records {
            if self.answers.iter().all(|known| known.id != record.id) {
                self.answers.push_back(Answer::kept(record, now));
            }
        }
        self.answers.truncate(ANSWERS);
    }

    /// Boxes of an earlier run that are not done with, oldest first.
    pub(super) fn restore_boxes(&mut self, records: &[Record], now: Moment) {
        for record in records {
            self.shelves
                .restored(record, boot_ms(record, now), now.boot);
        }
        self.shelves_changed = true;
    }

    /// Lamps that were followed no longer: what they show now.
    pub(super) fn resync(&mut self, statuses: impl Iterator<Item = (Name, LaneStatus)>) {
        for (name, status) in statuses {
            if let Some(lane) = self.lane(&name) {
                lane.status = status;
                lane.text_follows = false;
                lane.held_until = None;
            }
        }
    }

    /// The lanes that show something else since the last look.
    pub(super) fn look(&mut self, now: Boot) -> Vec<New> {
        let unable = self.unable;
        let lanes = self.lanes.iter_mut();
        lanes
            .filter_map(|lane| lane.look(unable, now))
            .map(New::Lane)
            .collect()
    }

    /// When a lane shows something else, as far as nothing happens.
    pub(super) fn turns_at(&self) -> Option<Boot> {
        let lanes = self.lanes.iter();
        let turns = lanes.filter_map(|lane| lane.held_until.or(lane.player.turns_at()));
        turns.min()
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().map(|lane| &lane.shown)
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter()
    }

    fn lane(&mut self, name: &Name) -> Option<&mut LaneBoard> {
        self.lanes.iter_mut().find(|lane| lane.name == *name)
    }
}

impl LaneBoard {
    fn new(settings: &LaneSettings, now: Boot) -> Self {
        // The page has every lamp, and a sound of its own.
        let fitted = Fitted {
            amber: true,
            buzzer: false,
        };
        Self {
            name: settings.name.clone(),
            player: Player::new(fitted, settings.ready_hold, settings.ready_limit, now),
            status: LaneStatus::at_start(now),
            text_follows: false,
            held_until: None,
            shown: Lane {
                lane: settings.name.as_str().to_owned(),
                show: None,
                since_ms: None,
                until_ms: None,
                scanned: None,
                answer: None,
                alarm: None,
                repeat: 0,
            },
            sent: None,
        }
    }

    fn follow(&mut self, status: LaneStatus, now: Boot) {
        if status.scan != self.status.scan {
            if status.answer.is_some() {
                self.shown.repeat += 1;
            } else {
                self.shown.answer = None;
                self.shown.scanned = None;
                self.shown.repeat = 0;
                self.text_follows = true;
            }
        }
        let is_answered = status.scan == self.status.scan && status.answer != self.status.answer;
        if is_answered || status.alarms != self.status.alarms {
            self.held_until = Some(now.plus(TOGETHER));
        }
        self.status = status;
    }

    fn told(&mut self, record: &Record, answer: &Answer) {
        self.held_until = None;
        let shown = &mut self.shown;
        if record.lamp == Signal::Alarm {
            shown.alarm = Some(answer.clone());
        }
        match &record.change {
            // What took a newest answer back stands in its place. A box that turned ready is scanned again: its scan's answer stays.
            Some(change) => {
                let is_newest = shown
                    .answer
                    .as_ref()
                    .is_some_and(|shown| shown.scan.unwrap_or(shown.id) == change.scan);
                if is_newest && change.cause != Cause::Recheck {
                    shown.answer = Some(answer.clone());
                }
            }
            None if matches!(record.lamp, Signal::None | Signal::Alarm) => {}
            None => {
                let worse = shown.answer.as_ref().is_none_or(|shown| {
                    record.group.is_none()
                        || shown.group != record.group
                        || shown.badness_rank > record.reason.verdict().badness_rank()
                });
                if worse {
                    shown.answer = Some(answer.clone());
                }
            }
        }
    }

    fn look(&mut self, unable: bool, now: Boot) -> Option<Lane> {
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        self.held_until = None;
        self.player.look(self.status, unable, now);
        let showing = self.player.showing(self.status);
        self.shown.show = showing.map(|showing| showing.signal);
        self.shown.since_ms = showing.map(|showing| showing.since.as_millis());
        self.shown.until_ms = showing
            .and_then(|showing| showing.until)
            .map(Boot::as_millis);
        let is_new = self.sent.as_ref() != Some(&self.shown);
        is_new.then(|| self.sent.insert(self.shown.clone()).clone())
    }
}
