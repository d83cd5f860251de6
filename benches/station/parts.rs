//! Single parts: how fast labels are read and records committed.

use std::{
    fs::File,
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use benchlight::{journal::Journal, label};

use crate::{
    report::{Promise, Report, Times, number},
    rig::{journal_settings, record},
};

/// Scanned texts: serial numbers, other barcodes of a box, and texts that are on no box.
const CODES: [&[u8]; 10] = [
    b"C02XK0AAJG5H",
    b"SC02XK0AAJG5H",
    b"]C1C02XK0AAJG5H",
    b"490154203237518",
    b"89049032004008882600012345678901",
    b"00194252056639",
    b"MLY33LL/A",
    b"[)>\x1e06\x1dSC02XK0AAJG5H\x1d1PMLY33LL/A\x1e\x04",
    b"1Z999AA10123456784",
    b"\x00\xff no label at all",
];

pub async fn labels(report: &mut Report) {
    let begun = Instant::now();
    let mut read = 0_u64;
    while begun.elapsed() < Duration::from_secs(2) {
        for code in CODES {
            black_box(label::read(black_box(code)));
        }
        read += 10;
    }
    report.figure(
        "labels read a second, one thread",
        number(read) / begun.elapsed().as_secs_f64(),
        "labels/s",
        Promise::Nothing,
    );
}

pub async fn commits(report: &mut Report) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let journal = Journal::open(
        &journal_settings(folder.path()),
        &benchlight::runtime::machine::identity(),
    )
    .unwrap();
    let mut times = Times::default();
    let begun = Instant::now();
    let mut many = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        let started = Instant::now();
        journal.record(vec![record(many)]).await.unwrap();
        times.add(started.elapsed());
        many += 1;
    }
    report.figure(
        "commits a second, one after the other, each synced",
        number(many) / begun.elapsed().as_secs_f64(),
        "commits/s",
        Promise::Nothing,
    );
    report.figure("one commit, p50", times.median(), "ms", Promise::Nothing);
    report.figure(
        "one commit, p99",
        times.percentile(99),
        "ms",
        Promise::Nothing,
    );
    let mut times = Times::default();
    for nth in 0..300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = Instant::now();
        journal.record(vec![record(50_000 + nth)]).await.unwrap();
        times.add(started.elapsed());
    }
    report.figure(
        "one commit from rest, p50",
        times.median(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "one commit from rest, p99",
        times.percentile(99),
        "ms",
        Promise::Nothing,
    );
    journal.close().await;

    // What the disk alone takes, to tell a slow journal from a slow disk.
    let (mut file, mut times) = (
        File::create(folder.path().join("plain")).unwrap(),
        Times::default(),
    );
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = Instant::now();
        file.write_all(&[7; 8_192])
            .and_then(|()| file.sync_data())
            .unwrap();
        times.add(started.elapsed());
    }
    report.figure(
        "the disk alone: 8 KiB appended and synced, from rest, p50",
        times.median(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "the disk alone, p99",
        times.percentile(99),
        "ms",
        Promise::Nothing,
    );
}

pub async fn group_commits(report: &mut Report) {
    const AT_ONCE: u64 = 32;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let journal = Journal::open(
        &journal_settings(folder.path()),
        &benchlight::runtime::machine::identity(),
    )
    .unwrap();
    let begun = Instant::now();
    let recorders: Vec<_> = (0..AT_ONCE)
        .map(|recorder| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut many = 0;
                while begun.elapsed() < Duration::from_secs(5) {
                    journal
                        .record(vec![record(recorder * 100_000 + many)])
                        .await
                        .unwrap();
                    many += 1;
                }
                many
            })
        })
        .collect();
    let mut many = 0;
    for recorder in recorders {
        many += recorder.await.unwrap();
    }
    report.figure(
        "commits a second, 32 at once, each synced",
        number(many) / begun.elapsed().as_secs_f64(),
        "commits/s",
        Promise::Nothing,
    );
    journal.close().await;
}
