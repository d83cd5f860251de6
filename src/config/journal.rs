//! `[journal]`: how long the station remembers.

use std::time::Duration;

use super::{document::Section, station::Station};
use crate::journal::Settings;

const DAY: Duration = Duration::from_hours(24);
const LONGEST: Duration = Duration::from_hours(24 * 3650);

pub(super) fn read(section: Section<'_, '_>, station: &Station) -> Option<Settings> {
    let keep = section.duration("keep", DAY * 90, Duration::from_secs(1)..=LONGEST);
    let keep_raw = section.duration("keep_raw", DAY * 7, Duration::ZERO..=LONGEST);
    // SQLite needs some pages before the first row is in.
    let max_bytes = section.size("max_bytes", 1 << 30, 256 << 10..=1 << 40);
    section.finish();
    Some(Settings {
        state_dir: station.state_dir.clone()?,
        keep: keep?,
        keep_raw: keep_raw?,
        max_bytes: max_bytes?,
    })
}
