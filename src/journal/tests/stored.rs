//! What is written comes back, in order and whole.

use proptest::{collection::vec, option, prelude::*};

use super::*;

#[tokio::test]
async fn a_record_is_readable_by_another_connection_once_its_answer_came() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let written = record(&serial(1));
    let recorded = journal.record(vec![written.clone()]).await.unwrap();
    assert_eq!((recorded[0].seq, recorded[0].epoch), (1, journal.epoch()));
    assert_eq!(recorded[0].record, written);

    let found = Reader::open(dir.path())
        .unwrap()
        .find(written.id)
        .unwrap()
        .unwrap();
    assert_eq!(found.recorded, recorded[0]);
    assert_eq!((found.delivered_at, found.set_aside), (None, None));
}

#[tokio::test]
async fn a_record_survives_the_end_of_the_process_right_after_its_answer() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let recorded = record_some(&journal, 0..20).await;
    // The writer still runs: this is the file as a kill would leave it.
    let killed = copy(&dir);
    let again = open(&killed);
    assert_eq!(again.epoch(), journal.epoch());
    let found: Vec<Recorded> = again
        .reader()
        .unsent(0, 100)
        .unwrap()
        .into_iter()
        .map(|stored| stored.recorded)
        .collect();
    assert_eq!(found, recorded);
    assert_eq!(
        again.record(vec![record(&serial(99))]).await.unwrap()[0].seq,
        21
    );
    assert!(!again.health().borrow().salvaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn seq_has_no_gap_over_many_recorders_at_once() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move { record_some(&journal, task * 25..(task + 1) * 25).await })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.extend(task.await.unwrap().into_iter().map(|recorded| recorded.seq));
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<u64>>());
    assert_eq!(journal.health().borrow().unsent, 200);
}

#[tokio::test]
async fn a_scanner_is_proven_by_its_newest_known_serial_number_and_by_no_change() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let scanners = ["left", "right", "middle"].map(name).into();
    assert_eq!(journal.reader().proofs(&scanners).unwrap(), [].into());
    let by = |scanner: &str, known: bool, number: usize| {
        let mut record = Record {
            scanner: name(scanner),
            at: Timestamp::from_second(1_700_000_000).unwrap(),
            ..record(&serial(number))
        };
        record.evidence[0].known = known;
        record
    };
    let proven = by("left", true, 1);
    let change = Some(Change {
        scan: proven.id,
        cause: Cause::Recheck,
        previous_reason: Reason::NotFound,
    });
    let records = [
        proven.clone(),
        by("left", false, 2),
        by("right", false, 3),
        Record {
            change,
            id: Uuid::now_v7(),
            ..by("right", true, 3)
        },
        by("gone", true, 4),
    ];
    for record in records {
        journal.record(vec![record]).await.unwrap();
    }
    let proofs = Reader::open(dir.path()).unwrap().proofs(&scanners).unwrap();
    assert_eq!(
        proofs,
        [(name("left"), Some(proven.at)), (name("right"), None)].into()
    );
}

/// Commits in a log: frames that name the size of the database after them.
fn commits_in(log: &[u8]) -> usize {
    log[32..]
        .chunks_exact(24 + PAGE as usize)
        .filter(|frame| frame[4..8] != [0; 4])
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_queue_up_behind_a_slow_commit_share_the_next_one() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    let log = files::wal_of(&file(&dir));
    let before = commits_in(&fs::read(&log).unwrap());
    let _begins = slow_commit(&journal, Duration::from_millis(300));
    let tasks: Vec<_> = (1..41)
        .map(|number| {
            let journal = journal.clone();
            tokio::spawn(async move {
                journal
                    .record(vec![record(&serial(number))])
                    .await
                    .unwrap()
                    .remove(0)
                    .seq
            })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.push(task.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (2..=41).collect::<Vec<u64>>());
    let commits = commits_in(&fs::read(&log).unwrap()) - before;
    assert!(commits <= 4, "{commits} commits for 40 records");
}

#[tokio::test]
async fn a_group_is_written_whole_or_not_at_all_and_spoils_no_other() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let known = record(&serial(1));
    journal.record(vec![known.clone()]).await.unwrap();

    let good = record(&serial(2));
    let bad = vec![
        record(&serial(3)),
        Record {
            serial: Some(serial(4)),
            ..known.clone()
        },
    ];
    let (good_answer, bad_answer) =
        tokio::join!(journal.record(vec![good.clone()]), journal.record(bad));
    assert_eq!(good_answer.unwrap()[0].record.id, good.id);
    assert!(
        matches!(bad_answer, Err(Fault::Broken(_))),
        "an id is written once only"
    );
    assert_eq!(
        journal.record(vec![record(&serial(5))]).await.unwrap()[0].seq,
        3,
        "a refused group takes no seq"
    );
    assert_eq!(journal.health().borrow().state.code(), "ok");
    assert_eq!(journal.health().borrow().faulted, 2);
}

#[tokio::test]
async fn previous_is_the_stations_last_record_of_the_same_serial() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let first = journal
        .record(vec![record(&serial(1))])
        .await
        .unwrap()
        .remove(0);
    record_some(&journal, 2..4).await;
    let second = journal
        .record(vec![record(&serial(1))])
        .await
        .unwrap()
        .remove(0);
    let third = journal
        .record(vec![record(&serial(1))])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(first.record.previous, None);
    assert_eq!(second.record.previous, Some(first.record.id));
    assert_eq!(third.record.previous, Some(second.record.id));
}

#[tokio::test]
async fn a_clean_stop_leaves_one_file_and_the_next_start_goes_on_counting() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    let epoch = journal.epoch();
    journal.close().await;
    assert!(!dir.path().join("journal.sqlite-wal").exists());
    let again = open(&dir);
    assert_eq!(again.epoch(), epoch);
    assert_eq!(record_some(&again, 3..4).await[0].seq, 4);
}

#[tokio::test]
async fn a_scan_without_a_record_is_closed_as_interrupted_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let (finished, lost) = (record(&serial(1)), record(&serial(2)));
    for scan in [&finished, &lost] {
        journal.scanned(scan_of(scan));
    }
    journal.record(vec![finished.clone()]).await.unwrap();
    journal.close().await;

    let again = open(&dir);
    let health = again.health().borrow().clone();
    assert_eq!(
        (health.interrupted, health.unsent),
        (1, 1),
        "no seq and no message for it"
    );
    assert_eq!(
        again.record(vec![record(&serial(4))]).await.unwrap()[0].seq,
        2
    );
    let unfinished: Vec<_> = all(dir.path())
        .into_iter()
        .filter_map(|entry| {
            if let Entry::Unfinished(scan) = entry {
                Some(scan)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].id, unfinished[0].faulted), (lost.id, false));
    assert_eq!(
        unfinished[0].bytes.as_deref(),
        Some(serial(2).as_str().as_bytes())
    );
}

#[tokio::test]
async fn a_scan_still_in_progress_is_not_exported() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    journal.scanned(scan_of(&record(&serial(1))));
    journal.flush().await;
    assert_eq!(all(dir.path()), Vec::new());
}

#[tokio::test]
async fn one_agent_at_a_time_works_on_a_directory_and_reading_beside_it_works() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    let second = Journal::open(&settings(dir.path()), "machine-1");
    let words = second.err().unwrap().to_string();
    assert!(words.contains("in use by another benchlight"), "{words}");
    assert_eq!(all(dir.path()).len(), 1);
    journal.close().await;
    assert_eq!(all(dir.path()).len(), 1, "and without an agent");
    open(&dir);
}

#[test]
fn a_missing_directory_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let state_dir = dir.path().join("var/lib/benchlight");
    let journal = Journal::open(&settings(&state_dir), "machine-1").unwrap();
    assert_eq!(
        fs::metadata(&state_dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(journal.health().borrow().state.code(), "ok");
}

const SCHEMA_1: &str = include_str!("schema_1.sql");
const SCHEMA_2: &str = include_str!("schema_2.sql");
const SCHEMA_3: &str = include_str!("schema_3.sql");

/// A journal of an earlier schema with one row in each table, and what else `more` writes into it.
fn of_schema(schema: &str, more: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    conn.execute_batch(&schema.replace("@MACHINE@", &machine::hashed("machine-1")))
        .unwrap();
    conn.execute_batch(more).unwrap();
    dir
}

/// The journals of every schema so far: they must open for ever.
#[tokio::test]
async fn every_schema_still_opens() {
    for schema in [SCHEMA_1, SCHEMA_2, SCHEMA_3] {
        opens(of_schema(schema, "")).await;
    }
}

async fn opens(dir: TempDir) {
    let journal = open(&dir);
    assert_eq!(
        journal.epoch().to_string(),
        "019a9f00-0000-7000-8000-000000000001"
    );
    let health = journal.health().borrow().clone();
    assert_eq!(
        (
            health.salvaged,
            health.unsent,
            health.interrupted,
            health.dropped
        ),
        (false, 1, 2, 7)
    );
    let unsent = journal.reader().unsent(0, 10).unwrap();
    let evidence = &unsent[0].recorded.record.evidence;
    assert_eq!(
        (unsent[0].recorded.seq, evidence[0].finding),
        (2, Finding::Ready(Grade::Relayed))
    );
    assert_eq!(
        journal.record(vec![record(&serial(1))]).await.unwrap()[0].seq,
        3
    );
    assert_eq!(all(dir.path()).len(), 4);
}

/// The tables, indexes and triggers of a file with the columns of each, and the size of its pages.
fn shape(dir: &TempDir) -> (Vec<(String, String, String)>, i64) {
    let conn = rusqlite::Connection::open(file(dir)).unwrap();
    let sql = "SELECT type, name, (SELECT ifnull(group_concat(format('%s %s %s', c.name, c.type, c.\"notnull\"), ', '), '')
        FROM pragma_table_info(s.name) c) FROM sqlite_schema s ORDER BY type, name";
    let parts = conn
        .prepare(sql)
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let size = conn.pragma_query_value(None, "page_size", |row| row.get(0));
    (parts, size.unwrap())
}

#[tokio::test]
async fn an_earlier_journal_becomes_like_a_new_one_with_small_pages() {
    let new = TempDir::new().unwrap();
    open(&new).close().await;
    for schema in [SCHEMA_1, SCHEMA_2, SCHEMA_3] {
        let dir = of_schema(schema, "");
        open(&dir).close().await;
        assert_eq!(shape(&dir), shape(&new));
    }
}

#[tokio::test]
async fn a_large_earlier_journal_keeps_its_pages() {
    let dir = of_schema(SCHEMA_2, "INSERT INTO probe VALUES (zeroblob(33 << 20))");
    let journal = open(&dir);
    record_some(&journal, 1..2).await;
    journal.close().await;
    assert_eq!(shape(&dir).1, 4096);
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    let version: i32 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, schema::VERSION);
}

#[tokio::test]
async fn a_full_disk_while_an_earlier_journal_is_taken_over_leaves_it_as_it_was() {
    let dir = of_schema(SCHEMA_2, "");
    let before = shape(&dir);
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    let pages: u32 = conn
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    conn.pragma_update(None, "max_page_count", pages).unwrap();
    let full = upgrade::to_current(&conn).unwrap_err();
    assert_eq!(
        full.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull)
    );
    drop(conn);
    assert_eq!(shape(&dir), before);
    opens(dir).await;
}

#[test]
fn a_loss_that_schema_1_called_none_without_counting_is_unknown() {
    let now = Timestamp::now().as_nanosecond();
    let salvage = |saved: u32, lost: u32| {
        format!(
            "INSERT INTO salvage (at, file, cause, saved, lost, done_at) VALUES ({now}, 'journal.corrupt-1', 'a test', {saved}, {lost}, {now});"
        )
    };
    for (saved, lost, told) in [(0, 0, None), (5, 0, Some(0)), (0, 3, Some(3))] {
        let health = open(&of_schema(SCHEMA_1, &salvage(saved, lost)))
            .health()
            .borrow()
            .clone();
        assert_eq!(
            (health.salvaged, health.salvaged_rows, health.lost_rows),
            (true, u64::from(saved), told)
        );
    }
}

#[tokio::test]
async fn opening_a_hundred_thousand_rows_takes_a_blink() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    journal.close().await;
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    conn.execute_batch(
        "CREATE TEMP TABLE grown AS SELECT * FROM record;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO record SELECT row + i, epoch, randomblob(16), NULL, scan, cause, previous_reason, at + i, clock_synced, lane, scanner,
           printf('C02Y%08d', i), asked, raw, reason, message, action, grade, model, family, assigned_at, took_ms, lamp, previous, grouped, policy,
           evidence, CASE WHEN i < 50000 THEN at END, NULL FROM grown, n;
         UPDATE epoch SET next_seq = 100002;",
    )
    .unwrap();
    drop(conn);

    let began = Instant::now();
    let journal = open(&dir);
    let took = began.elapsed();
    assert_eq!(journal.health().borrow().unsent, 50_002);
    let began = Instant::now();
    let first = journal.reader().unsent(0, 64).unwrap();
    let read = began.elapsed();
    assert_eq!(first.len(), 64);
    let waiting = all_waiting(
        &mut journal.reader(),
        Timestamp::now(),
        true,
        Duration::from_secs(72 * 3_600),
        &[Reason::Settling],
    );
    assert!(waiting.is_empty());
    // Generous for a busy test machine; a check of every page takes ten times as long.
    assert!(
        took < Duration::from_millis(400) && read < Duration::from_millis(200),
        "opened in {took:?}, read in {read:?}"
    );
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (-62_135_596_800_i64..253_402_000_000, 0..1_000_000_000)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

fn our_time() -> impl Strategy<Value = Timestamp> {
    (0..4_102_444_800_i64, 0..1_000_000_000)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

fn any_serial() -> impl Strategy<Value = Serial> {
    "[A-Z][A-Z0-9]{7,13}".prop_map(|text| Serial::new(&text).unwrap())
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-z0-9-]{1,32}".prop_map(|text| Name::new(&text).unwrap())
}

fn any_reason() -> impl Strategy<Value = Reason> {
    proptest::sample::select(Reason::ALL)
}

fn any_finding() -> impl Strategy<Value = Finding> {
    prop_oneof![
        proptest::sample::select(Grade::ALL.to_vec()).prop_map(Finding::Ready),
        Just(Finding::NoObjection),
        any_reason().prop_map(Finding::Wait),
        any_reason().prop_map(Finding::No),
        any_reason().prop_map(Finding::Unknown),
    ]
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let kinds = proptest::sample::select(SourceKind::ALL.to_vec());
    let times = (
        option::of(any_time()),
        option::of(any_time()),
        option::of(any_time()),
        option::of(any_time()),
        option::of(any_time()),
    );
    let texts = (any_text(), any_text(), any_text(), any_text(), any_text());
    let took = (0..1_000_000_u64, 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let row_age = option::of((0..1_000_000_000_u64).prop_map(Duration::from_millis));
    (
        any_name(),
        kinds,
        any_serial(),
        any_finding(),
        any::<(bool, bool)>(),
        times,
        texts,
        (row_age, took),
    )
        .prop_map(
            |(source, kind, serial, finding, (returned, known), times, texts, (row_age, took))| {
                Evidence {
                    source,
                    kind,
                    serial,
                    finding,
                    returned,
                    known,
                    status: texts.0,
                    assigned_at: times.0,
                    device_assigned_at: times.1,
                    as_of: times.2,
                    updated_at: times.3,
                    server_uuid: texts.1,
                    replied_at: times.4,
                    model: texts.2,
                    family: texts.3,
                    detail: texts.4,
                    used_at: times.0,
                    heard: false,
                    row_age,
                    took,
                }
            },
        )
}

fn any_record() -> impl Strategy<Value = Record> {
    let id = || any::<u128>().prop_map(Uuid::from_u128);
    let causes = prop_oneof![
        Just(Cause::Recheck),
        Just(Cause::LateAnswer),
        Just(Cause::Recall),
        Just(Cause::LateCommit)
    ];
    let change = (id(), causes, any_reason()).prop_map(|(scan, cause, previous_reason)| Change {
        scan,
        cause,
        previous_reason,
    });
    let signals = [
        Signal::Ready,
        Signal::Stop,
        Signal::Hold,
        Signal::Rescan,
        Signal::Alarm,
        Signal::None,
    ];
    let signals = proptest::sample::select(signals.to_vec());
    let grades = proptest::sample::select(Grade::ALL.to_vec());
    let names = (
        any_name(),
        any_name(),
        option::of(any_serial()),
        vec(any_serial(), 0..3),
    );
    let texts = (
        any_text(),
        any::<String>(),
        any::<String>(),
        any_text(),
        any_text(),
        any::<String>(),
    );
    (
        (id(), option::of(id()), option::of(change), option::of(id())),
        (
            our_time(),
            any::<bool>(),
            option::of(any_time()),
            0..i64::MAX as u64,
        ),
        names,
        texts,
        (any_reason(), option::of(grades), signals),
        vec(any_evidence(), 0..3),
    )
        .prop_map(|(ids, times, names, texts, codes, evidence)| Record {
            id: ids.0,
            raw_scan: ids.1,
            change: ids.2,
            at: times.0,
            clock_synced: times.1,
            lane: names.0,
            scanner: names.1,
            serial: names.2,
            asked: names.3,
            raw: texts.0,
            reason: codes.0,
            message: texts.1,
            action: texts.2,
            grade: codes.1,
            model: texts.3,
            family: texts.4,
            assigned_at: times.2,
            took_ms: times.3,
            lamp: codes.2,
            previous: None,
            group: ids.3,
            policy: texts.5,
            evidence,
        })
}

/// One journal for all cases: a file for each would test the disk.
#[test]
fn any_record_comes_back_as_it_was_written() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Its times are any: it must not be blanked for its age.
    let journal = Journal::open(
        &Settings {
            keep_raw: Duration::MAX,
            ..settings(dir.path())
        },
        "machine-1",
    )
    .unwrap();
    let reader = std::cell::RefCell::new(journal.reader());
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) }, |(record in any_record())| {
        // A case that is tried again, to make it smaller, is another record.
        let record = Record { id: Uuid::now_v7(), ..record };
        let recorded = runtime.block_on(journal.record(vec![record.clone()])).unwrap().remove(0);
        let found = reader.borrow_mut().find(record.id).unwrap().unwrap();
        prop_assert_eq!(&found.recorded, &recorded);
        prop_assert_eq!(Record { previous: None, ..found.recorded.record }, record);
    });
}
