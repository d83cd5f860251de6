//! Cuts a reply that is one long list into its records while it comes, each read as the door reads a whole reply. Pure.
//!
//! The reply is an object. One of its fields is the list: an array of records, or an object with a record for each name. Nothing of a
//! record is kept once it is cut.

use serde_json::Value;

use super::json::{self, JsonFault};

/// The bytes that one record, name or field may take; usual are some hundred.
const LONGEST: usize = 64 * 1024;
/// Fields beside the list; usual is one.
const MOST_FIELDS: usize = 64;

/// A part of the reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A field beside the list, or in its place something that is no list.
    Field(String, Value),
    /// A record of an array.
    Record(Value),
    /// A record of an object, with its name.
    Named(String, Value),
}

/// What may come next in an object or an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A name or a record, or the end.
    First,
    Name,
    Colon,
    Value,
    Comma,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A text; after a backslash.
    Text(bool),
    /// An object or an array: how deep, and whether in a text of it, after a backslash.
    Nested(u32, Option<bool>),
    /// A number or a word: it ends before the next sign.
    Scalar,
}

/// In which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Before,
    Reply,
    Array,
    Object,
    Behind,
}

/// Where it is in the reply.
#[derive(Debug)]
pub(super) struct Cutter {
    list: &'static str,
    level: Level,
    step: Step,
    token: Option<Token>,
    text: Vec<u8>,
    name: String,
    fields: Vec<String>,
    has_list: bool,
}

impl Cutter {
    /// For a reply whose list is the field `list`.
    pub(super) const fn new(list: &'static str) -> Self {
        Self {
            list,
            level: Level::Before,
            step: Step::First,
            token: None,
            text: Vec::new(),
            name: String::new(),
            fields: Vec::new(),
            has_list: false,
        }
    }

    /// Has the reply come to its end?
    pub(super) fn is_whole(&self) -> bool {
        self.level == Level::Behind
    }

    /// Has the list begun?
    pub(super) const fn has_list(&self) -> bool {
        self.has_list
    }

    /// Takes the next byte; it may complete a part.
    pub(super) fn take(&mut self, byte: u8) -> Result<Option<Piece>, JsonFault> {
        let Some(token) = self.token else {
            return self.sign(byte);
        };
        if token == Token::Scalar && is_sign(byte) {
            let piece = self.end_of_token()?;
            // A sign after a value never completes another part.
            self.sign(byte)?;
            return Ok(piece);
        }
        if self.text.len() >= LONGEST {
            return Err(JsonFault::TooMuch);
        }
        self.text.push(byte);
        self.token = Some(match token {
            Token::Text(false) if byte == b'"' => return self.end_of_token(),
            Token::Text(escaped) => Token::Text(!escaped && byte == b'\\'),
            Token::Nested(1, None) if matches!(byte, b'}' | b']') => return self.end_of_token(),
            Token::Nested(depth, within) => nested(depth, within, byte),
            Token::Scalar => Token::Scalar,
        });
        Ok(None)
    }

    /// A byte outside of names and values.
    fn sign(&mut self, byte: u8) -> Result<Option<Piece>, JsonFault> {
        if byte.is_ascii_whitespace() && byte != b'\x0c' {
            return Ok(None);
        }
        let (level, step) = (self.level, self.step);
        let has_names = matches!(level, Level::Reply | Level::Object);
        match (level, step, byte) {
            (Level::Before, _, b'{') => (self.level, self.step) = (Level::Reply, Step::First),
            (Level::Before | Level::Behind, ..) => return Err(JsonFault::NotJson),
            (_, Step::First | Step::Name, b'"') if has_names => {
                self.begin(Token::Text(false), byte)
            }
            (_, Step::First | Step::Comma, b'}') if has_names => self.leave(),
            (Level::Array, Step::First | Step::Comma, b']') => self.leave(),
            (_, Step::Comma, b',') if has_names => self.step = Step::Name,
            (Level::Array, Step::Comma, b',') => self.step = Step::Value,
            (_, Step::Colon, b':') => self.step = Step::Value,
            (Level::Reply, Step::Value, b'[' | b'{') if self.name == self.list => {
                let is_array = byte == b'[';
                self.level = if is_array {
                    Level::Array
                } else {
                    Level::Object
                };
                self.step = Step::First;
                self.has_list = true;
            }
            (_, Step::Value, _) | (Level::Array, Step::First, _) => self.begin_value(byte)?,
            _ => return Err(JsonFault::NotJson),
        }
        Ok(None)
    }

    fn begin_value(&mut self, byte: u8) -> Result<(), JsonFault> {
        let token = match byte {
            b'"' => Token::Text(false),
            b'{' | b'[' => Token::Nested(1, None),
            byte if is_sign(byte) => return Err(JsonFault::NotJson),
            _ => Token::Scalar,
        };
        self.begin(token, byte);
        Ok(())
    }

    fn begin(&mut self, token: Token, byte: u8) {
        self.text.clear();
        self.text.push(byte);
        self.token = Some(token);
    }

    fn leave(&mut self) {
        self.level = match self.level {
            Level::Array | Level::Object => Level::Reply,
            _ => Level::Behind,
        };
        self.step = Step::Comma;
    }

    fn end_of_token(&mut self) -> Result<Option<Piece>, JsonFault> {
        self.token = None;
        let value = json::whole(&self.text)?;
        let is_name =
            matches!(self.level, Level::Reply | Level::Object) && self.step != Step::Value;
        if is_name {
            let Value::String(name) = value else {
                return Err(JsonFault::NotJson);
            };
            self.step = Step::Colon;
            self.note(&name)?;
            self.name = name;
            return Ok(None);
        }
        self.step = Step::Comma;
        let name = std::mem::take(&mut self.name);
        Ok(Some(match self.level {
            Level::Array => Piece::Record(value),
            Level::Object => Piece::Named(name, value),
            _ => Piece::Field(name, value),
        }))
    }

    /// Each field of the reply is there once. (Whoever reads the list counts its names.)
    fn note(&mut self, name: &str) -> Result<(), JsonFault> {
        if self.level != Level::Reply {
            return Ok(());
        }
        if self.fields.iter().any(|field| field == name) {
            return Err(JsonFault::NameTwice);
        }
        if self.fields.len() >= MOST_FIELDS {
            return Err(JsonFault::TooMuch);
        }
        self.fields.push(name.to_owned());
        Ok(())
    }
}

/// The next state of an object or an array after `byte`, which does not end it.
const fn nested(depth: u32, within: Option<bool>, byte: u8) -> Token {
    match (within, byte) {
        (Some(false), b'"') => Token::Nested(depth, None),
        (Some(escaped), _) => Token::Nested(depth, Some(!escaped && byte == b'\\')),
        (None, b'"') => Token::Nested(depth, Some(false)),
        (None, b'{' | b'[') => Token::Nested(depth.saturating_add(1), None),
        (None, b'}' | b']') => Token::Nested(depth.saturating_sub(1), None),
        (None, _) => Token::Nested(depth, None),
    }
}

/// Does it stand between values?
const fn is_sign(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b':' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\r' | b'\n'
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// All parts of a text, and whether it was whole.
    fn cut(text: &[u8]) -> Result<(Vec<Piece>, bool), JsonFault> {
        let mut cutter = Cutter::new("results");
        let mut pieces = Vec::new();
        for byte in text {
            pieces.extend(cutter.take(*byte)?);
        }
        Ok((pieces, cutter.is_whole()))
    }

    #[test]
    fn records_and_the_fields_beside_them_come_one_by_one() {
        let text = br#" {"totalCount" : 3, "results":[{"a":"x}]\"y","b":[1,{"c":[]}]}, 7,"text" ] ,"more":null} "#;
        let (pieces, whole) = cut(text).unwrap();
        assert!(whole);
        assert_eq!(
            pieces,
            [
                Piece::Field("totalCount".to_owned(), json!(3)),
                Piece::Record(json!({"a": "x}]\"y", "b": [1, {"c": []}]})),
                Piece::Record(json!(7)),
                Piece::Record(json!("text")),
                Piece::Field("more".to_owned(), json!(null)),
            ]
        );
        let (pieces, whole) = cut(br#"{"results":{"S1":"1","S2":{"x":2}},"n":1}"#).unwrap();
        assert!(whole);
        assert_eq!(
            pieces,
            [
                Piece::Named("S1".to_owned(), json!("1")),
                Piece::Named("S2".to_owned(), json!({"x": 2})),
                Piece::Field("n".to_owned(), json!(1)),
            ]
        );
        for empty in ["{}", r#"{"results":[]}"#, r#"{"results":{}}"#] {
            assert_eq!(cut(empty.as_bytes()), Ok((vec![], true)), "{empty}");
        }
        let none = vec![Piece::Field("results".to_owned(), json!(null))];
        assert_eq!(cut(br#"{"results":null}"#), Ok((none, true)));
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_stops_being_some() {
        for text in [
            "[]",
            "x",
            r#"{"results":[1,]}"#,
            r#"{"results":[1 2]}"#,
            r#"{"results":[,1]}"#,
            r#"{"results":[{"a":1,}]}"#,
            r#"{"results":[nul]}"#,
            r#"{"results":[1}"#,
            r#"{"results":{"a"}}"#,
            r#"{"results":{1:1}}"#,
            r#"{"results":[]"more":1}"#,
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{"a"::1}"#,
            "{}{}",
            "{} x",
            "{\u{c}}",
            r#"{"results":[{]}"#,
        ] {
            let cut = cut(text.as_bytes());
            assert!(matches!(cut, Err(JsonFault::NotJson)), "{text}: {cut:?}");
        }
        for text in [
            r#"{"a":1,"\u0061":1}"#,
            r#"{"results":[{"a":1,"a":2}]}"#,
            r#"{"results":[],"results":[]}"#,
        ] {
            assert_eq!(cut(text.as_bytes()), Err(JsonFault::NameTwice), "{text}");
        }
        let long = format!(r#"{{"results":["{}"]}}"#, "x".repeat(LONGEST));
        assert_eq!(cut(long.as_bytes()), Err(JsonFault::TooMuch));
        let fields: Vec<String> = (0..=MOST_FIELDS)
            .map(|field| format!("\"{field}\":1"))
            .collect();
        let many = format!("{{{}}}", fields.join(","));
        assert_eq!(cut(many.as_bytes()), Err(JsonFault::TooMuch));
    }

    #[test]
    fn a_text_that_is_cut_anywhere_is_not_whole() {
        let text = br#"{"totalCount":2,"results":[{"a":"\\"},{"b":1}]}"#;
        assert!(cut(text).unwrap().1);
        for end in 0..text.len() {
            assert!(!cut(text.get(..end).unwrap()).unwrap().1, "{end}");
        }
    }

    proptest! {
        /// Whatever is cut to its end is JSON, and the parts are those of the whole.
        #[test]
        fn what_is_cut_is_what_serde_json_reads(text in "[\\[\\]{}:,\"a0\\\\ .-]{0,40}|\\{\"results\":[\\[{][\\[\\]{}:,\"a0 ]{0,30}") {
            if let Ok((pieces, true)) = cut(text.as_bytes()) {
                let whole: Value = serde_json::from_str(&text).unwrap();
                for piece in pieces {
                    match piece {
                        Piece::Field(name, value) => prop_assert_eq!(&whole[&name], &value),
                        Piece::Record(value) => prop_assert!(whole["results"].as_array().unwrap().contains(&value)),
                        Piece::Named(name, value) => {
                            let named = &whole["results"][&name];
                            // Of a name that is there twice serde_json keeps the last.
                            let times = text.matches(&format!("\"{name}\"")).count();
                            prop_assert!(*named == value || times > 1);
                        }
                    }
                }
            }
        }
    }
}
