//! Why MicroMDM brings no answer: its own word, or Apple's inside its message. Pure.
//!
//! Its texts are those of its source: `dep/client.go`, `platform/dep/get_dep_device.go` and `pkg/httputil/httputil.go`.

use crate::{
    readiness::device_assignment::{named, refusal},
    reason::Reason,
};

/// What goes wrong on its way to Apple, with its message.
pub(super) const EXPLAINED: &[u16] = &[500];

/// Before Apple's status, and its text a little later.
const APPLE_SAYS: &str = "unexpected dep response. status=";
/// Before Apple's status and the words that every HTTP server has for it; Apple's own text is lost.
const NO_SESSION: &str = "establishing DEP session: ";

/// The status and the text of a reply that is no answer: the reason, and a sentence to add; `None`: MicroMDM has no word for it.
pub(super) fn read(status: u16, text: &str) -> Option<(Reason, &'static str)> {
    match status {
        401 => Some((
            Reason::CredentialsRefused,
            "MicroMDM refuses the key: it is not the one that its -api-key names.",
        )),
        404 if text.trim() == "404 page not found" => Some((
            Reason::GarbledAnswer,
            "MicroMDM has no such path: look at `url`, and whether it runs with an -api-key.",
        )),
        500 => Some(on_the_way_to_apple(text)),
        _ => None,
    }
}

fn on_the_way_to_apple(text: &str) -> (Reason, &'static str) {
    let after = |words| text.split_once(words).map(|(_, rest)| rest);
    if let Some((status, rest)) = after(APPLE_SAYS).and_then(number) {
        let refusal = refusal(status, rest);
        return (refusal.reason, refusal.detail);
    }
    if let Some((status, _)) = after(NO_SESSION).and_then(number) {
        return no_session(status);
    }
    if text.contains("DEP not configured yet") {
        return (
            Reason::SourceError,
            "MicroMDM has no server token of Apple's yet.",
        );
    }
    // Another release may put Apple's text into other words.
    named(text).unwrap_or((
        Reason::SourceError,
        "MicroMDM brings no answer of Apple's: look at its log.",
    ))
}

/// Of Apple's refusal to open a session MicroMDM passes on the status alone.
const fn no_session(status: u16) -> (Reason, &'static str) {
    match status {
        400 | 401 | 403 => (
            Reason::CredentialsRefused,
            "Apple opens no session for MicroMDM: its server token has expired or was replaced, its clock is wrong, or Apple's new terms are not accepted.",
        ),
        429 => (Reason::RateLimited, ""),
        _ => (
            Reason::SourceError,
            "MicroMDM brings no answer: Apple opens no session for it.",
        ),
    }
}

/// The status at the beginning of a text, and what follows.
fn number(text: &str) -> Option<(u16, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Verdict;

    /// As MicroMDM writes it.
    fn message(what: &str) -> String {
        let text = serde_json::json!({ "error": format!("get device details: {what}") });
        format!("{text:#}\n")
    }

    #[test]
    fn apples_word_counts_wherever_it_stands_in_the_message() {
        let says = |status: u16, text: &str| {
            message(&format!(
                "unexpected dep response. status={status} DEP API Error: {text}"
            ))
        };
        let session = |status: &str| {
            message(&format!(
                "get session for request to https://mdmenrollment.apple.com: creating new auth session for dep: establishing DEP session: {status}"
            ))
        };
        let table = [
            (says(403, "T_C_NOT_SIGNED"), Reason::TermsNotSigned, "T_C"),
            (
                says(403, "\"T_C_NOT_SIGNED\"\n"),
                Reason::TermsNotSigned,
                "T_C",
            ),
            (
                says(403, "token_expiredForbidden"),
                Reason::CredentialsExpired,
                "expired",
            ),
            (
                says(403, "ACCESS_DENIED"),
                Reason::CredentialsRefused,
                "ACCESS_DENIED",
            ),
            (
                says(401, "UNAUTHORIZED"),
                Reason::CredentialsRefused,
                "session",
            ),
            (
                says(403, "FORBIDDEN"),
                Reason::CredentialsRefused,
                "session",
            ),
            (says(403, ""), Reason::CredentialsRefused, ""),
            (says(400, "DEVICE_ID_REQUIRED"), Reason::StationFault, ""),
            (
                says(400, "MALFORMED_REQUEST_BODY"),
                Reason::StationFault,
                "",
            ),
            (says(400, "something new"), Reason::GarbledAnswer, ""),
            (says(429, "TOO_MANY_REQUESTS"), Reason::RateLimited, ""),
            (says(500, "SERVER_ERROR"), Reason::SourceError, ""),
            (says(503, "T_C_NOT_SIGNED"), Reason::SourceError, ""),
            (
                session("401 Unauthorized"),
                Reason::CredentialsRefused,
                "server token",
            ),
            (
                session("403 Forbidden"),
                Reason::CredentialsRefused,
                "terms",
            ),
            (
                session("400 Bad Request"),
                Reason::CredentialsRefused,
                "clock",
            ),
            (session("429 Too Many Requests"), Reason::RateLimited, ""),
            (
                session("503 Service Unavailable"),
                Reason::SourceError,
                "session",
            ),
            (session("?"), Reason::SourceError, "log"),
            (
                message(
                    "perform dep request: Post \"https://mdmenrollment.apple.com/devices\": dial tcp: lookup mdmenrollment.apple.com: no such host",
                ),
                Reason::SourceError,
                "log",
            ),
            (
                message(
                    "decode DEP response body: invalid character '<' looking for beginning of value",
                ),
                Reason::SourceError,
                "log",
            ),
            (
                "{\"error\":\"DEP not configured yet. add a DEP token to enable DEP\"}".to_owned(),
                Reason::SourceError,
                "no server token",
            ),
            (
                message("Apple's words, otherwise put: T_C_NOT_SIGNED"),
                Reason::TermsNotSigned,
                "T_C",
            ),
            (String::new(), Reason::SourceError, "log"),
            (
                message("unexpected dep response. status=99999999 DEP API Error: "),
                Reason::SourceError,
                "log",
            ),
        ];
        for (text, reason, word) in table {
            let found = read(500, &text);
            assert!(
                found.is_some_and(|(found, detail)| found == reason && detail.contains(word)),
                "{text}: {found:?}"
            );
            assert_eq!(reason.verdict(), Verdict::Unknown);
        }
    }

    #[test]
    fn its_own_refusals_are_told_from_others() {
        let reason = |status, text| read(status, text).map(|(reason, _)| reason);
        assert_eq!(
            reason(401, "{\n  \"error\": \"Unauthorized\"\n}\n"),
            Some(Reason::CredentialsRefused)
        );
        assert_eq!(
            reason(404, "404 page not found\n"),
            Some(Reason::GarbledAnswer)
        );
        for status in [400, 403, 404, 405, 502] {
            assert_eq!(reason(status, ""), None, "{status}");
        }
    }
}
