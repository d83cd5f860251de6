//! The replica of each source: how old it is, and what keeping it costs.

use super::{
    super::replica::{self, Copy},
    Line, State,
};
use crate::readiness::{
    Settings,
    replica::{
        Mode,
        store::{ReadFault, Survey},
    },
};

/// A source's copy in the file. `None`: it keeps none. `told`: the service's own limit of requests an hour; `agent`: whether one runs.
pub(super) fn line(
    settings: &Settings,
    survey: &Result<Survey, ReadFault>,
    told: Option<u64>,
    agent: bool,
) -> Option<Line> {
    if settings.replica.mode == Mode::Off {
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
    let copy = Copy::new(settings, status, told, replica::present());
    let remedy = match (copy.is_too_old(), agent) {
        (true, false) => "start the agent: it reads the service's whole list",
        (true, true) if !copy.was_filled() => {
            "wait for the first complete pass; if it does not come, sources.NAME.replica in health says why"
        }
        (true, true) => {
            "sources.NAME.replica in health, and journalctl -u benchlight, say why no pass was complete"
        }
        (false, _) if copy.cost.is_too_much() => {
            "passes stop at 80 % of what this station may use: set a longer `refresh`, or a larger `quota_share`"
        }
        (false, _) => return Some(Line::ok(part, copy.said())),
    };
    let remedy = remedy.replace("NAME", settings.name.as_str());
    Some(Line::new(part, State::Warn, copy.said(), remedy))
}
