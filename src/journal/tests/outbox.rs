//! What waits for the broker, what is kept, and what is told of it.

use std::io::Cursor;

use super::*;
use crate::journal::export::{Format, export};

fn rows(journal: &Journal) -> Vec<u64> {
    journal
        .reader()
        .unsent(0, 1000)
        .unwrap()
        .iter()
        .map(|stored| stored.row)
        .collect()
}

#[tokio::test]
async fn a_row_leaves_the_outbox_only_when_it_is_marked() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..5).await;
    let waiting = rows(&journal);
    journal.delivered(vec![waiting[0], waiting[2]]);
    journal.flush().await;
    assert_eq!(rows(&journal), [waiting[1], waiting[3], waiting[4]]);
    assert_eq!(journal.health().borrow().unsent, 3);
    journal.delivered(vec![waiting[0]]);
    journal.flush().await;
    assert_eq!(
        journal.health().borrow().unsent,
        3,
        "a repeated mark counts once"
    );
    let after = journal.reader().unsent(waiting[1], 1).unwrap();
    assert_eq!(after[0].row, waiting[3]);
}

#[tokio::test]
async fn marks_are_written_by_themselves_within_a_moment() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..2).await;
    journal.delivered(rows(&journal));
    health_is(&journal, |health| health.unsent == 0).await;
    let stored = journal.reader().unsent(0, 10).unwrap();
    assert!(stored.is_empty());
}

/// The rows that a file names as unsent.
fn in_file(dir: &TempDir) -> Vec<u64> {
    let rows = Reader::open(dir.path()).unwrap().unsent(0, 1000).unwrap();
    rows.iter().map(|stored| stored.row).collect()
}

#[tokio::test]
async fn what_is_delivered_is_told_at_once_and_goes_to_the_disk_with_the_next_record() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    let waiting = rows(&journal);
    journal.delivered(vec![waiting[0], waiting[2]]);
    assert_eq!(rows(&journal), [waiting[1]]);
    assert_eq!(journal.health().borrow().unsent, 1);
    // It lies there for some looks of the thread at its files.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(in_file(&dir), waiting, "no transaction of its own");
    let next = record_some(&journal, 3..4).await;
    assert_eq!(in_file(&dir), [waiting[1], waiting[2] + 1]);
    assert_eq!((next[0].seq, journal.health().borrow().unsent), (4, 2));
}

#[tokio::test]
async fn what_is_delivered_costs_the_disk_less_with_the_next_record_than_alone() {
    /// Bytes of log for each of so many scans.
    async fn cost(alone: bool) -> u64 {
        const SCANS: usize = 20;
        let dir = TempDir::new().unwrap();
        let journal = open(&dir);
        record_some(&journal, 0..1).await;
        journal.flush().await;
        let log = || {
            let log = fs::metadata(files::beside(&file(&dir), "-wal")).unwrap();
            log.len()
        };
        let before = log();
        for number in 1..=SCANS {
            record_some(&journal, number..number + 1).await;
            journal.delivered(rows(&journal));
            if alone {
                journal.flush().await;
            }
        }
        (log() - before) / SCANS as u64
    }
    let (alone, riding) = (cost(true).await, cost(false).await);
    assert!(
        riding + 1_000 <= alone,
        "a page less: {riding} bytes a scan with the next record, {alone} alone"
    );
}

#[tokio::test]
async fn a_kill_before_the_disk_knows_what_is_delivered_repeats_it_and_loses_none() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    let waiting = rows(&journal);
    journal.delivered(waiting[..2].to_vec());
    let killed = copy(&dir);
    assert_eq!(rows(&open(&killed)), waiting);
    journal.close().await;
    assert_eq!(rows(&open(&dir)), waiting[2..], "a clean stop repeats none");
}

#[tokio::test]
async fn a_row_that_is_delivered_while_the_journal_is_read_is_not_handed_out_again() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..4).await;
    let waiting = rows(&journal);
    let mut reader = journal.reader();
    let read = reader.unsent_until_taken(0, 10).unwrap();
    // One of them is even written before the rows are taken, and the other waits.
    journal.delivered(vec![waiting[0]]);
    journal.flush().await;
    journal.set_aside(waiting[3], "packet_too_large");
    journal.flush().await;
    journal.delivered(vec![waiting[1]]);
    let taken: Vec<u64> = read.rows().iter().map(|stored| stored.row).collect();
    assert_eq!(taken, [waiting[2]]);
    journal.release_set_aside().await;
    assert_eq!(rows(&journal), [waiting[2], waiting[3]]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_does_not_end_the_reading_of_those_behind_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..4).await;
    let waiting = rows(&journal);
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    conn.execute(
        "UPDATE record SET reason = 'no such' WHERE row = ?1",
        [waiting[1].cast_signed()],
    )
    .unwrap();
    let read = journal.reader().unsent_until_taken(0, 2).unwrap();
    assert_eq!((read.after, read.more), (waiting[1], true));
}

#[tokio::test]
async fn a_row_set_aside_is_listed_and_offered_again_when_released() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    let waiting = rows(&journal);
    journal.set_aside(waiting[1], "packet_too_large");
    journal.flush().await;
    assert_eq!(rows(&journal), [waiting[0], waiting[2]]);
    let health = journal.health().borrow().clone();
    assert_eq!(
        (health.unsent, health.set_aside),
        (2, vec![(2, "packet_too_large".to_owned())])
    );

    journal.close().await;
    let journal = open(&dir);
    assert_eq!(journal.health().borrow().set_aside.len(), 1);
    let mut returned = journal.returned();
    returned.mark_unchanged();
    assert_eq!(journal.release_set_aside().await, 1);
    assert!(returned.has_changed().unwrap());
    assert_eq!(rows(&journal), waiting);
    assert_eq!(journal.health().borrow().set_aside, Vec::new());
    assert_eq!(journal.release_set_aside().await, 0);
}

#[tokio::test]
async fn what_the_doctor_is_to_know_of_a_scanner_is_noted_and_taken_back() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let noted = || Reader::open(dir.path()).unwrap().unended().unwrap();
    journal.unended(&name("left"), true);
    journal.unended(&name("right"), false);
    journal.flush().await;
    assert_eq!(noted(), ["left".to_owned()].into());
    journal.close().await;
    assert_eq!(noted(), ["left".to_owned()].into(), "it outlives the agent");
    let journal = open(&dir);
    journal.unended(&name("left"), false);
    journal.flush().await;
    assert_eq!(noted(), [].into());
}

#[tokio::test]
async fn the_newest_row_wakes_whoever_waits_for_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let mut newest = journal.newest();
    let before = *newest.borrow_and_update();
    record_some(&journal, 0..1).await;
    newest.changed().await.unwrap();
    assert_eq!(rows(&journal), [*newest.borrow()]);
    assert!(journal.reader().unsent(before, 10).unwrap().len() == 1);
}

#[tokio::test]
async fn a_range_is_read_again_by_epoch_and_seq() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let recorded = record_some(&journal, 0..10).await;
    let mut reader = journal.reader();
    let found = reader.range(journal.epoch(), 3, 5, 100).unwrap();
    assert_eq!(
        found
            .into_iter()
            .map(|stored| stored.recorded)
            .collect::<Vec<_>>(),
        recorded[2..5]
    );
    assert_eq!(
        reader.range(journal.epoch(), 1, u64::MAX, 4).unwrap().len(),
        4
    );
    assert_eq!(reader.range(journal.epoch(), 8, 2, 4).unwrap(), []);
    assert_eq!(reader.range(Uuid::now_v7(), 1, 10, 100).unwrap(), []);
}

#[tokio::test]
async fn boxes_that_wait_are_found_again_by_their_newest_record() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let waiting = Record {
        reason: Reason::SyncPending,
        ..record(&serial(1))
    };
    journal
        .record(vec![
            waiting.clone(),
            Record {
                reason: Reason::SyncPending,
                ..record(&serial(2))
            },
        ])
        .await
        .unwrap();
    journal.record(vec![record(&serial(2))]).await.unwrap();
    let old = Record {
        at: Timestamp::now() - jiff::SignedDuration::from_hours(80),
        reason: Reason::SyncPending,
        ..record(&serial(3))
    };
    journal.record(vec![old]).await.unwrap();

    let within = Duration::from_secs(72 * 3_600);
    let found = all_waiting(
        &mut journal.reader(),
        Timestamp::now(),
        true,
        within,
        &[Reason::SyncPending, Reason::Settling],
    );
    assert!(found[0].1 < Duration::from_secs(60), "{:?}", found[0].1);
    assert_eq!(
        found
            .into_iter()
            .map(|(record, _)| record)
            .collect::<Vec<_>>(),
        [waiting]
    );
    assert_eq!(
        all_waiting(&mut journal.reader(), Timestamp::now(), true, within, &[]),
        []
    );
}

#[tokio::test]
async fn boxes_that_were_recorded_while_the_clock_was_years_off_are_found_again_once_it_is_right() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let hours = jiff::SignedDuration::from_hours;
    let now = Timestamp::now();
    let wait = |number, at, clock_synced| Record {
        reason: Reason::SyncPending,
        at,
        clock_synced,
        ..record(&serial(number))
    };
    let years = hours(24 * 365 * 10);
    let all = vec![
        // Its clock was years behind. 80 hours ago it was set right, so it is at least as old as that.
        wait(1, now - years, false),
        wait(2, now - hours(80), true),
        // Behind, and ahead; then, 5 hours ago, a box that the clock is believed of.
        wait(3, now - years, false),
        wait(4, now + years, false),
        wait(5, now - hours(5), true),
        // Since then nothing was recorded by a good clock.
        wait(6, now - years, false),
        wait(7, now - years, false),
    ];
    journal.record(all).await.unwrap();
    let found = |synced| {
        let found = all_waiting(
            &mut journal.reader(),
            now,
            synced,
            Duration::from_secs(72 * 3_600),
            &[Reason::SyncPending],
        );
        found
            .into_iter()
            .map(|(record, age)| (record.serial.unwrap(), age.as_secs() / 3_600))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(true),
        [
            (serial(3), 5),
            (serial(4), 5),
            (serial(5), 5),
            (serial(6), 0),
            (serial(7), 0)
        ]
    );
    // Where nobody keeps the clock it is all there is: else a station without a time server would ask for its whole past at each start.
    assert_eq!(found(false), [(serial(4), 0), (serial(5), 5)]);
}

#[tokio::test]
async fn delivered_rows_go_when_their_time_is_over_and_undelivered_ones_stay() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let recorded = record_some(&journal, 0..6).await;
    journal.delivered(rows(&journal)[..4].to_vec());
    journal.flush().await;
    journal.close().await;
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    let mut store = store::Store::open(
        &file(&dir),
        &machine::hashed("machine-1"),
        1,
        mark::read(dir.path()),
    )
    .unwrap();
    let settings = Settings {
        keep: Duration::ZERO,
        ..settings(dir.path())
    };
    assert_eq!(
        retention::step(&mut store, &settings, false, true).unwrap(),
        retention::Step::Done,
        "never by a clock that may be wrong"
    );
    assert_eq!(
        retention::step(&mut store, &settings, true, true).unwrap(),
        retention::Step::More
    );
    assert_eq!(
        retention::step(&mut store, &settings, true, true).unwrap(),
        retention::Step::Done
    );
    let removed: i64 = conn
        .query_row("SELECT removed FROM epoch", [], |row| row.get(0))
        .unwrap();
    drop((store, conn));

    let journal = open(&dir);
    assert_eq!(
        (
            removed,
            journal.health().borrow().unsent,
            journal.health().borrow().dropped
        ),
        (4, 2, 0)
    );
    assert_eq!(all(dir.path()).len(), 2);
    assert_eq!(journal.epoch(), recorded[0].epoch);
    assert_eq!(
        record_some(&journal, 6..7).await[0].seq,
        7,
        "a seq is never used again"
    );
}

#[tokio::test]
async fn a_journal_without_any_row_left_still_does_not_use_a_seq_again() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..3).await;
    journal.close().await;
    rusqlite::Connection::open(file(&dir))
        .unwrap()
        .execute_batch("DELETE FROM record")
        .unwrap();
    let journal = open(&dir);
    assert_eq!(record_some(&journal, 3..4).await[0].seq, 4);
}

#[tokio::test]
async fn scanned_texts_that_were_no_serial_are_blanked_after_keep_raw() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let imei = |at| Record {
        at,
        serial: None,
        raw: Some("356938035643809".to_owned()),
        reason: Reason::Imei,
        evidence: Vec::new(),
        ..record(&serial(1))
    };
    let old = imei(Timestamp::now() - jiff::SignedDuration::from_hours(8 * 24));
    let new = imei(Timestamp::now());
    journal.record(vec![old.clone()]).await.unwrap();
    journal.record(vec![new.clone()]).await.unwrap();
    let interrupted = RawScan {
        at: old.at,
        ..scan_of(&record(&serial(2)))
    };
    journal.scanned(interrupted);
    journal.close().await;
    // The next start looks at ages at once.
    let journal = open(&dir);
    let mut blanked = false;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        blanked = journal
            .reader()
            .find(old.id)
            .unwrap()
            .unwrap()
            .recorded
            .record
            .raw
            .is_none()
            && all(dir.path())
                .iter()
                .any(|entry| matches!(entry, Entry::Unfinished(scan) if scan.bytes.is_none()));
        if blanked {
            break;
        }
    }
    assert!(blanked);
    assert_eq!(
        journal
            .reader()
            .find(new.id)
            .unwrap()
            .unwrap()
            .recorded
            .record
            .raw,
        new.raw
    );
    journal.close().await;
    let bytes = fs::read(file(&dir)).unwrap();
    let left = bytes
        .windows(15)
        .filter(|window| window == b"356938035643809")
        .count();
    assert_eq!(left, 1, "the blanked text is overwritten on the disk");
}

#[tokio::test]
async fn the_journal_stays_within_max_bytes_delivered_rows_first_then_counted_drops() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    journal.close().await;
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    conn.execute_batch(
        "CREATE TEMP TABLE grown AS SELECT * FROM record;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO record SELECT row + i, epoch, randomblob(16), NULL, scan, cause, previous_reason, at + i, clock_synced, lane, scanner,
           printf('C02Y%08d', i), asked, raw, reason, message, action, grade, model, family, assigned_at, took_ms, lamp, previous, grouped, policy,
           evidence, CASE WHEN i % 2 = 0 THEN at END, NULL FROM grown, n;
         UPDATE epoch SET next_seq = 20002;",
    )
    .unwrap();
    drop(conn);
    let before = fs::metadata(file(&dir)).unwrap().len();
    let max_bytes = 4 << 20;
    assert!(before > 2 * max_bytes, "{before}");

    let journal = Journal::open(
        &Settings {
            max_bytes,
            ..settings(dir.path())
        },
        "machine-1",
    )
    .unwrap();
    let size = || {
        ["", "-wal"]
            .iter()
            .map(|end| fs::metadata(files::beside(&file(&dir), end)).map_or(0, |found| found.len()))
            .sum::<u64>()
    };
    let mut waited = 0;
    while fs::metadata(file(&dir)).unwrap().len() > max_bytes {
        tokio::time::sleep(Duration::from_millis(50)).await;
        waited += 1;
        assert!(waited < 400, "the file still has {} bytes", size());
    }
    let health = journal.health().borrow().clone();
    assert!(health.dropped > 1000 && health.unsent > 1000, "{health:?}");
    assert_eq!(health.dropped + health.unsent, 10_001);
    journal.close().await;
    assert!(size() <= max_bytes, "{} bytes", size());

    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    let delivered: i64 = conn
        .query_row(
            "SELECT count(*) FROM record WHERE delivered_at IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let (drops, first, last, many): (i64, i64, i64, i64) = conn
        .query_row(
            "SELECT count(*), min(first), max(last), sum(count) FROM dropped",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    let kept: i64 = conn
        .query_row("SELECT min(row) & 1099511627775 FROM record", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(
        (delivered, drops, first, many),
        (0, 1, 1, health.dropped as i64)
    );
    assert!(last < kept);
}

#[tokio::test]
async fn the_log_does_not_grow_without_bound() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let mut greatest = 0;
    for round in 0..12 {
        for part in 0..10 {
            let many: Vec<Record> = (0..100)
                .map(|number| record(&serial(round * 1000 + part * 100 + number)))
                .collect();
            // A disk that others keep busy may take some of them too late; what is in the log counts.
            let _ = journal.record(many).await;
        }
        journal.delivered(rows(&journal));
        journal.flush().await;
        greatest = greatest.max(
            fs::metadata(dir.path().join("journal.sqlite-wal"))
                .unwrap()
                .len(),
        );
    }
    let written: i64 = rusqlite::Connection::open(file(&dir))
        .unwrap()
        .query_row("SELECT count(*) FROM record", [], |row| row.get(0))
        .unwrap();
    assert!(written >= 6_000, "{written} of 12000 written");
    assert!(
        greatest < 12 << 20,
        "{greatest} bytes of log with {written} records"
    );
}

#[tokio::test]
async fn the_log_does_not_grow_from_one_power_cut_to_the_next() {
    let mut lives = vec![(TempDir::new().unwrap(), 0)];
    for life in 0..12 {
        let dir = TempDir::new().unwrap();
        // What a power cut leaves: the files as they are, closed by nobody.
        for name in ["journal.sqlite", "journal.sqlite-wal"] {
            let _ = fs::copy(
                lives.last().unwrap().0.path().join(name),
                dir.path().join(name),
            );
        }
        let journal = open(&dir);
        for part in 0..4 {
            let many: Vec<Record> = (0..50)
                .map(|number| record(&serial(life * 1000 + part * 100 + number)))
                .collect();
            let _ = journal.record(many).await;
        }
        journal.flush().await;
        let left = fs::metadata(dir.path().join("journal.sqlite-wal"))
            .unwrap()
            .len();
        lives.push((dir, left));
        // Not closed: a closed journal has no log.
        std::mem::forget(journal);
    }
    let sizes: Vec<u64> = lives.iter().skip(1).map(|(_, left)| *left).collect();
    // A life may add its own records before it has a moment to write back those of the life before.
    assert!(
        sizes.iter().all(|size| *size < 4 * sizes[0]),
        "bytes of log, life by life: {sizes:?}"
    );
    let readable = fs::metadata(lives.last().unwrap().0.path().join("journal.sqlite"))
        .unwrap()
        .len();
    assert!(
        readable > 100_000,
        "the log is written back: {readable} bytes of journal"
    );
}

#[tokio::test]
async fn the_export_has_the_promised_columns_in_both_formats() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    // Of today, because the raw texts are blanked after some days.
    let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap()
        + jiff::SignedDuration::from_micros(123_456);
    let ready = Record {
        at,
        ..record(&serial(1))
    };
    let later = |seconds| at + jiff::SignedDuration::from_secs(seconds);
    let change = Record {
        id: Uuid::now_v7(),
        at: later(60),
        change: Some(Change {
            scan: ready.id,
            cause: Cause::Recheck,
            previous_reason: Reason::Assigned,
        }),
        reason: Reason::Released,
        grade: None,
        lamp: Signal::Alarm,
        raw_scan: None,
        ..ready.clone()
    };
    let wrong = Record {
        at: later(10),
        serial: None,
        asked: Vec::new(),
        raw: Some("=SUM(A1),\"x\"".to_owned()),
        reason: Reason::Unreadable,
        grade: None,
        assigned_at: None,
        lamp: Signal::Rescan,
        evidence: Vec::new(),
        ..record(&serial(2))
    };
    let epoch = journal.epoch();
    for record in [&ready, &change, &wrong] {
        journal.record(vec![record.clone()]).await.unwrap();
    }
    let lost = RawScan {
        at: later(20),
        bytes: b"C02\x1d".to_vec(),
        ..scan_of(&record(&serial(3)))
    };
    journal.scanned(lost.clone());
    journal.close().await;
    let journal = open(&dir);
    journal.delivered(vec![rows(&journal)[0]]);
    journal.flush().await;
    let delivered = format!(
        "{:.3}",
        journal
            .reader()
            .find(ready.id)
            .unwrap()
            .unwrap()
            .delivered_at
            .unwrap()
    );

    let run = |format, since, until| {
        let mut out = Cursor::new(Vec::new());
        export(
            &mut Reader::open(dir.path()).unwrap(),
            since,
            until,
            format,
            &mut out,
        )
        .unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    };
    let expected = format!(
        "time,kind,id,epoch,seq,lane,scanner,serial,raw,verdict,reason,grade,assigned_at,took_ms,lamp,scan,cause,delivered_at\n\
        {at:.3},scan,{},{epoch},1,left,left,C02X00000001,,ready,assigned,relayed,2026-01-09T22:01:10Z,91,ready,,,{delivered}\n\
        {:.3},scan,{},{epoch},3,left,left,,\"'=SUM(A1),\"\"x\"\"\",rescan,unreadable,,,91,rescan,,,\n\
        {:.3},interrupted,{},,,left,left,,C02␝,,,,,,none,,,\n\
        {:.3},change,{},{epoch},2,left,left,C02X00000001,,not_ready,released,,2026-01-09T22:01:10Z,91,alarm,{},recheck,\n",
        ready.id, wrong.at, wrong.id, lost.at, lost.id, change.at, change.id, ready.id
    );
    assert_eq!(run(Format::Csv, None, None), expected);

    let lines = run(Format::Jsonl, Some(later(10)), Some(later(60)));
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "from since on, before until");
    assert_eq!(lines[0]["raw"], "=SUM(A1),\"x\"");
    assert_eq!(
        (&lines[0]["seq"], &lines[0]["serial"], &lines[1]["kind"]),
        (
            &serde_json::json!(3),
            &serde_json::Value::Null,
            &serde_json::json!("interrupted")
        )
    );
}

#[tokio::test]
async fn the_export_streams_more_than_one_page_in_order_of_time() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    for round in 0..18 {
        let many: Vec<Record> = (0..50)
            .map(|number| record(&serial(round * 50 + number)))
            .collect();
        journal.record(many).await.unwrap();
    }
    let entries = all(dir.path());
    assert_eq!(entries.len(), 900);
    assert!(entries.is_sorted_by_key(Entry::at));
}

#[tokio::test]
async fn the_story_of_a_box_tells_scan_change_sources_lamp_and_delivery() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let at: Timestamp = "2026-11-23T09:41:07Z".parse().unwrap();
    let first = Record {
        at,
        ..record(&serial(1))
    };
    let change = Record {
        id: Uuid::now_v7(),
        at: "2026-11-23T09:51:07Z".parse().unwrap(),
        change: Some(Change {
            scan: first.id,
            cause: Cause::LateAnswer,
            previous_reason: Reason::Assigned,
        }),
        reason: Reason::Released,
        message: Reason::Released.sentence().to_owned(),
        lamp: Signal::Alarm,
        ..first.clone()
    };
    journal.record(vec![first.clone()]).await.unwrap();
    journal.record(vec![change]).await.unwrap();
    journal.delivered(vec![rows(&journal)[0]]);
    journal.flush().await;

    let rows = Reader::open(dir.path()).unwrap().story(&serial(1)).unwrap();
    let told = story::story(&serial(1), &rows);
    for words in [
        "C02X00000001 (MacBook Air): not_ready (released)",
        "2026-11-23 09:41:07 UTC  scanned on lane left by left",
        "answer     ready (assigned) after 91 ms",
        "lamp       ready: green",
        "kandji     ready (relayed), status \"assigned\", last fetch 2026-01-09 22:05:00 UTC, 84 ms",
        "2026-11-23 09:51:07 UTC  changed: a source answered after the verdict",
        "answer     not_ready (released), until then ready (assigned)",
        "lamp       alarm: red, fast",
        "as seq 2 of epoch",
        "delivered  not yet",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert_eq!(told.matches("delivered  20").count(), 1);
    assert_eq!(
        story::story(&serial(2), &[]),
        "C02X00000002 was never seen at this station.\n"
    );
}

#[tokio::test]
async fn what_a_service_said_is_shown_in_the_story_and_not_obeyed() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let box_ = record(&serial(1));
    let kandji = Evidence {
        status: Some("assigned\u{e0041}".to_owned()),
        detail: Some("It is on \"HQ\u{202e}\u{200b}\".".to_owned()),
        ..box_.evidence[0].clone()
    };
    let message = "It is on \"HQ\n\u{1b}[31m\u{202e}\".".to_owned();
    journal
        .record(vec![Record {
            model: Some("Mac\u{200d}Book".to_owned()),
            message,
            evidence: vec![kandji],
            ..box_
        }])
        .await
        .unwrap();
    journal.flush().await;

    let told = story::story(
        &serial(1),
        &Reader::open(dir.path()).unwrap().story(&serial(1)).unwrap(),
    );
    for words in [
        "(Mac\\u{200d}Book)",
        "HQ␊␛[31m\\u{202e}",
        "status \"assigned\\u{e0041}\"",
        "\"HQ\\u{202e}\\u{200b}\"",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    assert!(
        !told.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{200d}', '\u{e0041}']),
        "{told:?}"
    );
}
