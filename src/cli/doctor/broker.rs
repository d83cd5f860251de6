//! The broker: reached, lets the station in, takes its records.

use jiff::SignedDuration;

use super::{
    Line, State, UNTOLD,
    sources::{unreadable, with_copies},
};
use crate::{
    publisher,
    runtime::{certificate, credential::Credential, times},
};

/// A record that waits longer than this is not on its way.
const OVERDUE: SignedDuration = SignedDuration::from_mins(1);
const RIGHTS: &str = "give this user the rights of config/mosquitto/acl: to write the station's own channels and to read its availability";

/// The way to the broker. Beside an agent only as far as TLS: a session of this user could end the agent's own.
pub(super) async fn broker(settings: publisher::Settings, agent: Option<bool>) -> Line {
    let mut line = match agent {
        Some(false) => let_in(&settings).await,
        _ => reached(settings.clone(), agent).await,
    };
    with_copies(
        &mut line,
        settings
            .password
            .iter()
            .chain(settings.client_certificate.iter().map(|(_, key)| key)),
    );
    line
}

const BROKER: &str = "broker";

/// What keeps anybody from trying, and the broker's place.
fn place(settings: &publisher::Settings) -> Result<String, Line> {
    let password = settings
        .password
        .as_ref()
        .map(Credential::read_password)
        .transpose()
        .map(drop);
    let key = settings
        .client_certificate
        .as_ref()
        .map(|(_, key)| certificate::private_key(key))
        .transpose()
        .map(drop);
    if let Err(fault) = password.and(key) {
        return Err(unreadable(BROKER.to_owned(), &fault));
    }
    if settings.url.host_str() == Some("broker.example") {
        return Err(Line::new(
            BROKER,
            State::Fail,
            "[mqtt] url is still the example's: broker.example",
            "write your own broker's address",
        ));
    }
    Ok(format!(
        "{}:{}",
        settings.url.host_str().unwrap_or_default(),
        settings.url.port().unwrap_or_default()
    ))
}

/// A failure in words that end in their remedy, where there is one.
fn no_way(words: &str) -> Line {
    let (finding, remedy) = words
        .rsplit_once(": ")
        .unwrap_or((words, "look at the broker's log, then try again"));
    Line::new(BROKER, State::Fail, finding, remedy)
}

async fn reached(settings: publisher::Settings, agent: Option<bool>) -> Line {
    let place = match place(&settings) {
        Ok(place) => place,
        Err(line) => return line,
    };
    let way = if settings.url.scheme() == "mqtts" {
        " over TLS"
    } else {
        ""
    };
    let reached = tokio::task::spawn_blocking(move || publisher::reach(&settings)).await;
    match (
        reached.unwrap_or_else(|_| Err("the try of the broker broke off".to_owned())),
        agent,
    ) {
        (Err(words), _) => no_way(&words),
        (Ok(()), Some(_)) => Line::in_use(BROKER, &format!(": {place} can be reached{way}")),
        (Ok(()), None) => Line::new(
            BROKER,
            State::Warn,
            format!("{place} can be reached{way}; user and rights were not tried"),
            UNTOLD,
        ),
    }
}

/// With a running agent it is seen in the journal whether the broker takes its records.
pub(super) fn with_delivery(mut line: Line, waits: Option<SignedDuration>) -> Line {
    if line.state == State::InUse
        && let Some(time) = waits.filter(|time| *time > OVERDUE)
    {
        line.finding.push_str(&format!(
            "; records have been waiting for it for {}",
            times::length(time)
        ));
        line.remedy = format!("look at the agent's log (journalctl -u benchlight); {RIGHTS}");
        line.state = State::Warn;
    }
    line
}

async fn let_in(settings: &publisher::Settings) -> Line {
    let place = match place(settings) {
        Ok(place) => place,
        Err(line) => return line,
    };
    let probed = match publisher::probe(settings).await {
        Ok(probed) => probed,
        Err(words) => return no_way(&words),
    };
    let way = if settings.url.scheme() == "mqtts" {
        "over TLS"
    } else {
        "without TLS"
    };
    let user = settings
        .username
        .as_ref()
        .map(|name| format!(" as {name:?}"))
        .unwrap_or_default();
    let connected = format!("{place} lets this station in {way}{user}");
    if let Some(why) = probed.refused {
        return Line::new(
            BROKER,
            State::Warn,
            format!("{connected}, and does not let it listen to its own availability ({why})"),
            RIGHTS,
        );
    }
    if probed.availability.as_deref() == Some("online") {
        let remedy = "a station of the same site and name may run elsewhere; if the agent was killed just now, the broker says offline by itself in a minute";
        return Line::new(
            BROKER,
            State::Warn,
            format!("{connected}; it says that this station is online, and no agent runs here"),
            remedy,
        );
    }
    Line::ok(
        BROKER,
        format!("{connected}; whether it may publish shows when the agent runs"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_agent_whose_records_wait_for_minutes_is_not_called_well_connected() {
        let line = || Line::in_use(BROKER, ": 127.0.0.1:1883 can be reached");
        for waits in [None, Some(SignedDuration::from_secs(59))] {
            assert_eq!(with_delivery(line(), waits), line());
        }
        let late = with_delivery(line(), Some(SignedDuration::from_mins(5)));
        assert!(
            late.state == State::Warn
                && late.finding.ends_with("waiting for it for 5 min")
                && late.remedy.contains("journalctl"),
            "{late:?}"
        );
        let failed = Line::new(BROKER, State::Fail, "f", "r");
        assert_eq!(
            with_delivery(failed.clone(), Some(SignedDuration::from_mins(5))),
            failed
        );
    }
}
