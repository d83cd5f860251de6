//! Zentral's list of devices from Apple as it comes.
//!
//! Almost every field may be missing; one of another type than documented makes the reply no answer. What is personal is not even read.
//!
//! Not on a page of Zentral's documents, but in its source: that a row is kept for a device that left (`last_op_type` "deleted"), and
//! the words of `profile_status`. `updated_at` is not read: unchanged devices are not written any more, so it tells no age.

use jiff::Timestamp;
use serde_json::Value;

use crate::readiness::{
    counted_list::CountedList,
    shape::{Misshaped, Object},
    spelling,
};

/// One device on one virtual server. Rows are ordered by the first field: the newest is the greatest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) device_assigned_date: Option<Timestamp>,
    pub(super) profile_assign_time: Option<Timestamp>,
    pub(super) profile_status: Option<String>,
    pub(super) virtual_server: Option<String>,
    /// Disowned, or taken from the server at Apple.
    pub(super) is_gone: bool,
    /// When the profile was handed out; a time that cannot be read counts as none.
    pub(super) pushed_at: Option<Timestamp>,
    pub(super) model: Option<String>,
    pub(super) family: Option<String>,
}

impl Row {
    /// `None`: it is another serial number's.
    fn read(value: &Value, asked: &str) -> Result<Option<Self>, Misshaped> {
        let row = Object::read("Zentral's row", value)?;
        row.id("id")?;
        let named = row.needed_text("serial_number")?;
        if !named.trim().eq_ignore_ascii_case(asked) {
            return Ok(None);
        }
        let deleted = row
            .text("last_op_type")?
            .is_some_and(|word| word.eq_ignore_ascii_case("deleted"));
        let (description, model) = (row.shown("description")?, row.shown("model")?);
        let pushed = row.text("profile_push_time")?;
        let pushed = pushed.and_then(spelling::timestamp);
        Ok(Some(Self {
            device_assigned_date: row.moment("device_assigned_date")?,
            profile_assign_time: row.moment("profile_assign_time")?,
            profile_status: row.text("profile_status")?.map(str::to_owned),
            virtual_server: row.id("virtual_server")?,
            is_gone: deleted || row.moment("disowned_at")?.is_some(),
            pushed_at: pushed.filter(|moment| !spelling::is_never(*moment)),
            model: description.or(model),
            family: row.shown("device_family")?,
        }))
    }
}

/// The rows of a serial number, one for each virtual server. The filter is exact, so a row of another device shows that nobody heeded
/// it: an unknown parameter lists everything.
pub(super) fn rows(page: &Value, asked: &str) -> Result<Vec<Row>, Misshaped> {
    let mut list = CountedList::new("Zentral's list");
    if list.take(page)? {
        return Err(Misshaped(
            "Zentral lists more rows for this serial number than can be its own.".to_owned(),
        ));
    }
    let rows: Vec<Option<Row>> = list
        .distinct()?
        .iter()
        .map(|row| Row::read(row, asked))
        .collect::<Result<_, _>>()?;
    rows.into_iter().collect::<Option<_>>().ok_or_else(|| {
        Misshaped("The list does not answer the question: it holds another serial number than the one asked for.".to_owned())
    })
}
