//! A real station in its own process: the binary, with a config in a fresh folder and pipes for scans and results.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{clocks::Clocks, system};

/// Below target/, on the disk of the checkout: on many machines /tmp is in memory.
const DISK: &str = env!("CARGO_TARGET_TMPDIR");

/// A folder with config and credentials, and one with the journal, which several runs may share.
pub struct Home {
    folder: TempDir,
    state: TempDir,
}

/// One result line of the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultLine {
    pub change: bool,
    pub id: String,
    pub serial: String,
    pub verdict: String,
    pub reason: String,
    pub message: String,
}

impl Home {
    /// A station that reads standard input and draws lamps on the terminal. `sources`, `mqtt` and `more` are sections of its config.
    ///
    /// Its journal is in memory if possible: on a disk that others keep busy for a second, the station would rightly say `journal_fault`.
    pub fn new(exit_at_eof: bool, sources: &str, mqtt: &str, more: &str) -> Self {
        let more = format!(
            "[[scanner]]\nname = \"pipe\"\nkind = \"stdin\"\n\n[indicator]\nkind = \"terminal\"\n\n{sources}\n{mqtt}\n{more}\n"
        );
        let state = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in(DISK));
        Self::with(state.unwrap(), exit_at_eof, &more)
    }

    /// A station with its journal on the disk. `sections` is its config without `[station]`.
    pub fn on_disk(exit_at_eof: bool, sections: &str) -> Self {
        Self::with(tempfile::tempdir_in(DISK).unwrap(), exit_at_eof, sections)
    }

    fn with(state: TempDir, exit_at_eof: bool, sections: &str) -> Self {
        let home = Self {
            folder: tempfile::tempdir_in(DISK).unwrap(),
            state,
        };
        let credentials = home.path("credentials");
        fs::create_dir(&credentials).unwrap();
        let config = format!(
            "[station]\nsite = \"test\"\nname = \"bench-1\"\nstate_dir = {:?}\ncredentials_dir = {credentials:?}\nexit_at_eof = {exit_at_eof}\n\n{sections}",
            home.path("state"),
        );
        fs::write(home.config(), config).unwrap();
        home
    }

    /// The path of a file. Names that begin with `state` are in the journal's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        let folder = if name.starts_with("state") {
            &self.state
        } else {
            &self.folder
        };
        folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("benchlight.toml")
    }

    /// Writes a secret that only its owner may read.
    pub fn credential(&self, name: &str, secret: &str) {
        let path = self.path("credentials").join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The program with this config, for the caller to complete.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_benchlight"));
        command.args(words).arg("--config").arg(self.config());
        command
    }

    /// The same, run by a user who owns these folders and nothing else, because root may do everything. `Err`: why that is not
    /// possible here.
    pub fn command_as_nobody(&self, words: &[&str]) -> Result<Command, String> {
        const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let may = |words: &[&str]| system("setpriv", &[&NOBODY, words].concat());
        may(&["true"]).map_err(|why| format!("needs the right to become another user: {why}"))?;
        // Other users may have no access to the binary's own folder.
        let program = self.path("benchlight");
        fs::copy(env!("CARGO_BIN_EXE_benchlight"), &program).unwrap();
        for folder in [&self.folder, &self.state] {
            system(
                "chown",
                &["-R", "65534:65534", folder.path().to_str().unwrap()],
            )?;
        }
        may(&["test", "-x", program.to_str().unwrap()])
            .map_err(|why| format!("another user does not reach {}: {why}", program.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(NOBODY)
            .arg(&program)
            .args(self.command(words).get_args());
        Ok(command)
    }

    /// Starts `run`.
    pub fn start(&self) -> Station {
        self.start_under(&[])
    }

    /// Starts `run` under another program, for example a tracer.
    pub fn start_under(&self, wrapper: &[&str]) -> Station {
        let program = env!("CARGO_BIN_EXE_benchlight");
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .args(["run", "--config"])
            .arg(self.config())
            .stderr(self.log_file());
        Station::of(command)
    }

    /// Starts `run` with clocks that a test sets.
    pub fn start_with(&self, clocks: &Clocks) -> Station {
        let mut command = self.command(&["run"]);
        clocks.for_command(&mut command);
        command.stderr(self.log_file());
        Station::of(command)
    }

    fn log_file(&self) -> fs::File {
        let mut file = fs::File::options();
        file.create(true).append(true);
        file.open(self.path("log")).unwrap()
    }

    /// Starts `run` under a tracer that kills it at the `nth` call named `call`, counted in each thread.
    pub fn start_and_kill_at(&self, call: &str, nth: u64) -> Station {
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
        self.start_under(&[
            "strace",
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ])
    }

    /// What the program has written to standard error so far, for the message of a failing test.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// A running station, killed when dropped.
pub struct Station {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Station {
    /// Starts `command` with pipes for scans and results.
    pub fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        Self::as_told(command)
    }

    /// Starts `command` with a pipe for scans. Results go where `command` says; they can be read here only if that is a pipe.
    pub fn as_told(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        // Drop the test's own copies of what the station writes to: a pipe ends when its last writer is closed.
        drop(command);
        let (send, lines) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(out)
                    .lines()
                    .map_while(Result::ok)
                    .try_for_each(|line| send.send(line))
            });
        }
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Scans one code. If the station has ended, nothing happens; the test must notice that.
    pub fn scan(&mut self, code: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin
                .write_all(code)
                .and_then(|()| stdin.write_all(b"\n"))
                .and_then(|()| stdin.flush());
        }
    }

    /// Ends the scanner's stream.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next result line.
    pub fn answer_within(&self, patience: Duration) -> Option<ResultLine> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Some(ResultLine::parse(&line)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next result line. The test fails if there is none.
    pub fn answer(&self) -> ResultLine {
        self.answer_within(Duration::from_secs(20))
            .expect("an answer within 20 s")
    }

    /// All result lines up to the end of the process's output.
    pub fn rest(&self) -> Vec<ResultLine> {
        self.lines
            .iter()
            .map(|line| ResultLine::parse(&line))
            .collect()
    }

    /// Its memory now, according to the kernel.
    pub fn memory(&self) -> Memory {
        Memory::of(self.pid())
    }

    /// All result lines that have arrived.
    pub fn so_far(&self) -> Vec<ResultLine> {
        self.lines
            .try_iter()
            .map(|line| ResultLine::parse(&line))
            .collect()
    }

    /// Sends a signal, by its name ("TERM").
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The answer to a scan of a box; changes of others before it are passed over.
pub fn scanned(station: &mut Station, serial: &str) -> ResultLine {
    station.scan(serial.as_bytes());
    loop {
        let answer = station.answer();
        if !answer.change {
            assert_eq!(answer.serial, serial);
            return answer;
        }
    }
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its own and the resident pages of mapped files.
    pub resident: u64,
    /// Without mapped files.
    pub own: u64,
    /// The highest `resident` so far.
    pub peak: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim_start_matches(':')
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap()
                * 1024
        };
        Self {
            resident: field("VmRSS"),
            own: field("RssAnon"),
            peak: field("VmHWM"),
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.kill();
    }
}

impl ResultLine {
    fn parse(line: &str) -> Self {
        let (change, line) = line
            .strip_prefix("change ")
            .map_or((false, line), |rest| (true, rest));
        let mut words = line.splitn(5, ' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Self {
            change,
            id: next(),
            serial: next(),
            verdict: next(),
            reason: next(),
            message: next(),
        }
    }
}
