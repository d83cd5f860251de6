//! The answers to a backfill command.

use serde::Serialize;
use uuid::Uuid;

use super::{is_zero, json, shortened};
use crate::runtime::visible;

/// How a backfill went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackfillDone {
    /// The epoch asked for.
    pub epoch: Uuid,
    /// First `seq` asked for.
    pub from: u64,
    /// Last `seq` asked for.
    pub to: u64,
    /// Records that the broker took.
    pub sent: u64,
    /// Records of that range that the journal holds no longer.
    pub gone: u64,
    /// Records that the broker would not take.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
}

impl BackfillDone {
    /// The answer to a command that was carried out.
    pub fn answer(&self) -> Vec<u8> {
        json(self)
    }
}

/// The answer to a command that cannot be carried out; `why` names the remedy.
pub fn refusal(why: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'a str,
    }
    json(&Refusal {
        error: &shortened(&visible::text(why), 512),
    })
}
