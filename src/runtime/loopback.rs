//! Does a URL stay on this machine? What is not encrypted may go nowhere else.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// What to add to the remedy where a refused address was perhaps meant to be this machine's.
pub fn hint(url: &Url) -> &'static str {
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let meant =
        host.contains("localhost") || host.starts_with(['[', '0']) || host.starts_with("127.");
    if meant {
        "; this machine is written 127.0.0.1, [::1] or localhost"
    } else {
        ""
    }
}

/// Only an address that cannot lead elsewhere: 127.0.0.0/8, `::1`, and the name `localhost` without more. What is refused for caution: IPv4 inside of
/// IPv6 (`::ffff:127.0.0.1`), whose way depends on the system's settings; `localhost.` and names below it, which a name server may answer;
/// 0.0.0.0, which is no address to send to.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => {
            name.eq_ignore_ascii_case("localhost") || of_a_scheme_without_addresses(name)
        }
        None => false,
    }
}

/// The URL standard reads addresses in web schemes only, and leaves the host of `mqtt` as it is written. Read here as there, one host has one answer.
fn of_a_scheme_without_addresses(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let address = || {
        Url::parse(&format!("http://{name}/"))
            .ok()?
            .host()
            .and_then(|host| {
                if let Host::Ipv4(address) = host {
                    Some(address)
                } else {
                    None
                }
            })
    };
    plain && address().as_ref().is_some_and(Ipv4Addr::is_loopback)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn whatever_the_scheme_one_host_has_one_answer() {
        for (host, stays) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("127.1", true),
            ("0x7f.1", true),
            ("0177.0.0.1", true),
            ("2130706433", true),
            ("localhost", true),
            ("LOCALHOST", true),
            ("[::1]", true),
            ("[0:0:0:0:0:0:0:1]", true),
            ("[::ffff:127.0.0.1]", false),
            ("[::ffff:7f00:1]", false),
            ("[::127.0.0.1]", false),
            ("[64:ff9b::127.0.0.1]", false),
            ("[::]", false),
            ("[::2]", false),
            ("localhost.", false),
            ("bench.localhost", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("ip6-localhost", false),
            ("0.0.0.0", false),
            ("0", false),
            ("10.0.0.1", false),
            ("2130706434", true),
            ("3232235777", false),
        ] {
            for scheme in ["http", "https", "mqtt", "mqtts"] {
                let url = Url::parse(&format!("{scheme}://{host}:1883/")).unwrap();
                assert_eq!(is_loopback(&url), stays, "{url}");
            }
        }
        assert!(
            !is_loopback(&Url::parse("mqtt://%31%32%37.1/").unwrap()),
            "it is not read as an address by who connects"
        );
    }
}
