//! Kandji's replies as they come. Almost every field may be missing; one of another type than documented makes the reply no answer.
//! What is personal is not even read.

use jiff::{Timestamp, fmt::serde::timestamp::nanosecond};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::readiness::{
    compact,
    counted_list::{CountedList, CountedPage, none_twice},
    shape::{Misshaped, Object},
    spelling,
};

pub(super) const LIST: &str = "Kandji's list";

/// The rows of a whole list, in answer to a filter.
pub(super) fn rows(list: &CountedList, filter: &str) -> Result<Vec<Row>, Misshaped> {
    let rows: Vec<Row> = list
        .distinct()?
        .iter()
        .map(Row::read)
        .collect::<Result<_, _>>()?;
    answers(filter, rows.iter().map(|row| &*row.serial_number))?;
    Ok(rows)
}

/// One page of the whole ADE device list. Between two pages the list may change, so only the reader of all of them knows
/// whether it adds up.
pub(super) struct ListPage {
    /// The rows with the ids of their records.
    pub(super) rows: Vec<(String, Row)>,
    pub(super) count: u64,
    /// There is one more page.
    pub(super) next: bool,
}

impl ListPage {
    pub(super) fn read(page: &Value, first: bool) -> Result<Self, Misshaped> {
        let page = CountedPage::read(LIST, page, first)?;
        let held = i64::try_from(page.records.len()).unwrap_or(i64::MAX);
        // An empty page answers nothing unless the list is empty.
        if held > page.count || (held == 0 && (page.count > 0 || page.next)) {
            return Err(page.misfit(held));
        }
        none_twice(LIST, page.records, "id")?;
        let read = |record| {
            let id = Object::read("Kandji's row", record)?.needed_text("id")?;
            Ok((id.to_ascii_lowercase(), Row::read(record)?))
        };
        Ok(Self {
            rows: page.records.iter().map(read).collect::<Result<_, _>>()?,
            count: page.count.try_into().unwrap_or(0),
            next: page.next,
        })
    }
}

/// One ADE row. Rows are ordered by the first field: the newest is the greatest.
///
/// The replica keeps it in this form, without the serial number.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(with = "nanosecond::optional")]
    pub(super) device_assigned_date: Option<Timestamp>,
    pub(super) profile_status: Option<String>,
    #[serde(with = "nanosecond::optional")]
    pub(super) profile_assign_time: Option<Timestamp>,
    pub(super) last_assignment_status: Option<String>,
    pub(super) failed_assignment_attempts: i64,
    pub(super) mdm_device: Enrolled,
    #[serde(with = "compact::id")]
    pub(super) blueprint_id: Option<String>,
    /// The id of `blueprint`, which is an object or the id alone, differing per endpoint and year.
    #[serde(with = "compact::id")]
    pub(super) blueprint: Option<String>,
    pub(super) use_blueprint_routing: bool,
    /// The ADE token: its id, and the name of its server.
    #[serde(with = "compact::named_id")]
    pub(super) dep_account: Option<(String, Option<String>)>,
    pub(super) model: Option<String>,
    pub(super) device_family: Option<String>,
    /// When the device was enrolled, else when the profile was handed out. Not kept in the replica, whose rows bring good news only.
    #[serde(skip)]
    pub(super) used_at: Option<Timestamp>,
    /// Last: its spelling decides nothing.
    #[serde(skip)]
    pub(super) serial_number: String,
}

impl Row {
    pub(super) fn read(value: &Value) -> Result<Self, Misshaped> {
        let row = Object::read("Kandji's row", value)?;
        let owned = |field| Ok(row.text(field)?.map(str::to_owned));
        let blueprint = match row.value("blueprint") {
            Some(blueprint @ Value::Object(_)) => {
                Object::read("Its blueprint", blueprint)?.text("id")?
            }
            _ => row.text("blueprint")?,
        };
        let dep_account = match row.value("dep_account") {
            Some(account) => {
                let account = Object::read("Its dep_account", account)?;
                Some((
                    account.needed_text("id")?.to_owned(),
                    account.shown("server_name")?,
                ))
            }
            None => None,
        };
        row.text("id")?;
        Ok(Self {
            device_assigned_date: row.moment("device_assigned_date")?,
            serial_number: row.needed_text("serial_number")?.to_owned(),
            profile_status: owned("profile_status")?,
            profile_assign_time: row.moment("profile_assign_time")?,
            last_assignment_status: owned("last_assignment_status")?,
            failed_assignment_attempts: row
                .number("failed_assignment_attempts", 0..=i64::MAX)?
                .unwrap_or(0),
            mdm_device: Enrolled::read(row.value("mdm_device"))?,
            blueprint_id: owned("blueprint_id")?,
            blueprint: blueprint.map(str::to_owned),
            use_blueprint_routing: row.flag("use_blueprint_routing")?.unwrap_or(false),
            dep_account,
            model: row.shown("model")?,
            device_family: row.shown("device_family")?,
            used_at: used_at(&row)?,
        })
    }
}

/// A time that cannot be read counts as none.
fn used_at(row: &Object<'_>) -> Result<Option<Timestamp>, Misshaped> {
    let enrolled = match row.value("mdm_device") {
        Some(device) => {
            Moment::read(Object::read("Its mdm_device", device)?.text("enrolled_at")?).known()
        }
        None => None,
    };
    let pushed = Moment::read(row.text("profile_push_time")?).known();
    Ok(enrolled.or(pushed))
}

/// `mdm_device`: null means awaiting enrollment, whatever the profile's status says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Enrolled {
    #[default]
    No,
    /// It was once, and its record was removed from the MDM.
    Removed,
    Yes,
}

impl Enrolled {
    fn read(device: Option<&Value>) -> Result<Self, Misshaped> {
        let Some(device) = device else {
            return Ok(Self::No);
        };
        let removed = Object::read("Its mdm_device", device)?.flag("is_removed")?;
        Ok(if removed == Some(true) {
            Self::Removed
        } else {
            Self::Yes
        })
    }
}

/// A moment of a token that is judged for itself: what cannot be read there spoils that token alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Moment {
    /// Null, empty or missing.
    #[default]
    Absent,
    /// A text that is not a date and time.
    Garbled,
    At(#[serde(with = "nanosecond::required")] Timestamp),
}

impl Moment {
    fn read(text: Option<&str>) -> Self {
        match text.filter(|text| !text.trim().is_empty()) {
            None => Self::Absent,
            Some(text) => match spelling::timestamp(text) {
                Some(moment) if spelling::is_never(moment) => Self::Absent,
                Some(moment) => Self::At(moment),
                None => Self::Garbled,
            },
        }
    }

    pub(super) const fn known(self) -> Option<Timestamp> {
        match self {
            Self::At(moment) => Some(moment),
            Self::Absent | Self::Garbled => None,
        }
    }
}

/// One ADE token: the MDM's link to one MDM server at Apple.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) server_name: Option<String>,
    pub(super) server_uuid: Option<String>,
    pub(super) access_token_expiry: Moment,
    pub(super) days_left: Option<i64>,
    pub(super) status: Option<String>,
    pub(super) status_reason: Option<String>,
    pub(super) last_device_sync: Moment,
}

impl Token {
    /// A token lasts a year; more than a century either way is not a plausible number of days.
    const DAYS: i64 = 36_500;

    pub(super) fn read(value: &Value) -> Result<Self, Misshaped> {
        let token = Object::read("Kandji's ADE token", value)?;
        Ok(Self {
            id: token.needed_text("id")?.to_owned(),
            server_name: token.shown("server_name")?,
            server_uuid: token.shown("server_uuid")?,
            access_token_expiry: Moment::read(token.text("access_token_expiry")?),
            days_left: token.number("days_left", -Self::DAYS..=Self::DAYS)?,
            status: token.text("status")?.map(str::to_owned),
            status_reason: token.shown("status_reason")?,
            last_device_sync: Moment::read(token.text("last_device_sync")?),
        })
    }
}

/// The ADE tokens: a bare array, or a list like the others.
pub(super) fn tokens(reply: &Value) -> Result<Vec<Token>, Misshaped> {
    if let Value::Array(tokens) = reply {
        return tokens.iter().map(Token::read).collect();
    }
    let mut list = CountedList::new(LIST);
    if list.take(reply)? {
        return Err(Misshaped(
            "Kandji lists more ADE tokens than fit a page.".to_owned(),
        ));
    }
    list.records().iter().map(Token::read).collect()
}

/// One enrolled device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) serial_number: String,
    pub(super) is_removed: bool,
}

impl Device {
    fn read(value: &Value) -> Result<Self, Misshaped> {
        let device = Object::read("Kandji's device", value)?;
        Ok(Self {
            serial_number: device.needed_text("serial_number")?.to_owned(),
            is_removed: device.flag("is_removed")?.unwrap_or(false),
        })
    }
}

/// `/devices` in answer to a filter: a bare array; a single object is tolerated.
pub(super) fn devices(reply: &Value, filter: &str) -> Result<Vec<Device>, Misshaped> {
    let devices = match reply {
        Value::Array(devices) => devices.as_slice(),
        one => std::slice::from_ref(one),
    };
    none_twice(LIST, devices, "device_id")?;
    let devices: Vec<Device> = devices.iter().map(Device::read).collect::<Result<_, _>>()?;
    answers(filter, devices.iter().map(|device| &*device.serial_number))?;
    Ok(devices)
}

/// Does every record answer the question, a filter that serial numbers contain? A swapped reply or a filter that is not heeded does not,
/// and says nothing about the serial number that was asked for.
fn answers<'a>(filter: &str, serials: impl IntoIterator<Item = &'a str>) -> Result<(), Misshaped> {
    let filter = filter.to_ascii_uppercase();
    if serials
        .into_iter()
        .all(|serial| serial.to_ascii_uppercase().contains(&filter))
    {
        return Ok(());
    }
    Err(Misshaped("The list does not answer the question: it holds a serial number that does not contain the one asked for.".to_owned()))
}
