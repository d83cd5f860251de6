//! What other systems know about one serial number: one file per service, the evidence it yields, one HTTP client.

pub mod evidence;

use std::{path::PathBuf, time::Duration};

use url::Url;

use crate::runtime::{credential::Credential, name::Name};
use evidence::SourceKind;

/// One `[[source]]` of the config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: Name,
    /// Base URL.
    pub url: Url,
    /// An additional trust anchor; `None`: the system's only.
    pub ca_file: Option<PathBuf>,
    /// Own limit of reads a minute; 0: none.
    pub reads_per_minute: u32,
    /// What it is.
    pub service: Service,
}

/// What a source is, with what only that kind needs.
#[derive(Clone, Debug)]
pub enum Service {
    /// Kandji / Iru.
    Kandji {
        /// Bearer token.
        token: Credential,
        /// ADE token ids that count; empty: all.
        tokens: Vec<String>,
        /// How old the MDM's last fetch from Apple may be.
        max_fetch_age: Duration,
        /// Blueprint ids that count; empty: any.
        expected_blueprints: Vec<String>,
    },
    /// Apple's Device Assignment Services.
    AppleDep {
        /// JSON with Apple's five token fields.
        token: Credential,
        /// `User-Agent` header.
        user_agent: String,
        /// Profile uuids that count; empty: any.
        expected_profiles: Vec<String>,
        /// Hosts that a profile's url may name; empty: not asked.
        expected_hosts: Vec<String>,
    },
    /// Apple Business or School Manager's API.
    AppleBusiness {
        /// Token endpoint.
        token_url: Url,
        /// OAuth scope.
        scope: String,
        /// Client id.
        client_id: String,
        /// Key id.
        key_id: String,
        /// The downloaded PEM.
        key: Credential,
        /// Ids of the organisation's MDM servers that count.
        expected_servers: Vec<String>,
    },
}

impl Settings {
    /// The source's kind.
    pub const fn kind(&self) -> SourceKind {
        match self.service {
            Service::Kandji { .. } => SourceKind::Kandji,
            Service::AppleDep { .. } => SourceKind::AppleDep,
            Service::AppleBusiness { .. } => SourceKind::AppleBusiness,
        }
    }
}

/// For what a source is asked: scans go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A person waits at the lamp.
    Scan,
    /// A waiting box is asked again; never into a source's last 20 % of quota.
    Recheck,
}
