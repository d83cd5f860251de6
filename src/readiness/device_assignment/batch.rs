//! Questions that come within a few milliseconds go to Apple in one request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::finding::Devices;
use crate::{
    label::Serial,
    readiness::{Purpose, http::Fault},
    reason::Reason,
};

/// The most serial numbers that Apple takes in one request.
const MOST: usize = 1000;
/// How long a question waits for others: long enough for a group's members and a scan's candidates, too short to notice.
const WAIT: Duration = Duration::from_millis(2);

/// One reply to a whole batch, with its `Date`.
pub(super) type Outcome = Result<(Devices, Option<Timestamp>), Fault>;

/// The batch that still takes questions.
#[derive(Default)]
pub(super) struct Batches {
    open: Mutex<Option<Arc<Batch>>>,
}

struct Batch {
    /// `None`: it has left.
    asked: Mutex<Option<Asked>>,
    outcome: watch::Sender<Option<Arc<Outcome>>>,
}

/// What one request asks.
pub(super) struct Asked {
    pub(super) serials: Vec<Serial>,
    /// A scan if one of them is for a scan.
    pub(super) purpose: Purpose,
}

impl Batches {
    /// Asks together with concurrent callers. `send` makes the request; it continues if this caller goes away, because others wait for it.
    pub(super) async fn ask<F, Sent>(
        &self,
        serials: &[Serial],
        purpose: Purpose,
        send: F,
    ) -> Arc<Outcome>
    where
        F: FnOnce(Asked) -> Sent + Send + 'static,
        Sent: Future<Output = Outcome> + Send,
    {
        let (batch, ours) = self.join(serials, purpose);
        let mut outcome = batch.outcome.subscribe();
        if ours {
            tokio::spawn(async move {
                tokio::time::sleep(WAIT).await;
                let asked = batch
                    .asked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                if let Some(asked) = asked {
                    let result = send(asked).await;
                    batch.outcome.send_replace(Some(Arc::new(result)));
                }
            });
        } else {
            // The sender's task holds the batch: should it be gone, so is the outcome.
            drop(batch);
        }
        let outcome = outcome
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Arc::new(Err(Fault::bare(Reason::StationFault))))
    }

    /// The open batch with these serial numbers in it, and whether it was opened just now.
    fn join(&self, serials: &[Serial], purpose: Purpose) -> (Arc<Batch>, bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = open.as_ref()
            && batch.take(serials, purpose)
        {
            return (batch.clone(), false);
        }
        let asked = Asked {
            serials: serials.to_vec(),
            purpose,
        };
        let batch = Arc::new(Batch {
            asked: Mutex::new(Some(asked)),
            outcome: watch::Sender::new(None),
        });
        *open = Some(batch.clone());
        (batch, true)
    }
}

impl Batch {
    /// Takes more serial numbers in, unless it has left or is full.
    fn take(&self, serials: &[Serial], purpose: Purpose) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(asked) = asked.as_mut() else {
            return false;
        };
        let new: Vec<&Serial> = serials
            .iter()
            .filter(|serial| !asked.serials.contains(serial))
            .collect();
        if asked.serials.len() + new.len() > MOST {
            return false;
        }
        asked.serials.extend(new.into_iter().cloned());
        if purpose == Purpose::Scan {
            asked.purpose = Purpose::Scan;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use super::*;

    fn serial(number: usize) -> Serial {
        Serial::new(&format!("C02{number:09}")).unwrap()
    }

    type Seen = Arc<Mutex<Vec<(usize, Purpose)>>>;

    fn noted(seen: &Seen) -> impl FnOnce(Asked) -> std::future::Ready<Outcome> + Send + 'static {
        let seen = seen.clone();
        move |asked| {
            seen.lock()
                .unwrap()
                .push((asked.serials.len(), asked.purpose));
            std::future::ready(Err(Fault::bare(Reason::Offline)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_within_a_moment_goes_in_one_request() {
        let (batches, seen) = (Arc::new(Batches::default()), Seen::default());
        let askers: Vec<_> = (1..=20)
            .map(|number| {
                let (batches, seen) = (batches.clone(), seen.clone());
                let purpose = if number == 7 {
                    Purpose::Scan
                } else {
                    Purpose::Recheck
                };
                tokio::spawn(async move {
                    batches
                        .ask(&[serial(number), serial(0)], purpose, noted(&seen))
                        .await
                })
            })
            .collect();
        for asker in askers {
            assert!(asker.await.unwrap().is_err());
        }
        assert_eq!(
            *seen.lock().unwrap(),
            [(21, Purpose::Scan)],
            "each serial number once, and a scan among them makes it a scan"
        );
        let _ = batches.ask(&[serial(1)], Purpose::Scan, noted(&seen)).await;
        assert_eq!(
            seen.lock().unwrap().len(),
            2,
            "the next moment is another request"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_asks_for_more_than_apple_takes() {
        let (batches, seen) = (Arc::new(Batches::default()), Seen::default());
        let askers: Vec<_> = (0..1250)
            .map(|number| {
                let (batches, seen) = (batches.clone(), seen.clone());
                tokio::spawn(async move {
                    batches
                        .ask(
                            &[serial(2 * number), serial(2 * number + 1)],
                            Purpose::Scan,
                            noted(&seen),
                        )
                        .await
                })
            })
            .collect();
        for asker in askers {
            let _ = asker.await.unwrap();
        }
        let sizes: Vec<usize> = seen.lock().unwrap().iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_whose_first_asker_left_is_still_answered() {
        let (batches, seen) = (Arc::new(Batches::default()), Seen::default());
        let first = tokio::spawn({
            let (batches, seen) = (batches.clone(), seen.clone());
            async move { batches.ask(&[serial(1)], Purpose::Scan, noted(&seen)).await }
        });
        tokio::task::yield_now().await;
        first.abort();
        let answer = batches.ask(&[serial(2)], Purpose::Scan, noted(&seen)).await;
        assert!(
            answer
                .as_ref()
                .as_ref()
                .is_err_and(|fault| fault.reason == Reason::Offline)
        );
        assert_eq!(*seen.lock().unwrap(), [(2, Purpose::Scan)]);
    }
}
