//! Kandji's replies as they come. Every field may be missing; what is personal is not even read.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::readiness::lenient;

/// One page of the ADE device list. Of `next` only counts whether it is there: it names another host.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) results: Vec<Row>,
    #[serde(default)]
    pub(super) next: Option<String>,
}

/// One ADE row.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Row {
    pub(super) serial_number: String,
    #[serde(default)]
    pub(super) profile_status: Option<String>,
    #[serde(default)]
    pub(super) profile_assign_time: Moment,
    #[serde(default)]
    pub(super) last_assignment_status: Option<String>,
    #[serde(default)]
    pub(super) failed_assignment_attempts: Option<i64>,
    #[serde(default)]
    pub(super) mdm_device: Enrolled,
    #[serde(default)]
    pub(super) blueprint_id: Option<String>,
    #[serde(default)]
    pub(super) blueprint: Reference,
    #[serde(default)]
    pub(super) use_blueprint_routing: Option<bool>,
    #[serde(default)]
    pub(super) dep_account: Reference,
    #[serde(default, deserialize_with = "words")]
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "words")]
    pub(super) device_family: Option<String>,
    #[serde(default)]
    pub(super) device_assigned_date: Moment,
}

/// A text that is only shown: whatever else stands there spoils no answer.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    })
}

/// A timestamp as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Moment {
    /// Null, empty or missing.
    #[default]
    Absent,
    /// Something that is no timestamp.
    Garbled,
    At(Timestamp),
}

impl Moment {
    pub(super) const fn known(self) -> Option<Timestamp> {
        match self {
            Self::At(moment) => Some(moment),
            Self::Absent | Self::Garbled => None,
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Absent,
            Value::String(text) if text.trim().is_empty() => Self::Absent,
            Value::String(text) => lenient::timestamp(&text).map_or(Self::Garbled, Self::At),
            _ => Self::Garbled,
        })
    }
}

/// `mdm_device`: null means awaiting enrollment, whatever the profile's status says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Enrolled {
    #[default]
    No,
    /// It was once, and its record was removed from the MDM.
    Removed,
    Yes,
}

impl<'de> Deserialize<'de> for Enrolled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::No,
            device if device.get("is_removed").and_then(Value::as_bool) == Some(true) => Self::Removed,
            _ => Self::Yes,
        })
    }
}

/// A reference that is an object with an `id`, or the id alone, differing per endpoint and year.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) id: Option<String>,
    pub(super) server_name: Option<String>,
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let value = Value::deserialize(deserializer)?;
        Ok(match &value {
            Value::Object(fields) => Self { id: text(fields.get("id")), server_name: text(fields.get("server_name")) },
            other => Self { id: text(Some(other)), server_name: None },
        })
    }
}

/// The ADE tokens: a bare array, or a list like the others.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum TokenPage {
    Bare(Vec<Token>),
    Listed {
        results: Vec<Token>,
        #[serde(default)]
        next: Option<String>,
    },
}

impl TokenPage {
    /// All tokens; `None` when there are more than this page holds.
    pub(super) fn whole(self) -> Option<Vec<Token>> {
        match self {
            Self::Bare(list) | Self::Listed { results: list, next: None } => Some(list),
            Self::Listed { next: Some(_), .. } => None,
        }
    }
}

/// One ADE token: the MDM's link to one MDM server at Apple.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Token {
    pub(super) id: String,
    #[serde(default, deserialize_with = "words")]
    pub(super) server_name: Option<String>,
    #[serde(default, deserialize_with = "words")]
    pub(super) server_uuid: Option<String>,
    #[serde(default)]
    pub(super) access_token_expiry: Moment,
    #[serde(default)]
    pub(super) days_left: Option<i64>,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "words")]
    pub(super) status_reason: Option<String>,
    #[serde(default)]
    pub(super) last_device_sync: Moment,
}

/// `/devices`: a bare array; a single object is tolerated.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Devices {
    Several(Vec<Device>),
    One(Device),
}

impl Devices {
    /// Every device.
    pub(super) fn all(self) -> Vec<Device> {
        match self {
            Self::Several(devices) => devices,
            Self::One(device) => vec![device],
        }
    }
}

/// One enrolled device.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Device {
    pub(super) serial_number: String,
    #[serde(default)]
    pub(super) is_removed: Option<bool>,
}
