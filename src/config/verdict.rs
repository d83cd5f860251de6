//! `[verdict]`: what makes a box ready, as each lane sees it.

use std::{fmt::Write, time::Duration};

use super::{
    document::{Found, Section, did_you_mean, listed},
    problems::{Report, Span},
    source::{MdmRules, Source},
    units,
};
use crate::{
    readiness::{
        evidence::{Grade, SourceKind},
        replica::Mode,
    },
    verdict::{Policy, PolicySource},
};

/// What was read of `[verdict]` before the sources are known; what is wrong is `None`.
pub(super) struct Verdict<'t> {
    at: Span,
    require: Option<Option<Vec<Found<&'t str>>>>,
    require_at: Span,
    min_grade: Option<Found<Grade>>,
    deadline: Option<Duration>,
    pub(super) mdm: MdmRules,
    blueprints_at: Span,
    allow_returned: Option<bool>,
    settle: Option<Duration>,
    recheck: Option<Duration>,
    recheck_for: Option<Duration>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

pub(super) fn read<'t>(section: Section<'_, 't>) -> Verdict<'t> {
    let verdict = Verdict {
        at: section.at().clone(),
        require: section.optional("require", section.texts("require")),
        require_at: section.place("require"),
        min_grade: section.choice(
            "min_grade",
            &Grade::ALL.map(|grade| (grade.code(), grade)),
            Some(Grade::Relayed.code()),
        ),
        // A source has 10 seconds at most.
        deadline: section.duration(
            "deadline",
            SECOND * 2,
            Duration::from_millis(50)..=SECOND * 10,
        ),
        mdm: MdmRules {
            max_fetch_age: section.duration("max_fetch_age", DAY, SECOND..=DAY * 365),
            expected_blueprints: section
                .texts("expected_blueprints")
                .map(|ids| ids.into_iter().map(|id| id.value.to_owned()).collect()),
        },
        blueprints_at: section.place("expected_blueprints"),
        allow_returned: section.flag("allow_returned", false),
        settle: section.duration("settle", MINUTE, Duration::ZERO..=DAY),
        // Doubling ends at 15 minutes, so that is the longest first wait.
        recheck: section.duration(
            "recheck",
            SECOND * 10,
            Duration::from_millis(100)..=MINUTE * 15,
        ),
        recheck_for: section.duration("recheck_for", DAY, Duration::ZERO..=DAY * 365),
    };
    section.finish();
    verdict
}

/// The station's policy, without any lane's overrides.
pub(super) fn policy(verdict: Verdict<'_>, sources: &[Source], report: &Report) -> Option<Policy> {
    let sources_known = sources
        .iter()
        .all(|source| source.name.is_some() && source.kind.is_some());
    if sources_known
        && verdict
            .mdm
            .expected_blueprints
            .as_ref()
            .is_some_and(|ids| !ids.is_empty())
        && !any_of(sources, |kind| kind == SourceKind::Kandji)
    {
        report.warn(
            Some(&verdict.blueprints_at),
            "`expected_blueprints` counts only with a source of kind `kandji`",
        );
    }
    let required = if sources_known {
        required(&verdict, sources, report)
    } else {
        None
    };
    if let Some(required) = &required {
        warn_of_replicas(&verdict, sources, required, report);
    }
    let mut policy = Policy {
        sources: required?,
        min_grade: verdict.min_grade?.value,
        deadline: verdict.deadline?,
        allow_returned: verdict.allow_returned?,
        settle: verdict.settle?,
        recheck: verdict.recheck?,
        recheck_for: verdict.recheck_for?,
        hash: String::new(),
    };
    policy.hash = hash(
        &policy,
        verdict.mdm.max_fetch_age?,
        &verdict.mdm.expected_blueprints?,
    );
    Some(policy)
}

/// The policy of a lane that overrides `allow_returned`.
pub(super) fn of_lane(policy: &Policy, allow_returned: Option<bool>) -> Policy {
    match allow_returned {
        // An override that says what the station says anyway is none: the same policy has the same hash.
        Some(allow_returned) if allow_returned != policy.allow_returned => {
            let hash = folded(&format!("{} allow_returned={allow_returned}", policy.hash));
            Policy {
                allow_returned,
                hash,
                ..policy.clone()
            }
        }
        _ => policy.clone(),
    }
}

fn of_policy(source: &Source, is_required: impl Fn(&str) -> bool) -> Option<PolicySource> {
    let name = source.name.as_ref()?.value.clone();
    let settings = source.settings.as_ref();
    Some(PolicySource {
        required: is_required(name.as_str()),
        refresh: settings
            .filter(|settings| settings.replica.is_on())
            .map(|settings| settings.replica.refresh),
        kind: source.kind.as_ref()?.value,
        name,
    })
}

fn required(
    verdict: &Verdict<'_>,
    sources: &[Source],
    report: &Report,
) -> Option<Vec<PolicySource>> {
    let names: Vec<&str> = sources
        .iter()
        .filter_map(|source| source.name.as_ref())
        .map(|name| name.value.as_str())
        .collect();
    let require = verdict.require.as_ref()?;
    if let Some(require) = require
        && !good_names(require, &names, verdict, report)
    {
        return None;
    }
    if sources.is_empty() {
        return None;
    }
    let is_required = |name: &str| {
        require
            .as_ref()
            .is_none_or(|require| require.iter().any(|required| required.value == name))
    };
    let list: Vec<PolicySource> = sources
        .iter()
        .filter_map(|source| of_policy(source, is_required))
        .collect();
    let any_required = |wanted: fn(SourceKind) -> bool| {
        list.iter()
            .any(|source| source.required && wanted(source.kind))
    };
    if !any_required(|kind| kind.proves().is_some()) {
        let place = if require.is_some() {
            &verdict.require_at
        } else {
            sources.first().map_or(&verdict.at, |source| &source.at)
        };
        report.problem(
            place,
            "only apple-business is required, and it cannot prove that a profile is assigned",
            "require your MDM or a source of kind `apple-dep` as well",
        );
        return None;
    }
    let min_grade = verdict.min_grade.as_ref()?;
    let proofs = list.iter().filter(|source| source.required);
    let best = proofs.filter_map(|source| source.kind.proves()).max()?;
    if best < min_grade.value {
        let (message, remedy) = too_weak(best);
        report.problem(&min_grade.at, message, remedy);
        return None;
    }
    Some(list)
}

/// What is wrong where the best proof that a required source can give is too weak, and what to do.
const fn too_weak(best: Grade) -> (&'static str, &'static str) {
    match best {
        Grade::Intent => (
            "the required MDM tells only what it means to do, and not whether Apple has the profile: no lamp would ever be green",
            "require a source of kind `apple-dep` as well; or, if the MDM's plan is enough for a green, write min_grade = \"intent\" in [verdict]",
        ),
        Grade::Relayed | Grade::Apple => (
            "min_grade = \"apple\" needs Apple's own word, and no required source has it: no lamp would ever be green",
            "add a source of kind `apple-dep` to the required ones, or use \"relayed\"",
        ),
    }
}

/// What a replica cannot do, and what a green from one does not wait for.
fn warn_of_replicas(
    verdict: &Verdict<'_>,
    sources: &[Source],
    policy: &[PolicySource],
    report: &Report,
) {
    let modes = sources
        .iter()
        .map(|source| Some(source.settings.as_ref()?.replica.mode));
    let modes: Vec<(&PolicySource, Mode)> = policy
        .iter()
        .zip(modes)
        .filter_map(|(source, mode)| Some((source, mode?)))
        .collect();
    let any_replica = modes.iter().any(|(_, mode)| *mode != Mode::Off);
    for (source, mode) in &modes {
        if any_replica && !source.required && *mode == Mode::Off {
            let message = format!(
                "{} is outside `require` and has no replica: a green answered from a replica does not wait for it",
                source.name
            );
            report.warn(Some(&verdict.require_at), message);
        }
    }
    let of_apple = |(source, mode): &(&PolicySource, Mode)| {
        *mode != Mode::Off && source.kind.proves() == Some(Grade::Apple)
    };
    if let Some(min_grade) = &verdict.min_grade
        && min_grade.value == Grade::Apple
        && modes.iter().any(of_apple)
    {
        let message = "min_grade = \"apple\" is for live answers only: a replica's answer has the grade \"relayed\", also Apple's";
        report.warn(Some(&min_grade.at), message);
    }
}

/// Whether `require` names sources that are there, each once.
fn good_names(
    require: &[Found<&str>],
    names: &[&str],
    verdict: &Verdict<'_>,
    report: &Report,
) -> bool {
    if require.is_empty() {
        report.problem(
            &verdict.require_at,
            "`require` is empty: nothing would have to agree before a lamp is green",
            "remove it: every source is then required",
        );
        return false;
    }
    let mut good = true;
    for (index, name) in require.iter().enumerate() {
        let (message, remedy) = if !names.contains(&name.value) {
            (
                format!(
                    "`require` names {:?}, and there is no such source",
                    name.value
                ),
                format!(
                    "{}the sources are {}",
                    did_you_mean(name.value, names),
                    listed(names)
                ),
            )
        } else if require
            .iter()
            .take(index)
            .any(|earlier| earlier.value == name.value)
        {
            (
                format!("`require` names {:?} twice", name.value),
                "name each source once".to_owned(),
            )
        } else {
            continue;
        };
        report.problem(&name.at, message, remedy);
        good = false;
    }
    good
}

fn any_of(sources: &[Source], wanted: fn(SourceKind) -> bool) -> bool {
    sources
        .iter()
        .filter_map(|source| source.kind.as_ref())
        .any(|kind| wanted(kind.value))
}

/// 8 hex digits that name the effective values of `[verdict]`: the same on every machine and in every release, so that
/// one can see that two records were judged alike.
fn hash(policy: &Policy, max_fetch_age: Duration, expected_blueprints: &[String]) -> String {
    let mut text = String::from("require=");
    for source in policy.sources.iter().filter(|source| source.required) {
        let _ = write!(text, "{},", source.name);
    }
    let _ = write!(
        text,
        " min_grade={} deadline={} max_fetch_age={} expected_blueprints={expected_blueprints:?} allow_returned={} settle={} recheck={} recheck_for={}",
        policy.min_grade.code(),
        units::duration_text(policy.deadline),
        units::duration_text(max_fetch_age),
        policy.allow_returned,
        units::duration_text(policy.settle),
        units::duration_text(policy.recheck),
        units::duration_text(policy.recheck_for),
    );
    folded(&text)
}

/// FNV-1a with 64 bits, folded to 32. Nobody gains by a collision, so it need not resist one.
fn folded(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published value for "foobar" is 85944171f73967e8.
        assert_eq!(
            folded("foobar"),
            format!("{:08x}", 0x8594_4171_u32 ^ 0xf739_67e8)
        );
    }
}
