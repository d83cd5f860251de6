//! Files that cannot be read, disks that cannot be written: the journal works on and says so.

use std::{fs::File, io::Write, os::unix::fs::FileExt};

use proptest::{collection::vec, prelude::*};

use super::*;

/// A journal of 200 records, every second one delivered, cleanly closed.
async fn a_past(dir: &TempDir) -> Vec<Stored> {
    let journal = open(dir);
    record_some(&journal, 0..200).await;
    let rows = journal.reader().unsent(0, 1000).unwrap();
    journal.delivered(
        rows.iter()
            .map(|stored| stored.row)
            .filter(|row| row % 2 == 0)
            .collect(),
    );
    journal.flush().await;
    let found = all_records(dir.path());
    journal.close().await;
    found
}

fn all_records(dir: &Path) -> Vec<Stored> {
    let records = all(dir).into_iter().filter_map(|entry| {
        if let Entry::Record(stored) = entry {
            Some(*stored)
        } else {
            None
        }
    });
    records.collect()
}

fn copies_in(dir: &TempDir) -> Vec<PathBuf> {
    salvage::copies(dir.path())
}

/// Opens a damaged journal, and holds it against what every bad file must lead to.
async fn works_on(dir: &TempDir, past: &[Stored]) -> (Vec<Stored>, JournalHealth) {
    let journal = open(dir);
    let recorded = journal
        .record(vec![record(&serial(9_000))])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(recorded.seq, 1, "a new epoch counts from 1");
    assert!(
        past.iter()
            .all(|stored| stored.recorded.epoch != recorded.epoch)
    );
    assert_eq!(copies_in(dir).len(), 1);
    let health = salvage_done(&journal).await;
    assert_eq!((health.state.code(), health.salvaged), ("ok", true));

    let found = all_records(dir.path());
    let (new, salvaged): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|stored| stored.recorded == recorded);
    assert_eq!(new.len(), 1);
    assert_eq!(health.salvaged_rows, salvaged.len() as u64);
    for stored in &salvaged {
        let original = past
            .iter()
            .find(|past| past.recorded == stored.recorded)
            .expect("nothing is invented");
        assert_eq!(original.delivered_at, stored.delivered_at);
    }
    let unsent = journal.reader().unsent(0, 1000).unwrap();
    assert_eq!(unsent.len() as u64, health.unsent);
    assert_eq!(
        unsent.last().unwrap().recorded,
        recorded,
        "older epochs are delivered first"
    );
    let seqs: Vec<u64> = unsent.iter().map(|stored| stored.recorded.seq).collect();
    assert!(seqs[..seqs.len() - 1].is_sorted());

    journal.close().await;
    let again = open(dir);
    assert_eq!(again.epoch(), recorded.epoch, "the next start goes on");
    assert_eq!(copies_in(dir).len(), 1);
    (salvaged, health)
}

async fn salvage_done(journal: &Journal) -> JournalHealth {
    let mut returned = journal.returned();
    timeout(
        Duration::from_secs(20),
        returned.wait_for(|count| *count > 0),
    )
    .await
    .expect("salvage ends")
    .unwrap();
    journal.health().borrow().clone()
}

#[tokio::test]
async fn a_file_of_nothing_but_nul_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let length = fs::metadata(file(&dir)).unwrap().len();
    fs::write(file(&dir), vec![0; length as usize]).unwrap();
    let (salvaged, health) = works_on(&dir, &past).await;
    assert_eq!(
        (salvaged.len(), health.lost_rows),
        (0, None),
        "nobody can say how many there were"
    );
}

#[tokio::test]
async fn a_cut_file_is_salvaged_up_to_the_cut() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let length = fs::metadata(file(&dir)).unwrap().len();
    File::options()
        .write(true)
        .open(file(&dir))
        .unwrap()
        .set_len(length * 6 / 10)
        .unwrap();
    let (salvaged, health) = works_on(&dir, &past).await;
    assert!(salvaged.len() > 60, "only {} salvaged", salvaged.len());
    assert_eq!(
        health.lost_rows,
        Some(200 - salvaged.len() as u64),
        "what is lost is counted"
    );
}

#[tokio::test]
async fn pages_of_nul_in_the_middle_cost_only_their_own_records() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let pages = fs::metadata(file(&dir)).unwrap().len() / PAGE;
    let damaged = File::options().write(true).open(file(&dir)).unwrap();
    for page in [pages / 2, pages / 2 + 1, pages * 3 / 4] {
        damaged
            .write_all_at(&[0; PAGE as usize], page * PAGE)
            .unwrap();
    }
    drop(damaged);
    // Nothing at the ends is damaged: the check of every page, started by an unclean end, finds it.
    fs::write(dir.path().join("journal.sqlite-wal"), b"\0").unwrap();
    let journal = open(&dir);
    let health = health_is(&journal, |health| {
        health.salvaged && health.salvaged_rows > 0
    })
    .await;
    assert!(
        health.salvaged_rows >= 150 && health.lost_rows == Some(200 - health.salvaged_rows),
        "{health:?}"
    );
    assert_ne!(journal.epoch(), past[0].recorded.epoch);
    assert_eq!(record_some(&journal, 300..301).await[0].seq, 1);
}

#[tokio::test]
async fn a_foreign_file_is_set_aside() {
    let dir = TempDir::new().unwrap();
    fs::write(file(&dir), "Dear diary, this is no database. ".repeat(500)).unwrap();
    assert_eq!(works_on(&dir, &[]).await.1.lost_rows, None);
    assert!(
        fs::read_to_string(&copies_in(&dir)[0])
            .unwrap()
            .starts_with("Dear diary"),
        "and kept as it was"
    );
}

#[tokio::test]
async fn a_foreign_database_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let other = rusqlite::Connection::open(file(&dir)).unwrap();
    other.execute_batch("CREATE TABLE record (row INTEGER PRIMARY KEY, song TEXT); INSERT INTO record (song) VALUES ('la la')").unwrap();
    drop(other);
    assert_eq!(works_on(&dir, &[]).await.1.lost_rows, None);
}

#[tokio::test]
async fn records_whose_number_cannot_be_read_come_over_and_what_is_missing_is_not_called_none() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    let page: u32 = conn
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'epoch'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(conn);
    File::options()
        .write(true)
        .open(file(&dir))
        .unwrap()
        .write_all_at(&[0; PAGE as usize], u64::from(page - 1) * PAGE)
        .unwrap();
    let (salvaged, health) = works_on(&dir, &past).await;
    assert_eq!((salvaged.len(), health.lost_rows), (200, None));
}

#[tokio::test]
async fn one_salvage_that_nobody_can_count_makes_the_sum_unknown() {
    let dir = TempDir::new().unwrap();
    a_past(&dir).await;
    rusqlite::Connection::open(file(&dir))
        .unwrap()
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    let journal = open(&dir);
    let health = salvage_done(&journal).await;
    assert_eq!((health.salvaged_rows, health.lost_rows), (200, Some(0)));
    journal.close().await;
    fs::write(file(&dir), [0; 8192]).unwrap();
    let journal = open(&dir);
    // The file before is read once more: what was known of it is lost, too.
    let health = health_is(&journal, |health| health.salvaged_rows == 200).await;
    assert_eq!((copies_in(&dir).len(), health.lost_rows), (2, None));
}

#[tokio::test]
async fn what_an_earlier_salvage_counted_is_not_forgotten_by_the_next_one() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let length = fs::metadata(file(&dir)).unwrap().len();
    File::options()
        .write(true)
        .open(file(&dir))
        .unwrap()
        .set_len(length * 6 / 10)
        .unwrap();
    let journal = open(&dir);
    let first = salvage_done(&journal).await;
    assert_eq!(
        first.lost_rows,
        Some(past.len() as u64 - first.salvaged_rows)
    );
    assert!(first.lost_rows > Some(0));
    journal.close().await;
    rusqlite::Connection::open(file(&dir))
        .unwrap()
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    let second = salvage_done(&open(&dir)).await;
    assert_eq!(
        (copies_in(&dir).len(), second.lost_rows),
        (2, first.lost_rows)
    );
}

#[tokio::test]
async fn a_journal_of_a_newer_build_is_set_aside_and_its_records_are_kept() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let newer = rusqlite::Connection::open(file(&dir)).unwrap();
    newer
        .execute_batch(&format!(
            "ALTER TABLE record ADD COLUMN mood TEXT; PRAGMA user_version = {}",
            schema::VERSION + 1
        ))
        .unwrap();
    drop(newer);
    let (salvaged, health) = works_on(&dir, &past).await;
    assert_eq!((salvaged.len(), health.lost_rows), (200, Some(0)));
}

#[tokio::test]
async fn a_directory_in_the_journals_place_is_set_aside() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(file(&dir)).unwrap();
    works_on(&dir, &[]).await;
}

#[tokio::test]
async fn a_log_that_ends_in_nul_loses_nothing_that_was_answered() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let recorded = record_some(&journal, 0..30).await;
    let cut = copy(&dir);
    let mut log = File::options()
        .append(true)
        .open(cut.path().join("journal.sqlite-wal"))
        .unwrap();
    log.write_all(&[0; 3 * 4120]).unwrap();
    drop(log);

    let again = open(&cut);
    assert_eq!(
        (again.epoch(), again.health().borrow().salvaged),
        (journal.epoch(), false)
    );
    let found: Vec<Recorded> = again
        .reader()
        .unsent(0, 100)
        .unwrap()
        .into_iter()
        .map(|stored| stored.recorded)
        .collect();
    assert_eq!(found, recorded);
    assert_eq!(record_some(&again, 30..31).await[0].seq, 31);
}

#[tokio::test]
async fn a_card_in_another_machine_draws_a_new_epoch_and_still_delivers_the_old_rows() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let journal = Journal::open(&settings(dir.path()), "machine-2").unwrap();
    let health = journal.health().borrow().clone();
    assert!(health.salvaged && health.epoch != past[0].recorded.epoch);
    assert_eq!((health.unsent, health.lost_rows), (100, Some(0)));
    let recorded = record_some(&journal, 300..301).await.remove(0);
    assert_eq!(recorded.seq, 1);
    let unsent = journal.reader().unsent(0, 1000).unwrap();
    assert_eq!((unsent.len(), &unsent[100].recorded), (101, &recorded));
    assert_eq!(
        journal
            .reader()
            .range(past[0].recorded.epoch, 1, 10, 100)
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test]
async fn damage_met_while_running_is_salvaged_without_a_restart() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let journal = open(&dir);
    let mut reader = journal.reader();
    // By another process: closing a second descriptor of ours would drop SQLite's locks.
    let pages = fs::metadata(file(&dir)).unwrap().len() / PAGE;
    let damaged = Command::new("dd")
        .args(["if=/dev/zero", "conv=notrunc", "status=none"])
        .arg(format!("bs={PAGE}"))
        .arg(format!("of={}", file(&dir).display()))
        .args([
            format!("seek={}", pages / 2),
            format!("count={}", pages / 4),
        ])
        .status();
    assert!(damaged.unwrap().success());
    assert!(reader.story(&serial(100)).is_err() || reader.unsent(0, 1000).is_err());
    let health = health_is(&journal, |health| {
        health.salvaged && health.salvaged_rows > 0
    })
    .await;
    assert!(
        health.salvaged_rows > 60 && health.lost_rows > Some(0),
        "{health:?}"
    );
    assert_eq!(record_some(&journal, 300..301).await[0].seq, 1);
    let unsent = reader.unsent(0, 1000).unwrap();
    assert!(
        unsent
            .iter()
            .any(|stored| stored.recorded.epoch == past[0].recorded.epoch),
        "a reader goes on in the new file"
    );
}

#[tokio::test]
async fn a_file_deleted_under_the_agent_takes_no_record_with_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    let epoch = journal.epoch();
    fs::remove_file(file(&dir)).unwrap();
    let recorded = record_some(&journal, 3..4).await.remove(0);
    assert_eq!(recorded.seq, 1);
    assert_ne!(recorded.epoch, epoch);
    let health = salvage_done(&journal).await;
    assert_eq!(
        (
            health.salvaged_rows,
            health.lost_rows,
            all_records(dir.path()).len()
        ),
        (3, Some(0), 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_answers_so_and_mends_itself() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    on_connection(&journal, |conn| {
        conn.execute_batch("PRAGMA max_page_count = 1").unwrap()
    });
    let mut stored = 1;
    let lost = loop {
        let lost = record(&serial(stored));
        journal.scanned(scan_of(&lost));
        match journal.record(vec![lost.clone()]).await {
            Ok(_) => stored += 1,
            Err(fault) => {
                assert_eq!(fault, Fault::Full);
                break lost;
            }
        }
        assert!(stored < 1000);
    };
    health_is(&journal, |health| health.state.code() == "full").await;
    assert_eq!(
        journal.record(vec![record(&serial(901))]).await,
        Err(Fault::Full)
    );

    on_connection(&journal, |conn| {
        conn.execute_batch("PRAGMA max_page_count = 1000000")
            .unwrap()
    });
    let recorded = journal.record(vec![record(&serial(902))]).await.unwrap();
    assert_eq!(
        recorded[0].seq,
        stored as u64 + 1,
        "a refused record takes no seq"
    );
    let health = health_is(&journal, |health| health.state.code() == "ok").await;
    assert_eq!(health.faulted, 2);
    journal.close().await;
    let faulted: Vec<_> = all(dir.path())
        .into_iter()
        .filter_map(|entry| {
            if let Entry::Unfinished(scan) = entry {
                Some(scan)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        (faulted.len(), faulted[0].id, faulted[0].faulted),
        (1, lost.id, true),
        "the scan is remembered with the answer it had"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_answers_so_and_mends_itself_without_a_scan() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    on_connection(&journal, |conn| {
        conn.execute_batch("PRAGMA query_only = 1").unwrap()
    });
    assert_eq!(
        journal.record(vec![record(&serial(1))]).await,
        Err(Fault::ReadOnly)
    );
    assert_eq!(journal.health().borrow().state.code(), "read_only");
    on_connection(&journal, |conn| {
        conn.execute_batch("PRAGMA query_only = 0").unwrap()
    });
    journal.scanned(scan_of(&record(&serial(2))));
    health_is(&journal, |health| health.state.code() == "ok").await;
    assert_eq!(record_some(&journal, 3..4).await[0].seq, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_made_leaves_a_station_that_says_so_and_mends_itself() {
    let dir = TempDir::new().unwrap();
    let blocker = dir.path().join("blocker");
    fs::write(&blocker, "a file where a directory must be").unwrap();
    let journal = Journal::open(&settings(&blocker.join("state")), "machine-1").unwrap();
    assert_eq!(journal.health().borrow().state.code(), "fault");
    assert!(journal.epoch().is_nil());
    let scan = record(&serial(1));
    journal.scanned(scan_of(&scan));
    let answer = journal.record(vec![scan]).await;
    assert!(
        matches!(&answer, Err(Fault::Broken(why)) if why.contains("cannot make the directory")),
        "{answer:?}"
    );
    assert!(journal.reader().unsent(0, 10).is_err());

    fs::remove_file(&blocker).unwrap();
    let health = health_is(&journal, |health| health.state.code() == "ok").await;
    assert!(!health.epoch.is_nil() && health.faulted == 1 && !health.salvaged);
    assert_eq!(record_some(&journal, 2..3).await[0].seq, 1);
    let mut seen = journal.reader();
    assert_eq!(seen.unsent(0, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn a_salvage_cut_short_by_a_kill_is_finished_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    // As if the power went right after the rename.
    salvage::put_aside(&file(&dir), true, Timestamp::now()).unwrap();
    let journal = open(&dir);
    let health = salvage_done(&journal).await;
    assert_eq!(
        (health.salvaged_rows, health.lost_rows, health.unsent),
        (200, Some(0), 100)
    );
    assert_eq!(all_records(dir.path()), past);
}

#[tokio::test]
async fn a_salvaged_journal_can_be_salvaged_again() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    for _ in 0..2 {
        let conn = rusqlite::Connection::open(file(&dir)).unwrap();
        conn.pragma_update(None, "user_version", schema::VERSION + 1)
            .unwrap();
        drop(conn);
        let journal = open(&dir);
        salvage_done(&journal).await;
        record_some(&journal, 500..501).await;
        journal.close().await;
    }
    let found = all_records(dir.path());
    assert_eq!(found.len(), 202);
    assert_eq!(found[..200], past);
}

/// Whatever the power or a dying card does to the file, the next scan is recorded.
#[test]
fn no_damage_keeps_the_next_scan_from_being_recorded() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(a_past(&dir));
    let whole = fs::read(file(&dir)).unwrap();
    let spots = vec((0..whole.len(), 1..6000_usize, any::<u8>()), 1..6);
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) }, |(spots in spots, cut in 0..whole.len() * 3)| {
        let mut damaged = whole.clone();
        for (from, length, byte) in spots {
            let to = (from + length).min(damaged.len());
            damaged[from..to].fill(byte);
        }
        damaged.truncate(cut);
        let dir = TempDir::new().unwrap();
        fs::write(file(&dir), damaged).unwrap();
        // An unclean end, so that every page is looked at.
        fs::write(dir.path().join("journal.sqlite-wal"), b"\0").unwrap();
        runtime.block_on(async {
            let journal = open(&dir);
            let recorded = journal.record(vec![record(&serial(9_000))]).await;
            prop_assert!(recorded.is_ok(), "{recorded:?}");
            // Damage may be met only now: then the record is among the salvaged.
            let (id, mut reader) = (recorded.unwrap()[0].record.id, journal.reader());
            let began = Instant::now();
            while !reader.find(id).is_ok_and(|found| found.is_some()) {
                prop_assert!(began.elapsed() < Duration::from_secs(4), "the record is lost: {:?}", journal.health().borrow());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            journal.close().await;
            Ok(())
        })?;
    });
}

#[tokio::test]
async fn rows_that_an_index_has_lost_are_delivered_all_the_same() {
    let dir = TempDir::new().unwrap();
    let past = a_past(&dir).await;
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    conn.execute_batch(
        "DROP INDEX record_outbox;
         CREATE INDEX record_outbox ON record(aside) WHERE delivered_at IS NULL AND row % 4 = 1;
         PRAGMA writable_schema = 1;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX record_outbox ON record(aside) WHERE delivered_at IS NULL' WHERE name = 'record_outbox';",
    )
    .unwrap();
    drop(conn);
    fs::write(dir.path().join("journal.sqlite-wal"), b"\0").unwrap();
    let journal = open(&dir);
    let health = health_is(&journal, |health| {
        health.salvaged && health.salvaged_rows > 0
    })
    .await;
    assert_eq!(
        (health.salvaged_rows, health.lost_rows, health.unsent),
        (200, Some(0), 100)
    );
    assert_eq!(
        journal.reader().unsent(0, 1000).unwrap().len(),
        past.iter()
            .filter(|stored| stored.delivered_at.is_none())
            .count()
    );
}

#[tokio::test]
async fn a_salvage_that_meets_a_full_disk_passes_over_no_row() {
    let dir = TempDir::new().unwrap();
    a_past(&dir).await;
    salvage::put_aside(&file(&dir), true, Timestamp::now()).unwrap();
    let mut store = store::Store::open(
        &file(&dir),
        &machine::hashed("machine-1"),
        2,
        mark::Mark::Absent,
    )
    .unwrap();
    salvage::adopt(&mut store, dir.path(), "a test").unwrap();
    let mut salvage = salvage::Salvage::next(&store, dir.path(), None)
        .unwrap()
        .unwrap();
    let mut refused = 0;
    let mut pages = 30;
    loop {
        store
            .conn
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
        match salvage.step(&mut store) {
            Ok(true) => break,
            Ok(false) => {}
            Err(trouble) => {
                assert_eq!(trouble, trouble::Trouble::Full);
                refused += 1;
                pages += 10;
            }
        }
    }
    assert!(refused > 1, "the disk was never full");
    let mut health = open(&TempDir::new().unwrap()).health().borrow().clone();
    store.tell(&mut health, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(
        (health.salvaged_rows, health.lost_rows, health.unsent),
        (200, Some(0), 100)
    );
}
