//! Can this station answer a scan now? Each part's state, gathered for the dashboards and for the technician. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    reason::{Reason, Verdict},
    runtime::name::Name,
};

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
    /// The web server; `None`: none is configured.
    pub web: Option<WebCondition>,
    /// Is the wall clock synchronised?
    pub clock_synced: bool,
    /// Boxes that are asked again by themselves.
    pub waiting: usize,
    /// Boxes scanned since the station's local midnight; `None`: not read from the journal yet.
    pub today: Option<ByVerdict>,
    /// Lines of the log that were dropped since the start because nobody read standard error.
    pub log_dropped: u64,
    /// Result lines that were dropped since the start because nobody read standard output.
    pub results_dropped: u64,
}

/// The alarms, each a stable word.
pub const ALARMS: [&str; 5] = [
    "not_found_streak",
    "journal_salvaged",
    "session_taken_over",
    "credential_expiring",
    "two_readers_one_lane",
];

/// One thing that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `source`, `replica`, `journal`, `scanner`, `lane`, `broker`, `web`, `clock` or `alarm`.
    pub part: &'static str,
    /// Which one, where there may be several.
    pub name: Option<Name>,
    /// The stable word for what is wrong: a reason, an alarm or a word of health.
    pub word: &'static str,
}

impl Health {
    /// All that is wrong now, what keeps scans from their answers first. `topic_refused`: the broker does not let the station publish
    /// to a topic.
    pub fn troubles(&self, topic_refused: bool) -> Vec<Trouble> {
        let one = |part, word: Option<&'static str>| {
            let name = None;
            word.map(|word| Trouble { part, name, word })
        };
        let mut all = Vec::new();
        all.extend(one("journal", self.journal.state.trouble()));
        for (name, scanner) in &self.scanners {
            let unended = scanner.unended.then_some("unended");
            let word = scanner.state.trouble().or(unended);
            all.extend(named("scanner", name, word));
        }
        for (name, source) in &self.sources {
            let replica = source.replica.as_ref();
            let replica = replica.and_then(|replica| replica.state.trouble());
            let failing = source.failing.map(Reason::code);
            all.extend(named("source", name, failing));
            all.extend(named("replica", name, replica));
        }
        for (name, lamps) in &self.lamps {
            all.extend(named("lane", name, lamps.trouble()));
        }
        let nobody = self.nobody_listens.then_some("nobody_listens");
        all.extend(one("broker", self.broker.trouble().or(nobody)));
        all.extend(one("broker", topic_refused.then_some("refused_topic")));
        let aside = (!self.journal.set_aside.is_empty()).then_some("set_aside");
        all.extend(one("journal", aside));
        all.extend(one("web", self.web.and_then(WebCondition::trouble)));
        all.extend(one("clock", (!self.clock_synced).then_some("unsynced")));
        let alarms = self.alarms.iter();
        all.extend(alarms.filter_map(|alarm| one("alarm", Some(alarm))));
        all.sort_by_key(|trouble| !self.is_why_unable(trouble));
        all
    }

    /// Does it keep scans from their answers? That is no further thing that is wrong: a part has said it.
    fn is_why_unable(&self, trouble: &Trouble) -> bool {
        match self.unable {
            Some(Unable::Reason(Reason::JournalFault)) => trouble.part == "journal",
            Some(Unable::Reason(reason)) => {
                trouble.part == "source" && trouble.word == reason.code()
            }
            Some(Unable::NoScanner) => trouble.part == "scanner",
            None => false,
        }
    }
}

fn named(part: &'static str, name: &Name, word: Option<&'static str>) -> Option<Trouble> {
    let name = Some(name.clone());
    word.map(|word| Trouble { part, name, word })
}

/// How many boxes of each verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByVerdict(BTreeMap<Verdict, u64>);

impl Default for ByVerdict {
    fn default() -> Self {
        Self(Verdict::ALL.map(|verdict| (verdict, 0)).into())
    }
}

impl ByVerdict {
    /// Every verdict, with how many.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> {
        self.0.iter().map(|(verdict, many)| (*verdict, *many))
    }

    pub fn is_empty(&self) -> bool {
        self.0.values().all(|many| *many == 0)
    }

    pub fn add(&mut self, verdict: Verdict) {
        *self.0.entry(verdict).or_default() += 1;
    }

    pub fn remove(&mut self, verdict: Verdict) {
        let many = self.0.entry(verdict).or_default();
        *many = many.saturating_sub(1);
    }
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
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal,)* } fine: $($fine:ident)*) => {
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

            /// That word, if it says that something is wrong.
            pub const fn trouble(self) -> Option<&'static str> {
                match self {
                    $(Self::$fine)|* => None,
                    wrong => Some(wrong.code()),
                }
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
    } fine: Starting Ok
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
    } fine: Ok None
}

conditions! {
    /// The link to the broker.
    LinkCondition {
        Starting = "starting",
        Connected = "connected",
        Away = "away",
    } fine: Starting Connected
}

conditions! {
    /// Whether the web server listens.
    WebCondition {
        Starting = "starting",
        Ok = "ok",
        Busy = "busy",
        NoRight = "no_right",
        Fault = "fault",
    } fine: Starting Ok
}

conditions! {
    /// Whether the journal can be written.
    JournalCondition {
        Ok = "ok",
        Full = "full",
        ReadOnly = "read_only",
        Slow = "slow",
        Fault = "fault",
    } fine: Ok
}

conditions! {
    /// How well a source's replica is filled. `Shrunken`: its list has lost more than half of its records, and a second pass must
    /// confirm that.
    ReplicaCondition {
        Ok = "ok",
        Filling = "filling",
        Behind = "behind",
        Shrunken = "shrunken",
    } fine: Ok Filling
}

/// The local copy of one source's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHealth {
    pub state: ReplicaCondition,
    /// Records of the last complete pass; before the first one, those that were read so far.
    pub rows: u64,
    /// Before the first complete pass: how many there are in all, where the service says so.
    pub total: Option<u64>,
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

/// One source's health, as its last look-up or probe left it. The default is a source of which nothing is known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// `None`: well. `Some`: the fault of the way or of the credentials, confirmed by a probe.
    pub failing: Option<Reason>,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// The service's own last fetch from Apple (the oldest that counts).
    pub as_of: Option<Timestamp>,
    /// Days until the credential or the MDM's own token expires.
    pub credential_days: Option<i64>,
    /// That moment; `None`: not known, or in days only.
    pub credential_expires: Option<Timestamp>,
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
    /// Rows that are set aside: their seq and why.
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

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn well() -> Health {
        let scanner = ScannerHealth {
            state: ScannerCondition::Ok,
            proven: false,
            unended: false,
        };
        let source = SourceHealth {
            replica: Some(ReplicaHealth {
                state: ReplicaCondition::Filling,
                rows: 0,
                total: None,
                pass_at: None,
                fault: None,
            }),
            ..SourceHealth::default()
        };
        Health {
            unable: None,
            alarms: Vec::new(),
            scanners: [(name("left"), scanner)].into(),
            lamps: [(name("left"), LampCondition::None)].into(),
            sources: [(name("kandji"), source)].into(),
            broker: LinkCondition::Connected,
            nobody_listens: false,
            journal: JournalHealth::sound(Uuid::nil()),
            unheard_faults: 0,
            web: Some(WebCondition::Ok),
            clock_synced: true,
            waiting: 3,
            today: None,
            log_dropped: 0,
            results_dropped: 0,
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_once_what_stops_scans_first() {
        let mut health = well();
        assert_eq!(health.troubles(false), []);
        health.alarms = vec!["credential_expiring"];
        health.clock_synced = false;
        health.nobody_listens = true;
        health.web = Some(WebCondition::Busy);
        health.journal.state = JournalCondition::Full;
        health.journal.set_aside = vec![(7, "packet_too_large".to_owned())];
        health.lamps.insert(name("left"), LampCondition::Busy);
        for scanner in health.scanners.values_mut() {
            scanner.unended = true;
        }
        for replica in health.sources.values_mut() {
            replica.replica.as_mut().unwrap().state = ReplicaCondition::Behind;
        }
        let said = |health: &Health| {
            let troubles = health.troubles(true).into_iter();
            troubles
                .map(|trouble| {
                    let name = trouble
                        .name
                        .map_or(String::new(), |name| format!(" {name}"));
                    format!("{}{name} {}", trouble.part, trouble.word)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            said(&health),
            [
                "journal full",
                "scanner left unended",
                "replica kandji behind",
                "lane left busy",
                "broker nobody_listens",
                "broker refused_topic",
                "journal set_aside",
                "web busy",
                "clock unsynced",
                "alarm credential_expiring",
            ]
        );
        // A part is named with the worse of its words.
        for source in health.sources.values_mut() {
            source.failing = Some(Reason::Offline);
        }
        for scanner in health.scanners.values_mut() {
            scanner.state = ScannerCondition::Absent;
        }
        health.broker = LinkCondition::Away;
        let all = said(&health);
        for word in [
            "scanner left absent",
            "source kandji offline",
            "broker away",
        ] {
            assert!(all.iter().any(|said| said == word), "{word}: {all:?}");
        }
        assert_eq!(all.len(), 11);
        // Why no scan is answered stands first, and is counted once.
        for (unable, first) in [
            (Unable::Reason(Reason::Offline), "source kandji offline"),
            (Unable::NoScanner, "scanner left absent"),
            (Unable::Reason(Reason::JournalFault), "journal full"),
        ] {
            health.unable = Some(unable);
            let all = said(&health);
            assert_eq!((all[0].as_str(), all.len()), (first, 11));
        }
    }
}
