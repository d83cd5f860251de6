//! What could not be recorded, on its way to the publisher: the newest few, for as long as nobody takes them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::record::Record;

/// A queue that is never too full for the newest record: the oldest makes room for it, and is counted. Clones share it.
#[derive(Clone, Debug)]
pub struct Unrecorded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    room: usize,
    records: Mutex<VecDeque<Record>>,
    dropped: AtomicU64,
    came: Notify,
}

impl Unrecorded {
    /// A queue for `room` records.
    pub fn new(room: usize) -> Self {
        Self(Arc::new(Shared {
            room,
            records: Mutex::default(),
            dropped: AtomicU64::new(0),
            came: Notify::new(),
        }))
    }

    /// Adds the newest record.
    pub fn push(&self, record: Record) {
        let mut records = self
            .0
            .records
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        records.push_back(record);
        if records.len() > self.0.room {
            records.pop_front();
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        drop(records);
        self.0.came.notify_one();
    }

    /// Takes the oldest record, and waits for one where there is none. One taker at a time. May be dropped at any point.
    pub async fn next(&self) -> Record {
        loop {
            let oldest = self
                .0
                .records
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match oldest {
                Some(record) => return record,
                None => self.0.came.notified().await,
            }
        }
    }

    /// How many records had to make room before anybody took them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;
    use crate::{reason::Reason, runtime::name::Name};

    fn record(number: u128) -> Record {
        Record::bare(
            Uuid::from_u128(number),
            jiff::Timestamp::UNIX_EPOCH,
            Name::new("main").unwrap(),
            Reason::JournalFault,
        )
    }

    #[tokio::test]
    async fn the_newest_stay_and_the_oldest_make_room_and_are_counted() {
        let unrecorded = Unrecorded::new(256);
        for number in 0..300 {
            unrecorded.push(record(number));
        }
        assert_eq!(unrecorded.dropped(), 44);
        for number in 44..300 {
            assert_eq!(unrecorded.next().await.id, Uuid::from_u128(number));
        }
        assert!(
            timeout(Duration::from_millis(10), unrecorded.next())
                .await
                .is_err(),
            "nothing is left"
        );
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_and_a_wait_that_is_given_up_takes_nothing() {
        let unrecorded = Unrecorded::new(2);
        assert!(
            timeout(Duration::from_millis(10), unrecorded.next())
                .await
                .is_err()
        );
        let taker = tokio::spawn({
            let unrecorded = unrecorded.clone();
            async move { (unrecorded.next().await.id, unrecorded.next().await.id) }
        });
        unrecorded.push(record(1));
        tokio::task::yield_now().await;
        unrecorded.push(record(2));
        let taken = timeout(Duration::from_secs(10), taker)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(taken, (Uuid::from_u128(1), Uuid::from_u128(2)));
        assert_eq!(unrecorded.dropped(), 0);
    }
}
