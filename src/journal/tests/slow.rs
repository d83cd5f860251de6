//! A disk that hangs: every caller has its answer within a second, and what it was told stays true.

use super::*;

/// Holds the database as another process that writes would.
fn hold(dir: &TempDir) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(file(dir)).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_waits_for_the_disk_is_answered_within_a_second_and_not_written_later() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    let other = hold(&dir);

    let began = Instant::now();
    let (first, second) = tokio::join!(
        journal.record(vec![record(&serial(1))]),
        journal.record(vec![record(&serial(2))])
    );
    assert!(
        began.elapsed() <= Duration::from_millis(1100),
        "answered after {:?}",
        began.elapsed()
    );
    assert_eq!((first, second), (Err(Fault::Slow), Err(Fault::Slow)));
    assert_eq!(journal.health().borrow().state.code(), "slow");

    other.execute_batch("COMMIT").unwrap();
    health_is(&journal, |health| health.state.code() == "ok").await;
    let next = journal.record(vec![record(&serial(3))]).await.unwrap();
    assert_eq!(next[0].seq, 2, "those given up took no seq");
    let rows = journal.reader().unsent(0, 10).unwrap();
    assert_eq!(
        rows.iter()
            .map(|stored| stored.recorded.record.serial.clone().unwrap())
            .collect::<Vec<_>>(),
        [serial(0), serial(3)]
    );
    assert_eq!(
        health_is(&journal, |health| health.faulted == 2)
            .await
            .unsent,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_wait_for_the_disk_is_no_fault() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let other = hold(&dir);
    let waiting = tokio::spawn({
        let journal = journal.clone();
        async move { journal.record(vec![record(&serial(1))]).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(waiting.await.unwrap().unwrap()[0].seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_too_late_is_taken_back_by_a_change() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let boxed = record(&serial(1));
    journal.scanned(scan_of(&boxed));
    journal.flush().await;
    let _begins = slow_commit(&journal, Duration::from_millis(1300));

    let began = Instant::now();
    assert_eq!(journal.record(vec![boxed.clone()]).await, Err(Fault::Slow));
    assert!(
        began.elapsed() <= Duration::from_millis(1100),
        "answered after {:?}",
        began.elapsed()
    );
    let health = health_is(&journal, |health| {
        health.state.code() == "ok" && health.unsent == 2
    })
    .await;
    assert_eq!((health.faulted, health.interrupted), (1, 0));

    let rows = journal.reader().unsent(0, 10).unwrap();
    assert_eq!(
        rows[0].recorded.record, boxed,
        "the lamp never showed it, and the change says so"
    );
    let change = &rows[1].recorded.record;
    assert_eq!(
        (rows[1].recorded.seq, change.reason, change.lamp),
        (2, Reason::JournalFault, Signal::None)
    );
    assert_eq!(
        change.change,
        Some(Change {
            scan: boxed.id,
            cause: Cause::LateCommit,
            previous_reason: Reason::Assigned
        })
    );
    assert_eq!(
        (change.serial.clone(), change.previous, change.raw_scan),
        (boxed.serial, Some(boxed.id), None)
    );
    assert_ne!(change.id, boxed.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_caller_went_away_does_not_stand_as_shown() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let begins = slow_commit(&journal, Duration::from_millis(600));
    let caller = tokio::spawn({
        let journal = journal.clone();
        async move { journal.record(vec![record(&serial(1))]).await }
    });
    // It goes while the commit is under way.
    begins.await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    health_is(&journal, |health| health.unsent == 2).await;
    let rows = journal.reader().unsent(0, 10).unwrap();
    assert_eq!(
        rows[1].recorded.record.change.as_ref().unwrap().cause,
        Cause::LateCommit
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_disk_holds_no_more_than_a_bounded_number_of_scans_in_memory() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..1).await;
    let other = hold(&dir);
    for number in 0..inbox::SCANS_WAITING + 100 {
        journal.scanned(scan_of(&record(&serial(number))));
    }
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    health_is(&journal, |health| health.state.code() == "ok").await;
    journal.close().await;
    let conn = rusqlite::Connection::open(file(&dir)).unwrap();
    let written: i64 = conn
        .query_row("SELECT count(*) FROM raw_scan", [], |row| row.get(0))
        .unwrap();
    let counted: i64 = conn
        .query_row(
            "SELECT value FROM counter WHERE name = 'scans_overflowed'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!((written, counted), (inbox::SCANS_WAITING as i64, 100));
}
