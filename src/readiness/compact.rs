//! The compact form in which the replica keeps a record. Pure.
//!
//! Each service has a type of its own for it, so that what a reply may hold and what is kept do not change together. The
//! first byte is the number of the form: a body of another form is not read as this one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::http::Fault;
use crate::reason::Reason;

/// A record's body.
///
/// # Errors
/// `station_fault`, if the type cannot be written in this form.
pub(super) fn written(form: u8, record: &impl Serialize) -> Result<Vec<u8>, Fault> {
    postcard::to_extend(record, vec![form])
        .map_err(|_| Fault::with(Reason::StationFault, "A record cannot be kept."))
}

/// The record that a body holds; `None`: it is of another form, or damaged.
pub(super) fn read<'b, T: Deserialize<'b>>(form: u8, body: &'b [u8]) -> Option<T> {
    let (first, rest) = body.split_first()?;
    let (record, rest) = postcard::take_from_bytes(rest).ok()?;
    (*first == form && rest.is_empty()).then_some(record)
}

/// An id as a service wrote it. A uuid takes 17 bytes and not 37.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Id {
    /// With dashes, in lower case.
    Dashed([u8; 16]),
    /// Without dashes, in upper case.
    Bare([u8; 16]),
    Other(String),
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        let Ok(uuid) = Uuid::try_parse(text) else {
            return Self::Other(text.to_owned());
        };
        [Self::Dashed(*uuid.as_bytes()), Self::Bare(*uuid.as_bytes())]
            .into_iter()
            .find(|id| id.text() == text)
            .unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl Id {
    /// The id, as it was written.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Dashed(bytes) => Uuid::from_bytes(*bytes).to_string(),
            Self::Bare(bytes) => format!("{:X}", Uuid::from_bytes(*bytes).simple()),
            Self::Other(text) => text.clone(),
        }
    }
}

/// For a field that holds an id.
pub(super) mod id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Id;

    pub(in super::super) fn serialize<S: Serializer>(
        text: &Option<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().map(Id::from).serialize(to)
    }

    pub(in super::super) fn deserialize<'b, D: Deserializer<'b>>(
        from: D,
    ) -> Result<Option<String>, D::Error> {
        let id = Option::<Id>::deserialize(from)?;
        Ok(id.as_ref().map(Id::text))
    }
}

/// For a field that holds an id and a name.
pub(super) mod named_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Id;

    type Named<I> = Option<(I, Option<String>)>;

    pub(in super::super) fn serialize<S: Serializer>(
        named: &Named<String>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let id = |(id, name): &(String, Option<String>)| (Id::from(&**id), name.clone());
        named.as_ref().map(id).serialize(to)
    }

    pub(in super::super) fn deserialize<'b, D: Deserializer<'b>>(
        from: D,
    ) -> Result<Named<String>, D::Error> {
        let named = Named::<Id>::deserialize(from)?;
        Ok(named.map(|(id, name)| (id.text(), name)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_of_another_form_a_cut_one_and_a_longer_one_are_not_read() {
        let body = written(1, &("assigned", 7_u8)).unwrap();
        assert_eq!(
            read::<(String, u8)>(1, &body),
            Some(("assigned".to_owned(), 7))
        );
        assert_eq!(read::<(String, u8)>(2, &body), None);
        for end in 0..body.len() {
            assert_eq!(read::<(String, u8)>(1, body.get(..end).unwrap()), None);
        }
        assert_eq!(
            read::<(String, u8)>(1, &[body.as_slice(), &[0]].concat()),
            None
        );
    }

    #[test]
    fn an_id_is_kept_as_it_was_written_and_a_uuid_is_short() {
        for (text, length) in [
            ("1f973497-36cf-4614-a94f-624e705841ad", 17),
            ("1F97349736CF4614A94F624E705841AD", 17),
            ("1F973497-36CF-4614-A94F-624E705841AD", 38),
            ("1f97349736cf4614a94f624e705841ad", 34),
            ("{1f973497-36cf-4614-a94f-624e705841ad}", 40),
            ("t1", 4),
            ("", 2),
        ] {
            let body = written(1, &Id::from(text)).unwrap();
            assert_eq!(read::<Id>(1, &body).unwrap().text(), text);
            assert_eq!(body.len() - 1, length, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back_as_it_was(text in ".{0,40}|[0-9a-fA-F-]{32,36}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}") {
            prop_assert_eq!(Id::from(&*text).text(), text);
        }
    }
}
