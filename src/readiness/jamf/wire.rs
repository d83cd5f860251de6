//! Jamf Pro's replies as they come. Almost every field may be missing; one of another type than documented makes the reply no answer.
//! What is personal is not even read.

use std::fmt;

use jiff::{Timestamp, civil, fmt::serde::timestamp::nanosecond, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::readiness::{
    shape::{Misshaped, Object},
    spelling,
};

/// One record of the service's list: a device, or in which PreStage's scope it is.
///
/// The replica keeps both in this form, without the serial number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kept {
    Device(Device),
    Scope(Prestage),
}

/// A device as one instance lists it. Devices are ordered by the first fields: the newest is the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Device {
    #[serde(with = "nanosecond::optional")]
    pub(super) device_assigned: Option<Timestamp>,
    #[serde(with = "nanosecond::optional")]
    pub(super) profile_assigned: Option<Timestamp>,
    #[serde(with = "nanosecond::optional")]
    pub(super) profile_pushed: Option<Timestamp>,
    /// `profileStatus`, in lower case.
    pub(super) status: Option<String>,
    pub(super) failures: i64,
    pub(super) model: Option<String>,
    pub(super) instance: String,
}

impl Device {
    /// Its serial number, the id of its record, and the rest, as the instance `instance` lists it.
    pub(super) fn read(value: &Value, instance: &str) -> Result<(String, String, Self), Misshaped> {
        let row = Object::read("Jamf Pro's device", value)?;
        let serial = row.needed_text("serialNumber")?.to_owned();
        let failures = match row.value("syncState") {
            Some(state) => {
                Object::read("Its syncState", state)?.number("failureCount", 0..=i64::MAX)?
            }
            None => None,
        };
        let id = id(&row, "id")?.unwrap_or_else(|| serial.to_ascii_uppercase());
        let device = Self {
            device_assigned: row.moment("deviceAssignedDate")?,
            profile_assigned: row.moment("profileAssignTime")?,
            profile_pushed: row.moment("profilePushTime")?,
            status: row.text("profileStatus")?.map(str::to_ascii_lowercase),
            failures: failures.unwrap_or(0),
            model: row.shown("model")?,
            instance: instance.to_owned(),
        };
        Ok((serial, format!("{instance}/{id}"), device))
    }
}

/// For what a PreStage enrollment is: the two kinds are numbered apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum PrestageKind {
    Computer,
    Mobile,
}

impl PrestageKind {
    pub(super) const ALL: [Self; 2] = [Self::Computer, Self::Mobile];

    /// The word in the config.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Computer => "computer",
            Self::Mobile => "mobile",
        }
    }
}

/// A PreStage enrollment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prestage {
    pub(super) kind: PrestageKind,
    pub(super) id: String,
}

impl Prestage {
    /// As the config writes it: "computer:1".
    pub(super) fn read(text: &str) -> Option<Self> {
        let (kind, id) = text.trim().split_once(':')?;
        let mut kinds = PrestageKind::ALL.into_iter();
        let kind = kinds.find(|one| one.code().eq_ignore_ascii_case(kind))?;
        let good = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        good.then(|| Self {
            kind,
            id: id.to_owned(),
        })
    }

    /// As a scope's reply gives it, for a serial number.
    pub(super) fn of(kind: PrestageKind, value: &Value) -> Result<Self, Misshaped> {
        let id = id_of(value).ok_or_else(|| {
            Misshaped("Jamf Pro's scope gives a serial number another value than the id of a PreStage enrollment.".to_owned())
        })?;
        Ok(Self { kind, id })
    }
}

impl fmt::Display for Prestage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.kind.code(), spelling::shown(&self.id))
    }
}

/// When an instance's token with Apple expires: a date alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Expiry {
    #[default]
    Absent,
    Garbled,
    /// The beginning of that day.
    On(#[serde(with = "nanosecond::required")] Timestamp),
}

impl Expiry {
    fn read(text: Option<&str>) -> Self {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Self::Absent;
        };
        // Some versions may write a time behind it.
        let date = text
            .get(..10)
            .and_then(|date| date.parse::<civil::Date>().ok());
        let midnight = date.map(|date| date.at(0, 0, 0, 0));
        match midnight.and_then(|moment| TimeZone::UTC.to_timestamp(moment).ok()) {
            Some(moment) if !spelling::is_never(moment) => Self::On(moment),
            Some(_) => Self::Absent,
            None => Self::Garbled,
        }
    }

    pub(super) const fn known(self) -> Option<Timestamp> {
        match self {
            Self::On(moment) => Some(moment),
            Self::Absent | Self::Garbled => None,
        }
    }
}

/// An Automated Device Enrollment instance: the MDM's link to one MDM server at Apple.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) server_uuid: Option<String>,
    pub(super) expires: Expiry,
    /// Its newest successful sync; `None`: it never had one.
    #[serde(with = "nanosecond::optional")]
    pub(super) synced: Option<Timestamp>,
}

impl Instance {
    fn read(value: &Value) -> Result<Self, Misshaped> {
        let instance = Object::read("Jamf Pro's instance", value)?;
        Ok(Self {
            id: id(&instance, "id")?.ok_or_else(|| instance.lacks("id"))?,
            name: instance.shown("name")?,
            server_uuid: instance.text("serverUuid")?.map(spelling::bare_uuid),
            expires: Expiry::read(instance.text("tokenExpirationDate")?),
            synced: None,
        })
    }

    /// Its name as a person may be shown it.
    pub(super) fn named(&self) -> String {
        format!(
            "\"{}\"",
            spelling::shown(self.name.as_deref().unwrap_or(&self.id))
        )
    }
}

/// One page of the instances, and how many there are.
pub(super) fn instances(page: &Value) -> Result<(Vec<Instance>, u64), Misshaped> {
    let page = Object::read("Jamf Pro's list of instances", page)?;
    let rows = page.list("results")?;
    let instances = rows.iter().map(Instance::read).collect::<Result<_, _>>()?;
    Ok((instances, total(&page)?))
}

fn total(list: &Object<'_>) -> Result<u64, Misshaped> {
    let total = list.number("totalCount", 0..=i64::MAX)?;
    let total = total.ok_or_else(|| list.lacks("totalCount"))?;
    Ok(u64::try_from(total).unwrap_or_default())
}

/// `totalCount` of a list that is read as it comes.
pub(super) fn total_count(value: Value) -> Result<u64, Misshaped> {
    let list = Value::Object([("totalCount".to_owned(), value)].into_iter().collect());
    total(&Object::read("Jamf Pro's list of devices", &list)?)
}

/// The moment of a sync if it was successful. Other words are documented nowhere, and one may mean that it still runs.
pub(super) fn success(sync: &Value) -> Result<Option<Timestamp>, Misshaped> {
    let sync = Object::read("Jamf Pro's sync", sync)?;
    let is_success = sync
        .text("syncState")?
        .is_some_and(|word| word.eq_ignore_ascii_case("SUCCESSFUL"));
    let at = sync.moment("timestamp")?;
    Ok(at.filter(|_| is_success))
}

/// The newest successful one of all syncs of an instance.
pub(super) fn newest_success(syncs: &Value) -> Result<Option<Timestamp>, Misshaped> {
    let Value::Array(syncs) = syncs else {
        return Err(Misshaped("Jamf Pro's syncs are no list.".to_owned()));
    };
    syncs
        .iter()
        .try_fold(None, |newest, sync| Ok(newest.max(success(sync)?)))
}

/// An id: a text or a whole number.
fn id(object: &Object<'_>, field: &str) -> Result<Option<String>, Misshaped> {
    object.typed(field, "an id", id_of)
}

fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_device_is_read_as_the_service_documents_it() {
        let value = json!({
            "id": "17", "deviceEnrollmentProgramInstanceId": "2", "prestageId": "1", "serialNumber": "C02XK0AAJG5H",
            "description": "MBA", "model": "MacBook Air", "color": "SILVER", "assetTag": "x", "profileStatus": "ASSIGNED",
            "syncState": {"id": 1, "serialNumber": "C02XK0AAJG5H", "profileUUID": "p", "syncStatus": "ASSIGN_SUCCESS", "failureCount": 2, "timestamp": 1},
            "profileAssignTime": "2026-10-01T08:00:00.000+0000", "profilePushTime": "0001-01-01T00:00:00Z", "deviceAssignedDate": "2026-09-30 08:00:00",
        });
        let (serial, id, device) = Device::read(&value, "2").unwrap();
        assert_eq!((&*serial, &*id), ("C02XK0AAJG5H", "2/17"));
        let expected = Device {
            device_assigned: Some(at("2026-09-30T08:00:00Z")),
            profile_assigned: Some(at("2026-10-01T08:00:00Z")),
            profile_pushed: None,
            status: Some("assigned".to_owned()),
            failures: 2,
            model: Some("MacBook Air".to_owned()),
            instance: "2".to_owned(),
        };
        assert_eq!(device, expected);
        let (_, id, bare) = Device::read(&json!({"serialNumber": "c02x"}), "2").unwrap();
        assert_eq!((&*id, bare.status), ("2/C02X", None));
        for (field, wrong) in [
            ("serialNumber", json!(null)),
            ("serialNumber", json!(7)),
            ("id", json!({})),
            ("profileStatus", json!(1)),
            ("profileAssignTime", json!("soon")),
            ("syncState", json!([])),
            ("syncState", json!({"failureCount": -1})),
        ] {
            let mut other = value.clone();
            other[field] = wrong.clone();
            assert!(Device::read(&other, "2").is_err(), "{field}: {wrong}");
        }
    }

    #[test]
    fn an_instance_has_its_expiry_as_a_bare_date_and_its_id_in_either_form() {
        let page = json!({"totalCount": 2, "results": [
            {"id": 1, "name": "HQ\u{202e}", "serverUuid": "1F973497-36CF-4614-A94F-624E705841AD", "tokenExpirationDate": "2027-01-31"},
            {"id": "2", "tokenExpirationDate": "soon, or never"},
        ]});
        let (listed, total) = instances(&page).unwrap();
        assert_eq!(total, 2);
        let expected = Instance {
            id: "1".to_owned(),
            name: Some("HQ\\u{202e}".to_owned()),
            server_uuid: Some("1f97349736cf4614a94f624e705841ad".to_owned()),
            expires: Expiry::On(at("2027-01-31T00:00:00Z")),
            synced: None,
        };
        assert_eq!(listed.first(), Some(&expected));
        assert_eq!(listed.get(1).map(|one| one.expires), Some(Expiry::Garbled));
        assert_eq!(Expiry::read(Some("0001-01-01")), Expiry::Absent);
        assert_eq!(Expiry::read(Some("2027-01-31T10:00:00Z")), expected.expires);
        for wrong in [
            json!([]),
            json!({"results": []}),
            json!({"totalCount": 1, "results": [{}]}),
            json!({"totalCount": -1, "results": []}),
        ] {
            assert!(instances(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_successful_sync_counts_and_the_newest_of_them() {
        let sync =
            |state: &str, at: &str| json!({"syncState": state, "instanceId": "1", "timestamp": at});
        let (old, new) = (
            "2019-04-17T14:08:06.706+0000",
            "2019-04-18T14:08:06.706+0000",
        );
        assert_eq!(
            success(&sync("SUCCESSFUL", old)),
            Ok(Some(at("2019-04-17T14:08:06.706Z")))
        );
        assert_eq!(success(&sync("RUNNING", old)), Ok(None));
        assert_eq!(
            success(&sync("SUCCESSFUL", "0001-01-01T00:00:00Z")),
            Ok(None)
        );
        assert!(success(&sync("SUCCESSFUL", "yesterday")).is_err());
        let all = json!([
            sync("successful", old),
            sync("FAILED", "2020-01-01T00:00:00Z"),
            sync("SUCCESSFUL", new),
            sync("SUCCESSFUL", old)
        ]);
        assert_eq!(
            newest_success(&all),
            Ok(Some(at("2019-04-18T14:08:06.706Z")))
        );
        assert_eq!(newest_success(&json!([])), Ok(None));
        assert!(newest_success(&json!({})).is_err());
    }

    #[test]
    fn a_scope_gives_ids_as_texts_or_numbers() {
        for (value, id) in [(json!("3"), "3"), (json!(3), "3")] {
            let prestage = Prestage::of(PrestageKind::Mobile, &value).unwrap();
            assert_eq!(prestage.to_string(), format!("mobile:{id}"));
            assert_eq!(Prestage::read("MOBILE:3"), Some(prestage));
        }
        for wrong in [json!(null), json!(""), json!(-1), json!({})] {
            assert!(
                Prestage::of(PrestageKind::Mobile, &wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
