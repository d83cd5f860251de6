//! A journal of an earlier version is taken over at the start: what systemd is told meanwhile, and what a kill leaves.

use std::{collections::BTreeSet, fs, os::unix::net::UnixDatagram, time::Duration};

use rusqlite::Connection;

use super::scans::World;
use crate::support::{
    eventually,
    station::{Home, Station},
};

const SCHEMA_2: &str = include_str!("../../src/journal/tests/schema_2.sql");

/// Rows that wait for the broker.
const ROWS: i64 = 2_000;

/// Writes a journal of schema 2 in large pages.
fn write_earlier(home: &Home) {
    let folder = home.path("state");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let conn = Connection::open(folder.join("journal.sqlite")).unwrap();
    conn.execute_batch(&SCHEMA_2.replace("@MACHINE@", "another machine"))
        .unwrap();
    conn.execute_batch(&format!(
        "CREATE TEMP TABLE one AS SELECT * FROM record ORDER BY row DESC LIMIT 1;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO record SELECT row + i, epoch, randomblob(16), NULL, scan, cause, previous_reason, at + i, clock_synced, lane, scanner,
           printf('C02Y%08d', i), asked, raw, reason, message, action, grade, model, family, assigned_at, took_ms, lamp, previous, grouped, policy,
           evidence, NULL, NULL FROM one, n;
         UPDATE epoch SET next_seq = next_seq + {ROWS};"
    ))
    .unwrap();
    conn.close().unwrap();
}

/// How far the takeover has come: the schema and whether the pages are small. Everything must be there and sound.
fn state_of(home: &Home) -> (i64, bool) {
    let conn = Connection::open(home.path("state").join("journal.sqlite")).unwrap();
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let sound: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    assert_eq!(
        number("SELECT count(*) FROM record WHERE serial GLOB 'C02Y*' AND delivered_at IS NULL"),
        ROWS
    );
    (
        number("PRAGMA user_version"),
        number("PRAGMA page_size") < 4_096,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_an_earlier_journal_is_taken_over_loses_no_row() {
    let world = World::new().await;
    let home = world.home(false, "");
    // Nothing is delivered until the last start.
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        config.replace(
            &format!("mqtt://127.0.0.1:{}", world.mosquitto.plain),
            "mqtt://127.0.0.1:1",
        ),
    )
    .unwrap();
    let mut seen = BTreeSet::new();
    for call in [1, 30, 200, 800, 1_200] {
        write_earlier(&home);
        assert_eq!(state_of(&home), (2, false));
        let mut station = home.start_and_kill_at("pwrite64", call);
        let _ = station.ended_within(Duration::from_secs(10));
        station.kill();
        let state = state_of(&home);
        println!(
            "killed at write {call}: schema {}, small pages {}",
            state.0, state.1
        );
        seen.insert(state);
    }
    assert!(
        seen.contains(&(2, false)) && seen.contains(&(3, false)),
        "killed before and after the tables were changed: {seen:?}"
    );

    fs::write(home.config(), config).unwrap();
    let dashboard = world.dashboard().await;
    let mut station = home.start();
    station.scan(world.demo.samples[0].serial.as_bytes());
    station.answer();
    eventually("every row is delivered", Duration::from_secs(60), || {
        dashboard.places().len() > usize::try_from(ROWS).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_waits_and_shows_how_far_the_takeover_has_come() {
    let world = World::new().await;
    let home = world.home(false, "");
    write_earlier(&home);
    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut command = home.command(&["run"]);
    command.env("NOTIFY_SOCKET", &path);
    let _station = Station::of(command);
    let (mut said, mut buffer) = (String::new(), [0; 1_024]);
    while !said.lines().any(|line| line == "READY=1") {
        let length = socket.recv(&mut buffer).unwrap();
        said += &String::from_utf8_lossy(&buffer[..length]);
        said.push('\n');
    }
    for step in [
        "indexing serial numbers",
        "writing it again in smaller pages",
    ] {
        let status = format!("STATUS=taking over the journal of an earlier version: {step}, ");
        let seconds = said.lines().find_map(|line| {
            let seconds = line.strip_prefix(&status)?.strip_suffix(" s")?;
            seconds.parse::<u64>().ok()
        });
        assert!(seconds.is_some(), "{status:?} is not in:\n{said}");
    }
    assert!(said.contains("EXTEND_TIMEOUT_USEC=60000000"), "{said}");
}
