//! The result lines on standard output: one line for each answer.

use std::fmt;

use uuid::Uuid;

use crate::{
    reason::{Reason, Verdict},
    record::Record,
    runtime::visible,
};

/// One result as people and scripts read it: `<id> <serial or -> <verdict> <reason> <message>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// A recorded box changed its verdict; the line begins with `change`.
    pub change: bool,
    /// The record's id.
    pub id: Uuid,
    /// The serial number, if it was one.
    pub serial: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason.
    pub reason: Reason,
    /// The sentence for the person.
    pub message: String,
}

impl Line {
    /// The line of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            change: record.change.is_some(),
            id: record.id,
            serial: record
                .serial
                .as_ref()
                .map(|serial| serial.as_str().to_owned()),
            verdict: record.reason.verdict(),
            reason: record.reason,
            message: record.message.clone(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.change {
            out.write_str("change ")?;
        }
        let serial = visible::text(self.serial.as_deref().unwrap_or("-"));
        write!(
            out,
            "{} {serial} {} {} {}",
            self.id,
            self.verdict.code(),
            self.reason.code(),
            visible::text(&self.message)
        )
    }
}

#[cfg(test)]
mod tests;
