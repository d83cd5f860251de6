//! One lane's thread: it follows the status, asks the signals what to show, and drives it.
//!
//! A thread of its own, so that nothing that the rest of the station does can make a lamp late.

use std::{thread, time::Duration};

use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Settings, State,
    held::Held,
    output::fitted,
    signal::{Levels, Player},
};
use crate::{
    runtime::{clock::Boot, name::Name, pulse::Pulse},
    station::status::LaneStatus,
};

/// Lamps that cannot be opened are tried again this often.
pub(super) const RETRY: Duration = Duration::from_secs(3);
/// What an output did not take is offered again this soon.
const AGAIN: Duration = Duration::from_millis(50);
/// The thread is asked for a sign of life this often, and has this long to answer.
const PULSE: Duration = Duration::from_secs(2);
/// A thread that is told to stop has this long.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a lane's thread needs.
pub(super) struct Lane {
    pub(super) name: Name,
    pub(super) settings: Settings,
    pub(super) ready_limit: Duration,
    pub(super) retry: Duration,
    pub(super) status: watch::Receiver<LaneStatus>,
    pub(super) state: watch::Sender<State>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) pulse: Pulse,
}

/// Runs the lane on its thread, and watches that it lives.
pub(super) async fn run(lane: Lane, open: impl FnMut() -> Result<Held, State> + Send + 'static) {
    let name = lane.name.clone();
    let mut stop = lane.stop.clone();
    let (pulse, pulses) = mpsc::channel(1);
    let (alive, mut ended) = oneshot::channel::<()>();
    let work = move || {
        let _alive = alive;
        match Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(follow(lane, open, pulses)),
            Err(error) => {
                tracing::error!(%error, lane = %lane.name, "the lamps' thread could not be prepared")
            }
        }
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
            lives = beats(&pulse) => missed = if lives { 0 } else { missed + 1 },
        }
        // Twice: a process that was stopped and goes on finds its first wait already over.
        if missed == 2 {
            tracing::error!(lane = %name, "the lamps' thread hangs");
            return;
        }
    }
    if timeout(LAST_WORDS, ended).await.is_err() {
        tracing::error!(lane = %name, "the lamps' thread does not end");
    }
}

/// Asks for one sign of life.
async fn beats(pulse: &mpsc::Sender<oneshot::Sender<()>>) -> bool {
    tokio::time::sleep(PULSE).await;
    let (answer, answered) = oneshot::channel();
    timeout(PULSE, async {
        pulse.send(answer).await.is_ok() && answered.await.is_ok()
    })
    .await
    .unwrap_or(false)
}

async fn follow(
    mut lane: Lane,
    mut open: impl FnMut() -> Result<Held, State>,
    mut pulses: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut player = Player::new(
        fitted(&lane.settings),
        ready_hold(&lane.settings),
        lane.ready_limit,
        Boot::now(),
    );
    let mut held: Option<Held> = None;
    let mut shown: Option<Levels> = None;
    let mut retry = Instant::now();
    let mut asked = false;
    loop {
        lane.pulse.beat();
        // Lamps that went away while they were dark are told of now, not by the next scan's missing light.
        if std::mem::take(&mut asked)
            && let (Some(outputs), Some(levels)) = (&held, shown)
            && let Err(state) = outputs.again(levels)
        {
            held = None;
            retry = Instant::now() + lane.retry;
            say(&lane, state, "");
        }
        if held.is_none() && Instant::now() >= retry {
            match open() {
                Ok(opened) => {
                    shown = None;
                    player.forget_green();
                    say(&lane, State::Ok, opened.driver());
                    held = Some(opened);
                }
                Err(state) => {
                    retry = Instant::now() + lane.retry;
                    say(&lane, state, "");
                }
            }
        }
        let status = *lane.status.borrow_and_update();
        // The clock is read after the status: an answer is never judged by a time before it.
        let now = Boot::now();
        let look = player.look(status, now);
        if let Some(outputs) = &held
            && shown != Some(look.levels)
        {
            match outputs.set(look.levels) {
                Ok(taken) => shown = taken.then_some(look.levels),
                Err(state) => {
                    held = None;
                    retry = Instant::now() + lane.retry;
                    say(&lane, state, "");
                }
            }
        }
        let again = look.again.map(|again| Instant::now() + again.since(now));
        let offer = (held.is_some() && shown.is_none()).then(|| Instant::now() + AGAIN);
        let reopen = held.is_none().then_some(retry);
        let wake = [again, offer, reopen].into_iter().flatten().min();
        tokio::select! {
            biased;
            _ = lane.stop.wait_for(|stop| *stop) => return,
            // The station is gone: dark, like at the stop.
            changed = lane.status.changed() => if changed.is_err() { return },
            () = at(wake) => {}
            Some(answer) = pulses.recv() => {
                let _ = answer.send(());
                asked = true;
            }
        }
    }
}

/// Waits for a moment; for ever if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Tells a new state, once.
fn say(lane: &Lane, state: State, driver: &str) {
    let new = lane.state.send_if_modified(|told| {
        let new = *told != state;
        if new {
            told.clone_from(&state);
        }
        new
    });
    match (new, state.problem()) {
        (true, Some(problem)) => {
            tracing::warn!(lane = %lane.name, state = state.code(), problem, "the lamps cannot be driven; the station goes on")
        }
        (true, None) => tracing::info!(lane = %lane.name, driver, "the lamps are driven"),
        (false, _) => {}
    }
}

const fn ready_hold(settings: &Settings) -> Duration {
    match settings {
        Settings::Gpio(gpio) => gpio.ready_hold,
        Settings::Terminal { ready_hold } => *ready_hold,
        Settings::None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
