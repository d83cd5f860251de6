//! What can go wrong between the station and a service, and the stable reason each fault has.

use std::{error::Error, io, time::Duration};

use jiff::Timestamp;
use rustls::CertificateError;
use url::Url;

use crate::{
    reason::Reason,
    runtime::{certificate, clock::ClockWatch},
};

/// A request that brought no usable reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stable reason; always one of verdict `unknown`.
    pub reason: Reason,
    /// What to add to the reason's sentence. A whole sentence for a person; never a secret, never a reply's text.
    pub detail: Option<String>,
    /// When to try again, where the service or our own limit says so.
    pub retry_at: Option<Timestamp>,
    /// The reply's own `Date`, if there was a reply.
    pub replied_at: Option<Timestamp>,
}

impl Fault {
    /// A fault with its reason and nothing to add.
    pub const fn bare(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            retry_at: None,
            replied_at: None,
        }
    }

    /// A fault with a sentence for a person.
    pub fn with(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::bare(reason)
        }
    }
}

/// Is `reason` a fault of the connection to a service, of the service, or of the station's credentials there? It says nothing of
/// one box and would meet every other, so a probe can find it. A garbled answer is not among them: the next box may be answered.
pub const fn affects_every_box(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Offline
            | Reason::Timeout
            | Reason::SourceError
            | Reason::RateLimited
            | Reason::CredentialsRefused
            | Reason::CredentialsExpired
            | Reason::TermsNotSigned
            | Reason::TlsUntrusted
            | Reason::ClockUnsynced
            | Reason::StationFault
    )
}

/// How far a reply's `Date` may be from our clock, and a time in a reply from its `Date`.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// Is this moment of a reply later than clocks that differ a little can explain, by the reply's own `Date`?
pub fn in_future(moment: Timestamp, date: Timestamp) -> bool {
    date.checked_add(CLOCK_TOLERANCE)
        .is_ok_and(|latest| moment > latest)
}

/// The rule of the clock: a refused or expired credential is blamed on the clock when ours is not synchronised
/// and the reply's `Date` is absent or far from it. Any other reason stays.
pub fn under_clock(reason: Reason, clock: ClockWatch, replied_at: Option<Timestamp>) -> Reason {
    let spoiled_by_clocks = matches!(
        reason,
        Reason::CredentialsRefused | Reason::CredentialsExpired
    );
    if spoiled_by_clocks && clock_doubtful(clock, replied_at, Timestamp::now()) {
        Reason::ClockUnsynced
    } else {
        reason
    }
}

/// Whether our clock may be the cause: the kernel says it is not synchronised, and the service's clock does not confirm it.
fn clock_doubtful(clock: ClockWatch, replied_at: Option<Timestamp>, now: Timestamp) -> bool {
    let vouched =
        replied_at.is_some_and(|date| date.duration_since(now).unsigned_abs() <= CLOCK_TOLERANCE);
    !vouched && !clock.synced()
}

/// The fault that a failed exchange stands for, before a complete head was there.
pub(super) fn of_exchange(error: &reqwest::Error, clock: ClockWatch) -> Fault {
    if let Some(tls) = find::<rustls::Error>(error) {
        return of_tls(
            tls,
            error.url().and_then(Url::host_str).unwrap_or_default(),
            clock,
        );
    }
    if error.is_timeout() {
        return Fault::bare(Reason::Timeout);
    }
    if error.is_builder() {
        return Fault::with(Reason::StationFault, "The request could not be built.");
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        return Fault::with(Reason::GarbledAnswer, "What answered does not speak HTTP.");
    }
    if error.is_dns() {
        return Fault::with(Reason::Offline, "Its name could not be resolved.");
    }
    let refused = find::<io::Error>(error)
        .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    Fault::with(
        Reason::Offline,
        if refused {
            "The connection was refused."
        } else {
            "The connection failed before a reply was there."
        },
    )
}

fn of_tls(error: &rustls::Error, host: &str, clock: ClockWatch) -> Fault {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};

    let detail = match error {
        // No reply, so no `Date` that could vouch for our clock.
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) if clock_doubtful(clock, None, Timestamp::now()) => {
            return Fault::with(
                Reason::ClockUnsynced,
                "The certificate is out of date by this station's clock.",
            );
        }
        rustls::Error::InvalidCertificate(fault) => {
            format!("Its certificate {}.", certificate::refused(fault, host))
        }
        rustls::Error::AlertReceived(alert) => {
            format!("The service ended the TLS handshake ({alert:?}).")
        }
        _ => "The TLS handshake failed.".to_owned(),
    };
    Fault::with(Reason::TlsUntrusted, detail)
}

/// Looks for an error of one type in the chain. An `io::Error` hides what it wraps from `source()`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::reason::Verdict;

    const SYNCED: ClockWatch = ClockWatch::Fixed { synced: true };
    const UNSYNCED: ClockWatch = ClockWatch::Fixed { synced: false };

    #[test]
    fn the_future_begins_after_five_minutes_and_no_calendar_ends_in_a_panic() {
        let date: Timestamp = "2026-01-09T22:01:10Z".parse().unwrap_or_default();
        for (moment, future) in [
            ("2026-01-09T22:06:10Z", false),
            ("2026-01-09T22:06:10.000000001Z", true),
            ("2020-01-01T00:00:00Z", false),
            ("9999-12-30T22:00:00Z", true),
            ("-009999-01-02T01:59:59Z", false),
        ] {
            assert_eq!(
                moment.parse().map(|moment| in_future(moment, date)).ok(),
                Some(future),
                "{moment}"
            );
        }
        assert!(
            in_future(Timestamp::MAX, Timestamp::MIN) && !in_future(Timestamp::MIN, Timestamp::MAX)
        );
    }

    #[test]
    fn the_clock_is_blamed_only_when_nobody_keeps_it_and_the_reply_does_not_vouch_for_it() {
        let now = Timestamp::now();
        let near = now.checked_sub(Duration::from_secs(290)).ok();
        let far = now.checked_sub(Duration::from_secs(310)).ok();
        let ahead = now.checked_add(Duration::from_secs(310)).ok();
        for reason in [Reason::CredentialsRefused, Reason::CredentialsExpired] {
            for date in [far, ahead, None] {
                assert_eq!(under_clock(reason, UNSYNCED, date), Reason::ClockUnsynced);
                assert_eq!(under_clock(reason, SYNCED, date), reason);
            }
            assert_eq!(under_clock(reason, UNSYNCED, near), reason);
        }
        for reason in Reason::ALL.iter().filter(|reason| {
            !matches!(
                reason,
                Reason::CredentialsRefused | Reason::CredentialsExpired
            )
        }) {
            assert_eq!(under_clock(*reason, UNSYNCED, None), *reason);
        }
    }

    #[test]
    fn faults_of_the_way_are_never_about_the_box() {
        for reason in Reason::ALL
            .iter()
            .filter(|reason| affects_every_box(**reason))
        {
            assert_eq!(reason.verdict(), Verdict::Unknown, "{}", reason.code());
        }
        for reason in [
            Reason::GarbledAnswer,
            Reason::Stale,
            Reason::MdmLinkBroken,
            Reason::Contradiction,
            Reason::JournalFault,
        ] {
            assert!(!affects_every_box(reason), "{}", reason.code());
        }
    }

    #[test]
    fn what_an_io_error_wraps_is_found() {
        let wrapped = io::Error::other(io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::DecryptError,
        ));
        assert_eq!(
            find::<rustls::Error>(&wrapped),
            Some(&rustls::Error::DecryptError)
        );
    }

    #[test]
    fn only_dates_of_a_certificate_are_put_down_to_the_clock() {
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(
            of_tls(&expired, "acme.api.kandji.io", UNSYNCED).reason,
            Reason::ClockUnsynced
        );
        assert_eq!(
            of_tls(&expired, "acme.api.kandji.io", SYNCED).reason,
            Reason::TlsUntrusted
        );
        for error in [
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
            rustls::Error::DecryptError,
        ] {
            assert_eq!(
                of_tls(&error, "acme.api.kandji.io", UNSYNCED).reason,
                Reason::TlsUntrusted
            );
        }
    }
}
