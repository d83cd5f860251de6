//! Every output that this process holds, so that all go dark at once when it ends, by a panic too.
//!
//! The release build aborts on a panic and runs no destructors: what must go dark has to be reachable from the panic hook, from
//! any thread. Locks are only tried, for a short time: the panicking thread may itself hold one.

use std::{
    panic,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{LampState, lock::try_for, output::Output, signal::Levels};

/// The outputs of this process.
pub(super) static PROCESS: Registry = Registry::new();

/// Longer than any write to an output takes, and short for a process that is ending.
const PATIENCE: Duration = Duration::from_millis(100);

/// Darkens every lamp that this process holds, and keeps it dark until the process has ended. For the last moments: at SIGTERM
/// and in the panic hook. Says whether all of them could be reached.
pub fn extinguish() -> bool {
    PROCESS.extinguish()
}

/// From now on a panic darkens the lamps before anything else is done about it.
pub fn darken_on_panic() {
    let next = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Before the message is printed: printing may block, a lit lamp must not wait for it.
        extinguish();
        next(info);
    }));
}

/// All outputs that are held.
pub(super) struct Registry {
    slots: Mutex<Vec<Weak<Slot>>>,
    over: AtomicBool,
}

/// One lane's outputs; empty once they are given back.
type Slot = Mutex<Option<Output>>;

impl Registry {
    pub(super) const fn new() -> Self {
        Self {
            slots: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        }
    }

    /// Keeps `output` where [`Registry::extinguish`] reaches it.
    pub(super) fn hold(&'static self, output: Output) -> Held {
        let driver = output.driver();
        let slot = Arc::new(Slot::new(Some(output)));
        if let Some(mut slots) = try_for(&self.slots, PATIENCE) {
            slots.retain(|slot| slot.strong_count() > 0);
            slots.push(Arc::downgrade(&slot));
        }
        Held {
            slot,
            registry: self,
            driver,
        }
    }

    /// Is any output held?
    pub(super) fn holds_some(&self) -> bool {
        try_for(&self.slots, PATIENCE)
            .is_none_or(|slots| slots.iter().any(|slot| slot.strong_count() > 0))
    }

    /// Darkens everything that is held, now and from now on.
    pub(super) fn extinguish(&self) -> bool {
        self.over.store(true, Ordering::SeqCst);
        let Some(slots) = try_for(&self.slots, PATIENCE) else {
            return false;
        };
        let mut reached = true;
        for slot in slots.iter().filter_map(Weak::upgrade) {
            reached &= match try_for(&slot, PATIENCE) {
                Some(mut output) => output.as_mut().is_none_or(Output::put_out),
                None => false,
            };
        }
        reached
    }
}

/// One lane's outputs, driven until they are dropped; then they are dark.
pub(super) struct Held {
    slot: Arc<Slot>,
    registry: &'static Registry,
    driver: &'static str,
}

impl Held {
    /// What drives it, in the config's word.
    pub(super) const fn driver(&self) -> &'static str {
        self.driver
    }

    /// Drives the levels; dark, whatever is asked, once the process is ending. `false`: not taken now, try again soon.
    pub(super) fn set(&self, levels: Levels) -> Result<bool, LampState> {
        self.show(levels, None)
    }

    /// Drives the levels of a signal. A terminal shows its name, too, while the levels blink.
    pub(super) fn show(
        &self,
        levels: Levels,
        signal: Option<&'static str>,
    ) -> Result<bool, LampState> {
        let Some(mut output) = try_for(&self.slot, PATIENCE) else {
            return Ok(false);
        };
        let Some(output) = output.as_mut() else {
            return Ok(true);
        };
        // Asked under the lock: whoever ends the process sets it before it takes the lock, so no light comes after it.
        if self.registry.over.load(Ordering::SeqCst) {
            Ok(output.put_out())
        } else {
            output.show(levels, signal)
        }
    }

    /// Drives the same levels once more: an error says that the outputs are gone.
    pub(super) fn again(&self, levels: Levels) -> Result<(), LampState> {
        match try_for(&self.slot, PATIENCE).as_deref_mut() {
            Some(Some(output)) if !self.registry.over.load(Ordering::SeqCst) => {
                output.again(levels)
            }
            _ => Ok(()),
        }
    }

    /// The levels as the outputs carry them.
    pub(super) fn read_back(&self) -> Result<Levels, LampState> {
        match try_for(&self.slot, PATIENCE).as_deref() {
            Some(Some(output)) => output.read_back(),
            _ => Ok(Levels::DARK),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut output) = try_for(&self.slot, PATIENCE)
            && let Some(mut output) = output.take()
        {
            output.put_out();
        }
    }
}

#[cfg(test)]
mod tests;
