//! `replica`: what the local copy holds and what it costs, and how it is emptied.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    OK,
    arguments::Replica,
    fitted::{columns, fitted},
};
use crate::{
    config::{self, Readable},
    journal::survey,
    readiness::{
        Settings,
        replica::{
            Mode,
            rule::Present,
            store::{self, ReadFault, Status, Store, Survey},
        },
    },
    runtime::{
        clock::{Boot, ClockWatch},
        machine,
        name::Name,
        times,
    },
};

pub(super) fn replica(path: &Path, order: &Replica) -> anyhow::Result<u8> {
    let config = config::load_readable(path, false)?;
    let (state_dir, file) = files(&config)?;
    match order {
        Replica::Status => status(&config, &file),
        Replica::Clear { source } => clear(&config, &state_dir, &file, source.as_deref()),
    }
}

/// A mistake elsewhere in the config must not hide the copy; a text that is no config at all may mean another folder.
fn files(config: &Readable) -> anyhow::Result<(PathBuf, PathBuf)> {
    let Some(state_dir) = config.state_dir.clone() else {
        return match &config.problems {
            Some(problems) => Err(problems.clone().into()),
            None => anyhow::bail!("the config names no state_dir"),
        };
    };
    let file = store::path(&state_dir);
    match &config.problems {
        Some(problems) if !file.exists() => Err(problems.clone().into()),
        _ => Ok((state_dir, file)),
    }
}

fn status(config: &Readable, file: &Path) -> anyhow::Result<u8> {
    let survey = match store::survey(file) {
        Ok(survey) => survey,
        Err(ReadFault::Absent(_)) => Survey::default(),
        Err(fault @ ReadFault::Closed { .. }) => {
            anyhow::bail!("{fault}; run this as the agent's user or as root")
        }
        Err(fault) => {
            anyhow::bail!("{fault}; the agent deletes it at its start and fills it again")
        }
    };
    let mut out = io::stdout().lock();
    for line in lines(config, &survey, present()) {
        write!(out, "{}", fitted(&format!("{line}\n"), columns()))?;
    }
    Ok(OK)
}

/// By this machine's clocks. Where nobody keeps ours, an age from before the last boot is not known.
pub(super) fn present() -> Present {
    Present {
        boot_id: machine::boot_id(),
        boot: Boot::now(),
        service: ClockWatch::Kernel.synced().then(Timestamp::now),
    }
}

/// A line for each source of the config, and for each other one in the file.
fn lines(config: &Readable, survey: &Survey, now: Present) -> Vec<String> {
    let mut held: BTreeMap<&Name, &Status> = survey.sources.iter().collect();
    let mut lines = Vec::new();
    for settings in &config.sources {
        let status = held.remove(&settings.name).copied();
        lines.push(match settings.replica.mode {
            Mode::Off => left_over(&settings.name, "off", status),
            _ => {
                let copy = Copy::new(settings, status, None, now);
                format!("{}  {}  {}", settings.name, copy.word(), copy.said())
            }
        });
    }
    for (name, status) in held {
        lines.push(left_over(name, "not in the config", Some(*status)));
    }
    lines
}

fn left_over(name: &Name, why: &str, status: Option<Status>) -> String {
    match status.map_or(0, |status| status.rows) {
        0 => format!("{name}  {why}"),
        rows => {
            format!(
                "{name}  {why}  {rows} rows are left; benchlight replica clear {name} deletes them"
            )
        }
    }
}

/// One source's copy, and what keeping it costs.
pub(super) struct Copy {
    rows: u64,
    /// The start of the last complete pass by the service's time, and its age; `None` in it: nobody can say.
    complete: Option<(Timestamp, Option<Duration>)>,
    /// As in [`Status`].
    short: Option<u64>,
    refresh: Duration,
    max_age: Duration,
    /// `None`: no pass was complete yet.
    cost: Option<Cost>,
}

impl Copy {
    /// `told`: the limit of requests an hour by the service's own last reply.
    pub(super) fn new(
        settings: &Settings,
        status: Option<Status>,
        told: Option<u64>,
        now: Present,
    ) -> Self {
        let complete = status.and_then(|status| status.complete);
        Self {
            rows: status.map_or(0, |status| status.rows),
            complete: complete.map(|pass| (pass.start.date, pass.start.age(now))),
            short: status.and_then(|status| status.short),
            refresh: settings.replica.refresh,
            max_age: settings.replica.max_replica_age,
            cost: complete.map(|pass| Cost::new(settings, pass.reads, told)),
        }
    }

    /// Is the last complete pass too old for its rows to answer, or is there none?
    pub(super) fn is_too_old(&self) -> bool {
        !matches!(self.complete, Some((_, Some(age))) if age <= self.max_age)
    }

    pub(super) const fn was_filled(&self) -> bool {
        self.complete.is_some()
    }

    /// Passes stop at 80 % of the limit: are they not done in time?
    pub(super) fn costs_too_much(&self) -> bool {
        self.cost.is_some_and(Cost::is_too_much)
    }

    /// As health says it.
    pub(super) fn word(&self) -> &'static str {
        match self.complete {
            None => "filling",
            Some(_) if self.short.is_some() => "shrunken",
            Some((_, Some(age))) if age <= self.refresh.saturating_mul(2) => "ok",
            Some(_) => "behind",
        }
    }

    pub(super) fn said(&self) -> String {
        let rows = self.rows;
        let pass = match self.complete {
            None => "no complete pass yet, so no row answers".to_owned(),
            Some((date, age)) => {
                let most = self.max_age;
                let age = match age {
                    None => "its age is not known while the clock is not synchronised, so no row answers".to_owned(),
                    Some(age) if age > most => format!(
                        "{} ago, over max_replica_age ({}), so no row answers",
                        times::lasted(age),
                        times::lasted(most)
                    ),
                    Some(age) => format!("{} ago", times::lasted(age)),
                };
                format!("last complete pass {} ({age})", times::moment(date))
            }
        };
        let cost = self
            .cost
            .map_or_else(String::new, |cost| format!("; {cost}"));
        let short = self.short.map_or_else(String::new, |found| {
            format!("; the newest pass found only {found}, and the next one must confirm that")
        });
        format!("{rows} rows; {pass}{short}{cost}")
    }
}

/// What the passes of a source cost, by the last complete one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    reads: u64,
    an_hour: u64,
    /// Requests an hour that this station may make; `None`: no limit is known.
    limit: Option<u64>,
}

impl Cost {
    fn new(settings: &Settings, reads: u64, told: Option<u64>) -> Self {
        let refresh = settings.replica.refresh.as_secs().max(1);
        let share = settings.replica.quota_share;
        let own = u64::from(settings.reads_per_minute) * 60;
        // The share is of what the service tells, else of our own limit.
        let limits = match told.or_else(|| settings.kind().requests_an_hour()) {
            Some(told) => [Some(part(told, share)), (own > 0).then_some(own)],
            None => [None, (own > 0).then(|| part(own, share))],
        };
        Self {
            reads,
            an_hour: (reads * 3_600).div_ceil(refresh),
            limit: limits.into_iter().flatten().min(),
        }
    }

    fn is_too_much(self) -> bool {
        self.limit
            .is_some_and(|limit| self.an_hour.saturating_mul(5) > limit.saturating_mul(4))
    }
}

/// A limit has far fewer than the 53 bits that a float holds exactly; the fraction is dropped.
fn part(limit: u64, share: f64) -> u64 {
    (limit as f64 * share) as u64
}

impl std::fmt::Display for Cost {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            reads,
            an_hour,
            limit,
        } = self;
        write!(out, "a pass takes {reads} reads, {an_hour} an hour: ")?;
        match *limit {
            None => out.write_str("no limit of this service is known"),
            Some(limit) => {
                // In tenths of a per cent, rounded up.
                let share = an_hour.saturating_mul(1_000).div_ceil(limit.max(1));
                write!(
                    out,
                    "{}.{} % of the {limit} that this station may make",
                    share / 10,
                    share % 10
                )
            }
        }
    }
}

fn clear(
    config: &Readable,
    state_dir: &Path,
    file: &Path,
    source: Option<&str>,
) -> anyhow::Result<u8> {
    match survey::in_use(state_dir) {
        Ok(false) => {}
        Ok(true) => anyhow::bail!(
            "the replica is in use by benchlight; stop the agent first: systemctl stop benchlight"
        ),
        Err(error) => anyhow::bail!(
            "cannot tell whether a running agent holds the replica ({error}); run this as root or as the agent's user"
        ),
    }
    let held = match store::survey(file) {
        Ok(survey) => Some(survey.sources),
        Err(ReadFault::Absent(_)) => None,
        // Whatever it is: it goes as a whole.
        Err(_) => Some(BTreeMap::new()),
    };
    let said = match (source, held) {
        (Some(source), held) => clear_one(config, file, source, held)?,
        (None, None) => format!("there is no replica at {}", file.display()),
        (None, Some(_)) => {
            Store::delete(file).map_err(|error| {
                anyhow::anyhow!(
                    "cannot delete {}: {error}; run this as root or as the agent's user",
                    file.display()
                )
            })?;
            format!(
                "{} is deleted; the agent fills it again from the services",
                file.display()
            )
        }
    };
    writeln!(io::stdout().lock(), "{said}")?;
    Ok(OK)
}

fn clear_one(
    config: &Readable,
    file: &Path,
    source: &str,
    held: Option<BTreeMap<Name, Status>>,
) -> anyhow::Result<String> {
    let held = held.unwrap_or_default();
    let mut known: Vec<&Name> = config.sources.iter().map(|source| &source.name).collect();
    known.extend(held.keys());
    let Some(name) = known.iter().find(|name| name.as_str() == source) else {
        known.sort_unstable();
        known.dedup();
        let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        anyhow::bail!(
            "there is no source {source:?}; there are: {}",
            names.join(", ")
        );
    };
    if !file.exists() {
        return Ok(format!("there is no replica at {}", file.display()));
    }
    store::clear(file, name)
        .map_err(|fault| anyhow::anyhow!("{fault}; run this as root or as the agent's user"))?;
    let rows = held.get(*name).map_or(0, |status| status.rows);
    Ok(format!(
        "{name}: {rows} rows are deleted; the agent fills it again from the service"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn cost(reads: u64, an_hour: u64, limit: Option<u64>) -> Cost {
        Cost {
            reads,
            an_hour,
            limit,
        }
    }

    #[test]
    fn a_copy_that_is_too_old_or_of_unknown_age_says_that_no_row_answers() {
        let copy = |minutes: Option<u64>| Copy {
            rows: 10_000,
            complete: Some((
                "2026-11-29T12:50:00Z".parse().unwrap(),
                minutes.map(Duration::from_mins),
            )),
            short: None,
            refresh: Duration::from_mins(10),
            max_age: Duration::from_mins(30),
            cost: Some(cost(35, 210, Some(10_000))),
        };
        let young = copy(Some(4));
        assert_eq!((young.word(), young.is_too_old()), ("ok", false));
        assert!(
            young.said().starts_with(
                "10000 rows; last complete pass 2026-11-29 12:50 UTC (4 min ago); a pass takes"
            ),
            "{}",
            young.said()
        );
        let behind = copy(Some(25));
        assert_eq!((behind.word(), behind.is_too_old()), ("behind", false));
        for old in [copy(Some(31)), copy(None)] {
            assert_eq!((old.word(), old.is_too_old()), ("behind", true));
            assert!(old.said().contains("no row answers"), "{}", old.said());
        }
        let shrunken = Copy {
            short: Some(40),
            ..copy(Some(4))
        };
        assert_eq!(shrunken.word(), "shrunken");
        let found = "; the newest pass found only 40, and the next one must confirm that; a pass";
        assert!(shrunken.said().contains(found), "{}", shrunken.said());
        let never = Copy {
            rows: 0,
            complete: None,
            cost: None,
            ..young
        };
        assert_eq!((never.word(), never.is_too_old()), ("filling", true));
        assert_eq!(
            never.said(),
            "0 rows; no complete pass yet, so no row answers"
        );
    }

    #[test]
    fn a_cost_is_said_as_a_part_of_the_limit_and_passes_must_leave_a_fifth_to_scans() {
        assert_eq!(
            cost(35, 210, Some(10_000)).to_string(),
            "a pass takes 35 reads, 210 an hour: 2.1 % of the 10000 that this station may make"
        );
        assert_eq!(
            cost(11, 66, None).to_string(),
            "a pass takes 11 reads, 66 an hour: no limit of this service is known"
        );
        assert!(cost(2, 0, Some(0)).to_string().contains("0.0 %"));
        assert!(!cost(1, 80, Some(100)).is_too_much() && cost(1, 81, Some(100)).is_too_much());
        assert!(!cost(1, u64::MAX, None).is_too_much());
    }
}
