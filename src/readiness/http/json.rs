//! Reads a reply's JSON so that it can be taken in one way only: each name once, nothing behind it, an object where one belongs.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

/// The values that a reply may hold. A full page of any list holds a tenth; eight megabytes of `[[],[],` would fill a small machine's memory.
const MOST_VALUES: u32 = 500_000;

/// Why a text is not the JSON that was asked for. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonFault {
    /// It is no JSON, is cut, goes on behind its end, or is too deep.
    NotJson,
    /// An object gives one name twice.
    NameTwice,
    /// It holds too many values.
    TooMuch,
    /// It lacks that field.
    Lacks(&'static str),
    /// A value is of another kind than it must be.
    OtherShape,
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

/// A value as one type. Where serde's derive would take an array for a struct, this does not.
pub(super) fn shaped<T: DeserializeOwned>(value: &Value) -> Result<T, JsonFault> {
    T::deserialize(Shaped(value))
        .map_err(|Misfit(lacks)| lacks.map_or(JsonFault::OtherShape, JsonFault::Lacks))
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

/// A value that a type is read from.
struct Shaped<'de>(&'de Value);

/// What did not fit: the field that is not there, if that is it.
#[derive(Debug)]
struct Misfit(Option<&'static str>);

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("another shape")
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Some(field))
    }
}

impl<'de> IntoDeserializer<'de, Misfit> for Shaped<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Shaped<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), ..) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (.., value) => visitor.visit_f64(value.ok_or(Misfit(None))?),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Shaped));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(fields) => {
                let mut fields = MapDeserializer::new(
                    fields
                        .iter()
                        .map(|(name, value)| (name.as_str(), Shaped(value))),
                );
                let value = visitor.visit_map(&mut fields)?;
                fields.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if self.0.is_object() {
            self.deserialize_any(visitor)
        } else {
            Err(Misfit(None))
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        // A word of a closed list.
        visitor.visit_enum(self.0.as_str().ok_or(Misfit(None))?.into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq, Eq)]
    struct Row {
        name: String,
        #[serde(default)]
        part: Option<Part>,
        #[serde(default)]
        parts: Vec<Part>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq, Eq)]
    struct Part {
        id: Option<u64>,
    }

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

    #[test]
    fn an_array_never_passes_for_an_object() {
        let read = |value: Value| shaped::<Row>(&value);
        assert_eq!(
            read(json!({"name": "x", "part": {"id": 1}, "parts": [{}], "more": [1]}))
                .unwrap()
                .parts,
            [Part::default()]
        );
        assert_eq!(read(json!({"part": null})), Err(JsonFault::Lacks("name")));
        for value in [
            json!(["x"]),
            json!(["x", {"id": 1}, []]),
            json!({"name": "x", "part": [1]}),
            json!({"name": "x", "part": []}),
            json!({"name": "x", "parts": [[1]]}),
            json!({"name": "x", "parts": {"id": 1}}),
            json!({"name": ["x"]}),
            json!({"name": null}),
            json!({"name": 1}),
            json!({"name": "x", "part": {"id": -1}}),
            json!({"name": "x", "part": {"id": 1.0}}),
            json!("x"),
            json!(null),
        ] {
            assert_eq!(read(value.clone()), Err(JsonFault::OtherShape), "{value}");
        }
        assert_eq!(
            shaped::<Vec<Part>>(&json!([[1]])),
            Err(JsonFault::OtherShape)
        );
    }

    proptest! {
        #[test]
        fn what_passes_is_what_serde_json_reads(text in "[\\[\\]{}:,\"a0\\\\u .e-]{0,40}") {
            if let Ok(value) = whole(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value.clone());
                prop_assert_eq!(shaped::<Value>(&value), Ok(value));
            }
        }
    }
}
