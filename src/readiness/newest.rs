//! What a service lists of itself, as last read: every question needs it, and each reading serves the next.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::http::Fault;
use crate::runtime::clock::{self, Boot};

/// The links to Apple are not used when they were read longer ago.
const KEPT: Duration = Duration::from_mins(15);
/// They are refreshed in the background then, so that no scan has to wait for it.
const REFRESHED: Duration = Duration::from_mins(10);

/// One reading of a list.
pub(super) struct Known<T> {
    pub(super) list: Vec<T>,
    /// The reply's own `Date`; of several the oldest.
    pub(super) date: Timestamp,
    asked_at: Boot,
}

impl<T> Known<T> {
    pub(super) fn age(&self) -> Duration {
        Boot::now().since(self.asked_at)
    }

    /// The service's clock now, by the reply's own `Date`.
    pub(super) fn now(&self) -> Timestamp {
        clock::later(self.date, self.age())
    }
}

/// The newest reading, whoever made it.
pub(super) struct Newest<T>(Mutex<Option<Arc<Known<T>>>>);

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Newest<T> {
    /// Of whatever age.
    pub(super) fn last(&self) -> Option<Arc<Known<T>>> {
        self.locked().clone()
    }

    /// At most 15 minutes old.
    pub(super) fn kept(&self) -> Option<Arc<Known<T>>> {
        self.last().filter(|known| known.age() < KEPT)
    }

    /// In how much time it is to be read again.
    pub(super) fn refresh_in(&self) -> Duration {
        let left = |known: Arc<Known<T>>| REFRESHED.saturating_sub(known.age());
        self.kept().map_or(Duration::ZERO, left)
    }

    /// Keeps what `read` brings, and the reply's `Date`. Each caller reads for itself: another's reading may hang.
    ///
    /// # Errors
    /// As `read`.
    pub(super) async fn read(
        &self,
        read: impl Future<Output = Result<(Vec<T>, Timestamp), Fault>>,
    ) -> Result<Arc<Known<T>>, Fault> {
        let asked_at = Boot::now();
        let (list, date) = read.await?;
        let known = Arc::new(Known {
            list,
            date,
            asked_at,
        });
        let mut newest = self.locked();
        // A reading that hung may end after a later one.
        if newest.as_ref().is_none_or(|kept| kept.asked_at <= asked_at) {
            *newest = Some(Arc::clone(&known));
        }
        Ok(known)
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Known<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use tokio::sync::oneshot;

    use super::*;
    use crate::reason::Reason;

    #[tokio::test]
    async fn a_reading_that_hung_does_not_take_the_place_of_a_later_one() {
        let newest = Newest::default();
        let (end, hanging) = oneshot::channel();
        let hung = newest.read(async { Ok((hanging.await.unwrap(), Timestamp::UNIX_EPOCH)) });
        let later = async {
            let read = newest.read(async { Ok((vec!["new"], Timestamp::UNIX_EPOCH)) });
            read.await.unwrap();
            end.send(vec!["old"]).unwrap();
        };
        let (hung, ()) = tokio::join!(hung, later);
        assert_eq!(hung.unwrap().list, ["old"], "its own caller has it");
        assert_eq!(newest.last().unwrap().list, ["new"]);
        assert!(newest.kept().is_some() && newest.refresh_in() > Duration::ZERO);
    }

    #[tokio::test]
    async fn what_fails_leaves_what_was_read_before() {
        let newest = Newest::<u8>::default();
        assert!(newest.last().is_none() && newest.refresh_in() == Duration::ZERO);
        let date = "2026-11-23T12:00:00Z".parse().unwrap();
        newest.read(async { Ok((vec![1], date)) }).await.unwrap();
        let failed = newest.read(async { Err(Fault::bare(Reason::Offline)) });
        assert!(failed.await.is_err());
        let known = newest.last().unwrap();
        assert_eq!((known.list.as_slice(), known.date), (&[1][..], date));
        assert!(known.now() >= date);
    }
}
