//! `[[source]]`: the services that are asked. Each service reads its own keys, see `readiness/service.rs`.

use std::{cell::RefCell, time::Duration};

use url::Url;

use super::{
    document::{Found, Section},
    files::Files,
    problems::Span,
    units,
};
use crate::{
    readiness::{
        Service, Settings,
        evidence::{SourceKind, without_source},
        replica::{self, Mode},
        service::{CheckText, CheckUrl, Keys, Wrong},
    },
    runtime::{
        credential::{Credential, CredentialFault},
        loopback::{self, is_loopback},
        name::Name,
    },
};

/// What `[verdict]` asks of an MDM's answers; what is wrong is `None`.
pub(super) struct MdmRules {
    pub(super) max_fetch_age: Option<Duration>,
    pub(super) expected_blueprints: Option<Vec<String>>,
}

/// One section; what is wrong is `None`.
pub(super) struct Source {
    pub(super) at: Span,
    pub(super) name: Option<Found<Name>>,
    pub(super) kind: Option<Found<SourceKind>>,
    pub(super) settings: Option<Settings>,
}

pub(super) fn read(document: &Section<'_, '_>, rules: &MdmRules, files: &Files) -> Vec<Source> {
    let sources: Vec<Source> = document
        .sections("source")
        .into_iter()
        .map(|section| one(section, rules, files))
        .collect();
    if sources.is_empty() && !document.has("source") {
        let example = "write for example:\n[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\ntoken_credential = \"kandji-token\"";
        document.report().absence(
            document.at(),
            "there is no [[source]]: who is asked about a box?",
            example,
        );
    }
    for (index, source) in sources.iter().enumerate() {
        let earlier = || sources.iter().take(index);
        if let Some(name) = &source.name
            && earlier().any(|other| {
                other
                    .name
                    .as_ref()
                    .is_some_and(|other| other.value == name.value)
            })
        {
            document.report().problem(
                &name.at,
                format!("there is already a source {:?}", name.value.as_str()),
                "give each source a name of its own",
            );
        }
        let earlier_kinds = || earlier().filter_map(|other| other.kind.as_ref());
        if let Some(kind) = &source.kind
            && let Some((message, remedy)) =
                earlier_kinds().find_map(|other| beside(other.value, kind.value))
        {
            document.report().problem(&kind.at, message, remedy);
        }
    }
    sources
}

/// Why a station cannot have a source of both kinds, and what to do; `None`: it can.
fn beside(earlier: SourceKind, kind: SourceKind) -> Option<(String, &'static str)> {
    let (first, second) = (earlier.code(), kind.code());
    if earlier == kind {
        let message = format!("there is already a source of kind {first:?}");
        return Some((message, "one source of each kind: remove the other"));
    }
    if earlier.is_mdm() && kind.is_mdm() {
        let message = format!("there is already an MDM, {first:?}: a station asks one");
        return Some((message, "remove the MDM that does not manage these boxes"));
    }
    (earlier.speaks_for_apple() && kind.speaks_for_apple()).then(|| {
        let message = format!("{first:?} and {second:?} both pass on the same word of Apple's");
        (message, "remove one of them")
    })
}

fn one(section: Section<'_, '_>, rules: &MdmRules, files: &Files) -> Source {
    let choices: Vec<_> = SourceKind::ALL
        .iter()
        .map(|kind| (kind.code(), *kind))
        .collect();
    let name = section.required("name", section.name("name", "kandji"), "\"kandji\"");
    let kind = section.required("kind", read_kind(&section, &choices), "\"kandji\"");
    let ca_file = files.trust_anchors(&section, "ca_file");
    let reads_per_minute = section.optional(
        "reads_per_minute",
        section.number("reads_per_minute", 0..=1_000_000, 0),
    );
    let replica = read_replica(&section, kind.as_ref(), reads_per_minute.as_ref(), rules);
    let service = kind.as_ref().and_then(|kind| {
        let keys = SourceKeys {
            section: &section,
            rules,
            files,
        };
        let read = Service::read(kind.value, &keys);
        section.not_for(kind.value.code(), &keys_of_others(kind.value));
        read
    });
    if section.has("ca_file")
        && service
            .as_ref()
            .is_some_and(|(url, _)| url.scheme() == "http")
    {
        section.report().warn(
            Some(&section.place("ca_file")),
            "`ca_file` counts only with https://",
        );
    }
    let at = section.at().clone();
    // Which keys are good depends on the kind: without it, none can be called unknown.
    if kind.is_some() {
        section.finish();
    }
    let settings = (|| {
        let (url, service) = service?;
        let reads_per_minute = reads_per_minute?.map_or(0, |found| found.value);
        Some(Settings {
            name: name.as_ref()?.value.clone(),
            url,
            ca_file: ca_file?,
            reads_per_minute,
            replica: replica?,
            service,
        })
    })();
    Source {
        at,
        name,
        kind,
        settings,
    }
}

fn read_kind(
    section: &Section<'_, '_>,
    choices: &[(&'static str, SourceKind)],
) -> Option<Found<SourceKind>> {
    match section.string("kind").and_then(without_source) {
        Some((message, remedy)) => section.wrong("kind", message, remedy),
        None => section.choice("kind", choices, None),
    }
}

/// The keys about the replica and about the share of the service's limit.
fn read_replica(
    section: &Section<'_, '_>,
    kind: Option<&Found<SourceKind>>,
    reads_per_minute: Option<&Option<Found<u32>>>,
    rules: &MdmRules,
) -> Option<replica::Settings> {
    const DAY: Duration = Duration::from_hours(24);
    const SECOND: Duration = Duration::from_secs(1);
    let default = replica::Settings::default();
    let mode = read_mode(section, kind);
    let refresh = section.duration("refresh", default.refresh, SECOND * 10..=DAY);
    let max_replica_age = section.duration(
        "max_replica_age",
        default.max_replica_age,
        SECOND * 20..=DAY,
    );
    let quota_share = section.share("quota_share");
    let no_limit =
        reads_per_minute.is_some_and(|reads| reads.as_ref().is_none_or(|reads| reads.value == 0));
    if let (Some(kind), Some(Some(share))) = (kind, quota_share)
        && share < 1.0
        && no_limit
        && !kind.value.tells_limit()
    {
        section.wrong::<()>(
            "quota_share",
            format!(
                "`quota_share` is a share of no limit: {} tells none",
                kind.value.code()
            ),
            "set `reads_per_minute` to what all stations together may use, or remove `quota_share`",
        );
    }
    let settings = replica::Settings {
        mode: mode?,
        refresh: refresh?,
        max_replica_age: max_replica_age?,
        quota_share: quota_share?.unwrap_or(default.quota_share),
    };
    let least = settings.refresh * 2;
    if settings.max_replica_age < least {
        let (key, remedy) = match units::duration_text(least) {
            _ if least > DAY => ("refresh", "use refresh = \"12h\" or less".to_owned()),
            least if section.has("max_replica_age") => (
                "max_replica_age",
                format!("use max_replica_age = \"{least}\" or more"),
            ),
            least => (
                "refresh",
                format!("add max_replica_age = \"{least}\" or more"),
            ),
        };
        let message = "`max_replica_age` is less than twice `refresh`: rows would be too old before the next pass has read them again";
        return section.wrong(key, message, remedy);
    }
    let fetches = kind.is_some_and(|kind| kind.value.tells_fetch());
    warn_of_old_rows(section, settings, rules.max_fetch_age.filter(|_| fetches));
    Some(settings)
}

fn read_mode(section: &Section<'_, '_>, kind: Option<&Found<SourceKind>>) -> Option<Mode> {
    if kind.is_some_and(|kind| kind.value.is_list_only()) {
        return only_mode(section);
    }
    let modes = [
        ("off", Mode::Off),
        ("fallback", Mode::Fallback),
        ("first", Mode::First),
    ];
    let mode = section.choice("replica", &modes, Some("off"))?;
    can_be(section, mode.value, kind)
}

/// The mode, where a service of that kind can have it.
fn can_be(section: &Section<'_, '_>, mode: Mode, kind: Option<&Found<SourceKind>>) -> Option<Mode> {
    let unlisted = kind.filter(|kind| !kind.value.has_list());
    let Some(kind) = unlisted.filter(|_| mode != Mode::Off) else {
        return Some(mode);
    };
    let message = format!(
        "a source of kind {:?} has no list of all its devices that could be copied",
        kind.value.code()
    );
    section.wrong("replica", message, "remove `replica`: it is asked live")
}

/// A service that can only be listed has no other mode, and so no key for it.
fn only_mode(section: &Section<'_, '_>) -> Option<Mode> {
    if !section.has("replica") {
        return Some(Mode::Only);
    }
    let message = "`replica` is no key of this kind: the service can only be listed, so its copy always answers";
    let remedy = "remove it; `refresh` and `max_replica_age` say how old the copy may be";
    section.wrong("replica", message, remedy)
}

/// `max_fetch_age`: of an MDM that fetches from Apple.
fn warn_of_old_rows(
    section: &Section<'_, '_>,
    settings: replica::Settings,
    max_fetch_age: Option<Duration>,
) {
    if !settings.is_on() {
        return;
    }
    let age = settings.max_replica_age;
    let warn = |message| {
        section
            .report()
            .warn(Some(&section.place("max_replica_age")), message)
    };
    if age > Duration::from_hours(1) {
        warn("`max_replica_age` is over an hour: a profile removed in that time is not noticed");
    }
    if max_fetch_age.is_some_and(|most| age > most) {
        warn(
            "`max_replica_age` is over `max_fetch_age`: what the MDM fetched longer ago is stale, and no replica helps",
        );
    }
}

/// The keys that other services ask for and this one does not.
fn keys_of_others(kind: SourceKind) -> Vec<&'static str> {
    let asked = |kind| {
        let names = KeyNames::default();
        let _ = Service::read(kind, &names);
        names.0.into_inner()
    };
    let own = asked(kind);
    let mut others = Vec::new();
    for key in SourceKind::ALL.iter().flat_map(|other| asked(*other)) {
        if !own.contains(&key) && !others.contains(&key) {
            others.push(key);
        }
    }
    others
}

/// The section as a service reads it.
struct SourceKeys<'s, 'r, 't> {
    section: &'s Section<'r, 't>,
    rules: &'s MdmRules,
    files: &'s Files,
}

impl SourceKeys<'_, '_, '_> {
    /// `https://`, or `http://` to this machine, and not the address of something else.
    fn service_url(&self, key: &'static str, example: &str, check: CheckUrl) -> Option<Url> {
        let section = self.section;
        let url = section.url(key, &["https", "http"], example)?.value;
        if url.scheme() == "http" && !is_loopback(&url) {
            let remedy = format!("use https://{}", loopback::hint(&url));
            return section.wrong(
                key,
                "http:// is not encrypted, and the service is not on this machine",
                remedy,
            );
        }
        match check(&url) {
            Some((what, right)) => section.wrong(
                key,
                format!("`{key}` is {what}"),
                format!("write the API's: {key} = \"{right}\""),
            ),
            None => Some(url),
        }
    }

    fn report_each(&self, texts: Vec<Found<&str>>, check: CheckText) -> Vec<String> {
        texts
            .into_iter()
            .map(|text| {
                if let Some(Wrong { message, remedy }) = check(text.value) {
                    self.section.report().problem(&text.at, message, remedy);
                }
                text.value.to_owned()
            })
            .collect()
    }
}

impl Keys for SourceKeys<'_, '_, '_> {
    fn url(&self, key: &'static str, default: &str, check: CheckUrl) -> Option<Url> {
        if self.section.has(key) {
            self.service_url(key, default, check)
        } else {
            Url::parse(default).ok()
        }
    }

    fn required_url(&self, key: &'static str, example: &str, check: CheckUrl) -> Option<Url> {
        let url = self.service_url(key, example, check);
        self.section.required(key, url, &format!("\"{example}\""))
    }

    fn text(&self, key: &'static str, default: &str, check: CheckText) -> Option<String> {
        if !self.section.has(key) {
            return Some(default.to_owned());
        }
        let text = self.section.text(key, &format!("\"{default}\""))?.value;
        match check(text) {
            Some(Wrong { message, remedy }) => self.section.wrong(key, message, remedy),
            None => Some(text.to_owned()),
        }
    }

    fn required_text(&self, key: &'static str, example: &str) -> Option<String> {
        let example = format!("\"{example}\"");
        let text = self.section.text(key, &example);
        let text = self.section.required(key, text, &example)?;
        Some(text.value.to_owned())
    }

    fn required_checked(
        &self,
        key: &'static str,
        example: &str,
        check: CheckText,
    ) -> Option<String> {
        let text = self.required_text(key, example)?;
        match check(&text) {
            Some(Wrong { message, remedy }) => self.section.wrong(key, message, remedy),
            None => Some(text),
        }
    }

    fn texts(&self, key: &'static str, check: CheckText) -> Option<Vec<String>> {
        let texts = self.section.texts(key)?;
        Some(self.report_each(texts, check))
    }

    fn ids(&self, key: &'static str) -> Option<Vec<String>> {
        let ids = self.section.ids(key)?;
        Some(ids.into_iter().map(|id| id.value.to_owned()).collect())
    }

    fn required_texts(
        &self,
        key: &'static str,
        example: &str,
        empty: Wrong,
        check: CheckText,
    ) -> Option<Vec<String>> {
        let texts = self
            .section
            .required(key, self.section.texts(key), example)?;
        if self.section.has(key) && texts.is_empty() {
            self.section.wrong::<()>(key, empty.message, empty.remedy);
        }
        Some(self.report_each(texts, check))
    }

    fn credential(
        &self,
        key: &'static str,
        usual: &'static str,
        check: fn(&Credential) -> Result<(), CredentialFault>,
    ) -> Option<Credential> {
        self.files.credential(self.section, key, usual, true, check)
    }

    fn max_fetch_age(&self) -> Option<Duration> {
        self.rules.max_fetch_age
    }

    fn expected_blueprints(&self) -> Option<Vec<String>> {
        self.rules.expected_blueprints.clone()
    }
}

/// Notes the keys that a service asks for, and has none.
#[derive(Default)]
struct KeyNames(RefCell<Vec<&'static str>>);

impl KeyNames {
    fn none<T>(&self, key: &'static str) -> Option<T> {
        self.0.borrow_mut().push(key);
        None
    }
}

impl Keys for KeyNames {
    fn url(&self, key: &'static str, _: &str, _: CheckUrl) -> Option<Url> {
        self.none(key)
    }

    fn required_url(&self, key: &'static str, _: &str, _: CheckUrl) -> Option<Url> {
        self.none(key)
    }

    fn text(&self, key: &'static str, _: &str, _: CheckText) -> Option<String> {
        self.none(key)
    }

    fn required_text(&self, key: &'static str, _: &str) -> Option<String> {
        self.none(key)
    }

    fn required_checked(&self, key: &'static str, _: &str, _: CheckText) -> Option<String> {
        self.none(key)
    }

    fn texts(&self, key: &'static str, _: CheckText) -> Option<Vec<String>> {
        self.none(key)
    }

    fn ids(&self, key: &'static str) -> Option<Vec<String>> {
        self.none(key)
    }

    fn required_texts(
        &self,
        key: &'static str,
        _: &str,
        _: Wrong,
        _: CheckText,
    ) -> Option<Vec<String>> {
        self.none(key)
    }

    fn credential(
        &self,
        key: &'static str,
        _: &'static str,
        _: fn(&Credential) -> Result<(), CredentialFault>,
    ) -> Option<Credential> {
        self.none(key)
    }

    fn max_fetch_age(&self) -> Option<Duration> {
        None
    }

    fn expected_blueprints(&self) -> Option<Vec<String>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that gave up on the first missing key would have fewer.
    #[test]
    fn each_service_asks_for_all_of_its_keys_even_when_none_is_there() {
        let asked = |kind| {
            let names = KeyNames::default();
            assert!(Service::read(kind, &names).is_none());
            names.0.into_inner()
        };
        assert_eq!(
            asked(SourceKind::Kandji),
            ["url", "token_credential", "tokens"]
        );
        assert_eq!(
            asked(SourceKind::Intune),
            [
                "url",
                "tenant",
                "token_url",
                "client_id",
                "secret_credential",
                "tokens",
                "expected_profiles"
            ]
        );
        assert_eq!(
            asked(SourceKind::AppleDep),
            [
                "url",
                "token_credential",
                "user_agent",
                "expected_profiles",
                "expected_hosts"
            ]
        );
        assert_eq!(
            asked(SourceKind::NanoDep),
            [
                "url",
                "dep_name",
                "key_credential",
                "expected_profiles",
                "expected_hosts"
            ]
        );
        assert_eq!(
            asked(SourceKind::MicroMdm),
            ["url", "key_credential", "expected_profiles"]
        );
        assert_eq!(
            asked(SourceKind::AppleBusiness),
            [
                "url",
                "token_url",
                "scope",
                "client_id",
                "key_id",
                "key_credential",
                "expected_servers"
            ]
        );
        assert_eq!(
            asked(SourceKind::Fleet),
            ["url", "token_credential", "expected_profiles"]
        );
        assert_eq!(
            asked(SourceKind::Zentral),
            ["url", "token_credential", "servers"]
        );
    }
}
