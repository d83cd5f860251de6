//! The log on standard error: with times for people, with priorities for systemd's journal.

use std::{fmt, io};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

/// Starts the log; `usual` holds where `RUST_LOG` says nothing. A second start, in tests, keeps the first.
pub(super) fn start(usual: &str) {
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref(), usual);
    // A log that cannot be written, because its terminal is gone, is no reason to panic: that is what telling of it would come to.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let _ = if to_journal() {
        log.with_ansi(false).event_format(for_journal()).try_init()
    } else {
        log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init()
    };
}

/// What is logged: what `wanted` says, if that can be understood, else the usual.
///
/// The MQTT client's warnings print whole requests, payload and all. What matters of them Benchlight says in its own words. Whoever
/// wants them names the client in `RUST_LOG`.
fn filter(wanted: Option<&str>, usual: &str) -> EnvFilter {
    // All crates of the client: a target is known by how it begins.
    const SILENCED: &str = "rumqttc=error";
    let with = |level: &str| EnvFilter::try_new(format!("{SILENCED},{level}"));
    wanted.filter(|wanted| !wanted.is_empty()).and_then(|wanted| with(wanted).ok()).or_else(|| with(usual).ok()).unwrap_or_default()
}

/// The words of an error as standard error wants them: systemd's journal keeps a line's priority by its first three characters.
pub(super) fn error(words: &str) -> String {
    let mark = if to_journal() { mark(Level::ERROR) } else { "" };
    words.lines().map(|line| format!("{mark}{line}\n")).collect()
}

/// Is standard error the journal itself? The variable alone is inherited by programs on a terminal, too.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// sd-daemon(3): the priority of a line.
const fn mark(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// A line with its priority, and without a time: the journal has its own.
struct ForJournal(Format<Full, ()>);

fn for_journal() -> ForJournal {
    ForJournal(Format::default().without_time())
}

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str(mark(*event.metadata().level()))?;
        self.0.format_event(context, out, event)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority_and_has_no_time_and_no_colour() {
        let written = Written::default();
        let sink = written.clone();
        let log = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || sink.clone()).with_ansi(false);
        tracing::subscriber::with_default(log.event_format(for_journal()).finish(), || {
            tracing::error!("one");
            tracing::warn!(alarm = "two", "alarm");
            tracing::info!("three");
            tracing::debug!("four");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for (line, begin) in lines.iter().zip(["<3>ERROR ", "<4> WARN ", "<6> INFO ", "<7>DEBUG "]) {
            assert!(line.starts_with(begin), "{line}");
        }
        assert!(lines.iter().any(|line| line.ends_with("alarm alarm=\"two\"")), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_mqtt_clients_warnings_are_silent_unless_somebody_names_it() {
        let has = |filter: &EnvFilter, directive: &str| filter.to_string().split(',').any(|one| one == directive);
        for wanted in [None, Some("debug"), Some("not=a=filter"), Some("")] {
            let filter = filter(wanted, "info");
            assert!(has(&filter, "rumqttc=error"), "{wanted:?}: {filter}");
        }
        assert!(has(&filter(Some("debug"), "info"), "debug"));
        assert!(has(&filter(Some("not=a=filter"), "info"), "info"));
        let named = filter(Some("info,rumqttc=trace"), "info");
        assert!(has(&named, "rumqttc=trace") && !has(&named, "rumqttc=error"), "{named}");
    }
}
