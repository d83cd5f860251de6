//! What happens at the station, for whoever shows it: a bounded ring that the station writes and never waits for.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::status::LaneStatus;
use crate::{
    record::Record,
    runtime::{clock::Boot, name::Name},
};

/// So many pieces of news are kept for a reader that is behind.
pub const KEPT: usize = 256;

/// One piece of news.
#[derive(Clone, Debug)]
pub enum News {
    /// What a lane's lamps show now.
    Lane(Name, LaneStatus),
    /// A code came; its answer is on its way.
    Scanned {
        lane: Name,
        at: Boot,
        bytes: Arc<[u8]>,
    },
    /// A finished scan or a change.
    Told(Arc<Record>),
}

/// The station's end of the ring.
#[derive(Clone, Debug)]
pub struct Announcer(broadcast::Sender<News>);

impl Default for Announcer {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Announcer {
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }

    /// Makes the news only if somebody listens.
    pub(super) fn announce(&self, news: impl FnOnce() -> News) {
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(news());
        }
    }
}
