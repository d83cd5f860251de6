//! Can this station answer a scan now? Each part's state, gathered for the dashboards and for the technician. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{reason::Reason, runtime::name::Name};

/// The station's health, as `P/health` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Can it answer a scan now? `Some` says why not.
    pub unable: Option<Unable>,
    /// Alarms, each a stable word.
    pub alarms: Vec<&'static str>,
    pub scanners: BTreeMap<Name, ScannerHealth>,
    /// Of each lane.
    pub lamps: BTreeMap<Name, LampCondition>,
    /// Each source.
    pub sources: BTreeMap<Name, SourceHealth>,
    pub broker: LinkCondition,
    /// The broker says that nobody listens, and rows are kept.
    pub nobody_listens: bool,
    /// The journal.
    pub journal: JournalHealth,
    /// Scans answered `journal_fault` that had to make room before the broker could have them.
    pub unheard_faults: u64,
    /// Is the wall clock synchronised?
    pub clock_synced: bool,
    /// Boxes that are asked again by themselves.
    pub waiting: usize,
    /// Lines of the log that were dropped since the start because nobody read standard error.
    pub log_dropped: u64,
    /// Result lines that were dropped since the start because nobody read standard output.
    pub results_dropped: u64,
}

/// Why the station cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unable {
    /// A required source fails, or the journal cannot be written.
    Reason(Reason),
    /// No scanner is there.
    NoScanner,
}

impl Unable {
    /// The stable word in `P/health`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.code(),
            Self::NoScanner => "no_scanner",
        }
    }
}

/// A closed set of words for what health says of one kind of part.
macro_rules! conditions {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($variant,)*
        }

        impl $name {
            /// The stable word in `P/health`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

conditions! {
    /// Whether a scanner can bring a scan. `Ended`: a stream that ended; it brings no further scan.
    ScannerCondition {
        Starting = "starting",
        Ok = "ok",
        Absent = "absent",
        NoRight = "no_right",
        Busy = "busy",
        Ended = "ended",
        Fault = "fault",
    }
}

conditions! {
    /// Whether a lane's lamps are driven. `None`: none are fitted.
    LampCondition {
        Ok = "ok",
        None = "none",
        Busy = "busy",
        Missing = "missing",
        NoRight = "no_right",
        Fault = "fault",
    }
}

conditions! {
    /// The link to the broker.
    LinkCondition {
        Starting = "starting",
        Connected = "connected",
        Away = "away",
    }
}

conditions! {
    /// Whether the journal can be written.
    JournalCondition {
        Ok = "ok",
        Full = "full",
        ReadOnly = "read_only",
        Slow = "slow",
        Fault = "fault",
    }
}

conditions! {
    /// How well a source's replica is filled. `Shrunken`: its list has lost more than half of its records, and a second pass must
    /// confirm that.
    ReplicaCondition {
        Ok = "ok",
        Filling = "filling",
        Behind = "behind",
        Shrunken = "shrunken",
    }
}

/// The local copy of one source's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHealth {
    pub state: ReplicaCondition,
    /// Records of the last complete pass; before the first one, those that were read so far.
    pub rows: u64,
    /// The start of the last complete pass, by the service's clock.
    pub pass_at: Option<Timestamp>,
    /// Why the newest pass was not complete.
    pub fault: Option<Reason>,
}

/// One scanner's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerHealth {
    pub state: ScannerCondition,
    /// It has yielded a known serial number.
    pub proven: bool,
    /// Its codes arrive without an end key: a pause has to end each of them.
    pub unended: bool,
}

/// One source's health, as its last look-up or probe left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceHealth {
    /// `None`: well. `Some`: the fault of the way or of the credentials, confirmed by a probe.
    pub failing: Option<Reason>,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// The service's own last fetch from Apple (the oldest that counts).
    pub as_of: Option<Timestamp>,
    /// Days until the credential or the MDM's own token expires.
    pub credential_days: Option<i64>,
    /// Requests left in the service's window.
    pub quota_left: Option<u64>,
    /// The size of that window.
    pub quota_limit: Option<u64>,
    /// `None`: it has none.
    pub replica: Option<ReplicaHealth>,
    /// The replica's rows are young enough to answer where the service cannot be reached.
    pub rows_answer: bool,
}

/// The journal's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHealth {
    pub state: JournalCondition,
    /// The epoch of this journal.
    pub epoch: Uuid,
    /// The newest `seq` that was given out in it.
    pub seq: u64,
    /// Rows that wait for their PUBACK.
    pub unsent: u64,
    /// Rows that the broker will not take: their seq and why.
    pub set_aside: Vec<(u64, String)>,
    /// Undelivered rows that were dropped for lack of space.
    pub dropped: u64,
    /// Scans whose process died before their verdict.
    pub interrupted: u64,
    /// Scans answered `journal_fault`.
    pub faulted: u64,
    /// The journal could not be read, or came from another machine, within the last week; what could be read was salvaged.
    pub salvaged: bool,
    /// Records salvaged then.
    pub salvaged_rows: u64,
    /// Records known to be lost then; `None`: nobody can say how many.
    pub lost_rows: Option<u64>,
}

impl JournalHealth {
    /// A sound journal of that epoch, with nothing in it yet.
    pub fn sound(epoch: Uuid) -> Self {
        Self {
            state: JournalCondition::Ok,
            epoch,
            seq: 0,
            unsent: 0,
            set_aside: Vec::new(),
            dropped: 0,
            interrupted: 0,
            faulted: 0,
            salvaged: false,
            salvaged_rows: 0,
            lost_rows: Some(0),
        }
    }
}
