//! What the tests of several services share: a good reply that is spoilt, and a source beside the simulated service that it asks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "simulate")]
mod bench;

use serde_json::{Value, json};

#[cfg(feature = "simulate")]
pub(super) use bench::{Bench, faults};

/// The reply without that field.
pub(super) fn without(good: &Value, path: &str) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let mut without = good.clone();
    let fields = without.pointer_mut(parent).unwrap().as_object_mut();
    fields.unwrap().remove(name);
    without
}

/// The reply with that field null and with a value of every other type: the reply, the value, and the word for its type.
pub(super) fn spoilt(good: &Value, path: &str) -> [(Value, Value, &'static str); 9] {
    [
        (json!(null), "null"),
        (json!(true), "flag"),
        (json!(7), "number"),
        (json!(7.5), "fraction"),
        (json!(u64::MAX), "fraction"),
        (json!("x"), "text"),
        (json!([]), "list"),
        (json!([[]]), "list"),
        (json!({}), "object"),
    ]
    .map(|(value, kind)| {
        let mut spoilt = good.clone();
        *spoilt.pointer_mut(path).unwrap() = value.clone();
        (spoilt, value, kind)
    })
}
