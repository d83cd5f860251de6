//! Gives a session up that has fallen silent, or that answers for nothing. The time is handed in.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Fault, FaultKind};

pub(super) struct Watchdog {
    heard: Instant,
    silence: Duration,
    /// When each message left that was not answered.
    unanswered: BTreeMap<u64, Instant>,
    patience: Duration,
    /// Messages so far; a message's ticket is its number.
    tickets: u64,
    /// The newest message that was answered.
    answered: u64,
}

impl Watchdog {
    /// `silence`: how long nothing may be heard; `patience`: how long a message may be without its answer.
    pub(super) fn new(silence: Duration, patience: Duration, now: Instant) -> Self {
        Self {
            heard: now,
            silence,
            unanswered: BTreeMap::new(),
            patience,
            tickets: 0,
            answered: 0,
        }
    }

    pub(super) fn allow_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A message has left. Its ticket.
    pub(super) fn sent(&mut self, now: Instant) -> u64 {
        self.tickets += 1;
        self.unanswered.insert(self.tickets, now);
        self.tickets
    }

    pub(super) fn answered(&mut self, ticket: u64) {
        self.unanswered.remove(&ticket);
        self.answered = self.answered.max(ticket);
    }

    /// Messages that were not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.unanswered.len()
    }

    /// When the session is given up, unless something is heard or answered before.
    pub(super) fn due(&self) -> Instant {
        let silent = self.heard + self.silence;
        let oldest = self.unanswered.first_key_value();
        oldest.map_or(silent, |(_, since)| silent.min(*since + self.patience))
    }

    /// Why it is given up.
    pub(super) fn fault(&self, now: Instant) -> Fault {
        if self.heard + self.silence <= now {
            return Fault::new(
                FaultKind::Away,
                "the broker has fallen silent: the link is dead or the broker is frozen",
            );
        }
        // The broker speaks, and has answered for others on this session: for later ones, or for all but this one.
        let answers = self.answered > 0;
        let kind = match self.unanswered.first_key_value() {
            Some((&ticket, _))
                if ticket < self.answered || (answers && self.unanswered.len() == 1) =>
            {
                FaultKind::Ignored(ticket)
            }
            _ => FaultKind::Away,
        };
        Fault::new(kind, "the broker does not acknowledge what it is sent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(65);
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_broker_that_answers_for_all_but_one_message_is_given_up_for_that_one() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(SILENCE, PATIENCE, now);
        let tickets = [(); 3].map(|()| watchdog.sent(now));
        assert_eq!((tickets, watchdog.in_flight()), ([1, 2, 3], 3));
        let later = now + PATIENCE;
        watchdog.heard(later);
        assert_eq!(watchdog.due(), later);
        assert_eq!(
            watchdog.fault(later).kind,
            FaultKind::Away,
            "none is answered"
        );
        watchdog.answered(1);
        assert_eq!(watchdog.fault(later).kind, FaultKind::Away, "2 or 3?");
        watchdog.answered(3);
        assert_eq!(watchdog.fault(later).kind, FaultKind::Ignored(2));
        watchdog.answered(2);
        assert_eq!(watchdog.due(), later + SILENCE);
        assert_eq!(watchdog.fault(later + SILENCE).kind, FaultKind::Away);
    }
}
