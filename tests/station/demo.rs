//! The demo as a new user sees it: nothing installed, serial numbers typed or piped.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use benchlight::{
    journal::reader::Reader,
    readiness::{
        evidence::{Finding, SourceKind},
        simulate,
    },
    reason::Reason,
    simulator::{Order, stock},
};

fn demo() -> Child {
    demo_with(&[], &[])
}

fn demo_with(words: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_benchlight"));
    command
        .envs(variables.iter().copied())
        .arg("demo")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Boxes scanned at once in a demo of their own, whose words come first.
struct Bench {
    lines: String,
    screen: String,
    /// Serial numbers of which some service did not answer in time.
    late: BTreeSet<String>,
}

impl Bench {
    fn of(words: &[&str], typed: &[&str]) -> Self {
        let mut child = demo_with(words, &[]);
        let mut stdin = child.stdin.take().unwrap();
        for line in typed {
            writeln!(stdin, "{line}").unwrap();
        }
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut screen = String::new();
        while !screen.contains("Type a serial number") {
            assert!(stderr.read_line(&mut screen).unwrap() > 0, "{screen}");
        }
        let more = std::thread::spawn(move || {
            let mut more = String::new();
            stderr.read_to_string(&mut more).unwrap();
            more
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut lines, mut answers) = (String::new(), 0);
        let scans = typed.iter().filter(|line| **line != "list").count();
        while answers < scans {
            let begin = lines.len();
            assert!(stdout.read_line(&mut lines).unwrap() > 0, "{lines}");
            answers += usize::from(!lines[begin..].starts_with("change "));
        }
        let late = late(&screen);
        drop(stdin);
        stdout.read_to_string(&mut lines).unwrap();
        screen.push_str(&more.join().unwrap());
        assert!(child.wait().unwrap().success(), "{screen}");
        Self {
            lines,
            screen,
            late,
        }
    }

    /// Verdict and reason that the station gave first.
    fn answer(&self, serial: &str) -> Option<(&str, &str)> {
        let mut answers = self.lines.lines().filter(|line| !is_change(line));
        answers.find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[1] == serial).then(|| (words[2], words[3]))
        })
    }

    fn rescan(&self, reason: &str) -> bool {
        let wanted = format!(" - rescan {reason} ");
        self.lines.lines().any(|line| line.contains(&wanted))
    }
}

fn is_change(line: &str) -> bool {
    line.starts_with("change ")
}

/// Of which boxes some service did not answer in time, by the journal beside the demo's config.
fn late(screen: &str) -> BTreeSet<String> {
    let config = screen
        .lines()
        .find_map(|line| line.trim().strip_prefix("C="));
    let state = Path::new(config.unwrap()).with_file_name("state");
    let newest = Reader::open(&state).unwrap().newest(1_000).unwrap();
    let records = newest.into_iter().map(|stored| stored.recorded.record);
    records
        .filter(|record| {
            let mut findings = record.evidence.iter().map(|evidence| &evidence.finding);
            findings.any(|finding| *finding == Finding::Unknown(Reason::Timeout))
        })
        .flat_map(|record| record.asked)
        .map(|serial| serial.to_string())
        .collect()
}

/// Scans every box of the bench at once until `is_told` holds of it. A box of which a service did not answer in time, because the
/// machine was busy, is scanned again in another demo.
fn every_box(
    words: &[&str],
    (before, after): (&[&str], &[&str]),
    is_told: impl Fn(&Bench, &stock::DemoBox) -> bool,
) -> Bench {
    let mut open: Vec<&stock::DemoBox> = stock::DEMO.iter().collect();
    let mut first = None;
    for _ in 0..4 {
        let typed: Vec<&str> = open.iter().map(|one| one.serial).collect();
        let bench = Bench::of(words, &[before, &typed, after].concat());
        open.retain(|one| !is_told(&bench, one));
        for one in &open {
            let (serial, story) = (one.serial, one.story);
            assert!(
                bench.late.contains(serial),
                "{words:?}: {serial} ({story}) did not end as told:\n{}\n{}",
                bench.lines,
                bench.screen
            );
        }
        let _ = first.get_or_insert(bench);
        if open.is_empty() {
            break;
        }
    }
    assert!(open.is_empty(), "too late in each demo: {open:?}");
    first.unwrap()
}

/// Each answer is the one in the box's row, or in `differs`, and the exit code is 0.
fn every_box_ends_as_told(words: &[&str], differs: &[(&str, &str)]) {
    let bench = every_box(words, (&[], &["490154203237518"]), |bench, one| {
        let other = differs.iter().find(|(serial, _)| *serial == one.serial);
        let expected = other.map_or(one.expected, |(_, reason)| reason);
        match bench.answer(one.serial) {
            Some((_, reason)) => reason == expected,
            None => expected == "ambiguous" && bench.rescan(expected),
        }
    });
    assert!(bench.rescan("imei"), "{}", bench.lines);
    let screen = bench.screen;
    assert!(
        screen.contains("mosquitto_sub") && screen.contains("Type a serial number"),
        "{screen}"
    );
    let end = screen
        .lines()
        .take_while(|line| !line.contains("Type a serial number"));
    assert!(end.count() < 22, "{screen}");
}

#[test]
fn every_box_of_the_demo_ends_as_the_table_says() {
    every_box_ends_as_told(&[], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_each_other_mdm_every_box_ends_as_its_simulator_says() {
    let others = SourceKind::ALL.iter().filter(|kind| kind.is_mdm());
    for kind in others.filter(|kind| **kind != SourceKind::Kandji) {
        let order = Order {
            listen: "127.0.0.1:0".parse().unwrap(),
            boxes: 0,
            limits: false,
        };
        let differs = simulate(*kind, order).await.unwrap().differs;
        every_box_ends_as_told(&["--mdm", kind.code()], differs);
    }
}

/// With any MDM in Kandji's place: what the list says that the lamp says first, it says.
#[test]
fn the_demo_can_be_started_with_any_mdm_and_its_list_is_true() {
    for kind in SourceKind::ALL.iter().filter(|kind| kind.is_mdm()) {
        every_box(&["--mdm", kind.code()], (&["list"], &[]), |bench, one| {
            let mut rows = bench.screen.lines().map(str::split_whitespace);
            let lamp = rows.find_map(|mut words| {
                let lamp = words.next()?;
                (words.next()? == one.serial).then_some(lamp)
            });
            let expected = match bench.answer(one.serial) {
                Some(("ready", _)) => "green",
                Some(("not_ready", _)) => "red",
                Some(("wait" | "unknown", _)) => "amber",
                // No serial number is given where two devices fit.
                None => "flash",
                Some((other, _)) => panic!("{other}"),
            };
            lamp == Some(expected)
        });
    }
}

/// What the first screen tells to type in another terminal works as it stands there, and the words are answered.
#[test]
fn the_words_and_the_commands_of_the_first_screen_work() {
    let mut child = demo();
    let mut stdin = child.stdin.take().unwrap();
    let mut screen = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = screen.by_ref().map_while(Result::ok);
    let commands: Vec<String> = lines
        .by_ref()
        .take_while(|line| !line.contains("Type a serial number"))
        .filter(|line| line.starts_with("  C=") || line.contains(" --config $C"))
        .collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    writeln!(stdin, "C02XK0AAJG5H").unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        answers
            .next()
            .unwrap()
            .unwrap()
            .contains(" ready assigned ")
    );
    for (command, says) in
        commands[1..]
            .iter()
            .zip(["ready", "C02XK0AAJG5H", "in use by benchlight"])
    {
        let output = Command::new("sh")
            .args(["-c", &format!("{}\n{command}", commands[0])])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(says),
            "{command}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    writeln!(stdin, "LIST").unwrap();
    for one in stock::DEMO {
        let row = lines.next().unwrap();
        assert!(
            row.contains(one.serial) && row.ends_with(one.story),
            "{row}"
        );
    }
    writeln!(stdin, "help").unwrap();
    assert!(lines.any(|line| line.contains("explain not_found")));
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// Each has its own page, though all look for the same port first.
#[test]
fn demos_that_start_at_once_have_a_page_each() {
    let demos: Vec<Child> = (0..6).map(|_| demo()).collect();
    // A demo whose input ends answers what was typed, and ends.
    let screens = demos.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    });
    let mut pages = BTreeSet::new();
    for screen in screens {
        assert!(!screen.contains("cannot be had"), "{screen}");
        let page = screen.lines().find(|line| line.contains("The page"));
        assert!(pages.insert(page.unwrap().to_owned()), "{screen}");
    }
}

/// A waiting box becomes ready without being scanned again.
#[test]
fn the_pending_box_turns_ready_by_itself() {
    let mut child = demo();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "DEMOSOON0003").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(
        first.contains("DEMOSOON0003 wait assignment_pending"),
        "{first}"
    );
    let (send, changes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    // Assigned 20 s after the first scan. A re-check may come while it is settling.
    loop {
        let change = changes
            .recv_timeout(Duration::from_secs(60))
            .expect("a change within a minute");
        assert!(
            change.starts_with("change ") && change.contains("DEMOSOON0003"),
            "{change}"
        );
        if change.contains("DEMOSOON0003 ready assigned") {
            break;
        }
        assert!(change.contains("wait settling"), "{change}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// The services die at a typed word, and a box that the replica holds is green all the same.
#[test]
fn in_an_outage_the_replica_goes_on() {
    let mut child = demo_with(&[], &[("RUST_LOG", "info")]);
    let mut stdin = child.stdin.take().unwrap();
    let mut screen = BufReader::new(child.stderr.take().unwrap()).lines();
    let filled = |line: &str| line.contains("the replica is filled");
    let mut lines = screen.by_ref().map_while(Result::ok);
    assert_eq!(
        lines.by_ref().filter(|line| filled(line)).take(3).count(),
        3
    );
    writeln!(stdin, "outage").unwrap();
    let dead = lines.find(|line| line.contains("dead for a minute"));
    assert!(dead.is_some());
    // Nobody may wait for a pipe that is full.
    std::thread::spawn(move || screen.map_while(Result::ok).count());
    let healthy = stock::DEMO.iter().find(|one| one.expected == "assigned");
    let healthy = healthy.unwrap().serial;
    writeln!(stdin, "{healthy}\nDEMOSOON0003").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(
        lines.contains(&format!("{healthy} ready assigned")),
        "{lines}"
    );
    assert!(lines.contains("DEMOSOON0003 unknown offline"), "{lines}");
}
