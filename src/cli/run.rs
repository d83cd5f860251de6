//! `run`: the agent, until it is asked to stop.

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::OK;
use crate::{app, config::Config, indicator};

/// Runs the station until SIGTERM, SIGINT or the end of its input.
///
/// # Errors
/// See [`app::run`].
pub(super) async fn run(config: Config) -> anyhow::Result<u8> {
    indicator::held::darken_on_panic();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked_to_stop = async move {
        tokio::select! {
            _ = terminate.recv() => info!("asked to stop"),
            _ = interrupt.recv() => info!("interrupted"),
        }
    };
    let ended = app::run(config, asked_to_stop).await?;
    if ended == app::Ended::EndOfInput {
        info!("all input is answered");
    }
    Ok(OK)
}
