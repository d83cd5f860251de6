//! The sources: what each service says, and whether they fit together.

use std::time::Instant;

use jiff::SignedDuration;
use url::Url;

use super::{
    super::lists::{self, OwnLists},
    Line, State,
};
use crate::{
    readiness::{
        Settings, Source,
        evidence::SourceKind,
        examination::{MdmServer, Outcome, Remark},
        http::Clocks,
        replica::pass::Standing,
        spelling,
    },
    runtime::{
        credential::{Credential, CredentialFault},
        name::Name,
        times,
    },
};

/// What one source showed.
pub(super) struct Seen {
    pub(super) lines: Vec<Line>,
    pub(super) facts: Option<Facts>,
}

/// What judging the sources together needs.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// How far the service's clock is ahead of ours.
    pub(super) ahead: Option<SignedDuration>,
    /// Requests an hour by the service's last reply.
    pub(super) limit: Option<u64>,
    kind: SourceKind,
    servers: Vec<MdmServer>,
}

/// Asks the source's service as a scan would, without a device.
pub(super) async fn examine(settings: Settings, clocks: Clocks) -> Seen {
    let part = format!("source {}", settings.name);
    let unusable = still_the_example(&part, &settings);
    if let Err(fault) = settings.service.check_credential() {
        let lines = [unreadable(part, &fault)].into_iter().chain(unusable);
        return Seen {
            lines: lines.collect(),
            facts: None,
        };
    }
    let source = match unusable {
        Some(line) => Err(line),
        None => Source::new(settings.clone(), clocks).map_err(|fault| {
            let remedy = "check `url` and `ca_file` of this source";
            Line::new(part.clone(), State::Fail, fault.to_string(), remedy)
        }),
    };
    let source = match source {
        Ok(source) => source,
        Err(line) => {
            return Seen {
                lines: vec![line],
                facts: None,
            };
        }
    };
    let examination = source.examine().await;
    let mut lines: Vec<Line> = examination
        .remarks
        .into_iter()
        .map(|remark| of_remark(&part, remark))
        .collect();
    if let Some(line) = lines.first_mut() {
        with_copies(line, [settings.service.credential()]);
    }
    let facts = Facts {
        ahead: source.clock_ahead(),
        limit: source.vitals().quota.map(|quota| quota.limit),
        kind: source.kind(),
        servers: examination.servers,
    };
    Seen {
        lines,
        facts: Some(facts),
    }
}

/// Reads the whole list of a source that can only be listed, as a pass of the agent does.
pub(super) async fn list(settings: Settings, clocks: Clocks) -> Line {
    let part = format!("source {}, list", settings.name);
    let own = match OwnLists::make() {
        Ok(own) => own,
        Err(error) => {
            let finding = format!("cannot make a folder for it: {error}");
            return Line::new(
                part,
                State::Fail,
                finding,
                "make room in the folder for temporary files",
            );
        }
    };
    if let Err(fault) = settings.service.check_credential() {
        return unreadable(part, &fault);
    }
    let source = match Source::with_replica(settings, clocks, &own.store) {
        Ok(source) => source,
        Err(fault) => {
            let remedy = "check `url` and `ca_file` of this source";
            return Line::new(part, State::Fail, fault.to_string(), remedy);
        }
    };
    let begun = Instant::now();
    lists::read(&source).await;
    let standing = source.passes().map(|standing| standing.borrow().clone());
    let took = times::lasted(begun.elapsed());
    match standing {
        Some(Standing {
            complete: Some(_),
            health,
            ..
        }) => Line::ok(part, format!("{} devices listed in {took}", health.rows)),
        Some(Standing {
            fault: Some(fault), ..
        }) => {
            let remark = Remark::of_fault("cannot read the list of all devices", &fault);
            Line::new(part, State::Fail, remark.finding, remark.remedy)
        }
        _ => Line::new(
            part,
            State::Warn,
            format!("the list of all devices was not read to its end within {took}"),
            "nothing, if it is long: the agent waits for a quarter of an hour; else look at the service",
        ),
    }
}

fn still_the_example(part: &str, settings: &Settings) -> Option<Line> {
    let example = Url::parse(settings.service.example_url()?).ok()?;
    let host = settings.url.host_str()?;
    (example.host_str() == Some(host)).then(|| {
        Line::new(
            format!("{part}, url"),
            State::Fail,
            format!("`url` is still the example's: {host}"),
            "write your own tenant's API URL; the MDM's console shows it where the API token is made",
        )
    })
}

fn of_remark(source: &str, remark: Remark) -> Line {
    let part = if remark.about.is_empty() {
        source.to_owned()
    } else {
        format!("{source}, {}", remark.about)
    };
    let state = match remark.outcome {
        Outcome::Ok => State::Ok,
        Outcome::Warn => State::Warn,
        Outcome::Fail => State::Fail,
    };
    Line::new(part, state, remark.finding, remark.remedy)
}

const AT_ONCE: &str = "; no restart is needed";

/// Adds that the agent may hold another secret than this doctor. Otherwise somebody might delete the one that works.
pub(super) fn with_copies<'a>(
    line: &mut Line,
    credentials: impl IntoIterator<Item = &'a Credential>,
) {
    let Some(path) = credentials.into_iter().find_map(Credential::other_copy) else {
        return;
    };
    let remedy = "systemd's LoadCredential= copies a secret when the service starts: sudo systemctl restart benchlight, then ask the doctor again";
    line.finding
        .push_str(&format!("; {} holds another secret", path.display()));
    // What would count at once otherwise does not where systemd holds a copy.
    line.remedy = line.remedy.replace(AT_ONCE, "");
    line.remedy = if line.remedy.is_empty() {
        remedy.to_owned()
    } else {
        format!("{remedy}; {}", line.remedy)
    };
    line.state = line.state.max(State::Warn);
}

/// A credential that cannot be had or used, in the words of `check`, with what to do about it.
pub(super) fn unreadable(part: String, fault: &CredentialFault) -> Line {
    Line::new(part, State::Fail, fault.finding(), fault.remedy())
}

/// Warns of a source that works for another MDM server at Apple than the MDM.
pub(super) fn across(all: &[(Name, Facts)]) -> Vec<Line> {
    let Some((_, mdm)) = all.iter().find(|(_, facts)| facts.kind.is_mdm()) else {
        return Vec::new();
    };
    let known: Vec<&str> = mdm
        .servers
        .iter()
        .filter_map(|server| server.uuid.as_deref())
        .collect();
    if known.is_empty() {
        return Vec::new();
    }
    let theirs: Vec<String> = mdm
        .servers
        .iter()
        .map(|server| {
            format!(
                "{} ({})",
                server.name,
                server.uuid.as_deref().unwrap_or("?")
            )
        })
        .collect();
    let mut lines = Vec::new();
    for (name, facts) in all.iter().filter(|(_, facts)| !facts.kind.is_mdm()) {
        for server in &facts.servers {
            let Some(uuid) = server.uuid.as_deref() else {
                continue;
            };
            if known.iter().any(|known| spelling::same_uuid(known, uuid)) {
                continue;
            }
            let finding = format!(
                "its token is for the server {:?} ({uuid}), the MDM's are for {}: this token is for another server, and boxes will be answered `contradiction`",
                server.name,
                theirs.join(", ")
            );
            let remedy = "use the token of the server that your boxes are assigned to, or take this source out (a new token for a server that the MDM uses itself ends the MDM's)";
            lines.push(Line::new(
                format!("source {name}, server"),
                State::Warn,
                finding,
                remedy,
            ));
        }
    }
    lines
}

/// Warns where nobody who is asked would know that a device was released.
pub(super) fn of_releases<'a>(
    asked: impl Iterator<Item = (&'a Name, SourceKind)> + Clone,
) -> Option<Line> {
    let (name, why) = asked
        .clone()
        .find_map(|(name, kind)| Some((name, kind.misses_releases()?)))?;
    let knows = |kind: SourceKind| kind.speaks_for_apple() || kind == SourceKind::AppleBusiness;
    let nobody_knows = !asked.clone().any(|(_, kind)| knows(kind));
    nobody_knows.then(|| {
        let finding = format!("this MDM {why}, and the lamp would be green");
        let remedy = "add a [[source]] of kind \"apple-business\": it knows of releases at once";
        Line::new(
            format!("source {name}, releases"),
            State::Warn,
            finding,
            remedy,
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;

    #[test]
    fn an_mdm_that_misses_releases_is_not_enough_alone() {
        use SourceKind::{AppleBusiness, AppleDep, Fleet, Intune, Kandji, Zentral};

        for (kinds, warns) in [
            (&[Zentral][..], true),
            (&[Zentral, AppleBusiness], false),
            (&[AppleDep, Zentral], false),
            (&[Kandji], false),
            (&[Fleet], false),
            (&[Intune], true),
            (&[Intune, AppleBusiness], false),
            (&[Intune, AppleDep], false),
        ] {
            let asked: Vec<_> = kinds
                .iter()
                .map(|kind| (Name::new(kind.code()).unwrap(), *kind))
                .collect();
            let line = of_releases(asked.iter().map(|(name, kind)| (name, *kind)));
            assert_eq!(line.is_some(), warns, "{kinds:?}");
            if let Some(line) = line {
                let part = format!("source {}, releases", kinds.first().unwrap().code());
                assert!(line.part == part && line.state == State::Warn);
                assert!(line.remedy.contains("apple-business"), "{}", line.remedy);
            }
        }
    }
}
