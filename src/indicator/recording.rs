//! An output for tests that writes down what it is driven to, with the time of each change.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{LampState, signal::Levels};

/// What was driven, shared with the test.
#[derive(Clone, Default)]
pub(super) struct Tape(Arc<Mutex<Vec<(Instant, Levels)>>>);

impl Tape {
    pub(super) fn all(&self) -> Vec<(Instant, Levels)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn last(&self) -> Option<Levels> {
        self.all().last().map(|(_, levels)| *levels)
    }
}

/// The recording output.
#[derive(Default)]
pub(super) struct Recording {
    pub(super) tape: Tape,
    /// Also a line for each change, for a test in another process.
    pub(super) file: Option<std::fs::File>,
    /// Fails once, with the next change to this.
    pub(super) fails_on: Option<Levels>,
    /// While this is set the lines are gone.
    pub(super) unplugged: Option<Arc<AtomicBool>>,
    /// Carries this, whatever it is driven to.
    pub(super) reads_always: Option<Levels>,
    /// Panics with the next change to this.
    pub(super) panics_on: Option<Levels>,
}

impl Recording {
    pub(super) fn set(&mut self, levels: Levels) -> Result<(), LampState> {
        assert_ne!(self.panics_on, Some(levels), "the driver breaks");
        if self.fails_on == Some(levels) || self.is_unplugged() {
            return Err(LampState::Fault("unplugged".to_owned()));
        }
        self.tape
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((Instant::now(), levels));
        if let Some(file) = &mut self.file {
            let letter = |lit, letter| if lit { letter } else { '.' };
            let _ = writeln!(
                file,
                "{}{}{}",
                letter(levels.green, 'G'),
                letter(levels.red, 'R'),
                letter(levels.amber, 'A')
            );
        }
        Ok(())
    }

    pub(super) fn again(&self) -> Result<(), LampState> {
        if self.is_unplugged() {
            Err(LampState::Fault("unplugged".to_owned()))
        } else {
            Ok(())
        }
    }

    pub(super) fn read_back(&self) -> Levels {
        self.reads_always
            .or_else(|| self.tape.last())
            .unwrap_or_default()
    }

    fn is_unplugged(&self) -> bool {
        self.unplugged
            .as_ref()
            .is_some_and(|unplugged| unplugged.load(Ordering::SeqCst))
    }
}
