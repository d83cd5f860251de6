//! The boxes of today, counted from real files.

use std::collections::BTreeMap;

use jiff::{ZonedDateTime, tz::TimeZone};

use super::*;
use crate::{journal::reader::Today, reason::Verdict};

/// Amsterdam, on the day whose night was an hour longer.
const NOW: &str = "2026-10-25T21:30:00+01:00[Europe/Amsterdam]";

fn now() -> ZonedDateTime {
    NOW.parse().unwrap()
}

/// A scan at that time of the station's day (`None`: no serial number), or a change of it.
fn scanned(number: Option<usize>, at: &str, reason: Reason, is_change: bool) -> Record {
    let at = format!("2026-10-{at}[Europe/Amsterdam]");
    let mut scan = record(&serial(number.unwrap_or(0)));
    scan.serial = scan.serial.filter(|_| number.is_some());
    Record {
        at: at.parse::<ZonedDateTime>().unwrap().timestamp(),
        reason,
        raw_scan: None,
        change: is_change.then(|| Change {
            scan: Uuid::now_v7(),
            cause: Cause::Recheck,
            previous_reason: Reason::SyncPending,
        }),
        ..scan
    }
}

type Counts = [u64; 5];

/// By verdict, and by hour and verdict.
fn counted(today: &Today) -> (Counts, BTreeMap<i8, Counts>) {
    let row = |counts: &crate::health::ByVerdict| {
        let counts: BTreeMap<Verdict, u64> = counts.iter().collect();
        Verdict::ALL.map(|verdict| counts[&verdict])
    };
    let day = today.day();
    let hours = day.hours.iter().map(|(hour, counts)| (*hour, row(counts)));
    (row(&day.boxes), hours.collect())
}

async fn write(journal: &Journal, records: Vec<Record>) {
    for some in records.chunks(100) {
        journal.record(some.to_vec()).await.unwrap();
    }
}

#[tokio::test]
async fn a_box_counts_once_by_its_newest_record_in_the_hour_of_its_newest_scan() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let mut reader = journal.reader();
    let mut today = Today::of(&now());
    reader.today(&mut today).unwrap();
    assert_eq!(counted(&today), ([0; 5], BTreeMap::new()));

    let yesterday = (0..600).map(|number| {
        scanned(
            Some(number),
            "24T23:59:59+02:00",
            Reason::SyncPending,
            false,
        )
    });
    write(&journal, yesterday.collect()).await;
    write(
        &journal,
        vec![
            scanned(Some(1), "25T00:00:00+02:00", Reason::SyncPending, false),
            // Both are two o'clock by the wall.
            scanned(Some(2), "25T02:30:00+02:00", Reason::NotFound, false),
            scanned(Some(3), "25T02:30:00+01:00", Reason::Offline, false),
            scanned(None, "25T03:00:00+01:00", Reason::Imei, false),
            scanned(None, "25T03:00:00+01:00", Reason::Imei, false),
            // It was scanned yesterday, and nobody has scanned it today.
            scanned(Some(9), "25T03:00:00+01:00", Reason::Assigned, true),
            scanned(Some(1), "25T04:00:00+01:00", Reason::Assigned, true),
        ],
    )
    .await;
    let before_breakfast = BTreeMap::from([
        (0, [1, 0, 0, 0, 0]),
        (2, [0, 0, 1, 1, 0]),
        (3, [0, 0, 0, 0, 2]),
    ]);
    reader.today(&mut today).unwrap();
    assert_eq!(counted(&today), ([1, 0, 1, 1, 2], before_breakfast));

    let again = vec![
        scanned(Some(2), "25T09:00:00+01:00", Reason::Assigned, false),
        scanned(Some(2), "25T09:10:00+01:00", Reason::ProfileRemoved, true),
        // A clock that ran ahead.
        scanned(Some(5), "26T00:00:00+01:00", Reason::Assigned, false),
    ];
    write(&journal, again).await;
    reader.today(&mut today).unwrap();
    let later = BTreeMap::from([
        (0, [1, 0, 0, 0, 0]),
        (2, [0, 0, 0, 1, 0]),
        (3, [0, 0, 0, 0, 2]),
        (9, [0, 0, 1, 0, 0]),
    ]);
    let expected = ([1, 0, 1, 1, 2], later);
    assert_eq!(counted(&today), expected);
    assert_eq!(today.day().utc_offset_minutes, 60);

    // After a restart the same comes from the file.
    let mut read_anew = Today::of(&now());
    Reader::open(dir.path())
        .unwrap()
        .today(&mut read_anew)
        .unwrap();
    assert_eq!(counted(&read_anew), expected);
}

#[tokio::test]
async fn a_record_with_a_wrong_time_hides_none_before_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let mut records: Vec<Record> = (0..300)
        .map(|number| scanned(Some(number), "24T12:00:00+02:00", Reason::Assigned, false))
        .collect();
    records.extend((300..700).map(|number| {
        let at = if number % 3 == 0 {
            "24T01:00:00+02:00"
        } else {
            "25T10:00:00+01:00"
        };
        scanned(Some(number), at, Reason::Assigned, false)
    }));
    write(&journal, records).await;
    let mut today = Today::of(&now());
    journal.reader().today(&mut today).unwrap();
    let todays = (300..700).filter(|number| number % 3 != 0).count() as u64;
    assert_eq!(counted(&today).0, [todays, 0, 0, 0, 0]);
}

#[test]
fn a_day_ends_at_midnight_and_with_another_time_zone() {
    let today = Today::of(&now());
    let at = |text: &str| text.parse::<ZonedDateTime>().unwrap();
    assert!(today.is_of(&now()));
    assert!(today.is_of(&at("2026-10-25T23:59:59+01:00[Europe/Amsterdam]")));
    assert!(!today.is_of(&at("2026-10-26T00:00:00+01:00[Europe/Amsterdam]")));
    assert!(!today.is_of(&now().with_time_zone(TimeZone::UTC)));
}
