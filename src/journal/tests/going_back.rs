//! A journal that goes back in time or loses its files: no `seq` of an epoch is given out twice, and what was answered is saved.

use std::{collections::BTreeSet, fs::File, io::Write, os::unix::fs::PermissionsExt};

use super::*;

/// Waits for a mark that says so much.
async fn marked(dir: &TempDir, wanted: impl Fn(mark::Position) -> bool) {
    let began = Instant::now();
    while !matches!(mark::read(dir.path()), mark::Mark::At(position) if wanted(position)) {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the mark stays {:?}",
            mark::read(dir.path())
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A journal that is left as a kill leaves it: nothing is closed.
async fn killed(dir: &TempDir, serials: std::ops::Range<usize>) -> (TempDir, Vec<Recorded>) {
    let journal = open(dir);
    let recorded = record_some(&journal, serials).await;
    marked(dir, |position| position.epoch == journal.epoch()).await;
    let left = copy(dir);
    (left, recorded)
}

fn records(dir: &Path) -> Vec<Recorded> {
    all(dir)
        .into_iter()
        .filter_map(|entry| {
            if let Entry::Record(stored) = entry {
                Some(stored.recorded)
            } else {
                None
            }
        })
        .collect()
}

fn ids<'a>(records: impl IntoIterator<Item = &'a Recorded>) -> BTreeSet<Uuid> {
    records
        .into_iter()
        .map(|recorded| recorded.record.id)
        .collect()
}

/// Waits until everything in `wanted` is in the journal, and nothing has one number for two.
pub(super) async fn holds(journal: &Journal, dir: &Path, wanted: &[Recorded]) -> Vec<Recorded> {
    let began = Instant::now();
    loop {
        let found = if Reader::open(dir).is_ok() {
            records(dir)
        } else {
            Vec::new()
        };
        if ids(&found).is_superset(&ids(wanted)) {
            let places: BTreeSet<(Uuid, u64)> = found
                .iter()
                .map(|recorded| (recorded.epoch, recorded.seq))
                .collect();
            assert_eq!(places.len(), found.len(), "one number for two records");
            return found;
        }
        let missing = ids(wanted).difference(&ids(&found)).count();
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{missing} records are lost: {:?}",
            journal.health().borrow()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn alarm(journal: &Journal) {
    health_is(journal, |health| {
        health.salvaged && health.state.code() == "ok"
    })
    .await;
}

#[tokio::test]
async fn an_older_copy_put_back_goes_on_in_a_new_epoch_and_says_so() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let first = record_some(&journal, 0..10).await;
    journal.close().await;
    let old = fs::read(file(&dir)).unwrap();
    let journal = open(&dir);
    assert_eq!(journal.epoch(), first[0].epoch);
    record_some(&journal, 10..20).await;
    journal.close().await;
    fs::write(file(&dir), old).unwrap();

    let journal = open(&dir);
    alarm(&journal).await;
    assert_eq!(journal.health().borrow().lost_rows, Some(10));
    let new = record_some(&journal, 20..21).await;
    assert_eq!(new[0].seq, 1);
    assert_ne!(new[0].epoch, first[0].epoch);
    let all: Vec<Recorded> = first.into_iter().chain(new.clone()).collect();
    assert_eq!(
        journal.reader().unsent(0, 100).unwrap().len(),
        11,
        "what it had not delivered still is"
    );
    holds(&journal, dir.path(), &all).await;
    journal.close().await;
    assert_eq!(open(&dir).epoch(), new[0].epoch, "the next start goes on");
}

#[tokio::test]
async fn a_copy_from_before_the_last_256_records_is_noticed_after_a_kill() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    journal.close().await;
    let old = fs::read(file(&dir)).unwrap();
    let journal = open(&dir);
    let rows: Vec<Record> = (1..300).map(|number| record(&serial(number))).collect();
    for chunk in rows.chunks(50) {
        journal.record(chunk.to_vec()).await.unwrap();
    }
    marked(&dir, |position| position.seq >= mark::EVERY).await;
    let left = copy(&dir);
    fs::remove_file(files::wal_of(&file(&left))).unwrap();
    fs::write(file(&left), old).unwrap();
    let again = open(&left);
    assert_ne!(again.epoch(), journal.epoch());
    alarm(&again).await;
}

#[tokio::test]
async fn another_journal_in_its_place_draws_a_new_epoch_and_a_damaged_or_missing_mark_does() {
    let other = TempDir::new().unwrap();
    let journal = open(&other);
    record_some(&journal, 0..30).await;
    journal.close().await;
    let strange = |dir: &TempDir| fs::write(file(dir), fs::read(file(&other)).unwrap()).unwrap();
    let damaged = |dir: &TempDir| fs::write(dir.path().join(mark::NAME), [0; 64]).unwrap();
    let missing = |dir: &TempDir| fs::remove_file(dir.path().join(mark::NAME)).unwrap();
    let gone = |dir: &TempDir| fs::remove_file(file(dir)).unwrap();
    let emptied = |dir: &TempDir| fs::write(file(dir), "").unwrap();
    for (what, spoil) in [
        ("another journal", &strange as &dyn Fn(&TempDir)),
        ("a damaged mark", &damaged),
        ("no mark", &missing),
        ("no journal", &gone),
        ("an empty journal", &emptied),
    ] {
        let dir = TempDir::new().unwrap();
        let journal = open(&dir);
        let before = record_some(&journal, 0..3).await;
        journal.close().await;
        spoil(&dir);
        let journal = open(&dir);
        let new = record_some(&journal, 3..4).await.remove(0);
        assert!(
            new.seq == 1 && new.epoch != before[0].epoch,
            "{what}: {new:?}"
        );
        alarm(&journal).await;
        journal.close().await;
        let again = open(&dir);
        assert_eq!(again.epoch(), new.epoch, "{what}: the next start goes on");
    }
}

#[tokio::test]
async fn a_station_without_a_mark_is_upgraded_without_an_alarm() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let before = record_some(&journal, 0..3).await;
    journal.close().await;
    // As an older build leaves it.
    fs::remove_file(dir.path().join(mark::NAME)).unwrap();
    rusqlite::Connection::open(file(&dir))
        .unwrap()
        .execute(
            "DELETE FROM counter WHERE name IN ('has_mark', 'unconfirmed_from')",
            [],
        )
        .unwrap();
    let journal = open(&dir);
    assert_eq!(
        (journal.epoch(), journal.health().borrow().salvaged),
        (before[0].epoch, false)
    );
    assert_eq!(record_some(&journal, 3..4).await[0].seq, 4);
    marked(&dir, |position| position.epoch == journal.epoch()).await;
    journal.close().await;
    assert_eq!(open(&dir).epoch(), before[0].epoch);
}

#[tokio::test]
async fn a_first_start_raises_no_alarm_wherever_it_is_cut_short() {
    let dir = TempDir::new().unwrap();
    // Killed before SQLite wrote anything.
    fs::write(file(&dir), "").unwrap();
    let journal = open(&dir);
    let recorded = record_some(&journal, 0..1).await.remove(0);
    assert!(!journal.health().borrow().salvaged);
    assert_eq!(recorded.seq, 1);
    // Killed before the mark was written.
    let dir = TempDir::new().unwrap();
    let epoch = store::Store::open(
        &file(&dir),
        &machine::hashed("machine-1"),
        1,
        mark::Mark::Absent,
    )
    .unwrap()
    .epoch
    .1;
    let journal = open(&dir);
    assert_eq!(
        (journal.epoch(), journal.health().borrow().salvaged),
        (epoch, false)
    );
}

#[tokio::test]
async fn a_journal_emptied_after_a_kill_is_salvaged_from_its_log() {
    for deleted in [false, true] {
        let dir = TempDir::new().unwrap();
        let (left, answered) = killed(&dir, 0..40).await;
        if deleted {
            fs::remove_file(file(&left)).unwrap();
        } else {
            fs::write(file(&left), "").unwrap();
        }
        let journal = open(&left);
        alarm(&journal).await;
        assert_ne!(journal.epoch(), answered[0].epoch);
        assert_eq!(record_some(&journal, 90..91).await[0].seq, 1);
        let found = holds(&journal, left.path(), &answered).await;
        for one in &answered {
            assert!(found.contains(one), "as it was, with its epoch and seq");
        }
        let health = health_is(&journal, |health| health.salvaged_rows == 40).await;
        assert_eq!(
            (health.lost_rows, health.unsent),
            (None, 41),
            "nobody can say how many more there were"
        );
    }
}

#[tokio::test]
async fn the_log_is_salvaged_though_what_it_belonged_to_was_written_back_long_ago() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..300).await;
    journal.close().await;
    // From here on the log holds some leaves, and neither the schema nor the root of any table.
    let (left, answered) = killed(&dir, 300..303).await;
    fs::write(file(&left), "").unwrap();
    let journal = open(&left);
    holds(&journal, left.path(), &answered).await;
    alarm(&journal).await;
}

#[tokio::test]
async fn a_record_that_was_never_confirmed_does_not_rise_from_the_log() {
    let dir = TempDir::new().unwrap();
    // It knows of its mark from a run before, so that the last record is the last transaction of this one.
    open(&dir).close().await;
    let (left, answered) = killed(&dir, 0..5).await;
    // The last transaction lacks its end.
    let log = File::options()
        .write(true)
        .open(files::wal_of(&file(&left)))
        .unwrap();
    log.set_len(log.metadata().unwrap().len() - 1).unwrap();
    fs::write(file(&left), "").unwrap();
    let journal = open(&left);
    let found = holds(&journal, left.path(), &answered[..4]).await;
    assert!(!ids(&found).contains(&answered[4].record.id));
}

#[tokio::test]
async fn records_in_pages_that_no_table_leads_to_are_saved() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let answered = record_some(&journal, 0..100).await;
    journal.close().await;
    // The first page is gone, and with it the way to every table.
    let mut bytes = fs::read(file(&dir)).unwrap();
    bytes[..PAGE as usize].fill(0);
    fs::write(file(&dir), bytes).unwrap();
    let journal = open(&dir);
    alarm(&journal).await;
    holds(&journal, dir.path(), &answered).await;
}

#[tokio::test]
async fn reading_a_journal_that_was_emptied_does_not_destroy_its_log() {
    let dir = TempDir::new().unwrap();
    let (left, answered) = killed(&dir, 0..5).await;
    fs::write(file(&left), "").unwrap();
    assert!(matches!(
        Reader::open(left.path()),
        Err(reader::ReadFault::Absent(_))
    ));
    holds(&open(&left), left.path(), &answered).await;
}

#[tokio::test]
async fn the_files_are_private_also_where_they_were_not() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    let left = copy(&dir);
    for (name, bytes) in [("journal.sqlite-shm", &b""[..]), ("journal.mark", b"?")] {
        fs::write(left.path().join(name), bytes).unwrap();
    }
    let modes = |dir: &TempDir| -> BTreeSet<(String, u32)> {
        let entries = fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                )
            })
            .collect()
    };
    for (name, _) in modes(&left) {
        fs::set_permissions(left.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let again = open(&left);
    record_some(&again, 3..4).await;
    marked(&left, |position| position.epoch == again.epoch()).await;
    for dir in [&dir, &left] {
        marked(dir, |_| true).await;
        let modes = modes(dir);
        for name in [
            "journal.sqlite",
            "journal.sqlite-wal",
            "journal.sqlite-shm",
            "journal.mark",
        ] {
            assert!(
                modes.contains(&(name.to_owned(), 0o600)),
                "{name}: {modes:?}"
            );
        }
        assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
    }
}

#[tokio::test]
async fn two_agents_never_work_in_one_folder_whatever_is_deleted_there() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("journal.sqlite") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(matches!(
        Journal::open(&settings(dir.path()), "machine-1"),
        Err(OpenFault::InUse(_))
    ));
    assert!(survey::in_use(dir.path()).unwrap());
    journal.close().await;
    assert!(!survey::in_use(dir.path()).unwrap());
    open(&dir);
}

#[tokio::test]
async fn who_comes_late_to_a_folder_that_was_replaced_answers_journal_fault() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    let away = dir.path().with_extension("gone");
    fs::rename(dir.path(), &away).unwrap();
    fs::create_dir(dir.path()).unwrap();
    // Even with the very files: they are another agent's now.
    for end in ["", "-wal", "-shm"] {
        fs::hard_link(
            files::beside(&away.join("journal.sqlite"), end),
            files::beside(&file(&dir), end),
        )
        .unwrap();
    }
    let other = File::open(dir.path()).unwrap();
    other.lock().unwrap();
    health_is(&journal, |health| health.state.code() == "fault").await;
    assert!(
        matches!(journal.record(vec![record(&serial(7))]).await, Err(Fault::Broken(why)) if why.contains("another benchlight"))
    );
    drop(other);
    health_is(&journal, |health| health.state.code() == "ok").await;
    record_some(&journal, 8..9).await;
    fs::remove_dir_all(away).unwrap();
}

#[tokio::test]
async fn numbers_that_cannot_be_are_damage_and_end_nothing() {
    let columns = |name: &str| {
        format!(
            "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = '{name}'"
        )
    };
    let numbers = [
        "9223372036854775807",
        "-9223372036854775808",
        "-1",
        "'text'",
    ];
    let mut spoils: Vec<(String, String)> = Vec::new();
    for number in numbers {
        for (table, column) in [
            ("epoch", "next_seq"),
            ("epoch", "removed"),
            ("epoch", "created_at"),
            ("counter", "value"),
            ("record", "at"),
            ("record", "took_ms"),
            ("record", "delivered_at"),
            ("record", "clock_synced"),
            ("raw_scan", "at"),
            ("salvage", "saved"),
            ("salvage", "lost"),
            ("salvage", "at"),
            ("dropped", "count"),
        ] {
            spoils.push((
                table.to_owned(),
                format!("UPDATE {table} SET {column} = {number}"),
            ));
        }
    }
    for number in [
        "9223372036854775807",
        "-9223372036854775808",
        "-1",
        "4398046511104",
    ] {
        spoils.push((
            "epoch".to_owned(),
            format!("UPDATE epoch SET number = {number}"),
        ));
        spoils.push((
            "record".to_owned(),
            format!("UPDATE record SET row = {number} WHERE row = (SELECT max(row) FROM record)"),
        ));
        spoils.push((
            "record".to_owned(),
            format!("UPDATE record SET row = {number} WHERE row = (SELECT min(row) FROM record)"),
        ));
        spoils.push((
            "raw_scan".to_owned(),
            format!("UPDATE raw_scan SET number = {number}"),
        ));
        spoils.push((
            "salvage".to_owned(),
            format!("UPDATE salvage SET number = {number}"),
        ));
    }
    let past = TempDir::new().unwrap();
    let journal = open(&past);
    record_some(&journal, 0..5).await;
    journal.scanned(scan_of(&record(&serial(50))));
    journal.set_aside(
        journal.reader().unsent(0, 1).unwrap()[0].row,
        "packet_too_large",
    );
    journal.unended(&name("left"), true);
    journal.close().await;
    let conn = rusqlite::Connection::open(file(&past)).unwrap();
    conn.execute_batch(
        "INSERT INTO salvage (at, file, cause, saved, lost, done_at) VALUES (1, 'journal.corrupt-1', 'a test', 2, 3, 4);
         INSERT INTO dropped SELECT id, 1, 2, 2, 1 FROM epoch;
         INSERT OR REPLACE INTO counter (name, value) VALUES ('dropped', 1), ('interrupted', 1), ('faulted', 1), ('scans_overflowed', 1)",
    )
    .unwrap();
    drop(conn);
    let whole = fs::read(file(&past)).unwrap();
    for (table, spoil) in spoils {
        let dir = TempDir::new().unwrap();
        fs::write(file(&dir), &whole).unwrap();
        let conn = rusqlite::Connection::open(file(&dir)).unwrap();
        conn.execute_batch(&columns(&table)).unwrap();
        drop(conn);
        rusqlite::Connection::open(file(&dir))
            .unwrap()
            .execute_batch(&spoil)
            .unwrap_or_else(|error| panic!("{spoil}: {error}"));
        fs::copy(past.path().join(mark::NAME), dir.path().join(mark::NAME)).unwrap();
        let journal = open(&dir);
        let mut newest = journal.newest();
        let before = *newest.borrow_and_update();
        let recorded = journal
            .record(vec![record(&serial(900))])
            .await
            .unwrap_or_else(|fault| panic!("{spoil}: {fault}"))
            .remove(0);
        assert!(
            recorded.seq >= 1 && recorded.seq <= 10,
            "{spoil}: {recorded:?}"
        );
        journal.shared.faulted(1);
        assert!(
            *newest.borrow_and_update() > before,
            "{spoil}: the publisher hears of it"
        );
        // A salvage, if there is one, ends; and the record is offered to the broker.
        let began = Instant::now();
        while !journal
            .reader()
            .unsent(0, 100)
            .is_ok_and(|rows| rows.iter().any(|row| row.recorded == recorded))
        {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{spoil}: never offered"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        journal.close().await;
        let again = open(&dir);
        let next = again
            .record(vec![record(&serial(901))])
            .await
            .unwrap_or_else(|fault| panic!("{spoil}: {fault}"))
            .remove(0);
        assert!(
            next.epoch != recorded.epoch || next.seq > recorded.seq,
            "{spoil}"
        );
        again.close().await;
    }
}

#[tokio::test]
async fn what_the_broker_has_heard_shows_an_older_copy_that_the_mark_cannot() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let first = record_some(&journal, 0..10).await;
    assert!(
        !journal.awaits_comparison(),
        "nobody can have numbers of an epoch that was drawn now"
    );
    journal.close().await;
    // The whole folder is put back, mark and all, and 20 later records are known elsewhere.
    let start = || async {
        let journal = open(&dir);
        assert!(journal.awaits_comparison());
        journal
    };
    let journal = start().await;
    let mut since = record_some(&journal, 10..15).await;
    journal.close().await;
    // The broker was away; a second start must not forget where the first began.
    let journal = start().await;
    since.extend(record_some(&journal, 15..18).await);
    assert_eq!(since[0].epoch, first[0].epoch);
    journal.heard(Some((first[0].epoch, 13))).await;
    assert!(!journal.awaits_comparison());
    alarm(&journal).await;
    assert_eq!(journal.health().borrow().lost_rows, Some(3));
    let unsent: Vec<Recorded> = journal
        .reader()
        .unsent(0, 100)
        .unwrap()
        .into_iter()
        .map(|stored| stored.recorded)
        .collect();
    assert_eq!(
        unsent[..10],
        first,
        "what the copy had numbered keeps its numbers"
    );
    let moved: Vec<(Uuid, u64)> = unsent[10..]
        .iter()
        .map(|recorded| (recorded.epoch, recorded.seq))
        .collect();
    assert_eq!(
        moved,
        (1..=8)
            .map(|seq| (journal.epoch(), seq))
            .collect::<Vec<_>>()
    );
    assert_ne!(journal.epoch(), first[0].epoch);
    assert_eq!(ids(&unsent[10..]), ids(&since));
    assert_eq!(record_some(&journal, 18..19).await[0].seq, 9);
    journal.close().await;
    let journal = start().await;
    journal.heard(Some((journal.epoch(), 9))).await;
    assert_eq!(
        record_some(&journal, 19..20).await[0].seq,
        10,
        "and it goes on"
    );
}

#[tokio::test]
async fn what_the_broker_says_of_others_or_of_the_past_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let epoch = record_some(&journal, 0..10).await[0].epoch;
    journal.close().await;
    for heard in [
        None,
        Some((epoch, 0)),
        Some((epoch, 10)),
        Some((Uuid::now_v7(), 1_000)),
        Some((epoch, u64::MAX)),
        Some((epoch, 1 << 63)),
    ] {
        let journal = open(&dir);
        assert!(journal.awaits_comparison());
        record_some(&journal, 20..21).await;
        journal.heard(heard).await;
        assert_eq!(
            (
                journal.epoch(),
                journal.awaits_comparison(),
                journal.health().borrow().salvaged
            ),
            (epoch, false, false),
            "{heard:?}"
        );
        journal.close().await;
    }
}

#[tokio::test]
async fn a_mark_that_cannot_be_written_keeps_no_scan_from_its_answer() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join(mark::NAME).join("in the way")).unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    assert_eq!(journal.health().borrow().state.code(), "ok");
    journal.close().await;
    assert_eq!(record_some(&open(&dir), 3..4).await.len(), 1);
}

#[tokio::test]
async fn two_stories_of_one_journal_that_parted_are_both_kept() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    journal.close().await;
    let old = fs::read(file(&dir)).unwrap();
    let journal = open(&dir);
    let here = record_some(&journal, 3..6).await;
    journal.close().await;
    let other = TempDir::new().unwrap();
    fs::write(file(&other), old).unwrap();
    rusqlite::Connection::open(file(&other))
        .unwrap()
        .execute("DELETE FROM counter", [])
        .unwrap();
    let journal = open(&other);
    let there = record_some(&journal, 6..9).await;
    assert_eq!((here[0].epoch, here[0].seq), (there[0].epoch, there[0].seq));
    journal.close().await;
    fs::copy(
        file(&other),
        dir.path().join("journal.corrupt-20260101T000000Z"),
    )
    .unwrap();
    let journal = open(&dir);
    let all: Vec<Recorded> = here.into_iter().chain(there).collect();
    holds(&journal, dir.path(), &all).await;
    let mut log = File::options()
        .append(true)
        .open(dir.path().join("journal.corrupt-20260101T000000Z"))
        .unwrap();
    log.write_all(b"").unwrap();
}
