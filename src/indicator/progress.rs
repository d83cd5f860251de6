//! How far something has come, beside the lamps on the terminal's last line. Nothing where there is no terminal.

use super::terminal;

/// What is shown. Dropped, it is gone.
#[derive(Debug, Default)]
pub struct Progress(Vec<String>);

impl Progress {
    /// Shows these words, as many as fit, and no others. What the terminal does not take is tried again with the next.
    pub fn show(&mut self, notes: Vec<String>) {
        if self.0 != notes && terminal::note(&notes) {
            self.0 = notes;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show(Vec::new());
    }
}
