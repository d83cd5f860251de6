//! The log on standard error: with times for people, with priorities for systemd's journal. Nobody waits for it.
//!
//! What a line says may come from outside: it passes through [`visible`], on the way of an error and of a panic, too.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::{self, Write as _},
    io, panic, thread,
    time::Duration,
};

use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::{
    field::MakeExt as _,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer, debug_fn},
        layer,
    },
    layer::SubscriberExt as _,
    registry,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::runtime::{
    stream::LOG,
    visible::{self, Visible},
};

/// At the end of the process: for what is still queued to be written.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Starts the log; `usual` holds where `RUST_LOG` says nothing. A second start, in tests, keeps the first.
pub(super) fn start(usual: &str) {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref(), usual);
    // What a faulty format has to say would go to standard error past the queue.
    let log = layer()
        .with_writer(|| &LOG)
        .log_internal_errors(false)
        .fmt_fields(fields());
    let _ = if to_journal() {
        let log = log.with_ansi(false).event_format(for_journal());
        registry().with(log).with(filter).try_init()
    } else {
        let log = log.with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
        registry().with(log).with(filter).try_init()
    };
}

/// The words and fields of a line, as [`visible`] shows them.
fn fields() -> impl for<'w> FormatFields<'w> + 'static {
    debug_fn(
        |out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
            let name = field.name();
            if name != "message" {
                let (name_style, sign_style, plain) = if out.has_ansi_escapes() {
                    ("\x1b[3m", "\x1b[0m\x1b[2m", "\x1b[0m")
                } else {
                    ("", "", "")
                };
                write!(out, "{name_style}{name}{sign_style}={plain}")?;
            }
            write!(Visible::on(out), "{value:?}")
        },
    )
    .delimited(" ")
}

/// Starts the thread that writes the log. From now on a panic is logged as an error. Its words may hold a text from outside: one that was cut at
/// a wrong place is quoted whole. The thread that panics does not write them itself: where nobody reads, the process would hang in its end.
pub(super) fn tell_panics() {
    // Where the system gives no thread for it there is no agent either.
    let _ = LOG.start(io::stderr());
    panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let mut words = format!(
            "benchlight: thread {} {info}",
            thread.name().unwrap_or("without a name")
        );
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            words.push_str(&format!("\n{backtrace}"));
        }
        error(&words);
        end();
    }));
}

/// What is logged: what `wanted` says, if that can be understood, else the usual.
///
/// The MQTT client's warnings print whole requests, payload and all, and the demo's broker warns of everybody who leaves. What matters
/// of them Benchlight says in its own words. Whoever wants them names the crate in `RUST_LOG`.
fn filter(wanted: Option<&str>, usual: &str) -> Targets {
    // All crates of both: a target is known by how it begins.
    const SILENCED: &str = "rumqttc=error,mqtt5=error";
    // An empty part, as behind a comma at the end, would turn everything off but errors.
    let with = |level: &str| {
        let parts = level.split(',').filter(|part| !part.is_empty());
        let parts: Vec<_> = SILENCED.split(',').chain(parts).collect();
        parts.join(",").parse::<Targets>()
    };
    wanted
        .filter(|wanted| !wanted.is_empty())
        .and_then(|wanted| with(wanted).ok())
        .or_else(|| with(usual).ok())
        .unwrap_or_default()
}

/// Says an error.
pub(super) fn error(words: &str) {
    LOG.push(in_lines(words).as_bytes());
}

/// The words of an error as standard error wants them: systemd's journal keeps a line's priority by its first three characters.
fn in_lines(words: &str) -> String {
    let mark = if to_journal() { mark(Level::ERROR) } else { "" };
    words
        .lines()
        .map(|line| format!("{mark}{}\n", visible::text(line)))
        .collect()
}

/// Waits a moment for who reads what was said last.
pub(super) fn end() {
    LOG.finish(LAST_WORDS);
}

/// Is standard error the journal itself? The variable alone is inherited by programs on a terminal, too.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
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
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        out.write_str(mark(*event.metadata().level()))?;
        self.0.format_event(context, out, event)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        env,
        io::{Write, pipe},
        process::{self, Child, Command, Stdio},
        sync::{Arc, Mutex},
        time::Instant,
    };

    use rustix::fs::{OFlags, fcntl_setfl};

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
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || sink.clone())
            .with_ansi(false);
        tracing::subscriber::with_default(log.event_format(for_journal()).finish(), || {
            tracing::error!("one");
            tracing::warn!(alarm = "two", "alarm");
            tracing::info!("three");
            tracing::debug!("four");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        for (line, begin) in lines
            .iter()
            .zip(["<3>ERROR ", "<4> WARN ", "<6> INFO ", "<7>DEBUG "])
        {
            assert!(line.starts_with(begin), "{line}");
        }
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with("alarm alarm=\"two\"")),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_line_of_the_log_shows_a_text_from_outside_and_does_not_obey_it() {
        const HOSTILE: &str = "HQ\n\x1b[31m\u{202e}\u{200b}\u{e0041}\u{fe0f}Lager Köln";
        let written = Written::default();
        let sink = written.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || sink.clone())
            .with_ansi(false)
            .without_time()
            .fmt_fields(fields());
        let broken = io::Error::other(HOSTILE);
        tracing::subscriber::with_default(log.finish(), || {
            tracing::info!(shown = %HOSTILE, quoted = HOSTILE, error = &broken as &dyn std::error::Error, "{HOSTILE}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let seen = "HQ␊␛[31m\\u{202e}\\u{200b}\\u{e0041}\\u{fe0f}Lager Köln";
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(
            text.contains(&format!("{seen} shown={seen} quoted="))
                && text.contains(&format!("error={seen}")),
            "{text}"
        );
        assert!(
            !text.contains(['\x1b', '\u{202e}', '\u{200b}', '\u{e0041}', '\u{fe0f}']),
            "{text:?}"
        );
        assert_eq!(
            in_lines(HOSTILE),
            "HQ\n␛[31m\\u{202e}\\u{200b}\\u{e0041}\\u{fe0f}Lager Köln\n"
        );
    }

    const CHILD: &str = "BENCHLIGHT_TEST_PANICS";

    /// The process that panics.
    fn panics(log: impl Into<Stdio>) -> Child {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([
            "--exact",
            "cli::log::tests::the_process_that_panics",
            "--ignored",
            "--nocapture",
        ]);
        command
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    #[test]
    fn a_panic_shows_a_text_from_outside_and_does_not_obey_it() {
        let child = panics(Stdio::piped()).wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&child.stderr);
        assert!(
            told.contains("panicked at src/cli/log.rs") && told.contains("benchlight: thread"),
            "{told}"
        );
        assert!(told.contains("HQ␛[31m\\u{202e}"), "{told:?}");
    }

    #[test]
    fn a_panic_does_not_wait_for_who_does_not_read_it() {
        let (unread, full) = pipe().unwrap();
        fcntl_setfl(&full, OFlags::NONBLOCK).unwrap();
        while (&full).write(&[b'x'; 1024]).is_ok() {}
        fcntl_setfl(&full, OFlags::empty()).unwrap();
        let (mut child, began) = (panics(full), Instant::now());
        while child.try_wait().unwrap().is_none() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "it hangs in its last words"
            );
            thread::sleep(Duration::from_millis(10));
        }
        drop(unread);
    }

    #[test]
    #[ignore = "started by the tests of a panic, in a process of its own"]
    #[expect(clippy::panic, reason = "that is what it is for")]
    fn the_process_that_panics() {
        if env::var_os(CHILD).is_some() {
            tell_panics();
            let _ = thread::spawn(|| panic!("HQ\x1b[31m\u{202e}")).join();
            // As where panics abort: nobody says more.
            process::exit(0);
        }
    }

    #[test]
    fn the_mqtt_clients_warnings_are_silent_unless_somebody_names_it() {
        let has = |filter: &Targets, directive: &str| {
            filter.to_string().split(',').any(|one| one == directive)
        };
        for wanted in [None, Some("debug"), Some("not=a=filter"), Some("")] {
            let filter = filter(wanted, "info");
            assert!(has(&filter, "rumqttc=error"), "{wanted:?}: {filter}");
        }
        assert!(has(&filter(Some("debug"), "info"), "debug"));
        assert!(has(&filter(Some("warn,,a=trace,"), "info"), "warn"));
        assert!(has(&filter(Some("not=a=filter"), "info"), "info"));
        let named = filter(Some("info,rumqttc=trace"), "info");
        assert!(
            has(&named, "rumqttc=trace") && !has(&named, "rumqttc=error"),
            "{named}"
        );
    }
}
