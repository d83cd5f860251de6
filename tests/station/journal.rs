//! Records on the command line: what `journal export` and `journal why` print, and their exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use serde_json::Value;

use crate::{scans::World, support::station::Home};

const COLUMNS: &str = "time,kind,id,epoch,seq,lane,scanner,serial,raw,verdict,reason,grade,assigned_at,took_ms,lamp,scan,cause,delivered_at";

fn call(home: &Home, words: &[&str]) -> (i32, String, String) {
    let output = home.command(words).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_exported_and_one_box_is_told_beside_the_agent_and_after_it() {
    let world = World::new().await;
    let home = world.home(false, "");
    assert_eq!(
        call(&home, &["journal", "export"]).0,
        1,
        "there is none yet"
    );

    let mut station = home.start();
    let first = world.demo.samples[0].serial;
    station.scan(first.as_bytes());
    let answer = station.answer();
    station.scan(b"490154203237518");
    assert_eq!(station.answer().reason, "imei");

    let (code, out, err) = call(&home, &["journal", "export"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, COLUMNS));
    assert!(
        lines[1].contains(&answer.id)
            && lines[1].contains(first)
            && lines[2].contains(",rescan,imei,"),
        "{out}"
    );
    let (code, out, _) = call(
        &home,
        &["journal", "export", "--format", "jsonl", "--since", "1h"],
    );
    let rows: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, rows.len(), rows[0]["seq"].as_u64()), (0, 2, Some(1)));
    let (code, out, _) = call(&home, &["journal", "export", "--until", "1h"]);
    assert_eq!(
        (code, out.trim_end()),
        (0, COLUMNS),
        "nothing is as old as that"
    );

    // As printed on the label, or as typed.
    for typed in [first.to_owned(), format!("S{first}"), first.to_lowercase()] {
        let (code, out, err) = call(&home, &["journal", "why", &typed]);
        assert_eq!((code, err.as_str()), (0, ""), "{typed}");
        assert!(
            out.starts_with(first)
                && out.contains("scanned on lane main by pipe")
                && out.contains(&answer.id),
            "{out}"
        );
    }
    let (code, out, _) = call(&home, &["journal", "why", "C02NEVERSEEN"]);
    assert_eq!(
        (code, out.as_str()),
        (1, "C02NEVERSEEN was never seen at this station.\n")
    );
    assert_eq!(
        call(&home, &["journal", "why", "490154203237518"]).0,
        1,
        "no serial number"
    );

    station.kill();
    assert_eq!(call(&home, &["journal", "why", first]).0, 0);
    // A mistake in another section of the config does not prevent it.
    let text = fs::read_to_string(home.config())
        .unwrap()
        .replace("site = \"test\"", "site = 7");
    fs::write(home.config(), text).unwrap();
    assert_eq!(call(&home, &["journal", "export"]).0, 0);
    fs::remove_dir_all(home.path("state")).unwrap();
    let (code, _, err) = call(&home, &["journal", "export"]);
    assert!(
        code == 78 && err.contains("`site` is a text"),
        "{code}: {err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_read_enough_ends_an_export_without_complaint() {
    let world = World::new().await;
    let home = world.home(true, "");
    let mut station = home.start();
    for count in 0..400 {
        station.scan(format!("TRACK{count:08}").as_bytes());
    }
    station.end_input();
    assert!(station.ended_within(Duration::from_secs(60)).is_some());
    let mut child = home
        .command(&["journal", "export"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
