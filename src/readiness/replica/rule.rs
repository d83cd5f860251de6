//! When a row answers in the place of the service, and how old it is. Pure.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{ReadAt, Settings};
use crate::{
    readiness::{
        evidence::{Evidence, Finding, SourceKind},
        http::affects_every_box,
    },
    reason::Reason,
    runtime::clock::{self, Boot},
};

/// The clocks by which an age is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    pub boot_id: Uuid,
    pub boot: Boot,
    /// The service's time; `None`: it has not been heard since the machine started, and nobody keeps our clock.
    pub service: Option<Timestamp>,
}

impl ReadAt {
    /// How long ago that was; `None`: nobody can say, so it counts as too long.
    pub fn age(self, now: Present) -> Option<Duration> {
        if self.boot_id == now.boot_id {
            return (now.boot >= self.boot).then(|| now.boot.since(self.boot));
        }
        // `since` would make a negative age 0.
        Duration::try_from(now.service?.duration_since(self.date)).ok()
    }

    /// The service's time now, by what it was at that moment of the same boot.
    pub fn carried(self, now: Present) -> Timestamp {
        clock::later(self.date, now.boot.since(self.boot))
    }
}

/// May a row with that finding and age answer? Bad news is the service's alone.
pub fn may_answer(finding: Finding, age: Option<Duration>, settings: &Settings) -> bool {
    settings.is_on()
        && matches!(finding, Finding::Ready(_) | Finding::NoObjection)
        && age.is_some_and(|age| age <= settings.max_replica_age)
}

/// Does a fault of the way leave its place to a row? The others say that something is wrong with the credential, the network or the
/// answers, and a row must not hide that.
pub const fn leaves_its_place(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Offline | Reason::Timeout | Reason::SourceError | Reason::RateLimited
    )
}

/// What the last contact with a service ended in, after these live answers.
pub fn contact(before: Option<Reason>, live: &[Evidence]) -> Option<Reason> {
    let fault = |one: &Evidence| match one.finding {
        Finding::Unknown(reason) if !one.heard || affects_every_box(reason) => Some(reason),
        _ => None,
    };
    let faults: Vec<Option<Reason>> = live.iter().map(fault).collect();
    let refusal = faults.iter().flatten().find(|one| !leaves_its_place(**one));
    let weakest = faults.iter().min_by_key(|fault| fault.is_some());
    ended(
        before,
        refusal.or(weakest.and_then(Option::as_ref)).copied(),
    )
}

/// The same after one contact. A station that keeps to a limit asks nobody, so that says nothing new.
pub fn ended(before: Option<Reason>, now: Option<Reason>) -> Option<Reason> {
    match (before, now) {
        (Some(before), Some(Reason::RateLimited)) if !leaves_its_place(before) => Some(before),
        _ => now,
    }
}

/// Did the live question end, for every serial number asked, in a fault that leaves its place to a row?
pub fn failed(live: &[Evidence]) -> bool {
    live.iter()
        .all(|one| matches!(one.finding, Finding::Unknown(reason) if leaves_its_place(reason)))
}

/// The same, and without any reply about one of them that differs from what the rows say.
pub fn gave_way(live: &[Evidence], rows: &[Evidence]) -> bool {
    failed(live) && live.iter().all(|one| !one.heard || is_half_of(one, rows))
}

/// Is what was heard half of what a row says? Apple Business alone answers in halves: its record of the device, then the server. The
/// second half is wanted where the first one says what every good row says; beside that, the rule reads when Apple's record changed.
pub fn is_half_of(heard: &Evidence, rows: &[Evidence]) -> bool {
    let of_it = |row: &&Evidence| row.serial == heard.serial && row.known;
    let row = rows.iter().find(of_it);
    heard.kind == SourceKind::AppleBusiness
        && heard.known
        && row.is_some_and(|row| row.updated_at == heard.updated_at)
}

/// Does a live answer outrank the rows of its serial number, so that none of them answers until a later page brings it again?
pub const fn strikes(finding: Finding) -> bool {
    matches!(
        finding,
        Finding::No(_) | Finding::Wait(_) | Finding::Unknown(Reason::Contradiction)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{super::Mode, *};
    use crate::{
        label::Serial,
        readiness::evidence::{Grade, SourceKind},
        runtime::name::Name,
    };

    const SETTINGS: Settings = Settings {
        mode: Mode::First,
        refresh: Duration::from_mins(10),
        max_replica_age: Duration::from_mins(30),
        quota_share: 1.0,
    };

    fn read_at() -> ReadAt {
        ReadAt {
            boot_id: Uuid::from_u128(1),
            boot: Boot::from_duration(Duration::from_secs(1_000)),
            date: "2026-11-29T08:00:00Z".parse().unwrap(),
        }
    }

    fn now(boot_id: u128, boot: u64, service: Option<&str>) -> Present {
        Present {
            boot_id: Uuid::from_u128(boot_id),
            boot: Boot::from_duration(Duration::from_secs(boot)),
            service: service.map(|text| text.parse().unwrap()),
        }
    }

    #[test]
    fn within_a_boot_the_age_runs_on_the_boot_time_clock_whatever_the_others_say() {
        for service in [
            None,
            Some("2026-11-29T02:00:00Z"),
            Some("2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(
                read_at().age(now(1, 1_090, service)),
                Some(Duration::from_secs(90))
            );
        }
        assert_eq!(read_at().age(now(1, 999, None)), None, "negative");
    }

    #[test]
    fn after_a_reboot_the_age_runs_on_the_services_time_and_is_unknown_before_that_is_heard() {
        let age = |service| read_at().age(now(2, 5, service));
        assert_eq!(age(None), None);
        assert_eq!(
            age(Some("2026-11-29T08:20:00Z")),
            Some(Duration::from_mins(20))
        );
        assert_eq!(age(Some("2026-11-29T07:59:59Z")), None, "negative");
    }

    #[test]
    fn only_good_news_of_a_young_row_answers() {
        let young = Some(Duration::from_mins(30));
        for finding in [Finding::Ready(Grade::Relayed), Finding::NoObjection] {
            assert!(may_answer(finding, young, &SETTINGS));
            let older = Some(Duration::from_millis(30 * 60_000 + 1));
            assert!(!may_answer(finding, older, &SETTINGS));
            assert!(!may_answer(finding, None, &SETTINGS));
            let off = Settings {
                mode: Mode::Off,
                ..SETTINGS
            };
            assert!(!may_answer(finding, young, &off));
        }
        for finding in [
            Finding::No(Reason::NotFound),
            Finding::Wait(Reason::AssignmentPending),
            Finding::Unknown(Reason::Stale),
        ] {
            assert!(!may_answer(finding, young, &SETTINGS));
        }
    }

    #[test]
    fn a_row_stands_in_for_four_faults_of_the_way_and_for_nothing_that_was_heard_of_the_box() {
        let gives_way = |heard, finding| {
            let serial = Serial::new("C02XK0AAJG5H").unwrap();
            let name = Name::new("kandji").unwrap();
            let live = Evidence {
                heard,
                ..Evidence::bare(name, SourceKind::Kandji, serial, finding)
            };
            let row = Evidence {
                known: true,
                finding: Finding::Ready(Grade::Relayed),
                ..live.clone()
            };
            gave_way(&[live], &[row])
        };
        let four = [
            Reason::Offline,
            Reason::Timeout,
            Reason::SourceError,
            Reason::RateLimited,
        ];
        for reason in Reason::ALL.iter().copied() {
            let expected = four.contains(&reason);
            assert_eq!(gives_way(false, Finding::Unknown(reason)), expected);
            assert!(!gives_way(true, Finding::Unknown(reason)));
            assert!(!gives_way(false, Finding::No(reason)));
        }
        assert!(!gives_way(false, Finding::NoObjection));
    }

    #[test]
    fn half_an_answer_of_apple_business_that_says_what_the_row_says_leaves_it_its_place() {
        let at = |text: &str| Some(text.parse().unwrap());
        let serial = |text| Serial::new(text).unwrap();
        let one = |finding| Evidence {
            known: true,
            updated_at: at("2026-05-01T15:33:54Z"),
            ..Evidence::bare(
                Name::new("business").unwrap(),
                SourceKind::AppleBusiness,
                serial("C02XK0AAJG5H"),
                finding,
            )
        };
        let row = [one(Finding::NoObjection)];
        let half = Evidence {
            heard: true,
            ..one(Finding::Unknown(Reason::RateLimited))
        };
        assert!(gave_way(std::slice::from_ref(&half), &row));
        assert!(!gave_way(std::slice::from_ref(&half), &[]), "without a row");
        for other in [
            Evidence {
                updated_at: at("2026-05-01T15:33:55Z"),
                ..half.clone()
            },
            Evidence {
                updated_at: None,
                ..half.clone()
            },
            Evidence {
                serial: serial("C02XK0AAJG6J"),
                ..half.clone()
            },
            Evidence {
                finding: Finding::Unknown(Reason::CredentialsRefused),
                ..half.clone()
            },
            // A reply that is no record of the device.
            Evidence {
                known: false,
                ..half.clone()
            },
            // Every other service says all in one.
            Evidence {
                kind: SourceKind::Kandji,
                ..half
            },
        ] {
            assert!(!gave_way(std::slice::from_ref(&other), &row), "{other:?}");
        }
    }

    #[test]
    fn a_newer_live_word_strikes_the_row_and_a_fault_of_the_way_does_not() {
        assert!(strikes(Finding::No(Reason::NotFound)));
        assert!(strikes(Finding::Wait(Reason::AssignmentPending)));
        assert!(strikes(Finding::Unknown(Reason::Contradiction)));
        assert!(!strikes(Finding::Unknown(Reason::Offline)));
        assert!(!strikes(Finding::Ready(Grade::Relayed)));
        assert!(!strikes(Finding::NoObjection));
    }
}
