//! What an examination of a source shows, for the technician.

use super::http::Fault;
use crate::reason::Reason;

/// From this many days before a credential expires, it is worth a warning.
pub(super) const SOON_DAYS: i64 = 30;

/// The worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    Warn,
    Fail,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The part of the source ("ADE token HQ"); empty: the source as a whole.
    pub about: String,
    pub outcome: Outcome,
    pub finding: String,
    /// What to do; empty: nothing.
    pub remedy: String,
}

impl Remark {
    pub(super) fn ok(finding: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, finding, "")
    }

    pub(super) fn warn(finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Outcome::Warn, finding, remedy)
    }

    pub(super) fn fail(finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Outcome::Fail, finding, remedy)
    }

    /// What could not be done, why, and what the technician can do about it.
    pub fn of_fault(what: &str, fault: &Fault) -> Self {
        let words = fault.reason.message(fault.detail.as_deref());
        Self::fail(format!("{what}: {words}"), remedy(fault.reason))
    }

    pub(super) fn about(self, about: impl Into<String>) -> Self {
        let about = about.into();
        Self { about, ..self }
    }

    fn new(outcome: Outcome, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            about: String::new(),
            outcome,
            finding: finding.into(),
            remedy: remedy.into(),
        }
    }
}

/// An MDM server at Apple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MdmServer {
    pub name: String,
    /// 32 hex digits.
    pub uuid: Option<String>,
}

/// One source examined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// The first is about the source as a whole.
    pub remarks: Vec<Remark>,
    /// The MDM servers at Apple whose devices the source's credential can see.
    pub servers: Vec<MdmServer>,
}

impl From<Remark> for Examination {
    fn from(remark: Remark) -> Self {
        Self {
            remarks: vec![remark],
            servers: Vec::new(),
        }
    }
}

fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Offline => {
            "check the network, the name service, `url` and, if the source has one, `token_url`"
        }
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
        Reason::GarbledAnswer => {
            "check `url` and, if the source has one, `token_url`: what answers there is not this service's API"
        }
        other => other.action(),
    }
}
