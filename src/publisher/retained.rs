//! What the broker has retained of this station from before it started. It is read once, before the first row leaves.
//!
//! The retained health names the newest `seq` that this station has published. A journal that had fewer records when it started is an
//! older copy and would use numbers a second time.

use std::time::Duration;

use serde::Deserialize;
use tokio::{task::JoinHandle, time::Instant};
use uuid::Uuid;

use crate::journal::Journal;

/// Links that may end before the answer has come. A broker or network that ends every link must not hold the rows back forever.
const LINKS: u32 = 3;

/// What is known so far, over all links of this process.
#[derive(Debug)]
pub(super) struct Retained {
    /// How long to listen on a link. Health and meta then wait for the journal for as long again, at most.
    listen: Duration,
    until: Instant,
    links: u32,
    /// `Some(None)`: something is retained there, and it says nothing of a journal.
    health: Option<Option<Heard>>,
    meta: Option<Uuid>,
    reporting: Option<JoinHandle<()>>,
}

/// A journal's epoch and newest `seq`, as a health says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    epoch: Option<Uuid>,
    seq: u64,
}

impl Retained {
    pub(super) fn new(listen: Duration, now: Instant) -> Self {
        Self {
            listen,
            until: now,
            links: 0,
            health: None,
            meta: None,
            reporting: None,
        }
    }

    /// A link is up. `true`: subscribe to what is retained there.
    pub(super) fn link_up(&mut self, journal: &Journal, now: Instant) -> bool {
        if !journal.awaits_comparison() && !journal.epoch().is_nil() {
            return false;
        }
        self.links += 1;
        let asks = self.links <= LINKS;
        self.until = if asks { now + self.listen } else { now };
        asks
    }

    /// The retained health has arrived. Later ones are this process's own.
    pub(super) fn health(&mut self, payload: &[u8]) {
        self.health.get_or_insert_with(|| heard(payload));
    }

    /// The retained meta has arrived.
    pub(super) fn meta(&mut self, payload: &[u8]) {
        self.meta = self.meta.or_else(|| epoch_of_meta(payload));
    }

    /// The broker does not let the station read it.
    pub(super) fn refused(&mut self, now: Instant) {
        self.until = self.until.min(now);
    }

    /// Reports to the journal once there is nothing left to wait for.
    pub(super) fn step(&mut self, journal: &Journal, now: Instant) {
        if !journal.awaits_comparison()
            || self.reporting.is_some()
            || (self.until > now && !self.is_complete())
        {
            return;
        }
        let heard = self
            .health
            .flatten()
            .and_then(|heard| Some((heard.epoch.or(self.meta)?, heard.seq)));
        let journal = journal.clone();
        self.reporting = Some(tokio::spawn(async move { journal.heard(heard).await }));
    }

    /// Must the rows wait?
    pub(super) fn holds_rows(&self, journal: &Journal) -> bool {
        journal.awaits_comparison() || self.reporting.is_some()
    }

    /// Is the report to the journal under way?
    pub(super) fn is_reporting(&self) -> bool {
        self.reporting.is_some()
    }

    /// Resolves when the journal has said that rows may leave. May be dropped and called again.
    pub(super) async fn reported(&mut self) {
        if let Some(reporting) = self.reporting.as_mut() {
            let _ = reporting.await;
        }
        self.reporting = None;
    }

    /// Until when health and meta wait at most: they would overwrite what is retained.
    pub(super) fn state_waits_until(&self, journal: &Journal) -> Option<Instant> {
        journal
            .awaits_comparison()
            .then(|| self.until + self.listen)
    }

    /// When to look again.
    pub(super) fn wake_at(&self, journal: &Journal) -> Option<Instant> {
        (journal.awaits_comparison() && self.reporting.is_none()).then_some(self.until)
    }

    fn is_complete(&self) -> bool {
        self.health.is_some_and(|heard| {
            heard.is_none_or(|heard| heard.epoch.is_some() || self.meta.is_some())
        })
    }
}

/// Whose `P/meta` is that?
pub(super) fn epoch_of_meta(payload: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Meta {
        epoch: Uuid,
    }
    serde_json::from_slice::<Meta>(payload)
        .ok()
        .map(|meta| meta.epoch)
}

/// What a `P/health` says of its journal. A number that no `u64` holds makes it none.
fn heard(payload: &[u8]) -> Option<Heard> {
    #[derive(Deserialize)]
    struct Health {
        journal: Journal,
    }
    #[derive(Deserialize)]
    struct Journal {
        epoch: Option<Uuid>,
        seq: u64,
    }
    serde_json::from_slice::<Health>(payload)
        .ok()
        .map(|health| Heard {
            epoch: health.journal.epoch,
            seq: health.journal.seq,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_a_health_with_a_number_of_its_journal_says_something() {
        let epoch = Uuid::now_v7();
        let said = format!(
            r#"{{"able":true,"journal":{{"state":"ok","epoch":"{epoch}","seq":1234,"unsent":0}}}}"#
        );
        assert_eq!(
            heard(said.as_bytes()),
            Some(Heard {
                epoch: Some(epoch),
                seq: 1_234
            })
        );
        assert_eq!(
            heard(br#"{"journal":{"seq":7}}"#),
            Some(Heard {
                epoch: None,
                seq: 7
            })
        );
        assert_eq!(
            heard(br#"{"journal":{"seq":9223372036854775808}}"#),
            Some(Heard {
                epoch: None,
                seq: 1 << 63
            })
        );
        for seq in [
            "-1",
            "1e400",
            "1e3",
            "1.5",
            "18446744073709551616",
            "\"7\"",
            "null",
            "[]",
            "NaN",
        ] {
            assert_eq!(
                heard(format!(r#"{{"journal":{{"seq":{seq}}}}}"#).as_bytes()),
                None,
                "{seq}"
            );
        }
        let deep = [vec![b'['; 8_000], vec![b']'; 8_000]].concat();
        for payload in [
            &b""[..],
            b"online",
            b"{}",
            b"[]",
            br#"{"journal":7}"#,
            br#"{"journal":{"seq":1,"seq":2}}"#,
            b"\xff\xfe",
            &deep,
        ] {
            assert_eq!(heard(payload), None, "{}", String::from_utf8_lossy(payload));
        }
        assert_eq!(
            epoch_of_meta(format!(r#"{{"epoch":"{epoch}"}}"#).as_bytes()),
            Some(epoch)
        );
        assert_eq!(epoch_of_meta(br#"{"epoch":7}"#), None);
    }
}
