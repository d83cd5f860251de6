//! What Apple's plain-text error codes mean: always *unknown*, never that a device is not assigned. Pure.

use crate::reason::Reason;

/// Why Apple did not answer, and what to tell the technician beside the reason's own sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::readiness) struct Refusal {
    /// The reason.
    pub(in crate::readiness) reason: Reason,
    /// A sentence to add; empty for none.
    pub(in crate::readiness) detail: &'static str,
    /// A new session may mend it.
    pub(in crate::readiness) session: bool,
}

/// Apple's codes with what they mean, most telling first: a body is matched by the first one it *contains*,
/// for Apple sends them bare, in double quotes, with a newline and run together ("token_expiredForbidden").
const CODES: &[(&str, Reason, &str)] = &[
    (
        "T_C_NOT_SIGNED",
        Reason::TermsNotSigned,
        "Apple says T_C_NOT_SIGNED.",
    ),
    (
        "token_expired",
        Reason::CredentialsExpired,
        "Apple says that the server token has expired; renew it in Apple Business or School Manager.",
    ),
    (
        "token_rejected",
        Reason::CredentialsRefused,
        "Apple says that the server token was revoked or replaced by a newer one.",
    ),
    (
        "ACCESS_DENIED",
        Reason::CredentialsRefused,
        "Apple denies this MDM server the access (ACCESS_DENIED).",
    ),
    (
        "oauth_problem_adviceUnauthorized",
        Reason::CredentialsRefused,
        "Apple refuses the signature: wrong token fields, or a wrong clock.",
    ),
    (
        "oauth_problem_advice",
        Reason::CredentialsRefused,
        "Apple refuses the form of the signature.",
    ),
    (
        "USER_AGENT_MISSING",
        Reason::StationFault,
        "Apple wants another User-Agent (USER_AGENT_MISSING); see user_agent in the config.",
    ),
    (
        "USER_AGENT_INVALID",
        Reason::StationFault,
        "Apple wants another User-Agent (USER_AGENT_INVALID); see user_agent in the config.",
    ),
    (
        "MALFORMED_REQUEST_BODY",
        Reason::StationFault,
        "Apple says MALFORMED_REQUEST_BODY.",
    ),
    (
        "DEVICE_ID_REQUIRED",
        Reason::StationFault,
        "Apple says DEVICE_ID_REQUIRED.",
    ),
    (
        "PROFILE_UUID_REQUIRED",
        Reason::StationFault,
        "Apple says PROFILE_UUID_REQUIRED.",
    ),
    (
        "CURSOR_REQUIRED",
        Reason::StationFault,
        "Apple says CURSOR_REQUIRED.",
    ),
    (
        "INVALID_CURSOR",
        Reason::GarbledAnswer,
        "Apple says INVALID_CURSOR.",
    ),
    (
        "EXHAUSTED_CURSOR",
        Reason::GarbledAnswer,
        "Apple says EXHAUSTED_CURSOR.",
    ),
    (
        "EXPIRED_CURSOR",
        Reason::GarbledAnswer,
        "Apple says EXPIRED_CURSOR.",
    ),
    ("TOO_MANY_REQUESTS", Reason::RateLimited, ""),
    (
        "SERVER_ERROR",
        Reason::SourceError,
        "Apple says SERVER_ERROR.",
    ),
    (
        "UNAUTHORIZED",
        Reason::CredentialsRefused,
        "Apple refuses the session (UNAUTHORIZED).",
    ),
    (
        "FORBIDDEN",
        Reason::CredentialsRefused,
        "Apple refuses the session (FORBIDDEN).",
    ),
    (
        "NOT_FOUND",
        Reason::GarbledAnswer,
        "Apple says NOT_FOUND to the request itself.",
    ),
];

/// What the code in `text` means; `None`: there is none.
pub(in crate::readiness) fn named(text: &str) -> Option<(Reason, &'static str)> {
    let mut codes = CODES.iter();
    let (_, reason, detail) = codes.find(|(code, ..)| text.contains(code))?;
    Some((*reason, detail))
}

/// Reads a reply other than 2xx. The status decides where it is clear by itself; the code does for the rest.
pub(in crate::readiness) fn refusal(status: u16, body: &str) -> Refusal {
    let (reason, detail) = match status {
        429 => (Reason::RateLimited, ""),
        500.. => (Reason::SourceError, ""),
        _ => match (named(body), status) {
            (Some(named), _) => named,
            (None, 401 | 403) => (Reason::CredentialsRefused, ""),
            (None, _) => (Reason::GarbledAnswer, ""),
        },
    };
    Refusal {
        reason,
        detail,
        session: status == 401 || (status == 403 && body.contains("FORBIDDEN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_means_that_nobody_could_say_quoted_or_bare() {
        let table = [
            (
                400,
                "oauth_problem_adviceBad Request",
                Reason::CredentialsRefused,
                false,
            ),
            (
                401,
                "oauth_problem_adviceUnauthorized",
                Reason::CredentialsRefused,
                true,
            ),
            (401, "UNAUTHORIZED", Reason::CredentialsRefused, true),
            (403, "FORBIDDEN", Reason::CredentialsRefused, true),
            (403, "T_C_NOT_SIGNED", Reason::TermsNotSigned, false),
            (403, "ACCESS_DENIED", Reason::CredentialsRefused, false),
            (
                403,
                "token_expiredForbidden",
                Reason::CredentialsExpired,
                false,
            ),
            (401, "token_rejected", Reason::CredentialsRefused, true),
            (403, "token_rejected", Reason::CredentialsRefused, false),
            (400, "USER_AGENT_MISSING", Reason::StationFault, false),
            (400, "USER_AGENT_INVALID", Reason::StationFault, false),
            (400, "MALFORMED_REQUEST_BODY", Reason::StationFault, false),
            (400, "DEVICE_ID_REQUIRED", Reason::StationFault, false),
            (400, "PROFILE_UUID_REQUIRED", Reason::StationFault, false),
            (400, "NOT_FOUND", Reason::GarbledAnswer, false),
            (404, "NOT_FOUND", Reason::GarbledAnswer, false),
            (400, "PROFILE_NOT_FOUND", Reason::GarbledAnswer, false),
            (404, "PROFILE_NOT_FOUND", Reason::GarbledAnswer, false),
            (400, "CURSOR_REQUIRED", Reason::StationFault, false),
            (400, "INVALID_CURSOR", Reason::GarbledAnswer, false),
            (400, "EXHAUSTED_CURSOR", Reason::GarbledAnswer, false),
            (400, "EXPIRED_CURSOR", Reason::GarbledAnswer, false),
            (429, "TOO_MANY_REQUESTS", Reason::RateLimited, false),
            (500, "SERVER_ERROR", Reason::SourceError, false),
            (
                503,
                "<html>Service Unavailable</html>",
                Reason::SourceError,
                false,
            ),
            (403, "", Reason::CredentialsRefused, false),
            (
                404,
                "<html>no such page</html>",
                Reason::GarbledAnswer,
                false,
            ),
            (418, "", Reason::GarbledAnswer, false),
        ];
        for (status, body, reason, session) in table {
            for shown in [
                body.to_owned(),
                format!("\"{body}\"\n"),
                format!("{body}\r\n"),
            ] {
                let refusal = refusal(status, &shown);
                assert_eq!(
                    (refusal.reason, refusal.session),
                    (reason, session),
                    "{status} {shown:?}"
                );
                assert_eq!(refusal.reason.verdict(), crate::reason::Verdict::Unknown);
            }
        }
    }

    #[test]
    fn the_terms_are_told_from_a_session_that_ended() {
        assert_ne!(
            refusal(403, "\"T_C_NOT_SIGNED\"\n").detail,
            refusal(403, "\"FORBIDDEN\"\n").detail
        );
    }
}
