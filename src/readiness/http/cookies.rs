//! The cookies by which a load balancer leads requests that belong together to one node.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::HeaderMap;

/// More than load balancers set.
const MOST: usize = 8;
/// Of a name and its value.
const LONGEST: usize = 1_024;

/// The cookies of one host, in memory; `None`: none are kept. Their paths and ends are not looked at: they serve for the few requests of
/// one pass.
#[derive(Default)]
pub(super) struct Cookies(Mutex<Option<Pairs>>);

/// Names and values.
type Pairs = Vec<(String, String)>;

impl Cookies {
    /// From now on they are kept, beginning with none.
    pub(super) fn begin(&self) {
        *self.pairs() = Some(Vec::new());
    }

    /// Takes what a reply sets. One with an empty value, or with no time to live, is over.
    pub(super) fn note(&self, headers: &HeaderMap) {
        let mut kept = self.pairs();
        let Some(pairs) = kept.as_mut() else {
            return;
        };
        let set = headers.get_all("set-cookie").iter();
        for text in set.filter_map(|value| value.to_str().ok()) {
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            pairs.retain(|(known, _)| known != name);
            let is_kept = !name.is_empty() && !value.is_empty() && !parts.any(is_over);
            let has_room = pairs.len() < MOST && name.len() + value.len() <= LONGEST;
            if is_kept && has_room {
                pairs.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// The header's value; `None`: there is nothing to send.
    pub(super) fn sent(&self) -> Option<String> {
        let kept = self.pairs();
        let pairs = kept.iter().flatten();
        let all: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn pairs(&self) -> MutexGuard<'_, Option<Pairs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Cookies({})", self.pairs().iter().flatten().count())
    }
}

fn is_over(attribute: &str) -> bool {
    let lives = |seconds: &str| seconds.trim().parse::<i64>().is_ok_and(|left| left > 0);
    attribute
        .split_once('=')
        .is_some_and(|(name, value)| name.trim().eq_ignore_ascii_case("max-age") && !lives(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn after(replies: &[&[&str]]) -> Option<String> {
        let cookies = Cookies::default();
        cookies.begin();
        for reply in replies {
            let mut headers = HeaderMap::new();
            for text in *reply {
                headers.append("set-cookie", text.parse().unwrap());
            }
            cookies.note(&headers);
        }
        cookies.sent()
    }

    #[test]
    fn what_a_reply_sets_is_sent_back_until_it_is_set_anew_or_over() {
        let balancer = "APBALANCEID=aws.usw2-1; Path=/; HttpOnly; Secure; SameSite=None";
        let session = "JSESSIONID=ab=c==; Path=/";
        for (replies, sent) in [
            (&[][..], None),
            (&[&[][..]], None),
            (&[&[balancer]], Some("APBALANCEID=aws.usw2-1")),
            (
                &[&[balancer, session], &[]],
                Some("APBALANCEID=aws.usw2-1; JSESSIONID=ab=c=="),
            ),
            (&[&[balancer], &["APBALANCEID=2"]], Some("APBALANCEID=2")),
            (&[&[balancer], &["APBALANCEID=; Max-Age=9"]], None),
            (&[&[balancer], &["APBALANCEID=3; max-age=0"]], None),
            (&[&["A=1; Max-Age=3600; Path=/"]], Some("A=1")),
            (&[&["no cookie", "=1", ""]], None),
        ] {
            assert_eq!(after(replies).as_deref(), sent, "{replies:?}");
        }
    }

    #[test]
    fn a_host_cannot_make_requests_large() {
        let many: Vec<String> = (0..99).map(|nth| format!("a{nth}=1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(after(&[&many]).unwrap().matches('=').count(), MOST);
        assert_eq!(after(&[&[&format!("a={}", "1".repeat(LONGEST))]]), None);
    }

    #[test]
    fn they_do_not_show() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", "A=secret".parse().unwrap());
        let cookies = Cookies::default();
        cookies.note(&headers);
        assert_eq!(cookies.sent(), None, "they are not asked for");
        cookies.begin();
        cookies.note(&headers);
        assert_eq!(format!("{cookies:?}"), "Cookies(1)");
        cookies.begin();
        assert_eq!(cookies.sent(), None);
    }
}
