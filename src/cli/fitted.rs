//! Texts that fit a terminal: a line that is too wide goes on between two words, below the beginning of its last column.

use std::io::{IsTerminal as _, stdout};

use rustix::termios::tcgetwinsize;

/// A terminal that does not say how wide it is.
const USUAL_WIDTH: usize = 80;

/// The columns of standard output; `None`: a program reads, and every line stays whole.
pub(super) fn columns() -> Option<usize> {
    let size = tcgetwinsize(stdout()).map_or(0, |size| size.ws_col.into());
    let columns = if size == 0 { USUAL_WIDTH } else { size };
    stdout().is_terminal().then_some(columns)
}

/// The lines of `text` in so many columns.
pub(super) fn fitted(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    text.lines().map(|line| broken(line, columns)).collect()
}

fn broken(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return format!("{line}\n");
    }
    let first_half: String = line.chars().take(columns / 2).collect();
    let begins = first_half.rfind("  ").map_or(0, |gap| gap + 2);
    let (head, rest) = line.split_at_checked(begins).unwrap_or(("", line));
    let indent = " ".repeat(head.chars().count());
    let below = wrapped(rest, &indent, columns);
    format!("{head}{}", below.strip_prefix(&indent).unwrap_or(&below))
}

/// Lines of at most `columns` characters, each behind `indent`; a longer word has a line of its own.
pub(super) fn wrapped(text: &str, indent: &str, columns: usize) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty()
            && indent.len() + line.chars().count() + 1 + word.chars().count() > columns
        {
            out.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + indent + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_line_goes_on_below_its_last_column_and_a_program_gets_it_whole() {
        let text = "ok      disk                 48 GiB free at the state folder; the journal may grow\nshort\n\n\
                    2026-11-29 20:36:18 UTC  scanned on lane main by page, by a clock\n\
                    C02XK0AAJG5H (MacBook Air 13\" (M4, 2025)): wait (assignment_pending) and more\n";
        assert_eq!(
            fitted(text, Some(60)),
            "ok      disk                 48 GiB free at the state\n                             folder; the journal may grow\n\
             short\n\n\
             2026-11-29 20:36:18 UTC  scanned on lane main by page, by a\n                         clock\n\
             C02XK0AAJG5H (MacBook Air 13\" (M4, 2025)): wait\n(assignment_pending) and more\n"
        );
        assert_eq!(fitted(text, None), text);
        // Nothing is lost, however narrow it is and whatever the letters are.
        let letters = |text: &str| text.replace([' ', '\n'], "");
        for columns in 0..70 {
            for text in [text, "  ä ö  üüü  €€€€ 𝕏𝕏𝕏𝕏  x\n"] {
                assert_eq!(letters(&fitted(text, Some(columns))), letters(text));
            }
        }
    }
}
