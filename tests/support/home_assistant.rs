//! A real Home Assistant in a Debian of its own, as `tests/dashboards/install home-assistant` makes it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{mosquitto::HOME_ASSISTANT, tools};

/// It starts in half a minute, and in more on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Its folder, which outlives its restarts.
pub struct Household {
    debian: PathBuf,
    /// As it is called in there.
    folder: String,
    port: u16,
}

/// A running one, killed when dropped.
pub struct HomeAssistant {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// What it shows.
#[derive(Debug)]
pub struct Seen {
    pub entities: BTreeMap<String, Value>,
    pub events: Vec<Value>,
    pub complaints: Vec<String>,
}

impl Household {
    /// With the broker on that port. `Err`: why that is not possible here.
    pub fn new(port: u16) -> Result<Self, String> {
        super::system("unshare", &["--mount", "--pid", "--fork", "true"])
            .map_err(|why| format!("needs root, for a Debian of its own: {why}"))?;
        let debian = tools("home-assistant");
        let folder = format!("/tmp/test-{}", uuid::Uuid::now_v7());
        fs::create_dir(debian.join(&folder[1..])).unwrap();
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/dashboards/home_assistant.py"
        );
        fs::copy(script, debian.join(&folder[1..]).join("run.py")).unwrap();
        Ok(Self {
            debian,
            folder,
            port,
        })
    }

    pub fn start(&self) -> HomeAssistant {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .arg(format!("--mount-proc={}/proc", self.debian.display()))
            .arg("chroot")
            .arg(&self.debian)
            .args(["env", "-i", "HOME=/root", "LANG=C.UTF-8"])
            .arg("PATH=/ha/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args([
                "/ha/bin/python",
                &format!("{}/run.py", self.folder),
                &self.folder,
            ])
            .args([&self.port.to_string(), HOME_ASSISTANT.0, HOME_ASSISTANT.1]);
        let log = fs::File::create(self.debian.join(&self.folder[1..]).join("output")).unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        HomeAssistant {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    /// What it wrote, for the message of a failing test.
    fn log(&self) -> String {
        fs::read_to_string(self.debian.join(&self.folder[1..]).join("output")).unwrap_or_default()
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
        let _ = fs::remove_dir_all(self.debian.join(&self.folder[1..]));
    }
}

impl HomeAssistant {
    pub fn seen(&mut self) -> Seen {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").unwrap();
        let line = self
            .lines
            .recv_timeout(PATIENCE)
            .expect("Home Assistant answers");
        let mut seen: Value = serde_json::from_str(&line).unwrap();
        let mut take = |key: &str| seen[key].take();
        Seen {
            entities: serde_json::from_value(take("entities")).unwrap(),
            events: serde_json::from_value(take("events")).unwrap(),
            complaints: serde_json::from_value(take("complaints")).unwrap(),
        }
    }

    /// Looks until `condition` holds; fails with `what` after `within`.
    pub fn wait(
        &mut self,
        what: &str,
        within: Duration,
        condition: impl Fn(&Seen) -> bool,
    ) -> Seen {
        let deadline = Instant::now() + within;
        loop {
            let seen = self.seen();
            if condition(&seen) {
                return seen;
            }
            assert!(
                Instant::now() < deadline,
                "not within {within:?}: {what}; it shows {seen:#?}"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Ends it in good order.
    pub fn stop(mut self) {
        self.stdin = None;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "Home Assistant ends");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for HomeAssistant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
