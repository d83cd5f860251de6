//! `doctor`: tries every configured part for real, side by side, and says what to do about what it finds.
//!
//! Beside a running agent it takes nothing away: what the agent holds is looked at, not touched.

mod broker;
mod clock;
mod journal;
mod lamps;
mod replica;
mod rhythm;
mod scanners;
mod sources;
mod web;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use serde::Serialize;
use tokio::task::JoinHandle;

use super::{
    CONFIG, FAILED, OK,
    arguments::Doctor,
    fitted::{columns, fitted},
    lists,
    replica::present,
};
use crate::{
    config::{self, Problems, Readable},
    journal::{Stored, survey},
    readiness::{
        self,
        http::Clocks,
        replica::store::{self, ReadFault, Survey},
    },
    runtime::{clock::ClockWatch, name::Name, visible},
    scanner,
};

/// What to do if it is unknown whether an agent runs.
const UNTOLD: &str = "run this as root (sudo benchlight doctor), with a `state_dir` that is right";

/// No part is waited for longer; all are tried at the same time.
const PATIENCE: Duration = Duration::from_secs(12);

/// How a part is. The worst counts, and only `Fail` spoils the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It does what it should.
    Ok,
    /// The running agent holds it.
    InUse,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::InUse => "in_use",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What is said of one part. The JSON form is the product's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Line {
    part: String,
    state: State,
    finding: String,
    /// What to do; empty: nothing.
    remedy: String,
}

impl Line {
    fn new(
        part: impl Into<String>,
        state: State,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            part: part.into(),
            state,
            finding: finding.into(),
            remedy: remedy.into(),
        }
    }

    fn ok(part: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(part, State::Ok, finding, "")
    }

    fn in_use(part: impl Into<String>, more: &str) -> Self {
        Self::new(
            part,
            State::InUse,
            format!("in use by benchlight{more}"),
            "",
        )
    }

    /// As people may read it: services, brokers and files have put words into it.
    fn visible(&self) -> Self {
        Self::new(
            visible::text(&self.part),
            self.state,
            visible::lines(&self.finding),
            visible::lines(&self.remedy),
        )
    }
}

/// Examines the station that the config at `path` describes, as far as it can be read.
pub(super) fn doctor(path: &Path, order: &Doctor) -> anyhow::Result<u8> {
    let config = match config::load_readable(path, true) {
        Ok(config) => config,
        Err(problems) => {
            if order.json {
                print(&of_problems(&problems, true), true)?;
            }
            return Err(problems.into());
        }
    };
    let problems = config.problems.clone();
    let mut lines = match &problems {
        Some(problems) => of_problems(problems, order.json),
        None => vec![Line::ok("config", format!("{} is good", path.display()))],
    };
    lines.extend(config.warnings.iter().map(|warning| {
        Line::new(
            "config",
            State::Warn,
            warning,
            "change the config, or leave it as it is meant",
        )
    }));
    if let Some(problems) = &problems {
        writeln!(io::stderr().lock(), "{problems}")?;
    }
    let runtime = super::runtime()?;
    lines.extend(runtime.block_on(examine(config)));
    // A part that hangs is left behind.
    runtime.shutdown_background();
    print(&lines, order.json)?;
    Ok(match problems {
        Some(_) => CONFIG,
        None if lines.iter().any(|line| line.state == State::Fail) => FAILED,
        None => OK,
    })
}

/// The config's problems: each a line, or, where they have just been shown with their places, their number.
fn of_problems(problems: &Problems, each: bool) -> Vec<Line> {
    if !each {
        let many = problems.list().len();
        let finding = format!(
            "{many} problem{}, listed above",
            if many == 1 { "" } else { "s" }
        );
        return vec![Line::new(
            "config",
            State::Fail,
            finding,
            "mend the config and try again; `benchlight check` looks at the config alone",
        )];
    }
    let line = |(problem, line): (&config::Problem, Option<usize>)| {
        let part = line.map_or_else(|| "config".to_owned(), |line| format!("config line {line}"));
        Line::new(part, State::Fail, problem.message(), problem.remedy())
    };
    problems
        .list()
        .iter()
        .zip(problems.lines())
        .map(line)
        .collect()
}

fn print(lines: &[Line], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let lines: Vec<Line> = lines.iter().map(Line::visible).collect();
    if json {
        serde_json::to_writer(&mut out, &lines)?;
        writeln!(out)?;
        return Ok(());
    }
    let width = lines
        .iter()
        .map(|line| line.part.chars().count())
        .max()
        .unwrap_or_default()
        .min(40);
    for Line {
        part,
        state,
        finding,
        remedy,
    } in &lines
    {
        let arrow = if remedy.is_empty() { "" } else { "  ->  " };
        let line = format!(
            "{:<6}  {part:<width$}  {}{arrow}{}\n",
            state.word(),
            one_line(finding),
            one_line(remedy)
        );
        write!(out, "{}", fitted(&line, columns()))?;
    }
    Ok(())
}

/// Some remedies of the config are examples of several lines.
fn one_line(text: &str) -> String {
    text.split('\n').collect::<Vec<_>>().join(" / ")
}

/// One part under examination.
struct Under<T> {
    part: String,
    task: JoinHandle<Result<T, tokio::time::error::Elapsed>>,
}

impl<T: Send + 'static> Under<T> {
    fn start(part: String, examination: impl Future<Output = T> + Send + 'static) -> Self {
        Self::start_within(PATIENCE, part, examination)
    }

    fn start_within(
        patience: Duration,
        part: String,
        examination: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            part,
            task: tokio::spawn(tokio::time::timeout(patience, examination)),
        }
    }

    /// For what blocks.
    fn start_blocking(part: String, examination: impl FnOnce() -> T + Send + 'static) -> Self {
        let task = tokio::task::spawn_blocking(examination);
        Self {
            part,
            task: tokio::spawn(async move {
                let waited = tokio::time::timeout(PATIENCE, task).await?;
                match waited {
                    Ok(result) => Ok(result),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }),
        }
    }

    /// Its result; one that hangs or breaks is a failure by its name.
    async fn end(self) -> Result<T, Line> {
        match self.task.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => {
                let finding = format!("no answer within {} s", PATIENCE.as_secs());
                Err(Line::new(
                    self.part,
                    State::Fail,
                    finding,
                    "it hangs: look at its device or its service, then try again",
                ))
            }
            Err(_) => Err(Line::new(
                self.part,
                State::Fail,
                "its examination broke off",
                "this is a fault of benchlight: please report it",
            )),
        }
    }
}

async fn examine(config: Readable) -> Vec<Line> {
    Parts::start(config).end().await
}

/// The lists of sources that can only be listed, where no running agent has them.
fn lists_read_here(
    settings: &[readiness::Settings],
    state_dir: Option<&Path>,
    clocks: &Clocks,
) -> Vec<(Name, Under<Line>)> {
    let is_read_here = |settings: &&readiness::Settings| {
        let is_with_agent = |dir| lists::is_with_agent(settings, dir);
        lists::is_list_only(settings) && !state_dir.is_some_and(is_with_agent)
    };
    let start = |settings: &readiness::Settings| {
        let examination = sources::list(settings.clone(), clocks.clone());
        let part = format!("source {}, list", settings.name);
        let under = Under::start_within(lists::PATIENCE + PATIENCE, part, examination);
        (settings.name.clone(), under)
    };
    settings.iter().filter(is_read_here).map(start).collect()
}

/// All parts under examination, side by side.
struct Parts {
    scanners: Vec<(Name, Under<Line>)>,
    lamps: Under<Vec<Line>>,
    sources: Vec<(readiness::Settings, Under<sources::Seen>)>,
    /// The lists that no running agent has.
    lists: Vec<(Name, Under<Line>)>,
    replica: Option<Under<Result<Survey, ReadFault>>>,
    agent: bool,
    max_fetch_age: Option<Duration>,
    broker: Option<Under<Line>>,
    web: Option<Line>,
    journal: Under<journal::JournalSeen>,
}

impl Parts {
    fn start(config: Readable) -> Self {
        let agent = config
            .state_dir
            .as_deref()
            .and_then(|dir| survey::in_use(dir).ok());
        let names: BTreeSet<_> = config
            .scanners
            .iter()
            .map(|settings| settings.name.clone())
            .collect();
        let scanner = |settings: scanner::Settings| {
            let name = settings.name.clone();
            let part = format!("scanner {name}");
            let examination = move || scanners::scanner(&settings, agent);
            (name, Under::start_blocking(part, examination))
        };
        let lamps = config.lamps;
        // One after the other: two lanes may share a chip.
        let lamps = Under::start_blocking("lamps".to_owned(), move || {
            let named = lamps
                .iter()
                .filter_map(|(lane, settings)| Some((lane.as_ref()?, settings)));
            named
                .map(|(lane, settings)| lamps::lamps(lane, settings, agent))
                .collect::<Vec<_>>()
        });
        let clocks = config.state_dir.as_deref().map_or_else(
            || ClockWatch::Kernel.into(),
            |dir| Clocks::reading(ClockWatch::Kernel, dir),
        );
        let source = |settings: readiness::Settings| {
            let examination = sources::examine(settings.clone(), clocks.clone());
            let part = format!("source {}", settings.name);
            (settings, Under::start(part, examination))
        };
        let listed = lists_read_here(&config.sources, config.state_dir.as_deref(), &clocks);
        let kept = |settings: &readiness::Settings| settings.replica.is_on();
        let replica = config.state_dir.as_deref().map(store::path);
        let replica = replica
            .filter(|_| config.sources.iter().any(kept))
            .map(|path| Under::start_blocking("replica".to_owned(), move || store::survey(&path)));
        let runs = agent.unwrap_or_default();
        let (settings, state_dir) = (config.journal, config.state_dir);
        let journal = Under::start_blocking("journal".to_owned(), move || {
            journal::journal(state_dir.as_deref(), settings.as_ref(), runs, &names)
        });
        Self {
            scanners: config.scanners.into_iter().map(scanner).collect(),
            lamps,
            sources: config.sources.into_iter().map(source).collect(),
            lists: listed,
            replica,
            agent: runs,
            max_fetch_age: config.max_fetch_age,
            broker: config
                .mqtt
                .map(|settings| Under::start("broker".to_owned(), broker::broker(settings, agent))),
            web: config.listen.map(|listen| web::web(listen, agent)),
            journal,
        }
    }

    /// The lines of all parts in their order.
    async fn end(self) -> Vec<Line> {
        let journal = self
            .journal
            .end()
            .await
            .unwrap_or_else(journal::JournalSeen::of);
        let mut lines = Vec::new();
        for (name, scanner) in self.scanners {
            let line = scanner.end().await.unwrap_or_else(|line| line);
            let line = scanners::with_proof(line, &name, journal.proofs.as_ref());
            lines.push(scanners::with_end_key(line, &name, &journal.unended));
        }
        lines.extend(self.lamps.end().await.unwrap_or_else(|line| vec![line]));
        let survey = match self.replica {
            Some(replica) => replica.end().await.map_err(|line| lines.push(line)).ok(),
            None => None,
        };
        let (mut facts, asked) = (Vec::new(), self.sources.iter());
        let asked = asked.map(|(settings, _)| (&settings.name, settings.kind()));
        let releases = sources::of_releases(asked);
        let mut lists: BTreeMap<Name, Under<Line>> = self.lists.into_iter().collect();
        for (settings, source) in self.sources {
            let mut told = None;
            match source.end().await {
                Ok(seen) => {
                    lines.extend(seen.lines);
                    told = seen.facts.as_ref().and_then(|facts| facts.limit);
                    facts.extend(seen.facts.map(|facts| (settings.name.clone(), facts)));
                }
                Err(line) => lines.push(line),
            }
            if let Some(list) = lists.remove(&settings.name) {
                lines.push(list.end().await.unwrap_or_else(|line| line));
            } else if let Some(survey) = &survey {
                lines.extend(replica::line(
                    &settings,
                    survey,
                    told,
                    self.agent,
                    present(),
                ));
            }
            let records = journal.records.as_deref();
            lines.extend(rhythm_of(&settings, records, self.max_fetch_age));
        }
        lines.extend(sources::across(&facts));
        lines.extend(releases);
        if let Some(broker) = self.broker {
            let line = broker.end().await.unwrap_or_else(|line| line);
            lines.push(broker::with_delivery(line, journal.waits));
        }
        lines.extend(self.web);
        lines.extend(journal.lines);
        let ahead: Vec<_> = facts
            .iter()
            .filter_map(|(name, facts)| Some((name.clone(), facts.ahead?)))
            .collect();
        lines.push(clock::clock(ClockWatch::Kernel.synced(), &ahead));
        lines
    }
}

/// How often an MDM fetches from Apple, if its answers tell.
fn rhythm_of(
    settings: &readiness::Settings,
    records: Option<&[Stored]>,
    max_fetch_age: Option<Duration>,
) -> Option<Line> {
    if settings.kind().tells_fetch() {
        Some(rhythm::line(&settings.name, records?, max_fetch_age?))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use super::*;

    #[test]
    fn the_json_form_is_the_products() {
        let line = Line::new("source kandji", State::InUse, "f", "r");
        assert_eq!(
            serde_json::to_string(&[line]).unwrap(),
            r#"[{"part":"source kandji","state":"in_use","finding":"f","remedy":"r"}]"#
        );
        for state in [State::Ok, State::InUse, State::Warn, State::Fail] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }

    #[test]
    fn a_name_from_outside_is_shown_and_not_obeyed_on_the_terminal_and_in_json() {
        let line = Line::new(
            "source kandji, ADE token HQ\u{202e}",
            State::Ok,
            "for \"HQ\u{1b}[31m\u{200b}\"",
            "one\ntwo\u{fe0f}",
        )
        .visible();
        assert_eq!(
            [&line.part, &line.finding, &line.remedy],
            [
                "source kandji, ADE token HQ\\u{202e}",
                "for \"HQ␛[31m\\u{200b}\"",
                "one\ntwo\\u{fe0f}"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_a_failure_by_its_name() {
        let hung: Under<()> = Under::start("source kandji".to_owned(), std::future::pending());
        let line = hung.end().await.unwrap_err();
        assert_eq!(
            (line.part.as_str(), line.state),
            ("source kandji", State::Fail)
        );
        assert!(line.finding.contains("12 s"));
        let broken: Under<()> =
            Under::start_blocking("journal".to_owned(), || panic!("for this test"));
        let line = broken.end().await.unwrap_err();
        assert_eq!((line.part.as_str(), line.state), ("journal", State::Fail));
    }
}
