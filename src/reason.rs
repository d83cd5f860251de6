//! The words: every verdict, every stable reason code with its one sentence and one next action, and the lamp signals. Pure.
//!
//! This table is the only place where the sentences stand. The terminal, the log, the MQTT message and
//! `docs/operating.md` all take them from here (a test holds the document against it).

/// What the person at the bench does with the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Power it on.
    Ready,
    /// Put it aside; it becomes ready by itself and the station keeps asking.
    Wait,
    /// Somebody must act first.
    NotReady,
    /// Nobody could say; the box is not to blame.
    Unknown,
    /// That was not a device's serial number.
    Rescan,
}

impl Verdict {
    /// The stable code in messages, exports and on the terminal.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Wait => "wait",
            Self::NotReady => "not_ready",
            Self::Unknown => "unknown",
            Self::Rescan => "rescan",
        }
    }

    /// The lamp signal that answers this verdict.
    pub const fn signal(self) -> Signal {
        match self {
            Self::Ready => Signal::Ready,
            Self::NotReady => Signal::Stop,
            Self::Wait | Self::Unknown => Signal::Hold,
            Self::Rescan => Signal::Rescan,
        }
    }

    /// Rank for groups and late answers: 0 is the worst (not_ready, unknown, wait, rescan, ready).
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

/// The signal given to a lane, whatever lamps are fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Green steady: power the box on.
    Ready,
    /// Red on and off: to the problem shelf.
    Stop,
    /// Amber, or a red wink: to the waiting shelf.
    Hold,
    /// Red double flash: scan the right code.
    Rescan,
    /// Red at 3 Hz: an earlier box lost its green.
    Alarm,
    /// Nothing was shown (an overtaken scan, or a code beside the serial number).
    None,
}

impl Signal {
    /// The stable code in messages and exports (`lamp`).
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

    /// Reads a stable code back.
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
        /// Why a verdict was given: a stable code. Each reason belongs to exactly one verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The stable code in messages, exports and on the terminal.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The one verdict that this reason belongs to.
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// One sentence for the person at the bench.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// One next action.
            pub const fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)* }
            }
        }
    };
}

reasons! {
    /// The profile is assigned: fresh, positive, agreeing evidence.
    Assigned = "assigned", Ready, "The enrollment profile is Assigned.", "Power it on.";
    /// As `assigned`, for a device that was activated before, allowed by `allow_returned`.
    ReturnedStock = "returned_stock", Ready, "Returned stock: the enrollment profile is Assigned again.", "Erase it if it was not erased, then power it on.";

    /// The MDM has the device and has not assigned the profile yet ("Pending").
    AssignmentPending = "assignment_pending", Wait, "The profile is still Pending: the MDM has the device and has not assigned its profile yet.", "Put it on the waiting shelf; the station keeps asking.";
    /// Apple slowed the MDM's assignment down.
    AssignmentThrottled = "assignment_throttled", Wait, "Apple is slowing the MDM's profile assignments down; this clears in hours.", "Put it on the waiting shelf; the station asks again every hour.";
    /// Apple has it, the MDM has not fetched yet.
    SyncPending = "sync_pending", Wait, "Apple and the MDM have not synchronised since this device changed.", "Put it on the waiting shelf until the MDM's next fetch.";
    /// Assigned so recently that it may not be in force everywhere.
    Settling = "settling", Wait, "The profile was assigned moments ago and is still settling.", "Put it on the waiting shelf for a minute; the station keeps asking.";

    /// No record at the MDM or at Apple's server.
    NotFound = "not_found", NotReady, "The MDM does not list this serial number.", "Check the serial number, then have the device assigned to the MDM server in Apple Business or School Manager.";
    /// Not in the organisation at Apple.
    NotInOrg = "not_in_org", NotReady, "Apple does not know this device in your organisation.", "Ask the reseller to add the device to your organisation at Apple.";
    /// Released from the organisation.
    Released = "released", NotReady, "This device was released from your organisation at Apple.", "Ask the reseller to add the device to your organisation at Apple again.";
    /// Assigned to no MDM server.
    Unassigned = "unassigned", NotReady, "Apple has this device in your organisation, assigned to no MDM server.", "Assign the device to the MDM server in Apple Business or School Manager.";
    /// Assigned to another MDM server.
    WrongServer = "wrong_server", NotReady, "This device is assigned to another MDM server.", "Assign the device to the right MDM server in Apple Business or School Manager.";
    /// Another enrollment profile than the expected one.
    WrongProfile = "wrong_profile", NotReady, "Another enrollment profile than the expected one is assigned.", "Assign the expected enrollment profile in the MDM.";
    /// On the right server, without a profile.
    NoProfile = "no_profile", NotReady, "Apple has this device on the MDM server with no enrollment profile.", "Assign an enrollment profile to the device in the MDM.";
    /// The profile was removed.
    ProfileRemoved = "profile_removed", NotReady, "The enrollment profile of this device was removed.", "Assign the enrollment profile again in the MDM.";
    /// The MDM's assignment failed.
    AssignmentFailed = "assignment_failed", NotReady, "The MDM reports that assigning the profile Failed.", "Contact Kandji Support with the serial number.";
    /// Another blueprint than the expected one.
    WrongBlueprint = "wrong_blueprint", NotReady, "This device is on another blueprint than this station expects.", "Assign the expected blueprint to the device in the MDM.";
    /// The device is enrolled already.
    AlreadyEnrolled = "already_enrolled", NotReady, "This device is Enrolled in the MDM already.", "Take it out of new stock; remove its record from the MDM before it is staged again.";
    /// Activated before: a device fetched the profile once.
    PreviouslyActivated = "previously_activated", NotReady, "This device was activated before: its profile was Pushed, so it is not new stock.", "Take it out of new stock; erase it and have its profile assigned again.";
    /// A migration to another MDM was ordered at Apple.
    MigrationPending = "migration_pending", NotReady, "A migration of this device to another MDM server is under way at Apple.", "Finish or cancel the migration in Apple Business or School Manager.";

    /// The service could not be reached.
    Offline = "offline", Unknown, "The service could not be reached.", "Put the box aside; check the station's network.";
    /// No answer in time.
    Timeout = "timeout", Unknown, "The service did not answer in time.", "Put the box aside; the station keeps asking.";
    /// The service answered with an error of its own.
    SourceError = "source_error", Unknown, "The service reports an error of its own.", "Put the box aside; the station keeps asking.";
    /// The service asked for fewer questions.
    RateLimited = "rate_limited", Unknown, "The service's request limit is used up.", "Put the box aside; the station keeps asking when the limit allows.";
    /// The credential was refused.
    CredentialsRefused = "credentials_refused", Unknown, "The service refused the station's credential.", "Put the box aside; call the technician to check the credential and its permissions.";
    /// The credential has expired.
    CredentialsExpired = "credentials_expired", Unknown, "The station's credential has expired.", "Put the box aside; call the technician to renew the credential.";
    /// Apple's new terms are not accepted.
    TermsNotSigned = "terms_not_signed", Unknown, "Apple's new terms have not been accepted by your organisation.", "Put the box aside; an administrator must accept the terms in Apple Business or School Manager.";
    /// The service's certificate is not trusted.
    TlsUntrusted = "tls_untrusted", Unknown, "The service's certificate is not trusted.", "Put the box aside; call the technician to check the network, the clock and the certificates.";
    /// The MDM's own link to Apple is broken.
    MdmLinkBroken = "mdm_link_broken", Unknown, "The MDM's own link to Apple is broken.", "Put the box aside; an administrator must renew the MDM's Automated Device Enrollment token.";
    /// The evidence is too old.
    Stale = "stale", Unknown, "What the service says is too old to trust.", "Put the box aside; the station keeps asking until the answer is fresh.";
    /// The sources contradict each other.
    Contradiction = "contradiction", Unknown, "The services contradict each other about this device.", "Put the box aside; call the technician with the serial number.";
    /// The reply could not be understood.
    GarbledAnswer = "garbled_answer", Unknown, "The service's answer could not be understood.", "Put the box aside; the station keeps asking.";
    /// The station's clock is not synchronised and spoils the credentials.
    ClockUnsynced = "clock_unsynced", Unknown, "The station's clock is not synchronised.", "Put the box aside; call the technician to check the station's time.";
    /// The result could not be recorded.
    JournalFault = "journal_fault", Unknown, "The station could not record this result.", "Put the box aside; call the technician to check the station's disk.";
    /// The station itself failed.
    StationFault = "station_fault", Unknown, "The station made a mistake or is overloaded.", "Put the box aside and scan it again; call the technician if it stays.";

    /// That is an IMEI.
    Imei = "imei", Rescan, "That is the IMEI.", "Scan the barcode (S) Serial No.";
    /// That is an EID.
    Eid = "eid", Rescan, "That is the EID.", "Scan the barcode (S) Serial No.";
    /// That is the UPC or EAN.
    Upc = "upc", Rescan, "That is the product's UPC or EAN.", "Scan the barcode (S) Serial No.";
    /// That is a part number.
    PartNumber = "part_number", Rescan, "That is the part number.", "Scan the barcode (S) Serial No.";
    /// That is a carton or pallet label.
    Carton = "carton", Rescan, "That is a carton or pallet label.", "Scan the barcode (S) Serial No. on the box.";
    /// That is a tracking number.
    Tracking = "tracking", Rescan, "That is a tracking number.", "Scan the barcode (S) Serial No. on the box.";
    /// Nothing that could be a serial number.
    Unreadable = "unreadable", Rescan, "No serial number could be read from that code.", "Scan the barcode (S) Serial No. again.";
    /// Two devices fit the code.
    Ambiguous = "ambiguous", Rescan, "Two devices fit this code, with and without its leading S.", "Type the serial number, or call the technician.";
}

impl Reason {
    /// Reads a stable code back.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// The sentence with what a source adds to it ("Last fetch 2026-01-09 22:01 UTC").
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
