//! Files that somebody takes away, cuts or writes into while the journal runs.

use std::os::unix::fs::symlink;

use super::{
    going_back::{alarm, holds},
    *,
};

/// Does something to the files of a running journal, without a scan, and holds it against what must follow.
async fn while_running(what: &str, same_epoch: bool, spoil: impl Fn(&TempDir)) {
    // What somebody else puts there is read as well, and nobody can say what it should have held.
    let foreign = what.ends_with("place");
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let mut answered = record_some(&journal, 0..150).await;
    let sent: Vec<u64> = journal
        .reader()
        .unsent(0, 20)
        .unwrap()
        .into_iter()
        .map(|stored| stored.row)
        .collect();
    journal.delivered(sent);
    journal.flush().await;
    spoil(&dir);
    let began = Instant::now();
    let mut health = journal.health();
    timeout(
        Duration::from_secs(20),
        health.wait_for(|health| health.salvaged),
    )
    .await
    .unwrap_or_else(|_| panic!("{what}: not noticed"))
    .unwrap();
    // A loaded machine may be late; the promise is a second.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{what}: noticed after {:?}",
        began.elapsed()
    );
    let new = record_some(&journal, 200..201).await;
    assert_eq!(new[0].epoch == answered[0].epoch, same_epoch, "{what}");
    assert_eq!(new[0].seq, if same_epoch { 151 } else { 1 }, "{what}");
    answered.extend(new);
    holds(&journal, dir.path(), &answered).await;
    let health = health_is(&journal, |health| health.unsent == 131).await;
    assert!(foreign || health.lost_rows == Some(0), "{what}: {health:?}");
    assert_eq!(
        journal.reader().unsent(0, 1_000).unwrap().len(),
        131,
        "{what}: what was not delivered still is, and nothing else"
    );
    // And all of it is on disk: a kill now, and a start.
    let left = copy(&dir);
    let again = open(&left);
    holds(&again, left.path(), &answered).await;
    assert_eq!(again.health().borrow().state.code(), "ok");
}

#[tokio::test]
async fn a_file_taken_away_while_running_is_noticed_and_its_records_go_over() {
    let away = |dir: &TempDir| fs::rename(file(dir), dir.path().join("elsewhere")).unwrap();
    while_running("deleted", false, |dir| fs::remove_file(file(dir)).unwrap()).await;
    while_running("renamed away", false, away).await;
    while_running("all deleted", false, |dir| {
        for end in ["", "-wal", "-shm"] {
            fs::remove_file(files::beside(&file(dir), end)).unwrap();
        }
    })
    .await;
    while_running("a link in its place", false, |dir| {
        fs::rename(file(dir), dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), file(dir)).unwrap();
    })
    .await;
    while_running("a directory in its place", false, |dir| {
        fs::remove_file(file(dir)).unwrap();
        fs::create_dir(file(dir)).unwrap();
    })
    .await;
    while_running("the whole folder renamed away", false, |dir| {
        let away = dir.path().with_extension("away");
        fs::rename(dir.path(), &away).unwrap();
        fs::create_dir(dir.path()).unwrap();
        fs::remove_dir_all(away).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_replaced_while_rows_are_unsent_gives_them_to_the_new_one() {
    // An older copy of the same journal, from before 150 records.
    while_running("an empty file in its place", false, |dir| {
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), file(dir)).unwrap();
    })
    .await;
    while_running("text in its place", false, |dir| {
        fs::write(dir.path().join("new"), "Dear diary, ".repeat(1_000)).unwrap();
        fs::rename(dir.path().join("new"), file(dir)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_log_or_an_index_taken_away_while_running_costs_nothing() {
    let log = |dir: &TempDir| files::beside(&file(dir), "-wal");
    let index = |dir: &TempDir| files::beside(&file(dir), "-shm");
    while_running("the log deleted", true, |dir| {
        fs::remove_file(log(dir)).unwrap()
    })
    .await;
    while_running("the index deleted", true, |dir| {
        fs::remove_file(index(dir)).unwrap()
    })
    .await;
    while_running("both deleted", true, |dir| {
        fs::remove_file(log(dir)).unwrap();
        fs::remove_file(index(dir)).unwrap();
    })
    .await;
    while_running("an empty log in its place", true, |dir| {
        fs::remove_file(log(dir)).unwrap();
        fs::write(log(dir), "").unwrap();
    })
    .await;
    while_running("a link in the log's place", true, |dir| {
        fs::rename(log(dir), dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), log(dir)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_emptied_while_running_is_salvaged_from_its_log_also_where_that_is_deleted() {
    for log_too in [false, true] {
        let dir = TempDir::new().unwrap();
        let journal = open(&dir);
        let mut answered = record_some(&journal, 0..60).await;
        // By another process: ours would drop SQLite's locks. At once, for the journal notices each of the two.
        let both = if log_too {
            "truncate -s 0 \"$1\" && rm \"$2\""
        } else {
            "truncate -s 0 \"$1\""
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", both, "sh"]).arg(file(&dir));
        assert!(
            shell
                .arg(files::wal_of(&file(&dir)))
                .status()
                .unwrap()
                .success()
        );
        alarm(&journal).await;
        answered.extend(record_some(&journal, 60..61).await);
        assert_eq!(answered[60].seq, 1);
        holds(&journal, dir.path(), &answered).await;
    }
}

#[tokio::test]
async fn a_log_emptied_while_running_is_noticed() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let before = record_some(&journal, 0..10).await;
    assert!(
        Command::new("truncate")
            .args(["-s", "0"])
            .arg(files::wal_of(&file(&dir)))
            .status()
            .unwrap()
            .success()
    );
    alarm(&journal).await;
    let new = record_some(&journal, 10..11).await;
    assert!(new[0].seq == 1 && new[0].epoch != before[0].epoch);
}

#[tokio::test]
async fn what_is_copied_over_the_file_while_running_is_noticed() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    record_some(&journal, 0..5).await;
    journal.close().await;
    let old = dir.path().join("old");
    fs::copy(file(&dir), &old).unwrap();
    let journal = open(&dir);
    record_some(&journal, 5..2_000).await;
    // Written back, so that the file is a later one than the copy and the log does not cover it.
    health_is(&journal, |health| health.seq == 2_000).await;
    let began = Instant::now();
    let length = || fs::metadata(file(&dir)).unwrap().len();
    // Written back for good: the station has looked at it since.
    let (mut known, mut still) = (length(), Instant::now());
    while known < 2 * fs::metadata(&old).unwrap().len() || still.elapsed() < Duration::from_secs(1)
    {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "never written back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        if std::mem::replace(&mut known, length()) != known {
            still = Instant::now();
        }
    }
    let epoch = journal.epoch();
    assert!(
        Command::new("cp")
            .arg(&old)
            .arg(file(&dir))
            .status()
            .unwrap()
            .success()
    );
    alarm(&journal).await;
    let new = record_some(&journal, 9_000..9_001).await;
    assert!(new[0].epoch != epoch && new[0].seq == 1);
}
