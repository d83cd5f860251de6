//! `[mqtt]` and `[home_assistant]`: the broker, and what it is told.

use std::time::Duration;

use url::Url;

use super::{document::Section, files::Files, station::Station};
use crate::{
    publisher::{NoSubscriber, Settings},
    runtime::{
        credential::Credential,
        loopback::{self, is_loopback},
    },
};

const EXAMPLE: &str = "write for example:\n[mqtt]\nurl = \"mqtts://broker.example:8883\"\nusername = \"bench-1\"\npassword_credential = \"mqtt-password\"";

/// `home_assistant` is the section of that name.
pub(super) fn read(
    section: Section<'_, '_>,
    home_assistant: Section<'_, '_>,
    station: &Station,
    files: &Files,
) -> Option<Settings> {
    let discovery_prefix = discovery_prefix(home_assistant);
    if !section.is_there() {
        section.report().absence(
            section.at(),
            "there is no [mqtt]: where do the results go?",
            EXAMPLE,
        );
        return None;
    }
    let url = section.required(
        "url",
        broker_url(&section),
        "\"mqtts://broker.example:8883\"",
    );
    let username = section.optional("username", section.text("username", "\"bench-1\""));
    let password = password(&section, files);
    let ca_file = files.trust_anchors(&section, "ca_file");
    let client_certificate = files.client_certificate(&section);
    let topic_prefix = topic_prefix(&section);
    let keep_alive = section.duration(
        "keep_alive",
        Duration::from_secs(30),
        Duration::from_secs(1)..=Duration::from_hours(18),
    );
    let replay_per_second = section.optional(
        "replay_per_second",
        section.number("replay_per_second", 0..=1_000_000, 200),
    );
    let choices = [
        ("keep", NoSubscriber::Keep),
        ("accept", NoSubscriber::Accept),
    ];
    let no_subscriber = section.choice("no_subscriber", &choices, Some("keep"));
    let publish_raw = section.flag("publish_raw", false);
    let commands = section.flag("commands", false);
    if url.as_ref().is_some_and(|url| url.scheme() == "mqtt") {
        warn_of_tls_keys(&section);
    }
    section.finish();
    Some(Settings {
        site: station.site.clone()?,
        station: station.name.clone()?,
        url: url?,
        username: username?.map(|found| found.value.to_owned()),
        password: password?,
        ca_file: ca_file?,
        client_certificate: client_certificate?,
        topic_prefix: topic_prefix?,
        keep_alive: keep_alive?,
        replay_per_second: replay_per_second?.map_or(200, |found| found.value),
        no_subscriber: no_subscriber?.value,
        publish_raw: publish_raw?,
        commands: commands?,
        discovery_prefix: discovery_prefix?,
    })
}

/// `Some(None)`: absent; `None`: reported.
fn password(section: &Section<'_, '_>, files: &Files) -> Option<Option<Credential>> {
    const KEY: &str = "password_credential";
    let password = files.credential(section, KEY, "mqtt-password", false, |password| {
        password.read_password().map(drop)
    });
    let password = section.optional(KEY, password);
    if section.has(KEY) && !section.has("username") {
        section.wrong::<()>(
            KEY,
            "a password without a user name",
            "write for example: username = \"bench-1\"",
        );
    }
    password
}

fn warn_of_tls_keys(section: &Section<'_, '_>) {
    for key in ["ca_file", "client_cert_file"] {
        if section.has(key) {
            section.report().warn(
                Some(&section.place(key)),
                format!("`{key}` counts only with mqtts://"),
            );
        }
    }
}

/// The broker's URL, with its port written out.
fn broker_url(section: &Section<'_, '_>) -> Option<Url> {
    let allow_plaintext = section.flag("allow_plaintext", false)?;
    let found = section.url("url", &["mqtts", "mqtt"], "mqtts://broker.example:8883")?;
    let mut url = found.value;
    if !matches!(url.path(), "" | "/") {
        return section.wrong("url", "a broker's URL has no path", "end it after the port");
    }
    let plain = url.scheme() == "mqtt";
    if plain && !is_loopback(&url) && !allow_plaintext {
        let message = "mqtt:// is not encrypted, and the broker is not on this machine";
        let remedy = format!(
            "use mqtts://, or say allow_plaintext = true{}",
            loopback::hint(&url)
        );
        return section.wrong("url", message, remedy);
    }
    if url.port() == Some(0) {
        return section.wrong(
            "url",
            "a broker does not listen on port 0",
            "write its port, such as 8883",
        );
    }
    let port = url.port().unwrap_or(if plain { 1883 } else { 8883 });
    match url.set_port(Some(port)) {
        Ok(()) => Some(url),
        Err(()) => section.wrong(
            "url",
            "`url` takes no port",
            "write for example: url = \"mqtts://broker.example:8883\"",
        ),
    }
}

fn topic_prefix(section: &Section<'_, '_>) -> Option<String> {
    const KEY: &str = "topic_prefix";
    if !section.has(KEY) {
        return Some("benchlight".to_owned());
    }
    let prefix = section.text(KEY, "\"benchlight\"")?.value;
    // One level: every station's topics then have the same number of levels, and one broker rule fits them all.
    if prefix.contains('/') || !names_a_topic(prefix) {
        let remedy =
            "use one level of at most 64 bytes without / + # or spaces, not beginning with $";
        return section.wrong(KEY, "`topic_prefix` is not one level of a topic", remedy);
    }
    Some(prefix.to_owned())
}

/// `Some(None)`: Home Assistant is not told; `None`: reported.
fn discovery_prefix(section: Section<'_, '_>) -> Option<Option<String>> {
    const KEY: &str = "discovery_prefix";
    if !section.is_there() {
        return Some(None);
    }
    let prefix = match section.has(KEY) {
        true => section
            .text(KEY, "\"homeassistant\"")
            .map(|found| found.value),
        false => Some("homeassistant"),
    };
    let prefix = prefix.and_then(|prefix| {
        if prefix.split('/').any(str::is_empty) || !names_a_topic(prefix) {
            let remedy = "write it as in Home Assistant's MQTT integration, for example \"homeassistant\": at most 64 bytes without + # or spaces";
            return section.wrong(KEY, "`discovery_prefix` is not the beginning of a topic", remedy);
        }
        Some(prefix.to_owned())
    });
    section.finish();
    prefix.map(Some)
}

fn names_a_topic(text: &str) -> bool {
    let strange =
        |letter: char| "+#".contains(letter) || letter.is_whitespace() || letter.is_control();
    !text.chars().any(strange) && !text.starts_with('$') && text.len() <= 64
}
