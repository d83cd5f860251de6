//! One lane's thread: it follows what the lane is to show, asks the signals for the levels, and drives them.
//!
//! A thread of its own, so that nothing that the rest of the station does can make a lamp late.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{oneshot, watch},
    time::{sleep_until, timeout},
};

use super::{
    LampState, Settings,
    held::Held,
    output::fitted,
    signal::{Levels, Player},
};
use crate::{
    runtime::{
        clock::Boot,
        name::Name,
        pulse::{self, Pulse, Pulses},
    },
    station::{lamp_feed::LampFeed, status::LaneStatus},
};

/// Lamps that cannot be opened are tried again this often.
pub(super) const RETRY: Duration = Duration::from_secs(3);
/// What an output did not take is offered again this soon.
const AGAIN: Duration = Duration::from_millis(50);
/// How long the thread may take to end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a lane's lamps are driven by.
pub(super) struct Lamps {
    pub(super) name: Name,
    pub(super) settings: Settings,
    /// How long after its scan a box may be green.
    pub(super) ready_limit: Duration,
    pub(super) retry: Duration,
    pub(super) feed: LampFeed,
    pub(super) state: watch::Sender<LampState>,
}

/// Drives the lamps on a thread until `stop`, and gives signs of life while that thread does.
pub(super) async fn run(
    lamps: Lamps,
    mut stop: watch::Receiver<bool>,
    pulse: Pulse,
    open: impl FnMut() -> Result<Held, LampState> + Send + 'static,
) {
    let (name, feed) = (lamps.name.clone(), lamps.feed.clone());
    let pulses = Pulses::default();
    let thread_lives = pulses.pulse(name.as_str());
    let (alive, mut ended) = oneshot::channel::<()>();
    let work = move || {
        let _alive = alive;
        Driven::new(lamps).follow(open, &thread_lives);
    };
    if let Err(error) = thread::Builder::new()
        .name(format!("lamps-{name}"))
        .spawn(work)
    {
        tracing::error!(%error, lane = %name, "the lamps' thread could not be started");
        return;
    }
    let mut missed = 0;
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            _ = &mut ended => return,
            () = sleep_until(pulse::next()) => {}
        }
        if pulses.silent().is_empty() {
            missed = 0;
            pulse.beat();
        } else {
            missed += 1;
        }
        // Not the first time: a process that was stopped and goes on may find its wait over before the thread has run.
        if missed == 3 {
            tracing::error!(lane = %name, "the lamps' thread hangs");
            return;
        }
    }
    feed.end();
    if timeout(LAST_WORDS, ended).await.is_err() {
        tracing::error!(lane = %name, "the lamps' thread does not end");
    }
}

/// The thread's own state.
struct Driven {
    lamps: Lamps,
    player: Player,
    /// `None`: the lamps cannot be driven now.
    held: Option<Held>,
    /// What the outputs have taken; `None`: nothing, or it must be offered again.
    taken: Option<(Levels, Option<&'static str>)>,
    /// When lamps that cannot be driven are opened again.
    retry: Instant,
    /// When lamps are looked at that do not change.
    check: Instant,
    /// The scan whose lamps were counted.
    counted: u64,
}

impl Driven {
    fn new(lamps: Lamps) -> Self {
        let now = Instant::now();
        let hold = lamps.settings.ready_hold();
        Self {
            player: Player::new(
                fitted(&lamps.settings),
                hold,
                lamps.ready_limit,
                Boot::now(),
            ),
            lamps,
            held: None,
            taken: None,
            retry: now,
            check: now + pulse::EVERY,
            counted: 0,
        }
    }

    fn follow(mut self, mut open: impl FnMut() -> Result<Held, LampState>, lives: &Pulse) {
        loop {
            lives.beat();
            self.check();
            self.open(&mut open);
            let shown = self.lamps.feed.now();
            if shown.over {
                return;
            }
            // The clock is read after the status: an answer is never judged by a time before it.
            let now = Boot::now();
            let look = self.player.look(shown.status, shown.unable, now);
            let showing = self.player.showing(shown.status);
            self.drive((look.levels, showing.map(|showing| showing.signal)));
            self.count(shown.status);
            let again = look.again.map(|again| Instant::now() + again.since(now));
            let offer =
                (self.held.is_some() && self.taken.is_none()).then(|| Instant::now() + AGAIN);
            let reopen = self.held.is_none().then_some(self.retry);
            let wake = [again, offer, reopen].into_iter().flatten();
            self.lamps
                .feed
                .wait(shown, wake.fold(self.check, Instant::min));
        }
    }

    /// Lamps that went away while they were dark are noticed now, not by the next scan's missing light.
    fn check(&mut self) {
        if Instant::now() < self.check {
            return;
        }
        self.check = Instant::now() + pulse::EVERY;
        if let (Some(held), Some((levels, _))) = (&self.held, self.taken)
            && let Err(state) = held.again(levels)
        {
            self.lost(state);
        }
    }

    fn open(&mut self, open: &mut impl FnMut() -> Result<Held, LampState>) {
        if self.held.is_some() || Instant::now() < self.retry {
            return;
        }
        match open() {
            Ok(opened) => {
                self.taken = None;
                self.player.forget_green();
                self.say(LampState::Ok, opened.driver());
                self.held = Some(opened);
            }
            Err(state) => self.lost(state),
        }
    }

    fn drive(&mut self, wanted: (Levels, Option<&'static str>)) {
        if self.taken == Some(wanted) {
            return;
        }
        match self.held.as_ref().map(|held| held.show(wanted.0, wanted.1)) {
            Some(Ok(taken)) => self.taken = taken.then_some(wanted),
            Some(Err(state)) => self.lost(state),
            None => {}
        }
    }

    /// Counts how long after its scan an answer was lit, once.
    fn count(&mut self, status: LaneStatus) {
        if self.counted != status.scan
            && status.answer.is_some()
            && self.taken.is_some_and(|(levels, _)| levels.lit())
        {
            self.counted = status.scan;
            self.lamps
                .feed
                .lit_after(Boot::now().since(status.scanned_at));
        }
    }

    fn lost(&mut self, state: LampState) {
        self.held = None;
        self.retry = Instant::now() + self.lamps.retry;
        self.say(state, "");
    }

    /// Reports a new state, once.
    fn say(&self, state: LampState, driver: &str) {
        let lane = &self.lamps.name;
        let new = self.lamps.state.send_if_modified(|known| {
            let new = *known != state;
            if new {
                known.clone_from(&state);
            }
            new
        });
        match (new, state.problem()) {
            (true, Some(problem)) => {
                tracing::warn!(%lane, state = state.code(), problem, "the lamps cannot be driven; the station goes on")
            }
            (true, None) => tracing::info!(%lane, driver, "the lamps are driven"),
            (false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
