//! `[web]`: the page at the bench and the metrics.

use std::net::{Ipv4Addr, SocketAddr};

use super::{document::Section, files::Files};
use crate::{
    runtime::credential::Credential,
    scanner::{self, ScannerKind},
    web::Settings,
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

/// `Some(None)`: there is no `[web]`; `None`: reported. `scanners`: those of the config, if all are good.
pub(super) fn read(
    document: &Section<'_, '_>,
    scanners: Option<&[scanner::Settings]>,
    files: &Files,
) -> Option<Option<Settings>> {
    let section = document.section("web");
    let input_box = scanners
        .unwrap_or_default()
        .iter()
        .find(|scanner| scanner.kind == ScannerKind::Web);
    if !section.is_there() {
        return match input_box {
            None => Some(None),
            Some(scanner) => {
                section.report().absence(
                    section.at(),
                    format!(
                        "scanner {:?} is the page's input box, and there is no [web]",
                        scanner.name.as_str()
                    ),
                    "write for example:\n[web]\nlisten = \"127.0.0.1:8480\"",
                );
                None
            }
        };
    }
    let listen = listen(&section);
    let password = password(&section, files, "password_credential", "web-password");
    let metrics_password = password_of_metrics(&section, files);
    let hosts = hosts(&section);
    let display = section.flag("display", true);
    let metrics = section.flag("metrics", true);
    if display == Some(false)
        && let Some(scanner) = input_box
    {
        section.wrong::<()>(
            "display",
            format!(
                "the page is off, and scanner {:?} is its input box",
                scanner.name.as_str()
            ),
            "write display = true, or remove that scanner",
        );
    }
    if listen.is_some_and(|listen| !listen.ip().is_loopback())
        && !section.has("password_credential")
    {
        section.wrong::<()>(
            "listen",
            "`listen` is reached from other machines, and there is no password",
            "write for example: password_credential = \"web-password\", and put TLS in front (docs/security.md); or listen on 127.0.0.1",
        );
    }
    section.finish();
    Some(Some(Settings {
        listen: listen?,
        password: password?,
        metrics_password: metrics_password?,
        hosts: hosts?,
        display: display?,
        metrics: metrics?,
        demo: Vec::new(),
    }))
}

fn listen(section: &Section<'_, '_>) -> Option<SocketAddr> {
    let listen = section.address("listen", DEFAULT_LISTEN)?.value;
    if listen.port() == 0 {
        return section.wrong(
            "listen",
            "port 0 is another one at each start",
            format!("write for example: listen = \"{DEFAULT_LISTEN}\""),
        );
    }
    Some(listen)
}

/// `Some(None)`: absent; `None`: reported.
fn password(
    section: &Section<'_, '_>,
    files: &Files,
    key: &'static str,
    usual: &str,
) -> Option<Option<Credential>> {
    let password = files.credential(section, key, usual, false, |password| {
        password.read_password().map(drop)
    });
    section.optional(key, password)
}

fn password_of_metrics(section: &Section<'_, '_>, files: &Files) -> Option<Option<Credential>> {
    const KEY: &str = "metrics_password_credential";
    password(section, files, KEY, "metrics-password")
}

/// The further names, in lower case.
fn hosts(section: &Section<'_, '_>) -> Option<Vec<String>> {
    let mut hosts = Vec::new();
    let mut whole = true;
    for host in section.texts("hosts")? {
        let is_name = host
            .value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
        let has_port = !host.value.starts_with('[') && host.value.contains(':');
        if is_name && !has_port && host.value.len() <= 253 {
            hosts.push(host.value.to_ascii_lowercase());
        } else {
            whole = false;
            section.report().problem(
                &host.at,
                "that is not the name of a host",
                "write the name alone, without https:// and without a port: hosts = [\"bench-1.example\"]",
            );
        }
    }
    whole.then_some(hosts)
}
