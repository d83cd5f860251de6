//! The clock of each host, to recognise an old reply: a cache, a proxy or a broken gateway can serve yesterday's.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::fault::CLOCK_TOLERANCE;
use crate::runtime::{
    clock::{self, Boot, ClockWatch},
    file,
};

/// This many rejected replies that agree with each other reset the host's time.
const AGREEING: usize = 3;
/// The least time between their requests: a stored answer's `Date` stands still meanwhile, a clock's goes on.
const APART: Duration = Duration::from_secs(5);
/// How far their clocks may differ. `Date` knows whole seconds.
const AGREE_WITHIN: Duration = Duration::from_secs(2);
/// The file is written when a host's time is this much further than what stands there ..
const WRITTEN_EVERY: Duration = Duration::from_mins(10);
/// .. and never sooner after the last time than this.
const WRITTEN_AT_MOST_EVERY: Duration = Duration::from_mins(1);
const LARGEST_FILE: u64 = 64 << 10;

/// A reply's `Date`, with the boot-time clock at its request and at its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dated {
    pub(super) date: Timestamp,
    pub(super) sent: Boot,
    pub(super) came: Boot,
}

impl Dated {
    /// The same clock at a later moment.
    fn carried(self, to: Boot) -> Timestamp {
        clock::later(self.date, to.since(self.came))
    }

    fn agrees(self, earlier: Self) -> bool {
        self.date
            .duration_since(earlier.carried(self.came))
            .unsigned_abs()
            <= AGREE_WITHIN
    }
}

/// By what a `Date` was found to be another time's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// By what the host said before.
    Host,
    /// By this machine's clock, which the kernel says is kept.
    OwnClock,
    /// By the newest that the host ever said, from the disk.
    Disk,
}

/// The `Date` is not current: how far it is ahead (negative: behind), and by which measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOfNow {
    pub(super) ahead: SignedDuration,
    pub(super) by: Measure,
}

/// One host's time: the newest `Date` that was believed, carried on by the boot-time clock. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostTime {
    heard: Option<Dated>,
    /// The newest `Date` ever believed, from the disk: a lower bound, before anything was heard.
    floor: Option<Timestamp>,
    /// Replies that were not believed and agree with one another, oldest first.
    doubted: Vec<Dated>,
}

impl HostTime {
    pub(super) const fn from_disk(newest: Timestamp) -> Self {
        Self {
            heard: None,
            floor: Some(newest),
            doubted: Vec::new(),
        }
    }

    /// Believes a reply's `Date`, or says why not. `own`: our clock, if somebody keeps it.
    pub(super) fn judge(&mut self, reply: Dated, own: Option<Timestamp>) -> Result<(), NotOfNow> {
        let (ahead, by) = match (self.heard, own, self.floor) {
            (Some(heard), ..) => (
                reply.date.duration_since(heard.carried(reply.came)),
                Measure::Host,
            ),
            (None, Some(own), _) => (reply.date.duration_since(own), Measure::OwnClock),
            // Later than that it may be by any time: the station may have been off.
            (None, None, Some(floor)) => (
                reply.date.duration_since(floor).min(SignedDuration::ZERO),
                Measure::Disk,
            ),
            (None, None, None) => (SignedDuration::ZERO, Measure::Disk),
        };
        if ahead.unsigned_abs() <= CLOCK_TOLERANCE {
            self.doubted.clear();
            if by != Measure::Host || !ahead.is_negative() {
                self.heard = Some(reply);
            }
            return Ok(());
        }
        self.doubt(reply);
        if self.doubted.len() < AGREEING {
            return Err(NotOfNow { ahead, by });
        }
        self.doubted.clear();
        self.heard = Some(reply);
        Ok(())
    }

    fn doubt(&mut self, reply: Dated) {
        if !self.doubted.iter().all(|earlier| reply.agrees(*earlier)) {
            self.doubted.clear();
        }
        if self
            .doubted
            .last()
            .is_none_or(|last| reply.sent.since(last.sent) >= APART)
        {
            self.doubted.push(reply);
        }
    }

    /// Its clock at that moment; `None`: it has not been heard in this boot.
    fn at(&self, moment: Boot) -> Option<Timestamp> {
        self.heard.map(|heard| heard.carried(moment))
    }

    /// The newest `Date` believed; `None`: none yet.
    fn newest(&self) -> Option<Timestamp> {
        self.heard.map(|heard| heard.date).or(self.floor)
    }
}

/// Our clock, and the time of every host that is asked. Cheap to clone; the clones know the same hosts.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// Who says whether our clock is right.
    pub own: ClockWatch,
    hosts: Arc<Mutex<Hosts>>,
}

#[derive(Debug, Default)]
struct Hosts {
    times: BTreeMap<String, HostTime>,
    file: Option<KeptFile>,
}

#[derive(Debug)]
struct KeptFile {
    path: PathBuf,
    holds: BTreeMap<String, Timestamp>,
    written: Option<Boot>,
}

impl From<ClockWatch> for Clocks {
    fn from(own: ClockWatch) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }
}

impl Clocks {
    /// With what the agent has written to `state_dir`. A missing or damaged file is not an error; it only knows less.
    pub fn reading(own: ClockWatch, state_dir: &Path) -> Self {
        let times = read(&path(state_dir))
            .into_iter()
            .map(|(host, newest)| (host, HostTime::from_disk(newest)))
            .collect();
        Self {
            own,
            hosts: Arc::new(Mutex::new(Hosts { times, file: None })),
        }
    }

    /// As [`Clocks::reading`], and what is heard is written there: for the one agent of that `state_dir`.
    pub fn keeping(own: ClockWatch, state_dir: &Path) -> Self {
        let path = path(state_dir);
        keep_private(&path);
        let clocks = Self::reading(own, state_dir);
        let holds = read(&path);
        clocks.locked().file = Some(KeptFile {
            path,
            holds,
            written: None,
        });
        clocks
    }

    /// Believes the `Date` of a reply of `host` (name and port), or says why not.
    pub(super) fn judge(&self, host: &str, reply: Dated) -> Result<(), NotOfNow> {
        let own = self.own.synced().then(Timestamp::now);
        let mut hosts = self.locked();
        let result = hosts
            .times
            .entry(host.to_owned())
            .or_default()
            .judge(reply, own);
        if let Some((path, text)) = hosts.due(reply.came) {
            // A disk that hangs must not keep an answer back, nor the end of the process.
            let written = std::thread::Builder::new().name("host times".to_owned()).spawn(move || {
                if let Err(error) = file::write_private(&path, &text) {
                    tracing::warn!(path = %path.display(), %error, "the hosts' times cannot be written");
                }
            });
            drop(written);
        }
        result
    }

    /// A host's time at that moment (name and port); before anything was heard of it our own clock, if somebody keeps it.
    pub(super) fn at(&self, host: &str, moment: Boot) -> Option<Timestamp> {
        let heard = self
            .locked()
            .times
            .get(host)
            .and_then(|time| time.at(moment));
        heard.or_else(|| {
            let since = Boot::now().since(moment);
            let own = self.own.synced().then(Timestamp::now)?;
            own.checked_sub(SignedDuration::try_from(since).ok()?).ok()
        })
    }

    fn locked(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hosts {
    /// What to write now, if anything.
    fn due(&mut self, now: Boot) -> Option<(PathBuf, String)> {
        let file = self.file.as_mut()?;
        if file
            .written
            .is_some_and(|written| now.since(written) < WRITTEN_AT_MOST_EVERY)
        {
            return None;
        }
        let newest: BTreeMap<String, Timestamp> = self
            .times
            .iter()
            .filter_map(|(host, time)| Some((host.clone(), time.newest()?)))
            .collect();
        // Also if it is earlier than the file's: then the host's time was reset.
        let moved = |host: &String, now: &Timestamp| {
            file.holds.get(host).is_none_or(|held| {
                now < held || now.duration_since(*held).unsigned_abs() >= WRITTEN_EVERY
            })
        };
        if !newest.iter().any(|(host, now)| moved(host, now)) {
            return None;
        }
        let spelled: BTreeMap<&String, String> = newest
            .iter()
            .map(|(host, newest)| (host, newest.to_string()))
            .collect();
        let text = serde_json::to_string(&spelled).ok()?;
        file.holds = newest;
        file.written = Some(now);
        Some((file.path.clone(), text))
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("host-times.json")
}

/// Somebody may have opened it to others, or a copy came back with another mode.
fn keep_private(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|file| file.is_file())
        && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    {
        tracing::warn!(path = %path.display(), %error, "others can read the hosts' times");
    }
}

fn read(path: &Path) -> BTreeMap<String, Timestamp> {
    let spelled: Option<BTreeMap<String, String>> = file::read(path, LARGEST_FILE)
        .ok()
        .and_then(|(text, _)| serde_json::from_slice(&text).ok());
    spelled
        .into_iter()
        .flatten()
        .filter_map(|(host, newest)| Some((host, newest.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests;
