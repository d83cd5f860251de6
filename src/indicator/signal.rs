//! What a lane's lamps show at a moment, and when to look again. Pure: the lane's status and the time go in, levels come out.

use std::time::Duration;

use crate::{
    reason::Signal,
    runtime::clock::Boot,
    station::status::{LampAnswer, LaneStatus},
};

/// Darkness between two answers, so that two equal ones are seen as two.
const GAP: Duration = Duration::from_millis(80);
/// How long a scan may go unanswered before the working signal shows.
const PATIENCE: Duration = Duration::from_millis(300);
/// No answer is shown for longer than this.
const LONGEST: Duration = Duration::from_secs(30);
/// While green is lit the time is checked this often: a timer that slept with the machine must not keep it lit.
const GREEN_CHECK: Duration = Duration::from_millis(100);

/// Which outputs are driven. The default is dark and silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Levels {
    /// The green lamp is lit.
    pub green: bool,
    /// The red lamp is lit.
    pub red: bool,
    /// The amber lamp is lit.
    pub amber: bool,
    /// The buzzer sounds.
    pub buzzer: bool,
}

impl Levels {
    /// Everything off.
    pub const DARK: Self = Self {
        green: false,
        red: false,
        amber: false,
        buzzer: false,
    };

    /// Some lamp is lit (the buzzer does not count).
    pub const fn lit(self) -> bool {
        self.green || self.red || self.amber
    }
}

/// What is fitted beside the green and the red lamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fitted {
    /// An amber lamp.
    pub amber: bool,
    /// A buzzer.
    pub buzzer: bool,
}

/// What the lamps show now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The outputs.
    pub levels: Levels,
    /// When to look again; `None`: not before the status changes.
    pub again: Option<Boot>,
}

/// What is shown now, whatever its lamps do at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Showing {
    /// The name of the signal, as in the manual.
    pub signal: &'static str,
    pub since: Boot,
    /// `None`: until something else comes.
    pub until: Option<Boot>,
}

/// One thing that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    /// The answer to the newest scan.
    Answer(Signal),
    /// News of an earlier box.
    Alarm,
    /// No answer yet.
    Working,
    /// The station can answer no scan now.
    Unable,
}

/// A show that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Playing {
    show: Show,
    since: Boot,
}

/// Plays one lane's signals. It remembers what was shown, because an answer ends and an interrupted green must not come back.
#[derive(Clone, Debug)]
pub struct Player {
    fitted: Fitted,
    ready_hold: Duration,
    ready_limit: Duration,
    scan: u64,
    answer: Option<Signal>,
    /// This scan was answered before, otherwise: what comes now cannot be green.
    second_thought: bool,
    /// The answer has been shown, or must not be.
    spent: bool,
    first_shown: Option<Boot>,
    alarms: u64,
    /// An alarm waits to be shown, or is shown.
    alarm: bool,
    playing: Option<Playing>,
    /// Something is lit that a person takes for an answer: anything but the working signal.
    lit: bool,
    /// Since when nothing of the sort is lit.
    dark_since: Boot,
    turns: Option<Boot>,
}

impl Player {
    /// A dark lane. `ready_hold`: how long a ready answer is green; `ready_limit`: how long after its scan green may be lit at all.
    pub const fn new(
        fitted: Fitted,
        ready_hold: Duration,
        ready_limit: Duration,
        now: Boot,
    ) -> Self {
        Self {
            fitted,
            ready_hold,
            ready_limit,
            scan: 0,
            answer: None,
            second_thought: false,
            spent: false,
            first_shown: None,
            alarms: 0,
            alarm: false,
            playing: None,
            lit: false,
            dark_since: now,
            turns: None,
        }
    }

    /// The lamps as they must be now. `unable`: the station can answer no scan now.
    pub fn look(&mut self, status: LaneStatus, unable: bool, now: Boot) -> Look {
        self.take_note(status);
        self.end_what_is_over(status, now);
        let wanted = self.wanted(status, unable, now);
        if self.playing.map(|playing| playing.show) != wanted {
            // A green that something else interrupts does not come back.
            if self
                .playing
                .is_some_and(|playing| playing.show == Show::Answer(Signal::Ready))
            {
                self.spent = true;
            }
            self.playing = None;
        }
        if let (None, Some(show)) = (self.playing, wanted)
            && !self.lit
            && now.since(self.dark_since) >= GAP
        {
            if matches!(show, Show::Answer(_)) {
                self.first_shown.get_or_insert(now);
            }
            self.playing = Some(Playing { show, since: now });
        }
        let levels = self.levels(now);
        let lit = levels.lit()
            && self
                .playing
                .is_some_and(|playing| playing.show != Show::Working);
        if self.lit && !lit {
            self.dark_since = now;
        }
        self.lit = lit;
        self.turns = self.turns(status, wanted, now);
        let again = [self.turns, self.edge(levels, now)];
        Look {
            levels,
            again: again.into_iter().flatten().min(),
        }
    }

    /// When something else is shown, as far as the status does not change. What blinks meanwhile is one show.
    pub const fn turns_at(&self) -> Option<Boot> {
        self.turns
    }

    /// What is shown since the last look.
    pub fn showing(&self, status: LaneStatus) -> Option<Showing> {
        let playing = self.playing?;
        let signal = match playing.show {
            Show::Answer(signal) => signal.code(),
            Show::Alarm => Signal::Alarm.code(),
            Show::Working => "working",
            Show::Unable => "unable",
        };
        Some(Showing {
            signal,
            since: playing.since,
            until: self.end_of(playing, status),
        })
    }

    /// The lamps could not be driven until now: a green that is being played must not appear late.
    pub fn forget_green(&mut self) {
        if self
            .playing
            .is_some_and(|playing| playing.show == Show::Answer(Signal::Ready))
        {
            self.spent = true;
            self.playing = None;
        }
    }

    fn take_note(&mut self, status: LaneStatus) {
        if status.scan != self.scan {
            self.scan = status.scan;
            self.answer = None;
            self.second_thought = false;
            self.spent = false;
            self.first_shown = None;
            self.alarm = false;
            self.playing = None;
        }
        let answer = status.answer.map(LampAnswer::signal);
        if answer != self.answer {
            self.second_thought |= self.answer.is_some();
            self.answer = answer;
            self.spent = false;
            self.first_shown = None;
            if self
                .playing
                .is_some_and(|playing| matches!(playing.show, Show::Answer(_)))
            {
                self.playing = None;
            }
        }
        // After the scan: when both changed since the last look, the alarm may be the newer one, and it must be seen.
        if status.alarms != self.alarms {
            self.alarms = status.alarms;
            self.alarm = true;
            if self
                .playing
                .is_some_and(|playing| playing.show == Show::Alarm)
            {
                self.playing = None;
            }
        }
    }

    fn end_what_is_over(&mut self, status: LaneStatus, now: Boot) {
        if self.answer == Some(Signal::Ready)
            && (self.second_thought || now >= self.green_limit(status))
        {
            self.spent = true;
        }
        if self
            .first_shown
            .is_some_and(|first| now >= first.plus(LONGEST))
        {
            self.spent = true;
        }
        let Some(playing) = self.playing else { return };
        if self.end_of(playing, status).is_some_and(|end| now >= end) {
            match playing.show {
                Show::Answer(_) => self.spent = true,
                Show::Alarm => self.alarm = false,
                Show::Working | Show::Unable => {}
            }
            self.playing = None;
        }
    }

    fn wanted(&self, status: LaneStatus, unable: bool, now: Boot) -> Option<Show> {
        if self.alarm {
            return Some(Show::Alarm);
        }
        if status.scan != 0 {
            match self.answer {
                Some(signal) if signal != Signal::None && !self.spent => {
                    return Some(Show::Answer(signal));
                }
                // A scan that stays unanswered for too long is given up: a working signal without end would be a lie.
                None if now < self.green_limit(status) => {
                    return (self.fitted.amber && now.since(status.scanned_at) >= PATIENCE)
                        .then_some(Show::Working);
                }
                Some(_) | None => {}
            }
        }
        unable.then_some(Show::Unable)
    }

    fn green_limit(&self, status: LaneStatus) -> Boot {
        status.scanned_at.plus(self.ready_limit)
    }

    fn end_of(&self, playing: Playing, status: LaneStatus) -> Option<Boot> {
        let length = match playing.show {
            Show::Answer(Signal::Ready) => {
                return Some(
                    playing
                        .since
                        .plus(self.ready_hold)
                        .min(self.green_limit(status)),
                );
            }
            Show::Answer(Signal::Stop | Signal::Hold) => LONGEST,
            Show::Answer(_) | Show::Alarm => Duration::from_secs(2),
            Show::Working => return Some(self.green_limit(status)),
            Show::Unable => return None,
        };
        // An answer that an alarm interrupted begins anew, and is still over 30 s after it was first shown.
        let last = self
            .first_shown
            .filter(|_| playing.show != Show::Alarm)
            .map(|first| first.plus(LONGEST));
        let end = playing.since.plus(length);
        Some(last.map_or(end, |last| end.min(last)))
    }

    fn levels(&self, now: Boot) -> Levels {
        let Some(playing) = self.playing else {
            return Levels::DARK;
        };
        let elapsed = now.since(playing.since);
        let lamp = blinking(playing.show, self.fitted.amber).at(elapsed).0;
        let buzzer = self.fitted.buzzer && buzzer_pattern(playing.show).at(elapsed).0;
        Levels {
            green: lamp == Lamp::Green,
            red: lamp == Lamp::Red,
            amber: lamp == Lamp::Amber,
            buzzer,
        }
    }

    /// When something else is shown.
    fn turns(&self, status: LaneStatus, wanted: Option<Show>, now: Boot) -> Option<Boot> {
        let mut times = Vec::with_capacity(4);
        match self.playing {
            Some(playing) => times.extend(self.end_of(playing, status)),
            None if wanted.is_some() => times.push(self.dark_since.plus(GAP)),
            None => {}
        }
        if status.scan != 0 && status.answer.is_none() {
            times.push(status.scanned_at.plus(PATIENCE));
            times.push(self.green_limit(status));
        }
        times.into_iter().filter(|time| *time > now).min()
    }

    /// When a lamp or the buzzer changes within what is shown.
    fn edge(&self, levels: Levels, now: Boot) -> Option<Boot> {
        let playing = self.playing?;
        let elapsed = now.since(playing.since);
        let blinks = blinking(playing.show, self.fitted.amber).at(elapsed).1;
        let sounds = self.fitted.buzzer.then(|| buzzer_pattern(playing.show));
        let sounds = sounds.and_then(|sounds| sounds.at(elapsed).1);
        let edges = [blinks, sounds].into_iter().flatten();
        edges
            .map(|edge| playing.since.plus(edge))
            .chain(levels.green.then(|| now.plus(GREEN_CHECK)))
            .filter(|time| *time > now)
            .min()
    }
}

/// One lamp, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lamp {
    Green,
    Red,
    Amber,
    Off,
}

/// Lamps and their times in milliseconds, again and again; a single step is steady.
struct Blinking(&'static [(Lamp, u64)]);

impl Blinking {
    /// The lamp after `elapsed`, and when it changes next, both counted from the beginning.
    fn at(&self, elapsed: Duration) -> (Lamp, Option<Duration>) {
        let total: Duration = self
            .0
            .iter()
            .map(|(_, time)| Duration::from_millis(*time))
            .sum();
        let rounds = elapsed
            .as_nanos()
            .checked_div(total.as_nanos())
            .unwrap_or(0);
        let mut edge = total.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        for (lamp, time) in self.0 {
            edge += Duration::from_millis(*time);
            if elapsed < edge {
                return (*lamp, (self.0.len() > 1).then_some(edge));
            }
        }
        (Lamp::Off, None)
    }
}

/// The rhythms differ, so that nobody needs colours to tell them apart, and none flashes faster than three times a second.
const fn blinking(show: Show, amber: bool) -> Blinking {
    Blinking(match show {
        Show::Answer(Signal::Ready) => &[(Lamp::Green, 1000)],
        Show::Answer(Signal::Stop) => &[(Lamp::Red, 500), (Lamp::Off, 500)],
        Show::Answer(Signal::Hold) if amber => &[(Lamp::Amber, 1000)],
        Show::Answer(Signal::Hold) => &[(Lamp::Red, 100), (Lamp::Off, 1900)],
        Show::Answer(Signal::Rescan) => &[
            (Lamp::Red, 167),
            (Lamp::Off, 167),
            (Lamp::Red, 167),
            (Lamp::Off, 499),
        ],
        Show::Answer(Signal::Alarm) | Show::Alarm => &[(Lamp::Red, 167), (Lamp::Off, 167)],
        Show::Answer(Signal::None) => &[(Lamp::Off, 1000)],
        Show::Working => &[(Lamp::Amber, 250), (Lamp::Off, 250)],
        Show::Unable => &[(Lamp::Red, 1000)],
    })
}

/// A number of equal tones with pauses of the same length.
struct Tones {
    count: u32,
    each: Duration,
}

impl Tones {
    /// Does it sound after `elapsed`, and when does that change next, both counted from the beginning?
    fn at(&self, elapsed: Duration) -> (bool, Option<Duration>) {
        let mut edge = Duration::ZERO;
        for half in 0..self.count * 2 {
            edge += self.each;
            if elapsed < edge {
                return (half % 2 == 0, Some(edge));
            }
        }
        (false, None)
    }
}

const fn buzzer_pattern(show: Show) -> Tones {
    let (count, each) = match show {
        Show::Answer(Signal::Ready) => (1, 150),
        Show::Answer(Signal::Stop) => (3, 150),
        Show::Answer(Signal::Hold) => (2, 150),
        Show::Answer(Signal::Rescan) => (1, 700),
        Show::Answer(Signal::Alarm) | Show::Alarm => (5, 50),
        Show::Answer(Signal::None) | Show::Working | Show::Unable => (0, 0),
    };
    Tones {
        count,
        each: Duration::from_millis(each),
    }
}

#[cfg(test)]
mod tests;
