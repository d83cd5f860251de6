//! Microsoft Graph's replies as they come.
//!
//! Almost every field may be missing; one of another type than documented makes the reply no answer. What is personal is not even read.

use jiff::Timestamp;
use serde_json::Value;

use crate::readiness::{
    counted_list::none_twice,
    shape::{Misshaped, Object},
};

/// The records of a list that comes in pages.
#[derive(Debug, Default)]
pub(super) struct List {
    records: Vec<Value>,
    /// `@odata.count`, where it is told.
    count: Option<i64>,
}

impl List {
    /// Takes the page that was asked for next, and gives the address of the one after it.
    pub(super) fn take(&mut self, page: &Value) -> Result<Option<String>, Misshaped> {
        let page = Object::read("Graph's list", page)?;
        self.records.extend_from_slice(page.list("value")?);
        self.count = page.number("@odata.count", 0..=i64::MAX)?.or(self.count);
        // An empty one is no address, and not the end of the list either.
        let next = page.typed("@odata.nextLink", "text", Value::as_str)?;
        Ok(next.map(str::to_owned))
    }

    /// All records, when the last page was taken.
    fn all(&self) -> Result<&[Value], Misshaped> {
        let held = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        if let Some(count) = self.count.filter(|count| *count != held) {
            return Err(Misshaped(format!(
                "Graph's list does not add up: its count is {count}, it holds {held} records."
            )));
        }
        none_twice("Graph's list", &self.records, "id")?;
        Ok(&self.records)
    }

    pub(super) fn tokens(&self) -> Result<Vec<Token>, Misshaped> {
        self.all()?.iter().map(Token::read).collect()
    }

    pub(super) fn profiles(&self) -> Result<Vec<Profile>, Misshaped> {
        self.all()?.iter().map(Profile::read).collect()
    }

    /// The rows, in answer to a filter that serial numbers contain. A filter that was not heeded would list the fleet.
    pub(super) fn rows(&self, filter: &str) -> Result<Vec<Row>, Misshaped> {
        let rows: Vec<Row> = self
            .all()?
            .iter()
            .map(Row::read)
            .collect::<Result<_, _>>()?;
        let filter = filter.to_ascii_uppercase();
        let answers = |row: &Row| {
            row.serial_number.to_ascii_uppercase().contains(&filter) && row.is_from_apple
        };
        if rows.iter().all(answers) {
            return Ok(rows);
        }
        Err(Misshaped(
            "The list does not answer the question: it holds a device that was not asked for."
                .to_owned(),
        ))
    }
}

/// One ADE token (`depOnboardingSetting`): the tenant's link to one MDM server at Apple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) synced_at: Option<Timestamp>,
    /// What Apple said at the last sync; 0: nothing.
    pub(super) error: i64,
}

impl Token {
    fn read(value: &Value) -> Result<Self, Misshaped> {
        let token = Object::read("Intune's ADE token", value)?;
        let id = token.id("id")?.ok_or_else(|| token.lacks("id"))?;
        // It stands in the path of the next question.
        if !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            || id.starts_with('.')
        {
            return Err(Misshaped(
                "Intune's ADE token has an id that is none.".to_owned(),
            ));
        }
        Ok(Self {
            id,
            name: token.shown("tokenName")?,
            expires_at: token.moment("tokenExpirationDateTime")?,
            synced_at: token.moment("lastSuccessfulSyncDateTime")?,
            error: token
                .number("lastSyncErrorCode", i64::MIN..=i64::MAX)?
                .unwrap_or(0),
        })
    }
}

/// One enrollment profile of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) id: String,
    pub(super) name: Option<String>,
}

impl Profile {
    fn read(value: &Value) -> Result<Self, Misshaped> {
        let profile = Object::read("Intune's enrollment profile", value)?;
        Ok(Self {
            id: profile.id("id")?.ok_or_else(|| profile.lacks("id"))?,
            name: profile.shown("displayName")?,
        })
    }
}

/// One device (`importedAppleDeviceIdentity`). Rows are ordered by the first field: the newest is the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) assigned_at: Option<Timestamp>,
    /// The profile that an administrator wants on it; Intune's plan.
    pub(super) profile: Option<String>,
    pub(super) state: Option<String>,
    pub(super) is_deleted: bool,
    pub(super) platform: Option<String>,
    pub(super) serial_number: String,
    /// It was not typed in by an administrator.
    is_from_apple: bool,
}

impl Row {
    fn read(value: &Value) -> Result<Self, Misshaped> {
        let row = Object::read("Intune's record", value)?;
        let owned = |field| Ok(row.text(field)?.map(str::to_owned));
        row.id("id")?;
        Ok(Self {
            assigned_at: row.moment("requestedEnrollmentProfileAssignmentDateTime")?,
            profile: row.id("requestedEnrollmentProfileId")?,
            state: owned("enrollmentState")?,
            is_deleted: row.flag("isDeleted")?.unwrap_or(false),
            platform: owned("platform")?,
            serial_number: row.needed_text("serialNumber")?.to_owned(),
            is_from_apple: row
                .text("discoverySource")?
                .is_none_or(|source| source.eq_ignore_ascii_case("deviceEnrollmentProgram")),
        })
    }
}
