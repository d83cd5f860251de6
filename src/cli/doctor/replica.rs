//! The replica of each source: how old it is, and what keeping it costs.

use super::{super::replica::Copy, Line, State};
use crate::readiness::{
    Settings,
    replica::{
        rule::Present,
        store::{ReadFault, Survey},
    },
};

/// A source's copy in the file. `None`: it keeps none. `told`: the service's own limit of requests an hour; `agent`: whether one runs.
pub(super) fn line(
    settings: &Settings,
    survey: &Result<Survey, ReadFault>,
    told: Option<u64>,
    agent: bool,
    now: Present,
) -> Option<Line> {
    if !settings.replica.is_on() {
        return None;
    }
    let part = format!("source {}, replica", settings.name);
    let status = match survey {
        Ok(survey) => survey.sources.get(&settings.name).copied(),
        Err(ReadFault::Absent(_)) => None,
        Err(fault @ ReadFault::Closed { .. }) => {
            let remedy = "run this as root: sudo benchlight doctor";
            return Some(Line::new(part, State::Fail, fault.to_string(), remedy));
        }
        Err(fault) => {
            let remedy = "nothing: the agent deletes such a file by itself and fills it again";
            return Some(Line::new(part, State::Warn, fault.to_string(), remedy));
        }
    };
    let copy = Copy::new(settings, status, told, now);
    let remedy = match (copy.is_too_old(), agent) {
        (true, false) => "start the agent: it reads the service's whole list",
        (true, true) if !copy.was_filled() => {
            "wait for the first complete pass; if it does not come, sources.NAME.replica in health says why"
        }
        (true, true) => {
            "sources.NAME.replica in health, and journalctl -u benchlight, say why no pass was complete"
        }
        (false, _) if copy.costs_too_much() => {
            "passes stop at 80 % of what this station may use: set a longer `refresh`, or a larger `quota_share`"
        }
        (false, _) => return Some(Line::ok(part, copy.said())),
    };
    let remedy = remedy.replace("NAME", settings.name.as_str());
    Some(Line::new(part, State::Warn, copy.said(), remedy))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{path::PathBuf, time::Duration};

    use uuid::Uuid;

    use super::*;
    use crate::{
        config::{self, Options},
        readiness::replica::{
            ReadAt,
            store::{Complete, Status},
        },
        runtime::clock::Boot,
    };

    const NOW: Present = Present {
        boot_id: Uuid::from_u128(1),
        boot: Boot::from_duration(Duration::from_hours(9)),
        service: None,
    };

    fn kandji(keys: &str) -> Settings {
        let text = format!(
            "[station]\nsite = \"a\"\nname = \"b\"\n[[scanner]]\nname = \"s\"\n[indicator]\nkind = \"none\"\n[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://k.example\"\n{keys}\n[mqtt]\nurl = \"mqtts://b.example\"\n"
        );
        let config = config::parse(&text, "bench.toml", &Options::text_only()).unwrap();
        config.sources.into_iter().next().unwrap()
    }

    /// A copy of 10,000 rows whose last complete pass began so long ago.
    fn filled(minutes: u64) -> Result<Survey, ReadFault> {
        let ago = Duration::from_mins(minutes);
        let start = ReadAt {
            boot_id: NOW.boot_id,
            boot: Boot::from_duration(Duration::from_hours(9).saturating_sub(ago)),
            date: "2026-11-29T08:00:00Z".parse().unwrap(),
        };
        let status = Status {
            rows: 10_000,
            complete: Some(Complete {
                start,
                rows: 10_000,
                reads: 35,
            }),
            short: None,
        };
        let mut survey = Survey::default();
        let name = kandji("").name;
        survey.sources.insert(name, status);
        Ok(survey)
    }

    #[test]
    fn a_young_copy_is_ok_and_one_that_answers_nothing_has_a_remedy() {
        let first = kandji("replica = \"first\"");
        let said = |survey, agent| line(&first, &survey, None, agent, NOW).unwrap();
        let young = said(filled(30), true);
        assert_eq!((young.state, young.remedy.as_str()), (State::Ok, ""));
        assert!(
            young.finding.contains("35 reads, 210 an hour: 2.1 %"),
            "{young:?}"
        );
        let absent = || Err(ReadFault::Absent(PathBuf::from("r")));
        for (survey, agent, remedy) in [
            (filled(31), false, "start the agent"),
            (filled(31), true, "say why no pass was complete"),
            (absent(), false, "start the agent"),
            (absent(), true, "wait for the first complete pass"),
            (
                Err(ReadFault::Broken(PathBuf::from("r"))),
                true,
                "nothing: the agent",
            ),
        ] {
            let line = said(survey, agent);
            assert_eq!(line.state, State::Warn, "{line:?}");
            assert!(line.remedy.contains(remedy), "{line:?}");
        }
        let closed = ReadFault::Closed {
            path: PathBuf::from("r"),
            why: "no".to_owned(),
        };
        assert_eq!(said(Err(closed), true).state, State::Fail);
        assert_eq!(line(&kandji(""), &filled(1), None, true, NOW), None, "off");
    }

    #[test]
    fn passes_that_use_more_than_rechecks_may_are_named() {
        let shared = kandji("replica = \"first\"\nrefresh = \"1m\"\nquota_share = 0.25");
        // 2,100 an hour of 2,500 are 84 %; the service's own word counts before what is documented.
        let line = |told| line(&shared, &filled(1), told, true, NOW).unwrap();
        assert_eq!(line(None).state, State::Warn);
        assert!(line(None).remedy.contains("longer `refresh`"));
        assert_eq!(line(Some(20_000)).state, State::Ok);
        // Our own limit a minute counts too.
        let own = kandji("replica = \"first\"\nreads_per_minute = 4");
        let line = super::line(&own, &filled(1), None, true, NOW).unwrap();
        assert!(line.finding.contains("of the 240 that"), "{line:?}");
        assert_eq!(line.state, State::Warn);
    }
}
