//! `journal export`: one row for each scan, change and unfinished scan, as CSV or as JSON lines.

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a line of names.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}
