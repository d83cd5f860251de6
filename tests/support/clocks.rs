//! A wall clock for one process that a test can set while it runs. Boot-time and monotonic clocks stay true.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Set by the test, read by a preloaded library in the process.
pub struct WallClock {
    file: fs::File,
    path: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// A clock that shows the true time and passes on what the kernel says of it. `Err`: why that is not possible here.
    pub fn new(folder: &Path) -> Result<Self, String> {
        let (path, library) = (folder.join("clock"), folder.join("wall_clock.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/wall_clock.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .output();
        match built {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => return Err(format!("no C compiler: {error}")),
        }
        fs::write(&path, [0; 16]).unwrap();
        let clock = Self {
            file: fs::File::options().write(true).open(&path).unwrap(),
            path,
            library,
        };
        clock.set(0, None);
        Ok(clock)
    }

    /// Sets it this many seconds ahead (or behind), and whether the kernel says that it is synchronised. `None`: the true answer.
    pub fn set(&self, seconds: i64, synced: Option<bool>) {
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
        self.file
            .write_all_at(&synced.map_or(-1, i64::from).to_ne_bytes(), 8)
            .unwrap();
    }

    /// Makes the process read this clock.
    pub fn for_command(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("BENCHLIGHT_TEST_CLOCK", &self.path);
    }
}
