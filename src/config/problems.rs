//! What is wrong with a config: every problem with its place in the file, the line, a caret and a remedy.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    ops::Range,
};

use super::secrets;
use crate::runtime::visible::{self, Visible};

/// Byte positions in the config's text.
pub(super) type Span = Range<usize>;

/// The widest line that is shown whole.
const WIDEST_LINE: usize = 120;

/// Everything wrong with one config, in the order of the file. Its text is made for people: one paragraph for each problem.
#[derive(Clone, Debug)]
pub struct Problems {
    file: String,
    text: String,
    list: Vec<Problem>,
}

/// One thing wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Option<Span>,
    absence: bool,
    message: String,
    remedy: String,
}

impl Problem {
    /// What is wrong, in lower case.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl Problems {
    /// A config that could not be read at all.
    pub(super) fn of_file(file: &str, message: String, remedy: &str) -> Self {
        let problem = Problem {
            place: None,
            absence: false,
            message,
            remedy: remedy.to_owned(),
        };
        Self {
            file: file.to_owned(),
            text: String::new(),
            list: vec![problem],
        }
    }

    /// The problems, in the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// The line of each problem, counted from 1; `None` when the file itself could not be read.
    pub fn lines(&self) -> impl Iterator<Item = Option<usize>> {
        self.list.iter().map(|problem| {
            problem
                .place
                .as_ref()
                .map(|place| Located::new(&self.text, place).line_number)
        })
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = visible::text(&self.file);
        for problem in &self.list {
            let message = visible::text(&problem.message);
            match &problem.place {
                Some(place) => {
                    let located = Located::new(&self.text, place);
                    let gutter = located.line_number.to_string();
                    let blank = " ".repeat(gutter.len());
                    let (line, underline) = located.picture();
                    writeln!(
                        out,
                        "{file}:{}:{}: {message}",
                        located.line_number, located.column
                    )?;
                    writeln!(out, "{gutter} | {line}")?;
                    writeln!(out, "{blank} | {underline}")?;
                    write_remedy(out, &blank, &problem.remedy)?;
                }
                None => {
                    writeln!(out, "{file}: {message}")?;
                    write_remedy(out, "", &problem.remedy)?;
                }
            }
            writeln!(out)?;
        }
        match self.list.len() {
            1 => write!(out, "1 problem in {file}"),
            many => write!(out, "{many} problems in {file}"),
        }
    }
}

fn write_remedy(out: &mut fmt::Formatter<'_>, blank: &str, remedy: &str) -> fmt::Result {
    for (index, line) in visible::lines(remedy).lines().enumerate() {
        writeln!(out, "{blank} {} {line}", if index == 0 { '=' } else { ' ' })?;
    }
    Ok(())
}

/// Gathers problems and warnings while a config is read.
pub(super) struct Report {
    file: String,
    text: String,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<(Option<Span>, String)>>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Something wrong at `place`.
    pub(super) fn problem(
        &self,
        place: &Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Problem {
            place: Some(place.clone()),
            absence: false,
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Something that is not there and has to be; `place` is where it belongs.
    pub(super) fn absence(
        &self,
        place: &Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(Problem {
            place: Some(place.clone()),
            absence: true,
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    /// Something allowed that is worth a word.
    pub(super) fn warn(&self, place: Option<&Span>, message: impl Into<String>) {
        self.warnings
            .borrow_mut()
            .push((place.cloned(), message.into()));
    }

    /// The end of the text: the place of what is missing from the file as a whole.
    pub(super) fn end(&self) -> Span {
        let last_line = self
            .text
            .trim_end()
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        last_line..last_line
    }

    /// No problems so far?
    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Takes the syntax errors in. What is missing, and what is wrong on the same line, is then most likely their
    /// consequence and is left out.
    pub(super) fn syntax(&self, errors: Vec<Problem>) {
        if errors.is_empty() {
            return;
        }
        let line_of = |problem: &Problem| {
            problem
                .place
                .as_ref()
                .map(|place| Located::new(&self.text, place).line_number)
        };
        let broken: Vec<_> = errors.iter().map(line_of).collect();
        let mut problems = self.problems.borrow_mut();
        problems.retain(|problem| !problem.absence && !broken.contains(&line_of(problem)));
        let mut seen = Vec::new();
        for error in errors {
            let line = line_of(&error);
            // One broken line can make the parser stumble several times.
            if !seen.contains(&line) {
                seen.push(line);
                problems.push(error);
            }
        }
    }

    /// All problems.
    pub(super) fn into_problems(self) -> Problems {
        let mut list = self.problems.into_inner();
        list.sort_by_key(|problem| problem.place.as_ref().map_or(0, |place| place.start));
        Problems {
            file: self.file,
            text: self.text,
            list,
        }
    }

    /// All warnings, each with its place, in the order of the file.
    pub(super) fn into_warnings(self) -> Vec<String> {
        let mut list = self.warnings.into_inner();
        list.sort_by_key(|(place, _)| place.as_ref().map_or(usize::MAX, |place| place.start));
        list.into_iter()
            .map(|(place, message)| match place {
                Some(place) => {
                    let located = Located::new(&self.text, &place);
                    format!(
                        "{}:{}:{}: {message}",
                        self.file, located.line_number, located.column
                    )
                }
                None => format!("{}: {message}", self.file),
            })
            .collect()
    }

    fn push(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }
}

/// A syntax error as a problem.
pub(super) fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message();
    let remedy = if message.contains("duplicate key") {
        "this name stands twice in its section: keep one. Several scanners, lanes or sources are written [[scanner]], [[lane]], [[source]]"
    } else if message.contains("must be quoted") {
        "put the value into double quotes: \"..\""
    } else if message.contains("string") {
        "close the text with the quote it began with, on the same line"
    } else if message.contains("unclosed table") {
        "close the section's name: [name], or [[name]] for one of several"
    } else {
        "write key = value, a line each, below a section's name in brackets"
    };
    let place = error.span().unwrap_or(text.len()..text.len());
    Problem {
        place: Some(place),
        absence: false,
        message: format!("not TOML: {message}"),
        remedy: remedy.to_owned(),
    }
}

/// A place in a text as people count it.
struct Located<'t> {
    /// From 1.
    line_number: usize,
    /// From 1, in characters.
    column: usize,
    line: &'t str,
    /// The text up to the line.
    before: &'t str,
    width: usize,
}

impl<'t> Located<'t> {
    fn new(text: &'t str, place: &Span) -> Self {
        let start = text.floor_char_boundary(place.start.min(text.len()));
        let end = text.floor_char_boundary(place.end.clamp(start, text.len()));
        let (before, after) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = after
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let line = text
            .get(line_start..line_end)
            .unwrap_or_default()
            .trim_end_matches('\r');
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let width = text
            .get(start..end.min(line_end))
            .unwrap_or_default()
            .chars()
            .count()
            .max(1);
        Self {
            line_number: before.matches('\n').count() + 1,
            column,
            line,
            before: text.get(..line_start).unwrap_or_default(),
            width,
        }
    }

    /// The line as it may be shown, and what underlines the place in it.
    fn picture(&self) -> (String, String) {
        let line = secrets::masked(self.before, self.line).replace('\t', " ");
        let mut shown = String::new();
        // Where each character of the line begins in what is shown.
        let mut begins = vec![0];
        let mut filter = Visible::on(&mut shown);
        for character in line.chars() {
            let _ = filter.write_char(character);
            begins.push(filter.written());
        }
        let place = |character: usize| {
            begins
                .get(character)
                .or(begins.last())
                .copied()
                .unwrap_or_default()
        };
        let column = place(self.column - 1);
        let all: Vec<char> = shown.chars().collect();
        let first = if all.len() <= WIDEST_LINE {
            0
        } else {
            column.saturating_sub(WIDEST_LINE / 2)
        };
        let end = place(self.column - 1 + self.width).min(first + WIDEST_LINE);
        let shown: String = all.iter().skip(first).take(WIDEST_LINE).collect();
        (
            shown,
            format!(
                "{}{}",
                " ".repeat(column - first),
                "^".repeat(end.saturating_sub(column).max(1))
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::single_range_in_vec_init,
        reason = "a test fails by panicking"
    )]

    use super::*;

    fn shown(text: &str, place: Span) -> String {
        let report = Report::new("bench.toml", text);
        report.problem(&place, "wrong", "mend it");
        report.into_problems().to_string()
    }

    #[test]
    fn a_problem_shows_its_place_line_caret_and_remedy() {
        let text = "[station]\nsite = \"AMS\"\n";
        assert_eq!(
            shown(text, 17..22),
            "bench.toml:2:8: wrong\n2 | site = \"AMS\"\n  |        ^^^^^\n  = mend it\n\n1 problem in bench.toml"
        );
    }

    #[test]
    fn columns_count_characters_and_tabs_stay_one_wide() {
        let text = "\tü = 1\r\n";
        let at = text.find('1').unwrap();
        assert_eq!(
            shown(text, at..at + 1),
            "bench.toml:1:6: wrong\n1 |  ü = 1\n  |      ^\n  = mend it\n\n1 problem in bench.toml"
        );
    }

    #[test]
    fn what_cannot_be_seen_in_a_line_is_shown_and_the_caret_stands_under_its_place() {
        let text = "na\u{200b}me = \"A\u{202e}\" # x";
        let at = text.find('"').unwrap();
        let page = shown(text, at..text.find(" #").unwrap());
        assert_eq!(
            page.lines().nth(1).unwrap(),
            "1 | na\\u{200b}me = \"A\\u{202e}\" # x"
        );
        assert_eq!(
            page.lines().nth(2).unwrap(),
            "  |                ^^^^^^^^^^^"
        );
        assert!(page.starts_with("bench.toml:1:9: wrong"), "{page}");
    }

    #[test]
    fn a_place_past_the_end_is_shown_at_the_end() {
        assert!(
            shown("a = 1", 900..901).starts_with("bench.toml:1:6: wrong\n1 | a = 1\n  |      ^\n")
        );
        assert!(shown("", 0..0).starts_with("bench.toml:1:1: wrong\n1 | \n  | ^\n"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a ".repeat(250), "b ".repeat(250));
        let page = shown(&text, 500..501);
        let mut lines = page.lines().skip(1);
        let (line, underline) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(line.chars().count(), WIDEST_LINE + 4);
        assert_eq!(line.find('X'), underline.find('^'));
    }

    #[test]
    fn a_secret_written_into_the_file_is_not_repeated() {
        for line in [
            "password = \"hunter2\"",
            "api_token='hunter2'",
            "url = \"mqtt://user:hunter2@broker:1883\"",
            "token_credental = \"hunter2\"",
        ] {
            let page = shown(line, 0..3);
            assert!(!page.contains("hunter2"), "{page}");
        }
        assert!(shown("token_credential = \"kandji-token\"", 0..3).contains("kandji-token"));
        assert!(shown("tokens = [\"a\"]", 0..3).contains("\"a\""));
    }
}
