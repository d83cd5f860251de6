//! The demo as a new user sees it: nothing installed, serial numbers typed or piped.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

use benchlight::{
    readiness::{evidence::SourceKind, simulate},
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

/// All boxes of the bench, piped: each answer is the one in its row, or in `differs`, and the exit code is 0.
fn every_box_ends_as_told(mut child: Child, differs: &[(&str, &str)]) {
    let mut stdin = child.stdin.take().unwrap();
    for one in stock::DEMO {
        writeln!(stdin, "{}", one.serial).unwrap();
    }
    writeln!(stdin, "490154203237518").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let screen = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{screen}");
    for one in stock::DEMO {
        let other = differs.iter().find(|(serial, _)| *serial == one.serial);
        let expected = other.map_or(one.expected, |(_, reason)| reason);
        let serial = if expected == "ambiguous" {
            "-"
        } else {
            one.serial
        };
        let found = lines
            .lines()
            .filter(|line| !line.starts_with("change "))
            .any(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                words[1] == serial && words[3] == expected
            });
        assert!(
            found,
            "{} ({}) did not end as {expected}:\n{lines}",
            one.serial, one.story
        );
    }
    assert!(
        lines.lines().any(|line| line.contains(" - rescan imei ")),
        "{lines}"
    );
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
    every_box_ends_as_told(demo(), &[]);
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
        every_box_ends_as_told(demo_with(&["--mdm", kind.code()], &[]), differs);
    }
}

/// With any MDM in Kandji's place: what the list says that the lamp says first, it says.
#[test]
fn the_demo_can_be_started_with_any_mdm_and_its_list_is_true() {
    for kind in SourceKind::ALL.iter().filter(|kind| kind.is_mdm()) {
        let mut child = demo_with(&["--mdm", kind.code()], &[]);
        let mut stdin = child.stdin.take().unwrap();
        let shown: Vec<&str> = stock::DEMO.iter().map(|one| one.serial).collect();
        writeln!(stdin, "list\n{}", shown.join("\n")).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let screen = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{}: {screen}", kind.code());
        for serial in shown {
            let mut rows = screen.lines().map(str::split_whitespace);
            let lamp = rows.find_map(|mut words| {
                let lamp = words.next()?;
                (words.next()? == serial).then_some(lamp)
            });
            let mut answers = lines.lines().filter(|line| !line.starts_with("change "));
            let verdict = answers.find_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                (words[1] == serial).then(|| words[2])
            });
            let expected = match verdict {
                Some("ready") => "green",
                Some("not_ready") => "red",
                Some("wait" | "unknown") => "amber",
                // No serial number is given where two devices fit.
                None => "flash",
                Some(other) => panic!("{other}"),
            };
            assert_eq!(
                lamp,
                Some(expected),
                "{} {serial}: {lines}\n{screen}",
                kind.code()
            );
        }
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
