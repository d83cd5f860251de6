//! Why NanoDEP brings no answer: its own word, or Apple's. Pure.

use crate::{
    readiness::device_assignment::{named, refusal},
    reason::Reason,
};

/// NanoDEP's own fault, with Apple's text where Apple refused to open a session.
pub(super) const EXPLAINED: &[u16] = &[502];

/// The status and the text of a reply other than 2xx: the reason, and a sentence to add; empty for none.
pub(super) fn read(status: u16, text: &str) -> (Reason, &'static str) {
    match (status, text.trim()) {
        // Apple's own 401 says so in capitals, or begins with the name of a protocol.
        (401, "Unauthorized") => (
            Reason::CredentialsRefused,
            "NanoDEP refuses the key: it is not the one that its -api names.",
        ),
        (404, "404 page not found") => (
            Reason::GarbledAnswer,
            "NanoDEP has no such path: look at `url` and `dep_name`.",
        ),
        (502, "") => (
            Reason::SourceError,
            "NanoDEP brings no answer of Apple's: it has no server token of the name in `dep_name`, or cannot reach Apple.",
        ),
        (502, text) => named(text).unwrap_or((
            Reason::SourceError,
            "NanoDEP brings no answer: Apple opens no session for it.",
        )),
        (status, text) => {
            let refusal = refusal(status, text);
            (refusal.reason, refusal.detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Verdict;

    #[test]
    fn apples_text_counts_wherever_it_stands_and_nanodeps_own_is_told_from_it() {
        let table = [
            (401, "Unauthorized\n", Reason::CredentialsRefused, "-api"),
            (
                404,
                "404 page not found\n",
                Reason::GarbledAnswer,
                "dep_name",
            ),
            (502, "", Reason::SourceError, "dep_name"),
            (502, "\n", Reason::SourceError, "dep_name"),
            (502, "Bad Gateway", Reason::SourceError, "session"),
            (
                502,
                "oauth_problem_adviceBad Request",
                Reason::CredentialsRefused,
                "signature",
            ),
            (
                502,
                "\"oauth_problem_adviceUnauthorized\"\n",
                Reason::CredentialsRefused,
                "signature",
            ),
            (
                502,
                "\"T_C_NOT_SIGNED\"\n",
                Reason::TermsNotSigned,
                "T_C_NOT_SIGNED",
            ),
            (
                502,
                "token_expiredForbidden",
                Reason::CredentialsExpired,
                "expired",
            ),
            (502, "token_rejected", Reason::CredentialsRefused, "revoked"),
            (
                502,
                "ACCESS_DENIED",
                Reason::CredentialsRefused,
                "ACCESS_DENIED",
            ),
            (502, "USER_AGENT_MISSING", Reason::StationFault, ""),
            (502, "TOO_MANY_REQUESTS", Reason::RateLimited, ""),
            (502, "SERVER_ERROR", Reason::SourceError, ""),
            (401, "UNAUTHORIZED", Reason::CredentialsRefused, "session"),
            (
                401,
                "oauth_problem_adviceUnauthorized",
                Reason::CredentialsRefused,
                "signature",
            ),
            (403, "FORBIDDEN", Reason::CredentialsRefused, "session"),
            (403, "T_C_NOT_SIGNED", Reason::TermsNotSigned, ""),
            (400, "DEVICE_ID_REQUIRED", Reason::StationFault, ""),
            (400, "EXPIRED_CURSOR", Reason::GarbledAnswer, ""),
            (404, "NOT_FOUND", Reason::GarbledAnswer, "NOT_FOUND"),
            (403, "", Reason::CredentialsRefused, ""),
            (503, "T_C_NOT_SIGNED", Reason::SourceError, ""),
        ];
        for (status, text, reason, word) in table {
            let (found, detail) = read(status, text);
            assert_eq!(found, reason, "{status} {text:?}");
            assert!(detail.contains(word), "{status} {text:?}: {detail}");
            assert_eq!(found.verdict(), Verdict::Unknown);
        }
    }
}
