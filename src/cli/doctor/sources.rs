//! The sources: what the credential may do, what the service says of itself, and whether the sources fit together.

use jiff::SignedDuration;

use super::{Line, State, rhythm::spoken};
use crate::{
    readiness::{
        self, Service, Settings, Source,
        apple_business::Server,
        apple_dep::Account,
        http::{Clocks, Fault},
        kandji::AdeToken,
        lenient,
    },
    reason::Reason,
    runtime::{
        credential::{Credential, CredentialFault},
        name::Name,
    },
};

/// The station announces an expiry from here on.
const SOON_DAYS: i64 = 30;

/// The host that stands in the shipped config.
const EXAMPLE_HOST: &str = "acme.api.kandji.io";

/// What one source showed.
pub(super) struct Seen {
    pub(super) lines: Vec<Line>,
    pub(super) facts: Facts,
}

/// What the other parts' judgement needs of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// How far the service's clock is ahead of ours.
    pub(super) ahead: Option<SignedDuration>,
    /// The MDM's links to Apple.
    ade_tokens: Option<Vec<AdeToken>>,
    /// The server that Apple's token is for.
    account: Option<Account>,
}

/// Asks the source's service as a scan would, without a device.
pub(super) async fn examine(settings: Settings, clocks: Clocks) -> Seen {
    let part = format!("source {}", settings.name);
    let mut facts = Facts::default();
    let only = |line: Line| Seen {
        lines: vec![line],
        facts: Facts::default(),
    };
    let host = settings.url.host_str().unwrap_or_default().to_owned();
    let example = || {
        Line::new(
            format!("{part}, url"),
            State::Fail,
            format!("`url` is still the example's: {host}"),
            "write your own tenant's API URL; the MDM's console shows it where the API token is made",
        )
    };
    if let Err(fault) = readiness::check_credential(settings.kind(), credential(&settings.service))
    {
        let lines = [unreadable(part.clone(), &fault)]
            .into_iter()
            .chain((host == EXAMPLE_HOST).then(example));
        return Seen {
            lines: lines.collect(),
            facts: Facts::default(),
        };
    }
    if host == EXAMPLE_HOST {
        return only(example());
    }
    let source = match Source::new(settings.clone(), clocks) {
        Ok(source) => source,
        Err(fault) => {
            return only(Line::new(
                part,
                State::Fail,
                fault.to_string(),
                "check `url` and `ca_file` of this source",
            ));
        }
    };
    let mut lines = match &settings.service {
        Service::Kandji { tokens, .. } => kandji(&source, &part, &host, tokens, &mut facts).await,
        Service::AppleDep { .. } => apple_dep(&source, part, &host, &mut facts).await,
        Service::AppleBusiness {
            expected_servers, ..
        } => apple_business(&source, &part, &host, expected_servers).await,
    };
    facts.ahead = source.clock_ahead();
    if let Some(line) = lines.first_mut() {
        with_copies(line, [credential(&settings.service)]);
    }
    Seen { lines, facts }
}

const AT_ONCE: &str = "; no restart is needed";

/// Adds that the agent and this doctor may hold different secrets: whoever trusts the doctor then would delete the one that works.
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

const fn credential(service: &Service) -> &Credential {
    match service {
        Service::Kandji { token, .. } | Service::AppleDep { token, .. } => token,
        Service::AppleBusiness { key, .. } => key,
    }
}

/// A credential that cannot be had or used, in the words of `check`, with what to do about it.
pub(super) fn unreadable(part: String, fault: &CredentialFault) -> Line {
    Line::new(part, State::Fail, fault.finding(), fault.remedy())
}

async fn kandji(
    source: &Source,
    part: &str,
    host: &str,
    wanted: &[String],
    facts: &mut Facts,
) -> Vec<Line> {
    let (tokens, permissions) = tokio::join!(source.ade_tokens(), source.permissions());
    let (tokens, of_tokens) = match tokens {
        Some(Ok(tokens)) => (tokens, None),
        Some(Err(fault)) => (Vec::new(), Some(("the ADE integration list", fault))),
        None => (Vec::new(), None),
    };
    let failed = permissions
        .into_iter()
        .filter_map(|(what, result)| result.err().map(|fault| (what, fault)));
    let failed: Vec<(&str, Fault)> = of_tokens.into_iter().chain(failed).collect();
    let mut lines = match failed.split_first() {
        None => {
            let quota = source.vitals().quota;
            let left = quota
                .map(|quota| {
                    format!(
                        "; {} of {} requests left in this hour",
                        quota.left, quota.limit
                    )
                })
                .unwrap_or_default();
            let finding = format!("{host} accepts the token and gives all three lists{left}");
            match quota {
                Some(quota) if quota.left < quota.limit / 5 => {
                    let remedy = "something else uses the tenant's requests up: find it, or re-checks of waiting boxes will pause";
                    vec![Line::new(part, State::Warn, finding, remedy)]
                }
                _ => vec![Line::ok(part, finding)],
            }
        }
        Some(((_, fault), _)) => {
            let what: Vec<&str> = failed.iter().map(|(what, _)| *what).collect();
            vec![of_fault(
                part,
                &format!("cannot read {} of {host}", what.join(", ")),
                fault,
            )]
        }
    };
    if failed
        .iter()
        .any(|(what, _)| *what == "the ADE integration list")
    {
        return lines;
    }
    let listed = tokens
        .iter()
        .map(|token| format!("{} ({})", token.name, token.id))
        .collect::<Vec<_>>()
        .join(", ");
    for id in wanted.iter().filter(|id| {
        !tokens
            .iter()
            .any(|token| token.id.trim().eq_ignore_ascii_case(id.trim()))
    }) {
        let remedy = if listed.is_empty() {
            "connect Kandji to Apple first".to_owned()
        } else {
            format!("name one of these in `tokens`: {listed}")
        };
        lines.push(Line::new(
            format!("{part}, ADE token {id}"),
            State::Fail,
            "Kandji has no ADE token of this id",
            remedy,
        ));
    }
    if tokens.is_empty() && wanted.is_empty() {
        let remedy = "an administrator must connect Kandji to Apple: Settings, Apple Integrations, Automated Device Enrollment";
        lines.push(Line::new(
            format!("{part}, ADE token"),
            State::Fail,
            "Kandji has no ADE token: it hears nothing from Apple",
            remedy,
        ));
    }
    lines.extend(tokens.iter().map(|token| of_token(part, token)));
    facts.ade_tokens = Some(tokens);
    lines
}

fn of_token(part: &str, token: &AdeToken) -> Line {
    let part = format!("{part}, ADE token {}", token.name);
    let days = token.days_left.map_or_else(
        || "no expiry known".to_owned(),
        |days| format!("{days} days left"),
    );
    let fetched = match (token.last_fetch, token.age) {
        (Some(at), Some(age)) => {
            format!("last fetch {} ({} ago)", lenient::spoken(at), spoken(age))
        }
        (Some(at), None) => format!("last fetch {}", lenient::spoken(at)),
        (None, _) => "no fetch yet".to_owned(),
    };
    let facts = format!("id {}, {days}, {fetched}", token.id);
    if !token.counts {
        return Line::ok(
            part,
            format!("{facts}; does not count here: its id is not in `tokens`"),
        );
    }
    match &token.trouble {
        Some((Reason::Stale, words)) => {
            let remedy = "have an administrator look at Kandji's Automated Device Enrollment page (Last fetch); if it fetches more rarely, set a longer max_fetch_age";
            Line::new(
                part,
                State::Fail,
                format!("{facts}; every box behind it is answered `stale`: {words}"),
                remedy,
            )
        }
        Some((reason, words)) => {
            let remedy =
                "an administrator must renew it in Kandji and in Apple Business or School Manager";
            Line::new(
                part,
                State::Fail,
                format!(
                    "{facts}; every box behind it is answered `{}`: {words}",
                    reason.code()
                ),
                remedy,
            )
        }
        None if token.days_left.is_some_and(|days| days <= SOON_DAYS) => Line::new(
            part,
            State::Warn,
            facts,
            "an administrator should renew it in Kandji and in Apple Business or School Manager",
        ),
        None => Line::ok(part, facts),
    }
}

async fn apple_dep(source: &Source, part: String, host: &str, facts: &mut Facts) -> Vec<Line> {
    let account = match source.apple_account().await {
        Some(Ok(account)) => account,
        Some(Err(fault)) => {
            return vec![of_fault(
                &part,
                &format!("{host} does not name the token's server"),
                &fault,
            )];
        }
        None => return Vec::new(),
    };
    let days = source.vitals().credential_days;
    let finding = format!(
        "token accepted: it is for the MDM server {:?} ({}) of {}, {}",
        account.server_name,
        account.server_uuid.as_deref().unwrap_or("id not told"),
        account.org_name.as_deref().map_or_else(
            || "an organisation that is not told".to_owned(),
            |name| format!("{:?}", lenient::shown(name))
        ),
        days.map_or_else(
            || "no expiry known".to_owned(),
            |days| format!("{days} days left")
        )
    );
    facts.account = Some(account);
    let renew = "download a new server token in Apple Business or School Manager and import it; never for a server that an MDM uses itself: its token would end";
    vec![if days.is_some_and(|days| days <= SOON_DAYS) {
        Line::new(part, State::Warn, finding, renew)
    } else {
        Line::ok(part, finding)
    }]
}

async fn apple_business(source: &Source, part: &str, host: &str, expected: &[String]) -> Vec<Line> {
    let servers = match source.apple_servers().await {
        Some(Ok(servers)) => servers,
        Some(Err(fault)) => {
            return vec![of_fault(
                part,
                &format!("{host} does not list the account's servers"),
                &fault,
            )];
        }
        None => return Vec::new(),
    };
    let shown = |server: &Server| {
        format!(
            "{:?} = {} ({})",
            lenient::shown(&server.name),
            server.id,
            server.kind
        )
    };
    let all = servers.iter().map(shown).collect::<Vec<_>>().join(", ");
    let finding = format!(
        "key accepted; the account has these servers: {}",
        if all.is_empty() { "none" } else { &all }
    );
    let missing: Vec<&str> = expected
        .iter()
        .filter(|id| {
            !servers
                .iter()
                .any(|server| server.id.eq_ignore_ascii_case(id))
        })
        .map(String::as_str)
        .collect();
    if expected.is_empty() {
        return vec![Line::new(
            part,
            State::Warn,
            finding,
            "write the ids of your MDM servers into `expected_servers`",
        )];
    }
    if missing.is_empty() {
        return vec![Line::ok(part, finding)];
    }
    let finding = format!(
        "{finding}; `expected_servers` names {}, which it does not have",
        missing.join(", ")
    );
    vec![Line::new(
        part,
        State::Warn,
        finding,
        "put the ids of your MDM servers from this list into `expected_servers`",
    )]
}

/// A fault as a line: what could not be done, the reason in words, and the technician's remedy.
fn of_fault(part: &str, what: &str, fault: &Fault) -> Line {
    let words = fault.reason.message(fault.detail.as_deref());
    Line::new(
        part,
        State::Fail,
        format!("{what}: {words}"),
        remedy(fault.reason),
    )
}

fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Offline => "check the network, the name service and `url`",
        Reason::Timeout => "check the network and the service's status page, then try again",
        Reason::SourceError => "look at the service's status page, then try again",
        Reason::RateLimited => {
            "wait, then try again; if it stays, find what else uses the service's requests up"
        }
        Reason::CredentialsRefused => {
            "make a new credential with the rights that docs/security.md names, and put it in the place of this one; no restart is needed"
        }
        Reason::CredentialsExpired => {
            "renew the credential and put the new one in its place; no restart is needed"
        }
        Reason::TermsNotSigned => {
            "an administrator must accept the new terms in Apple Business or School Manager"
        }
        Reason::TlsUntrusted => {
            "check the clock; where a proxy opens TLS, name its authority in `ca_file`"
        }
        Reason::ClockUnsynced => {
            "let the station reach a time server: `timedatectl` shows the state"
        }
        Reason::GarbledAnswer => "check `url`: what answers there is not this service's API",
        other => other.action(),
    }
}

/// Do the sources speak of the same server at Apple?
pub(super) fn across(all: &[(Name, Facts)]) -> Vec<Line> {
    let Some(tokens) = all.iter().find_map(|(_, facts)| facts.ade_tokens.as_ref()) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (name, facts) in all {
        let Some((account, uuid)) = facts
            .account
            .as_ref()
            .and_then(|account| Some((account, account.server_uuid.as_deref()?)))
        else {
            continue;
        };
        let of_counted = || tokens.iter().filter(|token| token.counts);
        let known: Vec<&str> = of_counted()
            .filter_map(|token| token.server_uuid.as_deref())
            .collect();
        if known.is_empty() || known.iter().any(|known| same_server(known, uuid)) {
            continue;
        }
        let theirs: Vec<String> = of_counted()
            .map(|token| {
                format!(
                    "{} ({})",
                    token.name,
                    token.server_uuid.as_deref().unwrap_or("?")
                )
            })
            .collect();
        let finding = format!(
            "its token is for the server {:?} ({uuid}), the MDM's are for {}: this token is for another server, and boxes will be answered `contradiction`",
            account.server_name,
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
    lines
}

fn same_server(one: &str, other: &str) -> bool {
    let plain = |id: &str| {
        id.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|char| char.to_ascii_uppercase())
            .collect::<String>()
    };
    plain(one) == plain(other)
}
