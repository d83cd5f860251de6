#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const BOOT: Uuid = Uuid::from_u128(7);

/// What happened to a file, and how to do that.
type Spoiled = (&'static str, fn(&Path));

/// A replica in a folder of its own, and whose it is.
pub(super) struct Rig {
    folder: TempDir,
    store: Store,
    account: &'static str,
    pub(super) credential: Secret,
}

impl Rig {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("replica.sqlite"));
        Self::of(folder, store)
    }

    fn of(folder: TempDir, store: Store) -> Self {
        Self {
            folder,
            store,
            account: "https://acme.example ",
            credential: Secret::new("token"),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("replica.sqlite")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join("replica.sqlite-wal")
    }

    /// Takes the log into the file.
    fn checkpoint(&self) {
        let conn = Connection::open(self.path()).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    }

    pub(super) async fn begin_of(&self, source: &str, second: u64) -> Pass {
        self.store
            .begin(
                &Name::new(source).unwrap(),
                self.account,
                &self.credential,
                read_at(second, 0),
            )
            .await
            .unwrap()
    }

    async fn begin(&self, second: u64) -> Pass {
        self.begin_of("kandji", second).await
    }

    /// A whole pass that begins at that second.
    pub(super) async fn fill(&self, second: u64, rows: &[ListedRow]) -> u64 {
        let mut pass = self.begin(second).await;
        pass.page(rows.to_vec(), at(second, 1)).await.unwrap();
        pass.finish(b"facts".to_vec(), 3).await.unwrap()
    }

    fn found(&self, serials: &[&str]) -> Option<Found> {
        let serials: Vec<Serial> = serials.iter().map(|text| serial(text)).collect();
        let kandji = Name::new("kandji").unwrap();
        self.store.look_up(&kandji, &self.credential, &serials)
    }

    pub(super) fn held(&self, serial: &str) -> Held {
        self.found(&[serial]).unwrap().held.remove(0)
    }

    /// Ends the thread, changes the file or does not, and opens it again.
    fn again(mut self, change: impl FnOnce(&Connection)) -> Self {
        let path = self.path();
        self.stop();
        let conn = Connection::open(&path).unwrap();
        change(&conn);
        drop(conn);
        self.store = Store::open(&path);
        self
    }

    pub(super) fn stop(&mut self) {
        let elsewhere = tempfile::tempdir().unwrap();
        self.store = Store::open(&elsewhere.path().join("other"));
        // SQLite removes the log when the last connection is closed.
        wait("the thread ends", || !self.log().exists());
    }

    /// What a killed process would leave: the files as they are now.
    fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["replica.sqlite", "replica.sqlite-wal"] {
            fs::copy(self.folder.path().join(name), folder.path().join(name)).unwrap();
        }
        let store = Store::open(&folder.path().join("replica.sqlite"));
        Self::of(folder, store)
    }

    pub(super) fn struck(&self, serial_number: &str, at: Boot) {
        let kandji = Name::new("kandji").unwrap();
        self.store.strike(&kandji, &serial(serial_number), at);
    }

    /// The file is open and whatever was struck is in it.
    pub(super) async fn settled(&self) {
        self.store
            .status(&Name::new("kandji").unwrap())
            .await
            .unwrap();
        self.store.commit().await.unwrap();
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn serial(text: &str) -> Serial {
    Serial::new(text).unwrap()
}

pub(super) fn at(second: u64, ms: u64) -> Boot {
    Boot::from_duration(Duration::from_secs(second) + Duration::from_millis(ms))
}

fn read_at(second: u64, ms: u64) -> ReadAt {
    let date = Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap();
    ReadAt {
        boot_id: BOOT,
        boot: at(second, ms),
        date: date + Duration::from_millis(ms),
    }
}

pub(super) fn row(id: &str, serial_number: &str, body: &str) -> ListedRow {
    ListedRow {
        id: id.to_owned(),
        serial: serial(serial_number),
        body: body.into(),
    }
}

pub(super) fn rows(count: usize) -> Vec<ListedRow> {
    (0..count)
        .map(|nth| row(&format!("id-{nth}"), &format!("C{nth:09}"), "assigned"))
        .collect()
}

fn held(body: &str, read_at: ReadAt) -> Held {
    Held::Rows(vec![StoredRow {
        body: body.into(),
        read_at,
    }])
}

#[tokio::test]
async fn a_row_answers_after_the_first_complete_pass_with_the_moment_it_was_read() {
    let rig = Rig::new();
    let mut pass = rig.begin(10).await;
    assert_eq!(pass.rows_before(), None);
    let page = vec![row("1", "C000000001", "a"), row("2", "C000000002", "b")];
    let counts = pass.page(page, at(10, 250)).await.unwrap();
    assert_eq!((counts.distinct, counts.changed), (2, 2));
    rig.store.commit().await.unwrap();
    assert_eq!(rig.found(&["C000000001"]), None);
    assert_eq!(pass.finish(b"facts".to_vec(), 3).await, Ok(0));
    let found = rig
        .found(&["C000000002", "C000000003", "C000000001"])
        .unwrap();
    assert_eq!(found.facts.read_at, read_at(10, 0));
    assert_eq!(found.facts.body, b"facts");
    assert_eq!(
        found.held,
        [
            held("b", read_at(10, 250)),
            Held::Nothing,
            held("a", read_at(10, 250))
        ]
    );
    let status = rig.store.status(&Name::new("kandji").unwrap()).await;
    let complete = Some(Complete {
        start: read_at(10, 0),
        rows: 2,
        reads: 3,
    });
    let short = None;
    assert_eq!(
        status,
        Ok(Some(Status {
            rows: 2,
            complete,
            short
        }))
    );
}

#[tokio::test]
async fn a_pass_confirms_what_it_saw_and_a_page_what_it_changed() {
    let rig = Rig::new();
    rig.fill(
        10,
        &[row("1", "C000000001", "a"), row("2", "C000000002", "b")],
    )
    .await;
    rig.fill(
        20,
        &[row("1", "C000000001", "a"), row("2", "C000000002", "c")],
    )
    .await;
    assert_eq!(rig.held("C000000001"), held("a", read_at(20, 0)));
    assert_eq!(rig.held("C000000002"), held("c", read_at(20, 1)));
    // A pass that breaks confirms nothing, but what it changed is newer.
    let mut pass = rig.begin(30).await;
    assert_eq!(pass.rows_before(), Some(2));
    pass.page(vec![row("1", "C000000001", "d")], at(30, 700))
        .await
        .unwrap();
    drop(pass);
    rig.store.commit().await.unwrap();
    let rig = rig.again(|_| {});
    rig.settled().await;
    assert_eq!(rig.held("C000000001"), held("d", read_at(30, 700)));
    assert_eq!(rig.held("C000000002"), held("c", read_at(20, 1)));
    assert_eq!(rig.found(&[]).unwrap().facts.read_at, read_at(20, 0));
}

#[tokio::test]
async fn only_changed_rows_are_written() {
    let rig = Rig::new();
    let mut list = rows(20_000);
    rig.fill(10, &list).await;
    let length = || fs::metadata(rig.log()).unwrap().len();
    rig.checkpoint();
    assert_eq!(length(), 0);
    rig.fill(20, &list).await;
    assert!((1..20_000).contains(&length()), "{}", length());
    rig.checkpoint();
    list[7].body = b"pushed".to_vec();
    let mut pass = rig.begin(30).await;
    let counts = pass.page(list, at(30, 1)).await.unwrap();
    assert_eq!((counts.distinct, counts.changed), (20_000, 1));
    pass.finish(Vec::new(), 1).await.unwrap();
    assert!(length() < 60_000, "{}", length());
    assert_eq!(rig.held("C000000007"), held("pushed", read_at(30, 1)));
}

#[tokio::test]
async fn rows_are_deleted_at_the_end_of_a_complete_pass_and_never_before() {
    let rig = Rig::new();
    rig.fill(10, &rows(30_000)).await;
    let mut pass = rig.begin(20).await;
    pass.page(rows(2), at(20, 1)).await.unwrap();
    drop(pass);
    rig.settled().await;
    assert_eq!(rig.held("C000029999"), held("assigned", read_at(10, 1)));
    assert_eq!(rig.fill(30, &rows(2)).await, 29_998);
    assert_eq!(rig.held("C000029999"), Held::Nothing);
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(30, 0)));
    // A second pass replaces one under way, which then cannot confirm anything.
    let first = rig.begin(40).await;
    let mut second = rig.begin(50).await;
    assert_eq!(first.finish(Vec::new(), 1).await, Err(StoreFault::Lost));
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(30, 0)));
    second.page(rows(1), at(50, 1)).await.unwrap();
    assert_eq!(second.finish(Vec::new(), 1).await, Ok(1));
    assert_eq!(rig.held("C000000001"), Held::Nothing);
}

#[tokio::test]
async fn what_a_kill_between_rows_and_mark_leaves_is_an_earlier_state() {
    let rig = Rig::new();
    let mut pass = rig.begin(10).await;
    pass.page(rows(500), at(10, 1)).await.unwrap();
    rig.store.commit().await.unwrap();
    let killed = rig.copy();
    pass.finish(Vec::new(), 1).await.unwrap();
    killed.settled().await;
    assert_eq!(killed.found(&["C000000001"]), None);
    // The same in a later pass, which has changed one row and would delete another.
    let mut pass = rig.begin(20).await;
    let mut list = rows(499);
    list[3].body = b"pushed".to_vec();
    pass.page(list, at(20, 5)).await.unwrap();
    rig.store.commit().await.unwrap();
    let killed = rig.copy();
    pass.finish(Vec::new(), 1).await.unwrap();
    killed.settled().await;
    assert_eq!(killed.held("C000000003"), held("pushed", read_at(20, 5)));
    assert_eq!(killed.held("C000000004"), held("assigned", read_at(10, 1)));
    assert_eq!(killed.held("C000000499"), held("assigned", read_at(10, 1)));
    assert_eq!(rig.held("C000000499"), Held::Nothing);
    // And the next pass of who was killed is complete.
    killed.fill(30, &rows(500)).await;
    assert_eq!(killed.held("C000000003"), held("assigned", read_at(30, 1)));
    assert_eq!(killed.held("C000000004"), held("assigned", read_at(30, 0)));
}

#[tokio::test]
async fn a_file_that_is_no_sound_replica_is_deleted_and_filled_again() {
    let spoiled: [Spoiled; 8] = [
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("garbage", |path| {
            fs::write(path, "x".repeat(70_000)).unwrap()
        }),
        ("cut", |path| {
            let length = fs::metadata(path).unwrap().len();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(length / 2 / 4096 * 4096).unwrap();
        }),
        ("a page of zeros", |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0);
            fs::write(path, bytes).unwrap();
        }),
        ("another schema", |path| {
            let conn = Connection::open(path).unwrap();
            conn.pragma_update(None, "user_version", schema::VERSION + 1)
                .unwrap();
        }),
        ("another program's", |path| {
            fs::remove_file(path).unwrap();
            let conn = Connection::open(path).unwrap();
            conn.execute_batch("CREATE TABLE row (row INTEGER)")
                .unwrap();
        }),
        ("a link", |path| {
            let beside = path.with_file_name("elsewhere");
            fs::rename(path, &beside).unwrap();
            symlink(&beside, path).unwrap();
        }),
    ];
    for (what, spoil) in spoiled {
        let mut rig = Rig::new();
        rig.fill(10, &rows(3_000)).await;
        rig.stop();
        spoil(&rig.path());
        rig.store = Store::open(&rig.path());
        rig.settled().await;
        assert_eq!(rig.found(&["C000000001"]), None, "{what}");
        rig.fill(20, &rows(3)).await;
        assert_eq!(
            rig.held("C000000001"),
            held("assigned", read_at(20, 1)),
            "{what}"
        );
        assert!(
            fs::symlink_metadata(rig.path()).unwrap().is_file(),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_file_whose_small_tables_were_changed_is_not_trusted() {
    for sql in [
        "UPDATE mark SET date = date + 1000000000",
        "UPDATE mark SET boot = boot + 1000000000",
        "UPDATE mark SET facts = x'00'",
        "UPDATE mark SET pass = pass + 1",
        "UPDATE source SET credential = zeroblob(32)",
        "UPDATE pass SET date = date + 1000000000",
        "UPDATE strike SET ms = 0",
        "UPDATE strike SET serial = 'C000000002'",
        "DROP TABLE strike",
        "DELETE FROM source",
    ] {
        let rig = Rig::new();
        rig.fill(10, &rows(3)).await;
        let mut pass = rig.begin(20).await;
        pass.page(vec![row("id-1", "C000000001", "new")], at(20, 1))
            .await
            .unwrap();
        rig.struck("C000000001", at(20, 9));
        rig.settled().await;
        drop(pass);
        let rig = rig.again(|conn| conn.execute_batch(sql).unwrap());
        rig.settled().await;
        assert_eq!(rig.found(&["C000000000"]), None, "{sql}");
        rig.fill(30, &rows(3)).await;
        assert_eq!(
            rig.held("C000000000"),
            held("assigned", read_at(30, 1)),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_row_whose_sum_does_not_fit_answers_for_none_of_its_serial_number() {
    for sql in [
        "UPDATE row SET body = x'61' WHERE body = x'62'",
        "UPDATE row SET serial = 'C000000001' WHERE body = x'63'",
        "UPDATE row SET key = zeroblob(16) WHERE body = x'62'",
        "UPDATE row SET ms = ms + 1 WHERE body = x'62'",
        "UPDATE row SET pass = pass + 1 WHERE body = x'62'",
        "UPDATE row SET sum = sum + 1 WHERE body = x'62'",
    ] {
        let list = [
            row("one", "C000000001", "a"),
            row("two", "C000000001", "b"),
            row("three", "C000000003", "c"),
        ];
        let rig = Rig::new();
        rig.fill(10, &list).await;
        let rig = rig.again(|conn| assert_eq!(conn.execute(sql, []).unwrap(), 1));
        rig.settled().await;
        assert_eq!(rig.held("C000000001"), Held::Doubted, "{sql}");
        let mut pass = rig.begin(20).await;
        let counts = pass.page(list.to_vec(), at(20, 3)).await.unwrap();
        assert_eq!((counts.distinct, counts.changed), (3, 1), "{sql}");
        pass.finish(Vec::new(), 1).await.unwrap();
        let Held::Rows(found) = rig.held("C000000001") else {
            panic!("{sql}");
        };
        assert_eq!(found.len(), 2, "{sql}");
    }
}

#[tokio::test]
async fn another_account_finds_nothing_of_the_one_before() {
    let mut rig = Rig::new();
    rig.fill(10, &rows(25_000)).await;
    let mut other = rig.begin_of("jamf", 10).await;
    other.page(rows(2), at(10, 1)).await.unwrap();
    other.finish(Vec::new(), 1).await.unwrap();
    rig.checkpoint();
    let full = fs::metadata(rig.path()).unwrap().len();
    rig.account = "https://other.example ";
    let mut pass = rig.begin(20).await;
    assert_eq!(pass.rows_before(), None);
    pass.page(rows(1), at(20, 1)).await.unwrap();
    rig.store.commit().await.unwrap();
    assert_eq!(rig.found(&["C000000000"]), None);
    pass.finish(Vec::new(), 1).await.unwrap();
    assert_eq!(rig.held("C000000001"), Held::Nothing);
    let jamf = Name::new("jamf").unwrap();
    let found = rig
        .store
        .look_up(&jamf, &rig.credential, &[serial("C000000001")]);
    assert_eq!(found.unwrap().held, [held("assigned", read_at(10, 1))]);
    rig.stop();
    let left = fs::metadata(rig.path()).unwrap().len();
    assert!(
        left < full / 10,
        "{left} of {full} bytes: the old rows are in free pages"
    );
}

#[tokio::test]
async fn with_another_credential_no_row_answers_until_the_account_is_found_the_same() {
    let mut rig = Rig::new();
    rig.fill(10, &rows(2)).await;
    rig.credential = Secret::new("renewed");
    assert_eq!(rig.found(&["C000000001"]), None);
    let pass = rig.begin(20).await;
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(10, 1)));
    drop(pass);
    rig.credential = Secret::new("token");
    assert_eq!(rig.found(&["C000000001"]), None);
    // Neither the credential nor the account can be read from the file.
    rig.stop();
    let bytes = fs::read(rig.path()).unwrap();
    for text in ["renewed", "acme.example"] {
        let stands = bytes
            .windows(text.len())
            .any(|here| here == text.as_bytes());
        assert!(!stands, "{text}");
    }
}

#[tokio::test]
async fn a_struck_row_answers_again_when_a_later_request_brings_it() {
    let rig = Rig::new();
    rig.fill(10, &rows(3)).await;
    let mut pass = rig.begin(20).await;
    rig.struck("C000000001", at(20, 500));
    assert_eq!(rig.held("C000000001"), Held::Doubted, "at once");
    assert_eq!(rig.held("C000000002"), held("assigned", read_at(10, 1)));
    pass.page(rows(2), at(20, 499)).await.unwrap();
    rig.store.commit().await.unwrap();
    assert_eq!(rig.held("C000000001"), Held::Doubted, "requested before");
    pass.page(rows(3), at(20, 502)).await.unwrap();
    rig.store.commit().await.unwrap();
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(20, 502)));
    pass.finish(Vec::new(), 1).await.unwrap();
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(20, 502)));
}

#[tokio::test]
async fn a_complete_pass_does_not_end_a_strike_that_came_after_its_page() {
    let rig = Rig::new();
    let mut pass = rig.begin(10).await;
    pass.page(rows(3), at(10, 1)).await.unwrap();
    rig.struck("C000000001", at(10, 400));
    pass.finish(Vec::new(), 1).await.unwrap();
    assert_eq!(rig.held("C000000001"), Held::Doubted);
    rig.fill(20, &rows(3)).await;
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(20, 1)));
}

#[tokio::test]
async fn a_strike_counts_after_a_restart_and_before_the_file_is_open() {
    let rig = Rig::new();
    rig.fill(10, &rows(4)).await;
    rig.struck("C000000001", at(10, 400));
    rig.settled().await;
    let killed = rig.copy();
    killed.settled().await;
    assert_eq!(killed.held("C000000001"), Held::Doubted);
    let mut rig = rig.again(|_| {});
    rig.struck("C000000002", at(3, 0));
    rig.settled().await;
    assert_eq!(rig.held("C000000001"), Held::Doubted);
    assert_eq!(rig.held("C000000002"), Held::Doubted);
    rig = rig.again(|_| {});
    rig.settled().await;
    assert_eq!(rig.held("C000000002"), Held::Doubted, "it is in the file");
    rig.fill(3, &rows(4)).await;
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(3, 1)));
    assert_eq!(rig.held("C000000002"), held("assigned", read_at(3, 1)));
}

#[tokio::test]
async fn one_struck_row_silences_all_rows_of_its_serial_number() {
    let rig = Rig::new();
    let (one, two) = (row("1", "C000000001", "a"), row("2", "C000000001", "b"));
    rig.fill(10, &[one.clone(), two.clone()]).await;
    let mut pass = rig.begin(20).await;
    rig.struck("C000000001", at(20, 0));
    pass.page(vec![one], at(20, 10)).await.unwrap();
    rig.store.commit().await.unwrap();
    assert_eq!(rig.held("C000000001"), Held::Doubted);
    pass.page(vec![two], at(20, 20)).await.unwrap();
    rig.store.commit().await.unwrap();
    let Held::Rows(both) = rig.held("C000000001") else {
        panic!("both were brought again");
    };
    assert_eq!(both.len(), 2);
}

#[tokio::test]
async fn a_record_that_changes_its_serial_number_is_one_record() {
    let rig = Rig::new();
    rig.fill(10, &[row("1", "C000000001", "a")]).await;
    let mut pass = rig.begin(20).await;
    let page = vec![row("1", "C000000001", "a"), row("1", "C000000002", "a")];
    let counts = pass.page(page, at(20, 1)).await.unwrap();
    assert_eq!((counts.distinct, counts.changed), (1, 1));
    pass.finish(Vec::new(), 1).await.unwrap();
    assert_eq!(rig.held("C000000001"), Held::Nothing);
    assert_eq!(rig.held("C000000002"), held("a", read_at(20, 1)));
}

#[tokio::test]
async fn a_full_disk_ends_the_pass_and_nothing_is_found_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::with_limit(&folder.path().join("replica.sqlite"), 400 << 10);
    let rig = Rig::of(folder, store);
    rig.fill(10, &rows(200)).await;
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(10, 1)));
    let mut pass = rig.begin(20).await;
    let many = pass.page(rows(20_000), at(20, 1)).await;
    assert_eq!(many, Err(StoreFault::Full));
    assert_eq!(rig.found(&["C000000001"]), None);
    assert_eq!(pass.page(rows(1), at(20, 2)).await, Err(StoreFault::Full));
    assert_eq!(pass.finish(Vec::new(), 1).await, Err(StoreFault::Full));
    // What was committed before is still there.
    rig.fill(30, &rows(200)).await;
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(30, 0)));
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_a_fault_of_the_pass() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["none/replica.sqlite", "folder"] {
        fs::create_dir_all(folder.path().join("folder")).unwrap();
        let store = Store::open(&folder.path().join(name));
        let kandji = Name::new("kandji").unwrap();
        let secret = Secret::new("token");
        let begun = store
            .begin(&kandji, "account", &secret, read_at(1, 0))
            .await;
        assert!(matches!(begun, Err(StoreFault::Other(_))), "{name}");
        store.strike(&kandji, &serial("C000000001"), at(1, 0));
        assert_eq!(store.look_up(&kandji, &secret, &[]), None);
        assert!(store.status(&kandji).await.is_err());
    }
}

#[test]
fn a_strike_that_cannot_be_written_costs_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replica.sqlite");
    let shared = Arc::new(Shared::default());
    let kandji = Name::new("kandji").unwrap();
    for is_struck in [false, true] {
        let mut writer = Writer::new(path.clone(), LARGEST_FILE, Arc::clone(&shared));
        writer.opened().unwrap();
        shared.strikes().begin(&kandji, 1, at(1, 0));
        if is_struck {
            shared
                .strikes()
                .strike(&kandji, &serial("C000000001"), at(2, 0));
        }
        let full = writer.bear(trouble::Trouble::Close(StoreFault::Full));
        assert_eq!(full, StoreFault::Full);
        assert_eq!(path.exists(), !is_struck);
    }
}

#[tokio::test]
async fn a_file_deleted_or_exchanged_under_it_is_noticed_by_the_look_up_and_by_the_pass() {
    for (looked_up, exchanged) in [(true, false), (false, false), (true, true), (false, true)] {
        let rig = Rig::new();
        rig.fill(10, &rows(3)).await;
        rig.checkpoint();
        let mut pass = rig.begin(20).await;
        if exchanged {
            let copy = rig.path().with_file_name("copy");
            fs::copy(rig.path(), &copy).unwrap();
            fs::rename(copy, rig.path()).unwrap();
        } else {
            fs::remove_file(rig.path()).unwrap();
        }
        if looked_up {
            assert_eq!(rig.found(&["C000000001"]), None);
        }
        let lost = pass.page(rows(3), at(20, 1)).await;
        assert_eq!(lost, Err(StoreFault::Lost), "{looked_up} {exchanged}");
        rig.fill(30, &rows(3)).await;
        assert_eq!(rig.held("C000000001"), held("assigned", read_at(30, 1)));
    }
}

#[tokio::test]
async fn a_look_up_beside_a_running_pass_finds_the_state_before_it() {
    let rig = Rig::new();
    rig.fill(10, &rows(10_000)).await;
    let mut pass = rig.begin(20).await;
    let mut changed = rows(10_000);
    for row in &mut changed {
        row.body = b"pushed".to_vec();
    }
    let (done, ()) = tokio::join!(pass.page(changed, at(20, 1)), async {
        for _ in 0..200 {
            assert_eq!(rig.held("C000009999"), held("assigned", read_at(10, 1)));
            tokio::task::yield_now().await;
        }
    });
    done.unwrap();
    assert_eq!(rig.held("C000009999"), held("assigned", read_at(10, 1)));
    wait("it is committed by itself", || {
        rig.held("C000009999") == held("pushed", read_at(20, 1))
    });
}

#[tokio::test]
async fn the_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replica.sqlite");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(&path);
    let rig = Rig::of(folder, store);
    rig.fill(10, &rows(3)).await;
    let mut modes = 0;
    for entry in fs::read_dir(rig.folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        modes += 1;
    }
    assert_eq!(modes, 3);
}

#[tokio::test]
async fn a_cleared_source_is_gone_and_can_be_filled_again() {
    let rig = Rig::new();
    rig.fill(10, &rows(30)).await;
    let kandji = Name::new("kandji").unwrap();
    let pass = rig.begin(20).await;
    rig.store.clear(&kandji).await.unwrap();
    assert_eq!(rig.found(&["C000000001"]), None);
    assert_eq!(rig.store.status(&kandji).await, Ok(None));
    assert_eq!(pass.finish(Vec::new(), 1).await, Err(StoreFault::Lost));
    rig.fill(30, &rows(3)).await;
    assert_eq!(rig.held("C000000001"), held("assigned", read_at(30, 1)));
}

#[tokio::test]
async fn only_the_rows_of_sources_that_have_a_replica_are_kept() {
    let mut rig = Rig::new();
    rig.fill(0, &[row("1", "C02XK0AAJG5H", "a")]).await;
    let mut apple = rig.begin_of("apple", 1).await;
    apple
        .page(vec![row("1", "C02XK0AAJG5H", "b")], at(1, 1))
        .await
        .unwrap();
    apple.finish(b"facts".to_vec(), 3).await.unwrap();
    let name = |text| Name::new(text).unwrap();
    rig.stop();
    rig.store = Store::of(&rig.path(), [name("apple")].into()).unwrap();
    assert_eq!(rig.store.status(&name("kandji")).await, Ok(None));
    assert!(rig.found(&["C02XK0AAJG5H"]).is_none());
    let rig = rig.again(|conn| {
        let left: i64 = conn
            .query_row("SELECT count(*) FROM row", [], |row| row.get(0))
            .unwrap();
        assert_eq!(left, 1);
    });
    let apple = rig.store.status(&name("apple")).await.unwrap().unwrap();
    assert_eq!(apple.rows, 1);
    let path = rig.path();
    let mut rig = rig;
    rig.stop();
    assert!(path.exists() && Store::of(&path, BTreeSet::new()).is_none());
    assert!(!path.exists() && Store::of(&path, BTreeSet::new()).is_none());
}

#[tokio::test]
async fn that_a_list_has_shrunk_outlives_the_process_and_ends_with_a_complete_pass() {
    let rig = Rig::new();
    rig.fill(0, &[row("1", "C02XK0AAJG5H", "a")]).await;
    rig.begin(1).await.shrunken(0).await.unwrap();
    let rig = rig.again(|_| {});
    let kandji = Name::new("kandji").unwrap();
    let short = async |rig: &Rig| rig.store.status(&kandji).await.unwrap().unwrap().short;
    assert_eq!(short(&rig).await, Some(0));
    assert!(
        matches!(rig.held("C02XK0AAJG5H"), Held::Rows(_)),
        "it changes no row"
    );
    rig.fill(2, &[row("1", "C02XK0AAJG5H", "a")]).await;
    assert_eq!(short(&rig).await, None);
}
