//! Reads a reply's JSON so that it can be taken in one way only: each name once, nothing behind it.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// The values that a reply may hold. A full page of any list holds a tenth; eight megabytes of `[[],[],` would fill a small machine's memory.
const MOST_VALUES: u32 = 500_000;

/// Why a text is not the JSON that was asked for. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonFault {
    /// Not JSON, truncated, followed by more text, or nested too deeply.
    NotJson,
    /// An object gives one name twice.
    NameTwice,
    /// It holds too many values.
    TooMuch,
}

/// The whole text as one value. serde_json itself bounds the depth (128).
pub(super) fn whole(text: &[u8]) -> Result<Value, JsonFault> {
    let (left, fault) = (Cell::new(MOST_VALUES), Cell::new(JsonFault::NotJson));
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict {
        left: &left,
        fault: &fault,
    }
    .deserialize(&mut reader)
    .map_err(|_| fault.get())?;
    reader.end().map_err(|_| JsonFault::NotJson)?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    left: &'a Cell<u32>,
    fault: &'a Cell<JsonFault>,
}

impl Strict<'_> {
    fn refuse<E: de::Error>(self, fault: JsonFault) -> E {
        self.fault.set(fault);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(self.refuse(JsonFault::TooMuch));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        // The names come without their escapes.
        while let Some(name) = entries.next_key::<String>()? {
            if all.insert(name, entries.next_value_seed(self)?).is_some() {
                return Err(self.refuse(JsonFault::NameTwice));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_given_once_in_every_object_at_every_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":null}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"[[{"x":{"":1,"":2}}]]"#,
            r#"{"a":{"b":[{"c":1,"c":1}]},"d":1}"#,
            "{\"\u{e9}\":1,\"\\u00e9\":2}",
        ] {
            assert_eq!(whole(text.as_bytes()), Err(JsonFault::NameTwice), "{text}");
        }
        assert_eq!(
            whole(br#"{"a":{"a":{"a":[{"a":1},{"a":1}]}},"A":1}"#),
            Ok(json!({"a": {"a": {"a": [{"a": 1}, {"a": 1}]}}, "A": 1}))
        );
    }

    #[test]
    fn what_is_not_one_whole_json_text_is_refused() {
        let deep = "[".repeat(100_000);
        let closed = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "{} x",
            "nul",
            "NaN",
            "1e400",
            "{'a':1}",
            "{\"a\":1,}",
            "\u{feff}{}",
            "{}\u{0}",
            "\"\\ud800\"",
            &deep,
            &closed,
        ] {
            assert_eq!(
                whole(text.as_bytes()),
                Err(JsonFault::NotJson),
                "{}",
                text.get(..20).unwrap_or(text)
            );
        }
        assert_eq!(whole(b"{\"a\":\"\xff\"}"), Err(JsonFault::NotJson));
        assert_eq!(whole(b" { } \r\n\t"), Ok(json!({})));
    }

    #[test]
    fn a_text_of_more_values_than_any_list_has_is_refused() {
        let of = |values: usize| format!("[{}0]", "0,".repeat(values)).into_bytes();
        assert_eq!(whole(&of(600_000)), Err(JsonFault::TooMuch));
        assert!(whole(&of(400_000)).is_ok());
    }

    proptest! {
        #[test]
        fn what_passes_is_what_serde_json_reads(text in "[\\[\\]{}:,\"a0\\\\u .e-]{0,40}") {
            if let Ok(value) = whole(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }
    }
}
