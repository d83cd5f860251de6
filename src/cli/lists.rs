//! The lists of sources that can only be listed, for a command: those of a running agent, else read here for the command alone.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep_until},
};

use super::{folder::Folder, replica::present};
use crate::{
    journal::survey,
    readiness::{
        Settings, Source,
        replica::{
            pass::Progress,
            store::{self, Store},
        },
    },
    runtime::{name::Name, pulse::Pulse},
};

/// No command waits longer for a list.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// So often a terminal shows how far it is; what is no terminal gets a line now and then.
const SHOWN_EVERY: Duration = Duration::from_millis(250);
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Where a command keeps the lists that it reads for itself.
pub(super) struct OwnLists {
    pub(super) store: Store,
    /// Deleted at the end.
    _folder: Folder,
}

impl OwnLists {
    /// `None`: no source needs it, or a running agent has the lists.
    ///
    /// # Errors
    /// There is no place for them.
    pub(super) fn wanted(settings: &[Settings], state_dir: &Path) -> io::Result<Option<Self>> {
        let is_read_here = |one: &Settings| is_list_only(one) && !is_with_agent(one, state_dir);
        if !settings.iter().any(is_read_here) {
            return Ok(None);
        }
        Self::make().map(Some)
    }

    pub(super) fn make() -> io::Result<Self> {
        let folder = Folder::make()?;
        Ok(Self {
            store: Store::open(&store::path(folder.path())),
            _folder: folder,
        })
    }
}

/// Does a running agent have the list of this source, young enough to answer, and may this command read it? Why the agent has none,
/// only the service can tell.
pub(super) fn is_with_agent(settings: &Settings, state_dir: &Path) -> bool {
    if !matches!(survey::in_use(state_dir), Ok(true)) {
        return false;
    }
    let found = store::survey(&store::path(state_dir)).ok();
    let status = found.and_then(|found| found.sources.get(&settings.name).copied());
    let complete = status.and_then(|status| status.complete);
    let age = complete.and_then(|pass| pass.start.age(present()));
    age.is_some_and(|age| age <= settings.replica.max_replica_age)
}

pub(super) fn is_list_only(settings: &Settings) -> bool {
    settings.kind().is_list_only()
}

/// Makes a pass of the source and shows how far it is, for [`PATIENCE`] at most. How it ended is in the source's standing.
pub(super) async fn read(source: &Source) {
    let Some(mut standing) = source.passes() else {
        return;
    };
    let (passed, mut complete) = mpsc::channel(1);
    tokio::spawn(source.clone().run_passes(passed, Pulse::default()));
    let until = Instant::now() + PATIENCE;
    let mut shown = Shown::new(source.name().clone());
    let mut tick = interval(SHOWN_EVERY);
    loop {
        tokio::select! {
            _ = complete.recv() => break,
            failed = standing.wait_for(|now| now.fault.is_some()) => {
                drop(failed);
                break;
            }
            () = sleep_until(until) => break,
            _ = tick.tick() => {}
        }
        let progress = standing.borrow().progress;
        shown.show(progress);
    }
    shown.end();
}

/// What standard error shows of a pass.
struct Shown {
    source: Name,
    is_terminal: bool,
    said: Instant,
    is_open: bool,
}

impl Shown {
    fn new(source: Name) -> Self {
        Self {
            source,
            is_terminal: io::stderr().is_terminal(),
            said: Instant::now(),
            is_open: false,
        }
    }

    fn show(&mut self, progress: Option<Progress>) {
        let Some(Progress { read, total }) = progress else {
            return;
        };
        let of = total.map_or_else(String::new, |total| format!(" of {total}"));
        let text = format!(
            "{}: reading the list of all devices, {read}{of}",
            self.source
        );
        let mut out = io::stderr().lock();
        if self.is_terminal {
            self.is_open = true;
            let _ = write!(out, "\r{text}\u{1b}[K");
            let _ = out.flush();
        } else if self.said.elapsed() >= SAID_EVERY {
            self.said = Instant::now();
            let _ = writeln!(out, "{text}");
        }
    }

    fn end(&self) {
        if self.is_open {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}
