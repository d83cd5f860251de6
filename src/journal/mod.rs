//! Remember: one SQLite thread that commits each record with its outbox row before the lamp answers.

use std::{path::PathBuf, time::Duration};

/// `[journal]`, with where it lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `journal.sqlite` lives here; made with mode 0700 if missing.
    pub state_dir: PathBuf,
    /// Delivered rows are kept this long.
    pub keep: Duration,
    /// The scanned text of what was no serial number is kept this long.
    pub keep_raw: Duration,
    /// Bound of the journal in bytes.
    pub max_bytes: u64,
}
