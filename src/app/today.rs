//! Keeps the count of today's boxes up, beside the scans.

use std::{sync::Arc, time::Duration};

use jiff::ZonedDateTime;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::warn;

use crate::{
    journal::{
        Journal,
        reader::{Day, Today},
    },
    runtime::pulse::{self, Pulse},
};

/// The journal is read at most once in this time.
const EVERY: Duration = Duration::from_secs(5);

/// Reads the day from the journal, then what is new in it; never ends. At midnight, and when rows have other places, it begins anew.
pub(super) async fn run(journal: Journal, day: watch::Sender<Option<Arc<Day>>>, pulse: Pulse) {
    let (mut newest, mut returned) = (journal.newest(), journal.returned());
    let mut reader = journal.reader();
    let mut known: Option<Today> = None;
    loop {
        let epoch = journal.epoch();
        newest.mark_unchanged();
        let mut today = known
            .take()
            .unwrap_or_else(|| Today::of(&ZonedDateTime::now()));
        let reading = tokio::task::spawn_blocking(move || {
            let read = reader.today(&mut today);
            (reader, today, read)
        });
        let Ok((back, today, read)) = pulse.through(reading).await else {
            // It panicked; the process ends.
            return;
        };
        reader = back;
        match read {
            Ok(()) => {
                day.send_if_modified(|said| {
                    let changed = said.as_deref() != Some(today.day());
                    if changed {
                        *said = Some(Arc::new(today.day().clone()));
                    }
                    changed
                });
                known = Some(today);
            }
            Err(error) => warn!(%error, "today's boxes could not be counted"),
        }
        let read_at = Instant::now();
        let mut news = known.is_none();
        loop {
            pulse.beat();
            if known
                .as_ref()
                .is_some_and(|today| !today.is_of(&ZonedDateTime::now()))
                || journal.epoch() != epoch
            {
                known = None;
                break;
            }
            if news && read_at.elapsed() >= EVERY {
                break;
            }
            tokio::select! {
                Ok(()) = newest.changed(), if !news => news = true,
                Ok(()) = returned.changed() => { known = None; news = true; }
                () = sleep_until(pulse::next()) => {}
            }
        }
    }
}
