//! `run`: the agent, until it is asked to stop.

use tracing::info;

use super::{OK, signals::asked_to_end};
use crate::{app, config::Config, indicator};

/// Runs the station until a signal asks for its end, or its input ends.
///
/// # Errors
/// See [`app::run`].
pub(super) async fn run(config: Config) -> anyhow::Result<u8> {
    indicator::held::darken_on_panic();
    let asked = asked_to_end()?;
    let ended = app::run(config, async move { info!(signal = asked.await, "asked to stop") }).await?;
    if ended == app::Ended::EndOfInput {
        info!("all input is answered");
    }
    Ok(OK)
}
