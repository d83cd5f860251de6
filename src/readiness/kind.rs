//! The one list of services that a source can be, and what the rest of the station knows about each.

use crate::reason::Reason;

/// How good a proof of an assigned profile is, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// What an MDM means to do; Apple was not asked.
    Intent,
    /// An MDM's stored copy of Apple's word.
    Relayed,
    /// Apple's own word just now.
    Apple,
}

impl Grade {
    pub const ALL: [Self; 3] = [Self::Intent, Self::Relayed, Self::Apple];

    /// The stable word in the config and in messages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Relayed => "relayed",
            Self::Apple => "apple",
        }
    }

    /// Reads the stable word back.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.code() == code)
    }
}

/// One entry for each service: its kind, the word for it in config and messages, its folder, and its [`Facts`].
///
/// Whatever needs an arm for each service passes the name of a macro, which is given the whole list.
macro_rules! services {
    ($expand:ident) => {
        $expand! {
            Kandji "kandji" kandji { voice: Voice::Copy, mdm: Some(Mdm { console: "Kandji", vendor: "Kandji" }), not_known: Reason::NotFound, requests_an_hour: Some(10_000), has_list: true, proves: Some(Grade::Relayed), question: "Status in the MDM" },
            Intune "intune" intune { voice: Voice::Copy, mdm: Some(Mdm { console: "Intune", vendor: "Microsoft" }), not_known: Reason::NotFound, requests_an_hour: None, has_list: false, proves: Some(Grade::Intent), question: "Plan in the MDM" },
            Jamf "jamf" jamf { voice: Voice::List, mdm: Some(Mdm { console: "Jamf Pro", vendor: "Jamf" }), not_known: Reason::NotFound, requests_an_hour: None, has_list: true, proves: Some(Grade::Relayed), question: "Status in the MDM" },
            AppleDep "apple-dep" apple_dep { voice: Voice::Apple, mdm: None, not_known: Reason::NotFound, requests_an_hour: None, has_list: true, proves: Some(Grade::Apple), question: "Profile at Apple" },
            NanoDep "nanodep" nanodep { voice: Voice::PassesOn, mdm: Some(Mdm { console: "NanoDEP", vendor: "NanoDEP" }), not_known: Reason::NotFound, requests_an_hour: None, has_list: true, proves: Some(Grade::Apple), question: "Profile at Apple, by NanoDEP" },
            MicroMdm "micromdm" micromdm { voice: Voice::PassesOn, mdm: Some(Mdm { console: "MicroMDM", vendor: "MicroMDM" }), not_known: Reason::NotFound, requests_an_hour: None, has_list: false, proves: Some(Grade::Apple), question: "Profile at Apple, by MicroMDM" },
            AppleBusiness "apple-business" apple_business { voice: Voice::Organisation, mdm: None, not_known: Reason::NotInOrg, requests_an_hour: None, has_list: true, proves: None, question: "MDM server at Apple" },
            Fleet "fleet" fleet { voice: Voice::Live, mdm: Some(Mdm { console: "Fleet", vendor: "Fleet" }), not_known: Reason::NotFound, requests_an_hour: None, has_list: false, proves: Some(Grade::Apple), question: "Profile at Apple, by Fleet" },
            Zentral "zentral" zentral { voice: Voice::Copy, mdm: Some(Mdm { console: "Zentral", vendor: "Zentral" }), not_known: Reason::NotFound, requests_an_hour: None, has_list: false, proves: Some(Grade::Relayed), question: "Status in the MDM" },
        }
    };
}
pub(crate) use services;

/// Whose word a service's answer is. The rule goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// Apple's Device Assignment Services say it themselves.
    Apple,
    /// An MDM passes on, live, all that they say.
    PassesOn,
    /// Apple says to whom the device belongs, and nothing of profiles.
    Organisation,
    /// An MDM that stores what it heard from Apple.
    Copy,
    /// An MDM that asks Apple at each question about a device that it lists.
    Live,
    /// Such an MDM that cannot be asked about one device: it only gives its whole list.
    List,
}

/// How people call an MDM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mdm {
    /// The product, in whose console a profile is assigned.
    pub console: &'static str,
    /// Whose support helps where it fails.
    pub vendor: &'static str,
}

impl Mdm {
    /// The next action of a reason, in the words of this MDM.
    pub fn action(self, reason: Reason) -> String {
        reason.action_with(self.console, self.vendor)
    }
}

/// What the verdict, the config and `lookup` need to know about a kind of service.
struct Facts {
    voice: Voice,
    mdm: Option<Mdm>,
    not_known: Reason,
    requests_an_hour: Option<u64>,
    has_list: bool,
    proves: Option<Grade>,
    question: &'static str,
}

macro_rules! kinds {
    ($($kind:ident $code:literal $folder:ident $facts:tt,)*) => {
        /// The service that a source asks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SourceKind {
            $($kind,)*
        }

        impl SourceKind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The stable word in the config and in messages.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$kind => $code,)*
                }
            }

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$kind => Facts $facts,)*
                }
            }
        }
    };
}
services!(kinds);

impl SourceKind {
    /// Reads the stable word back.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether it is an MDM, of which a station has one at most.
    pub const fn is_mdm(self) -> bool {
        self.facts().mdm.is_some()
    }

    /// How people call this MDM; `None`: it is Apple's service.
    pub const fn mdm(self) -> Option<Mdm> {
        self.facts().mdm
    }

    /// Whether the rule takes all that it says for the word of Apple's Device Assignment Services.
    pub const fn speaks_for_apple(self) -> bool {
        matches!(self.facts().voice, Voice::Apple | Voice::PassesOn)
    }

    /// Whether the rule takes its `ready` for theirs.
    pub const fn ready_is_apples(self) -> bool {
        self.speaks_for_apple() || matches!(self.facts().voice, Voice::Live)
    }

    /// Whether the rule takes its `no` for an MDM's: it tells what the MDM knows.
    pub const fn speaks_for_mdm(self) -> bool {
        matches!(self.facts().voice, Voice::Copy | Voice::Live | Voice::List)
    }

    /// Can it only be listed? Then nobody asks it about a box: its last complete pass is its word, the bad news included.
    pub const fn is_list_only(self) -> bool {
        matches!(self.facts().voice, Voice::List)
    }

    /// What it says of a serial number that it does not know.
    pub const fn not_known(self) -> Reason {
        self.facts().not_known
    }

    /// Whether it answers from a copy, so that Apple itself may know better.
    pub const fn keeps_copy(self) -> bool {
        matches!(self.facts().voice, Voice::Copy | Voice::List)
    }

    /// Whether it is an MDM whose answers tell when it last fetched from Apple.
    pub const fn tells_fetch(self) -> bool {
        self.keeps_copy() && !matches!(self, Self::Zentral)
    }

    /// What it says for too long of a device that was released from the organisation, as the end of a sentence; `None`: it is not known to.
    pub const fn misses_releases(self) -> Option<&'static str> {
        match self {
            // They read, Jamf probably, only the changes of Apple's list, and Apple sends none for a release.
            Self::Jamf | Self::Zentral => Some(
                "hears nothing when a device is released from the organisation: it may call it assigned for ever",
            ),
            Self::Intune => Some(
                "still lists a device for up to 45 days after it was released from the organisation",
            ),
            _ => None,
        }
    }

    /// Whether its replies tell the limit of requests and what is left of it.
    pub const fn tells_limit(self) -> bool {
        self.requests_an_hour().is_some()
    }

    /// The limit of requests that the service documents and tells; `None`: neither.
    pub const fn requests_an_hour(self) -> Option<u64> {
        self.facts().requests_an_hour
    }

    /// Whether it gives a list of all its devices, which a replica needs.
    pub const fn has_list(self) -> bool {
        self.facts().has_list
    }

    /// The best proof of an assigned profile that it can give; `None`: it knows nothing of profiles.
    pub const fn proves(self) -> Option<Grade> {
        self.facts().proves
    }

    /// What it is asked, as the head of a column.
    pub const fn question(self) -> &'static str {
        self.facts().question
    }
}

/// MDMs that no source can ask: a word by which each is recognised, its name, and whether its API is known to lack the answer (else it
/// is documented nowhere). docs/sources.md says what works for them today.
const WITHOUT_SOURCE: [(&str, &str, bool); 7] = [
    ("mosyle", "Mosyle", true),
    ("addigy", "Addigy", true),
    ("meraki", "Meraki Systems Manager", true),
    ("nanomdm", "NanoMDM", true),
    ("simplemdm", "SimpleMDM", false),
    ("workspaceone", "Workspace ONE", false),
    ("jumpcloud", "JumpCloud", false),
];

/// Why there is no source of this kind, and what to do; `None`: the word is no MDM that is known here.
pub fn without_source(word: &str) -> Option<(String, &'static str)> {
    let letters = word.chars().filter(char::is_ascii_alphanumeric);
    let word: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    let (_, name, lacks) = WITHOUT_SOURCE
        .into_iter()
        .find(|(known, ..)| word.contains(known))?;
    let why = if lacks {
        "the API cannot answer: it does not tell whether Apple has a profile for a serial number"
    } else {
        "the API's documents name no field that tells whether Apple has a profile for a serial number"
    };
    let remedy = if name == "NanoMDM" {
        "where NanoDEP runs beside it: kind = \"nanodep\"; else see docs/sources.md, \"MDMs whose APIs cannot answer\""
    } else {
        "see docs/sources.md, \"MDMs whose APIs cannot answer\": `apple-dep` where you hold the server token, `apple-business` beside it"
    };
    Some((format!("{name}: {why}"), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mdm_that_cannot_be_asked_is_known_by_name_and_the_manual_has_a_place_for_it() {
        let manual = include_str!("../../docs/sources.md");
        let section = manual
            .split_once("## MDMs whose APIs cannot answer")
            .and_then(|(_, rest)| rest.split_once("\n## "))
            .map_or("", |(section, _)| section);
        for (word, name, _) in WITHOUT_SOURCE {
            assert!(section.contains(&format!("**{name}**")), "{name}");
            let said = without_source(word).map(|(message, _)| message);
            assert!(said.is_some_and(|said| said.starts_with(name)), "{name}");
        }
        for (word, known) in [
            ("Workspace ONE", true),
            ("Meraki-SM", true),
            ("cisco_meraki", true),
            ("SimpleMDM", true),
            ("kandij", false),
            ("", false),
            ("mdm", false),
        ] {
            assert_eq!(without_source(word).is_some(), known, "{word}");
        }
        for kind in SourceKind::ALL {
            assert_eq!(without_source(kind.code()), None, "{}", kind.code());
        }
    }

    /// Journals, messages and configs hold these words.
    #[test]
    fn the_stable_words_stay_and_are_read_back() {
        for (kind, word, is_mdm) in [
            (SourceKind::Kandji, "kandji", true),
            (SourceKind::Intune, "intune", true),
            (SourceKind::Jamf, "jamf", true),
            (SourceKind::AppleDep, "apple-dep", false),
            (SourceKind::NanoDep, "nanodep", true),
            (SourceKind::MicroMdm, "micromdm", true),
            (SourceKind::AppleBusiness, "apple-business", false),
            (SourceKind::Fleet, "fleet", true),
            (SourceKind::Zentral, "zentral", true),
        ] {
            assert_eq!(
                (kind.code(), SourceKind::from_code(word), kind.is_mdm()),
                (word, Some(kind), is_mdm)
            );
            assert_eq!(kind.is_list_only(), word == "jamf", "{word}");
        }
        for (grade, word) in [
            (Grade::Intent, "intent"),
            (Grade::Relayed, "relayed"),
            (Grade::Apple, "apple"),
        ] {
            assert_eq!((grade.code(), Grade::from_code(word)), (word, Some(grade)));
        }
        assert_eq!(
            (SourceKind::from_code("apple"), Grade::from_code("kandji")),
            (None, None)
        );
    }

    #[test]
    fn only_a_service_that_knows_of_profiles_can_prove_one() {
        for (kind, proof) in [
            (SourceKind::Kandji, Some(Grade::Relayed)),
            (SourceKind::Intune, Some(Grade::Intent)),
            (SourceKind::Jamf, Some(Grade::Relayed)),
            (SourceKind::AppleDep, Some(Grade::Apple)),
            (SourceKind::NanoDep, Some(Grade::Apple)),
            (SourceKind::MicroMdm, Some(Grade::Apple)),
            (SourceKind::AppleBusiness, None),
            (SourceKind::Fleet, Some(Grade::Apple)),
            (SourceKind::Zentral, Some(Grade::Relayed)),
        ] {
            assert_eq!(kind.proves(), proof, "{}", kind.code());
        }
    }

    #[test]
    fn an_mdm_that_passes_apples_word_on_speaks_for_apple_and_not_for_an_mdm() {
        for kind in [SourceKind::NanoDep, SourceKind::MicroMdm] {
            let word = kind.code();
            assert!(kind.is_mdm() && kind.mdm().is_some(), "{word}");
            assert!(kind.speaks_for_apple() && kind.ready_is_apples(), "{word}");
            assert!(!kind.speaks_for_mdm() && !kind.keeps_copy(), "{word}");
            assert_eq!(kind.not_known(), Reason::NotFound, "{word}");
            assert_eq!(kind.requests_an_hour(), None, "{word}");
        }
        assert!(SourceKind::Kandji.speaks_for_mdm() && SourceKind::Kandji.keeps_copy());
        assert!(!SourceKind::Kandji.speaks_for_apple());
        assert!(SourceKind::AppleDep.speaks_for_apple() && !SourceKind::AppleDep.is_mdm());
        let business = SourceKind::AppleBusiness;
        assert!(!business.speaks_for_apple() && !business.speaks_for_mdm() && !business.is_mdm());
    }

    /// Whose word it is: all of it Apple's, its `ready` Apple's, its `no` an MDM's, a copy that may be late.
    #[test]
    fn the_rule_knows_whose_word_each_services_answer_is() {
        for (kind, voice) in [
            (SourceKind::Kandji, [false, false, true, true]),
            (SourceKind::Jamf, [false, false, true, true]),
            (SourceKind::AppleDep, [true, true, false, false]),
            (SourceKind::NanoDep, [true, true, false, false]),
            (SourceKind::MicroMdm, [true, true, false, false]),
            (SourceKind::AppleBusiness, [false, false, false, false]),
            (SourceKind::Fleet, [false, true, true, false]),
            (SourceKind::Zentral, [false, false, true, true]),
        ] {
            let said = [
                kind.speaks_for_apple(),
                kind.ready_is_apples(),
                kind.speaks_for_mdm(),
                kind.keeps_copy(),
            ];
            assert_eq!(said, voice, "{}", kind.code());
        }
    }

    #[test]
    fn what_cannot_list_its_devices_has_no_replica() {
        let listed: Vec<&str> = SourceKind::ALL
            .iter()
            .filter(|kind| kind.has_list())
            .map(|kind| kind.code())
            .collect();
        assert_eq!(
            listed,
            ["kandji", "jamf", "apple-dep", "nanodep", "apple-business"]
        );
    }
}
