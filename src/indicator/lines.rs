//! The result lines on standard output: one line for each answer where a program reads, some more words where a person does.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, stdout},
};

use rustix::termios::tcgetwinsize;

use super::terminal;
use crate::{reason::Signal, record::Record, runtime::visible};

/// The sentence and the next action begin here; what is before them has a column each.
const INDENT: usize = 31;
/// Narrower terminals break the words themselves.
const NARROWEST: usize = INDENT + 20;
/// A terminal that does not say how wide it is.
const USUAL_WIDTH: u16 = 80;

/// How results are written, as standard output was at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A program reads: `<id> <serial or -> <verdict> <reason> <message>`.
    Piped,
    /// A person reads: lamp, verdict, serial number, sentence and next action.
    Person { colours: bool },
}

impl Form {
    pub fn of_standard_output() -> Self {
        if stdout().is_terminal() {
            let colours = terminal::colours();
            Self::Person { colours }
        } else {
            Self::Piped
        }
    }

    /// The whole lines of one result.
    pub fn lines(self, record: &Record) -> String {
        match self {
            Self::Piped => format!("{}\n", piped(record)),
            Self::Person { colours } => {
                let size = tcgetwinsize(stdout()).map_or(0, |size| size.ws_col);
                let columns = if size == 0 { USUAL_WIDTH } else { size };
                for_person(record, usize::from(columns), colours)
            }
        }
    }
}

/// The word for what the lamps do, and the colour that a terminal gives it.
pub const fn lamp(signal: Signal) -> (&'static str, &'static str) {
    match signal {
        Signal::Ready => ("green", "42"),
        Signal::Stop => ("red", "41"),
        Signal::Hold => ("amber", "43"),
        Signal::Rescan => ("flash", "41"),
        Signal::Alarm => ("alarm", "41"),
        Signal::None => ("-", "49"),
    }
}

fn serial(record: &Record) -> String {
    record
        .serial
        .as_ref()
        .map_or_else(|| "-".to_owned(), |serial| visible::text(serial.as_str()))
}

/// A change begins with `change`.
fn piped(record: &Record) -> String {
    let change = record.change.as_ref().map_or("", |_| "change ");
    format!(
        "{change}{} {} {} {} {}",
        record.id,
        serial(record),
        record.reason.verdict().code(),
        record.reason.code(),
        visible::text(&record.message)
    )
}

fn for_person(record: &Record, columns: usize, colours: bool) -> String {
    let (lamp, colour) = lamp(record.lamp);
    let lamp = match colours {
        true => format!("\x1b[1;97;{colour}m{lamp:<6}\x1b[0m"),
        false => format!("{lamp:<6}"),
    };
    let verdict = record.reason.verdict().code();
    let mut text = format!("{lamp} {verdict:<9} {:<13} ", serial(record));
    let change = record.change.as_ref().map_or("", |_| "Changed: ");
    let width = columns.max(NARROWEST) - INDENT;
    let said = [format!("{change}{}", record.message), record.action.clone()];
    for (number, line) in said
        .iter()
        .flat_map(|words| wrapped(words, width))
        .enumerate()
    {
        let indent = if number == 0 { 0 } else { INDENT };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
    text
}

/// The words in lines of at most `width` characters; a longer word has a line of its own.
fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in visible::text(words).split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests;
