#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tempfile::TempDir;

use super::*;
use crate::{
    label::Serial,
    readiness::{
        Pending,
        evidence::Evidence,
        replica::{Facts, ListedRow, StoredFacts, StoredRow, store::Held},
    },
};

type Reply = Result<Page, Fault>;
/// What is wrong with a list, and its pages.
type Broken = (&'static str, fn(usize) -> Reply);

/// A service whose pages a test writes down: each pass asks for them from the first one.
struct Script {
    reply: Mutex<Box<dyn FnMut(usize) -> Reply + Send>>,
    facts: Mutex<Result<Facts, Fault>>,
    /// The cursors asked for, and when.
    asked: Mutex<Vec<(Option<String>, Instant)>>,
    under_way: AtomicUsize,
}

impl Script {
    /// `reply` is given the number of the page.
    fn new(reply: impl FnMut(usize) -> Reply + Send + 'static) -> Self {
        let facts = Facts {
            account: "acme".to_owned(),
            body: b"facts".to_vec(),
            date: Timestamp::now(),
        };
        Self {
            reply: Mutex::new(Box::new(reply)),
            facts: Mutex::new(Ok(facts)),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }

    /// A sound list of that many records, in pages of ten.
    fn of(count: usize) -> Self {
        Self::new(move |nth| Ok(page(10 * nth..count.min(10 * nth + 10), count, nth)))
    }

    fn now_replies(&self, reply: impl FnMut(usize) -> Reply + Send + 'static) {
        *self.reply.lock().unwrap() = Box::new(reply);
    }

    fn asked(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(cursor, _)| cursor.clone()).collect()
    }
}

impl Listed for Script {
    fn facts(&self) -> Pending<'_, Result<Facts, Fault>> {
        Box::pin(async { self.facts.lock().unwrap().clone() })
    }

    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Reply> {
        Box::pin(async move {
            assert_eq!(self.under_way.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            let cursor = next.map(str::to_owned);
            self.asked.lock().unwrap().push((cursor, Instant::now()));
            let nth = next.map_or(0, |next| next.parse().unwrap());
            let reply = (self.reply.lock().unwrap())(nth);
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            reply
        })
    }

    fn reads(&self) -> u64 {
        self.asked.lock().unwrap().len() as u64
    }

    fn judge(&self, _: &Serial, _: &[StoredRow], _: &StoredFacts, _: Timestamp) -> Evidence {
        panic!("a pass judges nothing")
    }
}

/// Page `nth` with these records; the last one of a list of `count` has no next one.
fn page(records: std::ops::Range<usize>, count: usize, nth: usize) -> Page {
    Page {
        next: (records.end < count).then(|| (nth + 1).to_string()),
        rows: records.map(row).collect(),
        total: Some(count as u64),
        date: Timestamp::now(),
    }
}

fn row(nth: usize) -> ListedRow {
    ListedRow {
        id: nth.to_string(),
        serial: serial(nth),
        body: b"assigned".to_vec(),
    }
}

fn serial(nth: usize) -> Serial {
    Serial::new(&format!("C{nth:09}")).unwrap()
}

struct Rig {
    _folder: TempDir,
    store: Store,
    passes: Passes,
    credential: Arc<Mutex<Secret>>,
}

impl Rig {
    fn new() -> Self {
        Self::with_refresh(Duration::from_hours(1))
    }

    fn with_refresh(refresh: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("replica.sqlite"));
        Self {
            passes: Passes::new(Name::new("kandji").unwrap(), store.clone(), refresh),
            _folder: folder,
            store,
            credential: Arc::new(Mutex::new(Secret::new("token"))),
        }
    }

    async fn pass(&mut self, script: &Script) -> Result<(), Reason> {
        let credential = Arc::clone(&self.credential);
        let read = move || Some(credential.lock().unwrap().clone());
        let result = self.passes.pass(script, &read).await;
        self.store.commit().await.unwrap();
        result.map_err(|fault| fault.reason)
    }

    /// How many of the first hundred serial numbers have a row that may answer.
    fn held(&self) -> Option<usize> {
        let serials: Vec<Serial> = (0..100).map(serial).collect();
        let secret = self.credential.lock().unwrap().clone();
        let found = self
            .store
            .look_up(&Name::new("kandji").unwrap(), &secret, &serials)?;
        let rows = found.held.iter();
        Some(rows.filter(|held| matches!(held, Held::Rows(_))).count())
    }

    fn health(&self) -> (ReplicaCondition, u64, Option<Reason>) {
        let health = self.passes.standing().borrow().health.clone();
        (health.state, health.rows, health.fault)
    }
}

const OK: ReplicaCondition = ReplicaCondition::Ok;
const FILLING: ReplicaCondition = ReplicaCondition::Filling;
const BEHIND: ReplicaCondition = ReplicaCondition::Behind;
const SHRUNKEN: ReplicaCondition = ReplicaCondition::Shrunken;

#[tokio::test]
async fn a_pass_reads_every_page_to_the_end_and_the_next_one_deletes_what_is_gone() {
    let mut rig = Rig::new();
    let script = Script::of(25);
    assert_eq!(rig.health(), (FILLING, 0, None));
    assert_eq!(rig.pass(&script).await, Ok(()));
    assert_eq!(script.asked(), [None, Some("1".into()), Some("2".into())]);
    assert_eq!((rig.held(), rig.health()), (Some(25), (OK, 25, None)));
    let standing = rig.passes.standing().borrow().clone();
    assert_eq!(standing.progress, None);
    assert!(standing.health.pass_at.unwrap() <= Timestamp::now());
    assert_eq!(rig.pass(&Script::of(20)).await, Ok(()));
    assert_eq!((rig.held(), rig.health()), (Some(20), (OK, 20, None)));
}

#[tokio::test]
async fn a_pass_that_breaks_confirms_and_deletes_nothing() {
    let broken: [Broken; 5] = [
        ("a malformed page", |nth| match nth {
            1 => Err(Fault::bare(Reason::GarbledAnswer)),
            _ => Ok(page(10 * nth..10 * nth + 10, 30, nth)),
        }),
        ("the same cursor twice", |nth| {
            Ok(Page {
                next: Some("1".into()),
                ..page(10 * nth..10 * nth + 10, 30, nth)
            })
        }),
        ("the same page twice", |nth| Ok(page(0..10, 30, nth))),
        ("more pages than the total allows", |nth| {
            Ok(Page {
                total: Some(20),
                ..page(10 * nth..10 * nth + 10, 1000, nth)
            })
        }),
        ("an old page", |nth| {
            Ok(Page {
                date: Timestamp::now() - Duration::from_hours(1),
                ..page(10 * nth..10 * nth + 10, 30, nth)
            })
        }),
    ];
    for (what, reply) in broken {
        let mut rig = Rig::new();
        assert!(rig.pass(&Script::new(reply)).await.is_err(), "{what}");
        assert_eq!(rig.held(), None, "{what}");
        assert_eq!(rig.health().0, FILLING, "{what}");
        rig.pass(&Script::of(40)).await.unwrap();
        let filled = rig.passes.standing().borrow().health.pass_at;
        let fault = rig.pass(&Script::new(reply)).await.unwrap_err();
        assert_eq!(rig.held(), Some(40), "{what}");
        assert_eq!(rig.health(), (BEHIND, 40, Some(fault)), "{what}");
        assert_eq!(rig.passes.standing().borrow().health.pass_at, filled);
        rig.pass(&Script::of(40)).await.unwrap();
        assert_eq!(rig.health(), (OK, 40, None), "{what}");
    }
}

#[tokio::test]
async fn a_list_that_has_other_than_its_total_is_read_once_more_and_then_is_not_complete() {
    let mut rig = Rig::new();
    rig.pass(&Script::of(40)).await.unwrap();
    // A record was missed when another one was deleted from an earlier page.
    let script = Script::new(|nth| {
        Ok(Page {
            total: Some(31),
            ..page(10 * nth..10 * nth + 10, 30, nth)
        })
    });
    assert_eq!(rig.pass(&script).await, Err(Reason::GarbledAnswer));
    assert_eq!(script.asked().len(), 6);
    assert_eq!(rig.held(), Some(40));
    // The second reading is whole.
    let mut first = true;
    let script = Script::new(move |nth| {
        let total = if first { 31 } else { 30 };
        first = first && nth < 2;
        Ok(Page {
            total: Some(total),
            ..page(10 * nth..10 * nth + 10, 30, nth)
        })
    });
    assert_eq!(rig.pass(&script).await, Ok(()));
    assert_eq!((script.asked().len(), rig.held()), (6, Some(30)));
    // A record that comes twice counts once.
    let script = Script::new(|nth| {
        let mut page = page(10 * nth..10 * nth + 10, 30, nth);
        if nth == 2 {
            page.rows[9] = row(3);
        }
        Ok(page)
    });
    assert_eq!(rig.pass(&script).await, Err(Reason::GarbledAnswer));
    assert_eq!(rig.held(), Some(30));
}

#[tokio::test]
async fn a_list_that_shrank_by_more_than_half_is_believed_by_the_second_pass() {
    let mut rig = Rig::new();
    rig.pass(&Script::of(50)).await.unwrap();
    rig.pass(&Script::of(24)).await.unwrap();
    assert_eq!((rig.held(), rig.health()), (Some(50), (SHRUNKEN, 50, None)));
    // A broken pass between them is none.
    let broken = Script::new(|_| Err(Fault::bare(Reason::GarbledAnswer)));
    assert!(rig.pass(&broken).await.is_err());
    assert_eq!(rig.health().0, SHRUNKEN);
    rig.pass(&Script::of(23)).await.unwrap();
    assert_eq!((rig.held(), rig.health()), (Some(23), (OK, 23, None)));
    // One that shrinks again is not as short as the one before.
    rig.pass(&Script::of(11)).await.unwrap();
    rig.pass(&Script::of(0)).await.unwrap();
    assert_eq!((rig.held(), rig.health().0), (Some(23), SHRUNKEN));
    rig.pass(&Script::of(0)).await.unwrap();
    assert_eq!((rig.held(), rig.health()), (Some(0), (OK, 0, None)));
    // And one that is long again has been short by mistake.
    rig.pass(&Script::of(50)).await.unwrap();
    rig.pass(&Script::of(24)).await.unwrap();
    rig.pass(&Script::of(50)).await.unwrap();
    rig.pass(&Script::of(24)).await.unwrap();
    assert_eq!((rig.held(), rig.health().0), (Some(50), SHRUNKEN));
}

#[tokio::test]
async fn facts_that_cannot_be_read_end_the_pass_and_another_account_begins_anew() {
    let mut rig = Rig::new();
    let script = Script::of(50);
    rig.pass(&script).await.unwrap();
    let facts = script.facts.lock().unwrap().clone().unwrap();
    *script.facts.lock().unwrap() = Err(Fault::bare(Reason::CredentialsRefused));
    assert_eq!(rig.pass(&script).await, Err(Reason::CredentialsRefused));
    assert_eq!(rig.held(), Some(50));
    let other = Script::new(|_| Err(Fault::bare(Reason::GarbledAnswer)));
    *other.facts.lock().unwrap() = Ok(Facts {
        account: "other".into(),
        ..facts
    });
    assert_eq!(rig.pass(&other).await, Err(Reason::GarbledAnswer));
    let fault = Some(Reason::GarbledAnswer);
    assert_eq!((rig.held(), rig.health()), (None, (FILLING, 0, fault)));
    assert_eq!(rig.passes.standing().borrow().health.pass_at, None);
    other.now_replies(|nth| Ok(page(0..5, 5, nth)));
    rig.pass(&other).await.unwrap();
    assert_eq!((rig.held(), rig.health()), (Some(5), (OK, 5, None)));
}

#[tokio::test]
async fn a_credential_that_is_exchanged_during_a_pass_writes_no_row_under_it() {
    let mut rig = Rig::new();
    rig.pass(&Script::of(30)).await.unwrap();
    let credential = Arc::clone(&rig.credential);
    let script = Script::new(move |nth| {
        if nth == 1 {
            *credential.lock().unwrap() = Secret::new("of another account");
        }
        let mut page = page(10 * nth..10 * nth + 10, 30, nth);
        page.rows[0].body = b"other".to_vec();
        Ok(page)
    });
    assert_eq!(rig.pass(&script).await, Err(Reason::StationFault));
    assert_eq!((script.asked().len(), rig.held()), (2, None));
    *rig.credential.lock().unwrap() = Secret::new("token");
    let rows = [serial(0), serial(10)];
    let kandji = Name::new("kandji").unwrap();
    let found = rig.store.look_up(&kandji, &Secret::new("token"), &rows);
    let bodies: Vec<Vec<u8>> = found
        .unwrap()
        .held
        .into_iter()
        .map(|held| match held {
            Held::Rows(mut rows) => rows.remove(0).body,
            _ => panic!("there are rows"),
        })
        .collect();
    assert_eq!(bodies, [b"other".to_vec(), b"assigned".to_vec()]);
}

#[tokio::test]
async fn retry_after_is_kept_and_a_fault_of_the_way_is_met_once_more() {
    let mut rig = Rig::new();
    let script = Script::of(30);
    let (mut limited, mut lost) = (true, true);
    script.now_replies(move |nth| {
        if nth == 1 && std::mem::take(&mut limited) {
            return Err(Fault {
                retry_at: Some(Timestamp::now() + Duration::from_millis(1_500)),
                ..Fault::bare(Reason::RateLimited)
            });
        }
        if nth == 2 && std::mem::take(&mut lost) {
            return Err(Fault::bare(Reason::Timeout));
        }
        Ok(page(10 * nth..10 * nth + 10, 30, nth))
    });
    rig.pass(&script).await.unwrap();
    let asked = script.asked.lock().unwrap().clone();
    let cursors: Vec<_> = asked.iter().map(|(cursor, _)| cursor.as_deref()).collect();
    assert_eq!(
        cursors,
        [None, Some("1"), Some("1"), Some("2"), Some("2")],
        "the pass goes on where it was"
    );
    assert!(asked[2].1.duration_since(asked[1].1) >= Duration::from_millis(1_490));
    assert_eq!(rig.held(), Some(30));
    // Twice is a fault, and so is a longer hold, which the next pass keeps.
    let away = Script::new(|_| Err(Fault::bare(Reason::Offline)));
    assert_eq!(rig.pass(&away).await, Err(Reason::Offline));
    assert_eq!(away.asked().len(), 2);
    let held = Script::new(|_| {
        Err(Fault {
            retry_at: Some(Timestamp::now() + Duration::from_hours(2)),
            ..Fault::bare(Reason::RateLimited)
        })
    });
    assert_eq!(rig.pass(&held).await, Err(Reason::RateLimited));
    assert_eq!(held.asked().len(), 1);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_the_fault_of_the_pass() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("none/replica.sqlite"));
    let mut passes = Passes::new(Name::new("kandji").unwrap(), store, Duration::from_hours(1));
    let fault = passes
        .pass(&Script::of(3), &|| Some(Secret::new("token")))
        .await
        .unwrap_err();
    assert_eq!(fault.reason, Reason::StationFault);
    assert!(fault.detail.unwrap().starts_with("The replica"));
}

#[tokio::test]
async fn passes_follow_one_another_at_each_refresh_and_one_request_at_a_time() {
    let rig = Rig::with_refresh(Duration::from_millis(150));
    let mut standing = rig.passes.standing();
    let script = Script::of(25);
    let (credential, pulse) = (|| Some(Secret::new("token")), Pulse::default());
    let begun = Instant::now();
    let mut starts = Vec::new();
    {
        let mut run = std::pin::pin!(rig.passes.run(&script, &credential, &pulse));
        while starts.len() < 4 {
            let seen = tokio::time::timeout(Duration::from_secs(20), async {
                tokio::select! {
                    () = &mut run => panic!("it never ends"),
                    changed = standing.changed() => changed.unwrap(),
                }
            });
            seen.await.unwrap();
            let pass_at = standing.borrow_and_update().health.pass_at;
            if pass_at.is_some() && starts.last() != Some(&pass_at) {
                starts.push(pass_at);
            }
        }
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(3 * 135),
        "{:?}",
        begun.elapsed()
    );
    let first_pages = script.asked().iter().filter(|one| one.is_none()).count();
    assert!((4..=5).contains(&first_pages), "{first_pages}");
    assert_eq!(standing.borrow().health.state, OK);
}

#[tokio::test]
async fn what_was_filled_not_long_ago_is_not_filled_again_at_a_restart() {
    let mut rig = Rig::new();
    rig.pass(&Script::of(5)).await.unwrap();
    let credential = || Some(Secret::new("token"));
    let kandji = Name::new("kandji").unwrap();
    let restarted = |refresh| Passes::new(kandji.clone(), rig.store.clone(), refresh);
    let mut young = restarted(Duration::from_hours(1));
    let wait = young.first_wait(&credential).await;
    assert!(wait > Duration::from_mins(50), "{wait:?}");
    let health = young.standing().borrow().health.clone();
    assert_eq!((health.state, health.rows), (OK, 5));
    let mut old = restarted(Duration::from_nanos(1));
    assert_eq!(old.first_wait(&credential).await, Duration::ZERO);
    assert_eq!(old.standing().borrow().health.state, BEHIND);
    let other = || Some(Secret::new("renewed"));
    let mut renewed = restarted(Duration::from_hours(1));
    assert_eq!(renewed.first_wait(&other).await, Duration::ZERO);
}

#[test]
fn a_pause_is_up_to_a_tenth_longer_or_shorter() {
    let pause = Duration::from_secs(100);
    for (random, seconds) in [(0.0, 90), (0.5, 100), (1.0, 110)] {
        let rounded = jittered(pause, random).as_secs_f64().round();
        assert_eq!(rounded, f64::from(seconds));
    }
}
