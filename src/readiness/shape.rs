//! Reads a reply's fields, each of the type that its service documents.
//!
//! A field that is absent or null says nothing. One of another type makes the whole reply unusable: it is not what the
//! service documents.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::spelling;

/// A reply is not of the shape that its service documents. A whole sentence for a person, without a word of the reply's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misshaped(pub String);

/// A JSON object with the name that people know it by ("Kandji's row").
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    name: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// Takes `value` for an object.
    ///
    /// # Errors
    /// [`Misshaped`] when it is none.
    pub fn read(name: &'static str, value: &'a Value) -> Result<Self, Misshaped> {
        match value {
            Value::Object(fields) => Ok(Self { name, fields }),
            other => Err(Misshaped(format!(
                "{name} is {}, where an object is documented.",
                kind(other)
            ))),
        }
    }

    /// The field as it stands; `None`: absent or null.
    pub fn value(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Is the field there, even as null?
    pub fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// A text; `None`: absent, null or empty.
    ///
    /// # Errors
    /// [`Misshaped`] when it is something else.
    pub fn text(&self, field: &str) -> Result<Option<&'a str>, Misshaped> {
        Ok(self
            .typed(field, "text", Value::as_str)?
            .filter(|text| !text.is_empty()))
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// [`Misshaped`] when it is not, or is empty.
    pub fn needed_text(&self, field: &str) -> Result<&'a str, Misshaped> {
        self.text(field)?.ok_or_else(|| self.lacks(field))
    }

    /// A text as a person may be shown it.
    ///
    /// # Errors
    /// [`Misshaped`] when it is something else.
    pub fn shown(&self, field: &str) -> Result<Option<String>, Misshaped> {
        Ok(self
            .text(field)?
            .map(spelling::shown)
            .filter(|text| !text.is_empty()))
    }

    /// True or false.
    ///
    /// # Errors
    /// [`Misshaped`] when it is something else.
    pub fn flag(&self, field: &str) -> Result<Option<bool>, Misshaped> {
        self.typed(field, "true or false", Value::as_bool)
    }

    /// A whole number in `range`.
    ///
    /// # Errors
    /// [`Misshaped`] when it is something else.
    pub fn number(
        &self,
        field: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, Misshaped> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        self.typed(field, &wanted, |value| {
            value.as_i64().filter(|number| range.contains(number))
        })
    }

    /// An id, which is written as text or as a whole number; `None`: absent, null or empty.
    ///
    /// # Errors
    /// [`Misshaped`] when it is something else.
    pub fn id(&self, field: &str) -> Result<Option<String>, Misshaped> {
        let id = self.typed(field, "text or a whole number", |value| match value {
            Value::String(text) => Some(text.trim().to_owned()),
            value => value.as_i64().map(|number| number.to_string()),
        })?;
        Ok(id.filter(|id| !id.is_empty()))
    }

    /// A moment, in any of the spellings that services use; `None` as well for the year 1, which is never.
    ///
    /// # Errors
    /// [`Misshaped`] when it cannot be read.
    pub fn moment(&self, field: &str) -> Result<Option<Timestamp>, Misshaped> {
        match self.text(field)?.filter(|text| !text.trim().is_empty()) {
            None => Ok(None),
            Some(text) => spelling::timestamp(text)
                .map(|moment| Some(moment).filter(|moment| !spelling::is_never(*moment)))
                .ok_or_else(|| self.says(field, "a text that is not a date and time")),
        }
    }

    /// A list that has to be there.
    ///
    /// # Errors
    /// [`Misshaped`] when it is not.
    pub fn list(&self, field: &str) -> Result<&'a [Value], Misshaped> {
        self.typed(field, "a list", |value| value.as_array().map(Vec::as_slice))?
            .ok_or_else(|| self.lacks(field))
    }

    /// A field of the documented type; `None`: absent or null.
    ///
    /// # Errors
    /// [`Misshaped`] when `read` makes nothing of it; `wanted` names what is documented.
    pub fn typed<T>(
        &self,
        field: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Misshaped> {
        match self.value(field) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| {
                self.says(
                    field,
                    &format!("{}, where {wanted} is documented", kind(value)),
                )
            }),
        }
    }

    /// The fault that a field is missing.
    pub fn lacks(&self, field: &str) -> Misshaped {
        Misshaped(format!("{} has no {field}.", self.name))
    }

    fn says(&self, field: &str, what: &str) -> Misshaped {
        Misshaped(format!("{} has a {field} that is {what}.", self.name))
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_absent_or_null_says_nothing_and_what_has_another_type_is_refused_by_name() {
        let value = json!({"null": null, "empty": "", "text": "a", "number": 7, "flag": true, "list": [], "time": "2026-01-09 22:01:10", "never": "0001-01-01T00:00:00Z", "object": {}});
        let object = Object::read("Kandji's row", &value).unwrap();
        for field in ["absent", "null", "empty"] {
            assert_eq!(
                (object.text(field), object.moment(field)),
                (Ok(None), Ok(None)),
                "{field}"
            );
        }
        for field in ["absent", "null"] {
            assert_eq!(
                (object.flag(field), object.number(field, 0..=9)),
                (Ok(None), Ok(None)),
                "{field}"
            );
            assert!(
                object.list(field).is_err() && object.needed_text(field).is_err(),
                "{field}"
            );
        }
        assert_eq!(
            (
                object.text("text"),
                object.flag("flag"),
                object.number("number", 0..=9)
            ),
            (Ok(Some("a")), Ok(Some(true)), Ok(Some(7)))
        );
        let never = json!({"time": "0001-01-01T00:00:00Z"});
        let never = Object::read("Kandji's row", &never).unwrap();
        assert_eq!(never.moment("time"), Ok(None));
        assert!(
            object.moment("time").unwrap().is_some() && object.list("list").unwrap().is_empty()
        );
        assert_eq!(object.moment("never"), Ok(None));
        assert!(object.has("null") && !object.has("absent"));
        for field in ["number", "flag", "list", "object"] {
            assert!(
                object.text(field).is_err() && object.moment(field).is_err(),
                "{field}"
            );
        }
        assert!(
            object.number("number", 0..=6).is_err()
                && object.flag("number").is_err()
                && object.moment("text").is_err()
        );
        assert_eq!(
            object.flag("number").unwrap_err().to_string(),
            "Kandji's row has a number that is a number, where true or false is documented."
        );
        assert!(Object::read("Kandji's row", &json!([])).is_err());
    }

    #[test]
    fn the_year_one_is_no_moment() {
        for (text, is_moment) in [
            ("0001-01-01T00:00:00Z", false),
            ("0001-01-01 00:00:00", false),
            ("0001-01-01T00:00:00+00:00", false),
            ("0001-01-01T00:00:00+01:00", false),
            ("1970-01-01T00:00:00Z", true),
            ("2025-12-04 01:35:27", true),
        ] {
            let value = json!({ "time": text });
            let object = Object::read("It", &value).unwrap();
            assert_eq!(
                object.moment("time").unwrap().is_some(),
                is_moment,
                "{text}"
            );
        }
    }

    #[test]
    fn an_id_is_text_or_a_whole_number() {
        for (value, id) in [
            (json!(7), Some(Some("7"))),
            (json!("7"), Some(Some("7"))),
            (json!(" a-7 "), Some(Some("a-7"))),
            (json!(null), Some(None)),
            (json!(""), Some(None)),
            (json!(7.5), None),
            (json!(u64::MAX), None),
            (json!(true), None),
            (json!([7]), None),
            (json!({"id": 7}), None),
        ] {
            let object = json!({ "id": value });
            let read = Object::read("It", &object).unwrap().id("id");
            assert_eq!(read.ok().as_ref().map(Option::as_deref), id, "{value}");
        }
    }

    #[test]
    fn an_array_never_passes_for_an_object() {
        for value in [
            json!(["x"]),
            json!([]),
            json!([["name", "x"]]),
            json!([{"name": "x"}]),
            json!("x"),
            json!(null),
            json!(1),
        ] {
            assert!(Object::read("Kandji's row", &value).is_err(), "{value}");
            let row = json!({ "part": value });
            let row = Object::read("Kandji's row", &row).unwrap();
            assert!(
                row.value("part")
                    .is_none_or(|part| Object::read("Its part", part).is_err()),
                "{value}"
            );
        }
    }

    #[test]
    fn no_number_is_read_as_another() {
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "1e400",
            "1.5",
            "1.0",
            "\"7\"",
            "true",
        ] {
            let Ok(value) = serde_json::from_str::<Value>(&format!("{{\"n\":{text}}}")) else {
                continue;
            };
            assert!(
                Object::read("It", &value)
                    .unwrap()
                    .number("n", i64::MIN..=i64::MAX)
                    .is_err(),
                "{text}"
            );
        }
    }
}
