//! Every verdict, every stable reason code with its sentence and its next action, and the lamp signals. Pure.
//!
//! The terminal, the log and MQTT messages take their sentences from this table. A test keeps `docs/operating.md` equal to it.

/// What the person at the bench does with the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Power it on.
    Ready,
    /// Put it aside. It becomes ready by itself, and the station keeps asking.
    Wait,
    /// Somebody must act first.
    NotReady,
    /// The station could not find out; the box is not at fault.
    Unknown,
    /// The code was not a device's serial number.
    Rescan,
}

impl Verdict {
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::Wait,
        Self::NotReady,
        Self::Unknown,
        Self::Rescan,
    ];

    /// Stable: part of messages, exports and terminal output.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Wait => "wait",
            Self::NotReady => "not_ready",
            Self::Unknown => "unknown",
            Self::Rescan => "rescan",
        }
    }

    pub const fn signal(self) -> Signal {
        match self {
            Self::Ready => Signal::Ready,
            Self::NotReady => Signal::Stop,
            Self::Wait | Self::Unknown => Signal::Hold,
            Self::Rescan => Signal::Rescan,
        }
    }

    /// For groups and late answers: 0 is the worst (not_ready, unknown, wait, rescan, ready).
    pub const fn badness_rank(self) -> u8 {
        match self {
            Self::NotReady => 0,
            Self::Unknown => 1,
            Self::Wait => 2,
            Self::Rescan => 3,
            Self::Ready => 4,
        }
    }
}

/// What a lane shows, independent of the lamps that are fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Green steady: power the box on.
    Ready,
    /// Red on and off: to the problem shelf.
    Stop,
    /// Amber, or a short red flash every 2 s: to the waiting shelf.
    Hold,
    /// Red double flash: scan the right code.
    Rescan,
    /// Red at 3 Hz: an earlier box lost its green.
    Alarm,
    /// Nothing was shown: a newer scan came first, or it was a stray code read in the same trigger pull as a serial number.
    None,
}

impl Signal {
    /// Stable: part of messages and exports (`lamp`).
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stop => "stop",
            Self::Hold => "hold",
            Self::Rescan => "rescan",
            Self::Alarm => "alarm",
            Self::None => "none",
        }
    }

    pub fn from_code(code: &str) -> Option<Self> {
        [
            Self::Ready,
            Self::Stop,
            Self::Hold,
            Self::Rescan,
            Self::Alarm,
            Self::None,
        ]
        .into_iter()
        .find(|signal| signal.code() == code)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $verdict:ident, $sentence:literal, $action:literal;)*) => {
        /// Why a verdict was given. Each reason belongs to exactly one verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// In the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// Stable: part of messages, exports and terminal output.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// For the person at the bench.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// The next action for that person, whatever MDM the station asks.
            pub const fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)* }
            }
        }
    };
}

reasons! {
    Assigned = "assigned", Ready, "The enrollment profile is Assigned.", "Power it on.";
    /// As `assigned`, for a device that was activated before, allowed by `allow_returned`.
    ReturnedStock = "returned_stock", Ready, "Returned stock: the enrollment profile is Assigned again.", "Erase it if it was not erased, then power it on.";

    AssignmentPending = "assignment_pending", Wait, "The profile is still Pending: the MDM has the device and has not assigned its profile yet.", "Put it on the waiting shelf; the station keeps asking.";
    AssignmentThrottled = "assignment_throttled", Wait, "Apple is slowing the MDM's profile assignments down; this clears in hours.", "Put it on the waiting shelf; the station asks again every hour.";
    SyncPending = "sync_pending", Wait, "Apple and the MDM have not synchronised since this device changed.", "Put it on the waiting shelf until the MDM's next fetch.";
    Settling = "settling", Wait, "The profile was assigned moments ago and is still settling.", "Put it on the waiting shelf for a minute; the station keeps asking.";

    NotFound = "not_found", NotReady, "The MDM does not list this serial number.", "Check the serial number, then have the device assigned to the MDM server in Apple Business or School Manager.";
    NotInOrg = "not_in_org", NotReady, "Apple does not know this device in your organisation.", "Ask the reseller to add the device to your organisation at Apple.";
    Released = "released", NotReady, "This device was released from your organisation at Apple.", "Ask the reseller to add the device to your organisation at Apple again.";
    Unassigned = "unassigned", NotReady, "Apple has this device in your organisation, assigned to no MDM server.", "Assign the device to the MDM server in Apple Business or School Manager.";
    WrongServer = "wrong_server", NotReady, "This device is assigned to another MDM server.", "Assign the device to the right MDM server in Apple Business or School Manager.";
    WrongProfile = "wrong_profile", NotReady, "Another enrollment profile than the expected one is assigned.", "Assign the expected enrollment profile in the MDM.";
    NoProfile = "no_profile", NotReady, "Apple has this device on the MDM server with no enrollment profile.", "Assign an enrollment profile to the device in the MDM.";
    ProfileRemoved = "profile_removed", NotReady, "The enrollment profile of this device was removed.", "Assign the enrollment profile again in the MDM.";
    AssignmentFailed = "assignment_failed", NotReady, "The MDM reports that assigning the profile Failed.", "Contact the MDM's support with the serial number.";
    WrongBlueprint = "wrong_blueprint", NotReady, "This device is on another blueprint than this station expects.", "Assign the expected blueprint to the device in the MDM.";
    AlreadyEnrolled = "already_enrolled", NotReady, "This device is Enrolled in the MDM already.", "Take it out of new stock; remove its record from the MDM before it is staged again.";
    PreviouslyActivated = "previously_activated", NotReady, "This device was activated before: its profile was Pushed, so it is not new stock.", "Take it out of new stock; erase it and have its profile assigned again.";
    MigrationPending = "migration_pending", NotReady, "A migration of this device to another MDM server is under way at Apple.", "Finish or cancel the migration in Apple Business or School Manager.";

    Offline = "offline", Unknown, "The service could not be reached.", "Put the box aside; check the station's network.";
    Timeout = "timeout", Unknown, "The service did not answer in time.", "Put the box aside; the station keeps asking.";
    SourceError = "source_error", Unknown, "The service reports an error of its own.", "Put the box aside; the station keeps asking.";
    RateLimited = "rate_limited", Unknown, "The service's request limit is used up.", "Put the box aside; the station keeps asking when the limit allows.";
    CredentialsRefused = "credentials_refused", Unknown, "The service refused the station's credential.", "Put the box aside; call the technician to check the credential and its permissions.";
    CredentialsExpired = "credentials_expired", Unknown, "The station's credential has expired.", "Put the box aside; call the technician to renew the credential.";
    TermsNotSigned = "terms_not_signed", Unknown, "Apple's new terms have not been accepted by your organisation.", "Put the box aside; an administrator must accept the terms in Apple Business or School Manager.";
    TlsUntrusted = "tls_untrusted", Unknown, "The service's certificate is not trusted.", "Put the box aside; call the technician to check the network, the clock and the certificates.";
    MdmLinkBroken = "mdm_link_broken", Unknown, "The MDM's own link to Apple is broken.", "Put the box aside; an administrator must renew the MDM's Automated Device Enrollment token.";
    Stale = "stale", Unknown, "What the service says is too old to trust.", "Put the box aside; the station keeps asking until the answer is fresh.";
    Contradiction = "contradiction", Unknown, "The services contradict each other about this device.", "Put the box aside; call the technician with the serial number.";
    GarbledAnswer = "garbled_answer", Unknown, "The service's answer could not be understood.", "Put the box aside; the station keeps asking.";
    ClockUnsynced = "clock_unsynced", Unknown, "The station's clock is not synchronised.", "Put the box aside; call the technician to check the station's time.";
    JournalFault = "journal_fault", Unknown, "The station could not record this result.", "Put the box aside; call the technician to check the station's disk.";
    StationFault = "station_fault", Unknown, "The station made a mistake or is overloaded.", "Put the box aside and scan it again; call the technician if it stays.";

    Imei = "imei", Rescan, "That is the IMEI.", "Scan the barcode (S) Serial No.";
    Eid = "eid", Rescan, "That is the EID.", "Scan the barcode (S) Serial No.";
    Upc = "upc", Rescan, "That is the product's UPC or EAN.", "Scan the barcode (S) Serial No.";
    PartNumber = "part_number", Rescan, "That is the part number.", "Scan the barcode (S) Serial No.";
    Carton = "carton", Rescan, "That is a carton or pallet label.", "Scan the barcode (S) Serial No. on the box.";
    Tracking = "tracking", Rescan, "That is a tracking number.", "Scan the barcode (S) Serial No. on the box.";
    Unreadable = "unreadable", Rescan, "No serial number could be read from that code.", "Scan the barcode (S) Serial No. again.";
    Ambiguous = "ambiguous", Rescan, "Two devices fit this code, with and without its leading S.", "Type the serial number, or call the technician.";
}

impl Reason {
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// The next action, with the MDM's product and its vendor by name.
    pub fn action_with(self, console: &str, vendor: &str) -> String {
        self.action()
            .replace("the MDM's support", &format!("{vendor} Support"))
            .replace("the MDM's ", &format!("{console}'s "))
            .replace("in the MDM.", &format!("in {console}."))
            .replace("from the MDM ", &format!("from {console} "))
    }

    /// The sentence and what a source adds to it ("Last fetch 2026-01-09 22:01 UTC").
    pub fn message(self, detail: Option<&str>) -> String {
        match detail {
            Some(detail) if !detail.is_empty() => format!("{} {detail}", self.sentence()),
            _ => self.sentence().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use super::*;

    const MANUAL: &str = include_str!("../docs/operating.md");

    /// The rows of the manual's tables of answers: verdict, reason, sentence, meaning, action.
    fn rows() -> Vec<[&'static str; 5]> {
        let answers = MANUAL
            .split("\n## ")
            .find(|part| part.starts_with("The answers"))
            .unwrap();
        let mut verdict = "";
        let mut rows = Vec::new();
        for line in answers.lines() {
            if let Some(heading) = line.strip_prefix("### ") {
                verdict = heading.trim_matches('`');
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let ["", code, sentence, meaning, action, ""] = cells.as_slice()
                && let Some(code) = code
                    .strip_prefix('`')
                    .and_then(|code| code.strip_suffix('`'))
            {
                rows.push([verdict, code, sentence, meaning, action]);
            }
        }
        rows
    }

    #[test]
    fn the_manual_has_every_reason_once_in_order_and_in_these_words() {
        let mut rows = rows().into_iter();
        for reason in Reason::ALL {
            let [verdict, code, sentence, meaning, action] = rows
                .next()
                .unwrap_or_else(|| panic!("docs/operating.md lacks {}", reason.code()));
            assert_eq!(
                [verdict, code, sentence, action],
                [
                    reason.verdict().code(),
                    reason.code(),
                    reason.sentence(),
                    reason.action()
                ],
                "docs/operating.md must have these words"
            );
            assert!(
                meaning.len() > 10 && meaning.ends_with('.'),
                "{code}: what does it mean?"
            );
        }
        assert_eq!(
            rows.next(),
            None,
            "docs/operating.md knows a reason that the station does not"
        );
    }

    #[test]
    fn an_action_names_the_product_that_the_station_asks() {
        for reason in Reason::ALL {
            let action = reason.action_with("Jamf Pro", "Jamf");
            let elsewhere = action.replace("the MDM server", "");
            assert!(!elsewhere.contains("the MDM"), "{action}");
        }
        assert_eq!(
            Reason::AssignmentFailed.action_with("Kandji", "Kandji"),
            "Contact Kandji Support with the serial number."
        );
        assert_eq!(
            Reason::NoProfile.action_with("Jamf Pro", "Jamf"),
            "Assign an enrollment profile to the device in Jamf Pro."
        );
    }

    #[test]
    fn codes_lead_back_to_their_reasons_and_sentences_end() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert!(
                reason.sentence().ends_with('.') && reason.action().ends_with('.'),
                "{}",
                reason.code()
            );
        }
    }
}
