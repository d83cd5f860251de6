//! The clocks of one process, which a test can set while it runs: wall clock, boot-time clock, and how fast they run.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Set by the test, read by a preloaded library in the process.
pub struct Clocks {
    file: fs::File,
    folder: PathBuf,
}

impl Clocks {
    /// Clocks that show the true time and pass on what the kernel says of it. `Err`: why that is not possible here.
    pub fn new(folder: &Path) -> Result<Self, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/clocks.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.join("clocks.so"))
            .arg(source)
            .output();
        match built {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => return Err(format!("no C compiler: {error}")),
        }
        let path = folder.join("clocks");
        fs::write(&path, [0; 40]).unwrap();
        fs::copy(BOOT_ID, folder.join("boot_id")).unwrap();
        let clocks = Self {
            file: fs::File::options().write(true).open(&path).unwrap(),
            folder: folder.to_owned(),
        };
        clocks.set(0, None);
        clocks.put(3, 1);
        Ok(clocks)
    }

    /// The same, so many times as fast as the true ones from now on. Times to wait are as much shorter. Not to be changed while a process
    /// waits.
    pub fn fast(folder: &Path, rate: u32) -> Result<Self, String> {
        let clocks = Self::with_boot_time(folder)?;
        let now = clock_gettime(ClockId::Monotonic);
        clocks.put(4, now.tv_sec * 1_000_000_000 + now.tv_nsec);
        clocks.put(3, rate.into());
        Ok(clocks)
    }

    /// The same, where the boot-time clock can be set too.
    pub fn with_boot_time(folder: &Path) -> Result<Self, String> {
        if cfg!(not(target_arch = "x86_64")) {
            return Err("the boot-time clock can be set on x86-64 only".to_owned());
        }
        Self::new(folder)
    }

    /// Sets the wall clock this many seconds ahead (or behind), and whether the kernel says that it is synchronised. `None`: the true answer.
    pub fn set(&self, seconds: i64, synced: Option<bool>) {
        self.put(0, seconds);
        self.put(1, synced.map_or(-1, i64::from));
    }

    /// Time passes: the boot-time clock is that far ahead of the true one from now on, as after a sleep.
    pub fn slept(&self, time: Duration) {
        self.put(2, time.as_secs().try_into().unwrap());
    }

    /// The next process runs in another boot of the machine.
    pub fn reboot(&self) {
        let id = uuid::Uuid::now_v7().to_string();
        fs::write(self.folder.join("boot_id"), id).unwrap();
    }

    fn put(&self, place: u64, number: i64) {
        let bytes = number.to_ne_bytes();
        self.file.write_all_at(&bytes, place * 8).unwrap();
    }

    /// Makes the process read these clocks.
    pub fn for_command(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.folder.join("clocks.so"))
            .env("BENCHLIGHT_TEST_CLOCKS", self.folder.join("clocks"))
            .env("BENCHLIGHT_TEST_BOOT_ID", self.folder.join("boot_id"));
    }
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
