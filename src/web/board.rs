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
    Lane(Box<Lane>),
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
        // It may have been read from the journal already.
        self.answers.retain(|known| known.id != record.id);
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

    /// News were missed. The lamps are what they are; answers and shelves have to be restored.
    pub(super) fn resync(&mut self, statuses: impl Iterator<Item = (Name, LaneStatus)>) {
        self.answers.clear();
        self.shelves = Shelves::default();
        for (name, status) in statuses {
            if let Some(lane) = self.lane(&name) {
                if lane.status.scan != status.scan {
                    lane.shown.answer = None;
                    lane.shown.scanned = None;
                }
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
            .map(|lane| New::Lane(Box::new(lane)))
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use std::sync::Arc;

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{reason::Reason, record::Change, station::status::LampAnswer};

    fn lane() -> Name {
        Name::new("left").unwrap()
    }

    /// A lane and the page that shows it.
    struct Bench {
        board: Board,
        status: LaneStatus,
        ms: u64,
    }

    impl Bench {
        fn new() -> Self {
            let settings = LaneSettings {
                name: lane(),
                ready_hold: Duration::from_secs(3),
                ready_limit: Duration::from_secs(4),
            };
            let now = Boot::from_duration(Duration::from_millis(1_000));
            Self {
                board: Board::new(&[settings], now),
                status: LaneStatus::at_start(now),
                ms: 1_000,
            }
        }

        fn now(&self) -> Moment {
            Moment {
                boot: Boot::from_duration(Duration::from_millis(self.ms)),
                wall: Timestamp::UNIX_EPOCH,
            }
        }

        fn hear(&mut self, news: &News) -> Option<New> {
            let now = self.now();
            self.board.hear(news, now)
        }

        /// What the lane shows after so many milliseconds, if that is new.
        fn after(&mut self, ms: u64) -> Option<Lane> {
            self.ms += ms;
            let now = self.now().boot;
            match self.board.look(now).pop()? {
                New::Lane(lane) => Some(*lane),
                other => panic!("{other:?}"),
            }
        }

        fn scan(&mut self, text: &str) {
            self.status.scan += 1;
            self.status.scanned_at = self.now().boot;
            self.status.answer = None;
            self.hear(&News::Lane(lane(), self.status));
            let bytes = text.as_bytes().into();
            let at = self.status.scanned_at;
            self.hear(&News::Scanned {
                lane: lane(),
                at,
                bytes,
            });
        }

        fn light(&mut self, signal: Signal) {
            self.status.answer = Some(LampAnswer::in_a_test(signal));
            self.hear(&News::Lane(lane(), self.status));
        }

        fn tell(&mut self, record: Record) {
            self.hear(&News::Told(Arc::new(record)));
        }
    }

    fn record(nth: u128, reason: Reason) -> Record {
        let id = Uuid::from_u128(nth);
        Record {
            serial: crate::label::Serial::new(&format!("C02BOX{nth:06}")),
            ..Record::bare(id, Timestamp::UNIX_EPOCH, lane(), reason)
        }
    }

    #[test]
    fn what_was_scanned_is_there_at_once_and_a_light_comes_with_its_answer() {
        let mut bench = Bench::new();
        assert_eq!(bench.after(0).unwrap().show, None, "not checked");
        assert_eq!(bench.after(1_000), None, "nothing new");
        bench.scan("C02\u{202e}1");
        let seen = bench.after(0).unwrap();
        assert_eq!(seen.scanned.unwrap().text, "C02\\u{202e}1");
        assert_eq!((seen.answer, seen.show), (None, None));
        bench.ms += 100;
        bench.light(Signal::Ready);
        assert_eq!(bench.after(0), None, "the record is on its way");
        bench.tell(record(1, Reason::Assigned));
        let lit = bench.after(1).unwrap();
        assert_eq!(
            (lit.show, lit.since_ms, lit.until_ms),
            (Some("ready"), Some(2_101), Some(5_101))
        );
        assert_eq!(lit.answer.unwrap().id, Uuid::from_u128(1));
        assert_eq!(bench.board.turns_at().unwrap().as_millis(), 5_101);
        let dark = bench.after(3_000).unwrap();
        assert_eq!((dark.show, dark.until_ms), (None, None));
        assert!(
            dark.answer.is_some() && dark.scanned.is_some(),
            "the answer stays below"
        );
        // The same box again.
        bench.status.scan += 1;
        bench.status.scanned_at = bench.now().boot;
        bench.hear(&News::Lane(lane(), bench.status));
        let again = bench.after(80).unwrap();
        assert_eq!((again.repeat, again.show), (1, Some("ready")));
    }

    #[test]
    fn a_light_whose_record_does_not_come_is_shown_all_the_same() {
        let mut bench = Bench::new();
        bench.scan("C02BOX000001");
        bench.after(100);
        bench.light(Signal::Hold);
        assert_eq!(bench.after(0), None);
        assert_eq!(bench.after(20).unwrap().show, Some("hold"));
    }

    #[test]
    fn an_alarm_names_its_box_and_a_code_that_took_no_lane_is_not_its_scan() {
        let mut bench = Bench::new();
        bench.scan("C02BOX000001");
        bench.scan("C02BOX000002");
        bench.hear(&News::Scanned {
            lane: lane(),
            at: bench.now().boot,
            bytes: b"490154203237518".as_slice().into(),
        });
        bench.status.alarms += 1;
        bench.hear(&News::Lane(lane(), bench.status));
        let overtaken = Record {
            lamp: Signal::Alarm,
            ..record(1, Reason::NotFound)
        };
        bench.tell(overtaken);
        let seen = bench.after(80).unwrap();
        assert_eq!(
            (seen.show, seen.scanned.unwrap().text),
            (Some("alarm"), "C02BOX000002".to_owned())
        );
        assert_eq!(
            (seen.alarm.unwrap().id, seen.answer),
            (Uuid::from_u128(1), None)
        );
    }

    #[test]
    fn of_a_group_the_worst_answers_and_what_took_a_green_back_stands_in_its_place() {
        let mut bench = Bench::new();
        bench.scan("two in one");
        let group = Some(Uuid::from_u128(1));
        for (nth, reason) in [
            (1, Reason::Assigned),
            (2, Reason::NotFound),
            (3, Reason::Assigned),
        ] {
            bench.tell(Record {
                group,
                ..record(nth, reason)
            });
        }
        assert_eq!(
            bench.after(0).unwrap().answer.unwrap().id,
            Uuid::from_u128(2)
        );

        bench.scan("C02BOX000004");
        bench.tell(record(4, Reason::Assigned));
        let change = |nth, cause, reason| Record {
            change: Some(Change {
                scan: Uuid::from_u128(4),
                cause,
                previous_reason: Reason::Assigned,
            }),
            ..record(nth, reason)
        };
        bench.tell(change(5, Cause::Recheck, Reason::Settling));
        assert_eq!(
            bench.after(0).unwrap().answer.unwrap().id,
            Uuid::from_u128(4)
        );
        bench.tell(change(6, Cause::LateAnswer, Reason::WrongServer));
        assert_eq!(
            bench.after(0).unwrap().answer.unwrap().id,
            Uuid::from_u128(6)
        );
    }

    #[test]
    fn the_shelves_have_what_is_not_done_with_and_what_turned_first() {
        let mut bench = Bench::new();
        let mut nth = 0;
        let mut scanned = |bench: &mut Bench, of: u128, reason| {
            nth += 1;
            bench.tell(Record {
                id: Uuid::from_u128(1_000 + nth),
                ..record(of, reason)
            });
        };
        scanned(&mut bench, 1, Reason::AssignmentPending);
        scanned(&mut bench, 2, Reason::Offline);
        scanned(&mut bench, 3, Reason::WrongServer);
        scanned(&mut bench, 4, Reason::NotFound);
        scanned(&mut bench, 5, Reason::Assigned);
        let both = |bench: &Bench| {
            let both = bench
                .board
                .shelves
                .both(None, Duration::from_hours(24), bench.now().boot);
            let of = |shelf: &super::super::shapes::Shelf| {
                let boxes = shelf.boxes.iter();
                let boxes: Vec<_> = boxes
                    .map(|one| {
                        (
                            one.serial[11..].to_owned(),
                            one.reason,
                            one.asked_again,
                            one.turned,
                        )
                    })
                    .collect();
                (shelf.total, boxes)
            };
            (of(&both.waiting), of(&both.problem))
        };
        let one = |serial: &str, reason, again, turned| (serial.to_owned(), reason, again, turned);
        let (waiting, problem) = both(&bench);
        assert_eq!(
            waiting,
            (
                2,
                vec![
                    one("1", "assignment_pending", true, false),
                    one("2", "offline", true, false)
                ]
            )
        );
        assert_eq!(
            problem,
            (
                2,
                vec![
                    one("4", "not_found", true, false),
                    one("3", "wrong_server", false, false)
                ]
            )
        );
        // The second turns ready by itself, and moves to the top.
        let turned = Record {
            change: Some(Change {
                scan: Uuid::from_u128(1_002),
                cause: Cause::Recheck,
                previous_reason: Reason::Offline,
            }),
            ..record(2, Reason::Assigned)
        };
        bench.tell(turned);
        assert_eq!(both(&bench).0.1[0], one("2", "assigned", false, true));
        // Scanned again, it is done with.
        scanned(&mut bench, 2, Reason::Assigned);
        scanned(&mut bench, 4, Reason::Settling);
        let (waiting, problem) = both(&bench);
        assert_eq!(
            waiting.1,
            [
                one("1", "assignment_pending", true, false),
                one("4", "settling", true, false)
            ]
        );
        assert_eq!(problem.0, 1);
        bench.ms += 8 * 24 * 3_600_000;
        let now = bench.now().boot;
        assert!(bench.board.shelves.forget_old(now));
        assert_eq!((both(&bench).0.0, both(&bench).1.0), (0, 0));
    }
}
