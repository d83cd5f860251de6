//! The signals that ask a command to end.

use std::{fs, io};

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first signal that asks for the end, with its name. The signals are caught from this call on.
///
/// SIGHUP is one of them, for a session that breaks off must leave no lamp lit; but not for who was told to survive that (`nohup`).
pub(super) fn asked_to_end() -> io::Result<impl Future<Output = &'static str>> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut quit = signal(SignalKind::quit())?;
    let mut hang_up = if is_ignored(SignalKind::hangup()) {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    Ok(async move {
        let hung_up = async {
            match &mut hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = quit.recv() => "SIGQUIT",
            _ = hung_up => "SIGHUP",
        }
    })
}

/// Was this process started with that signal ignored?
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}
