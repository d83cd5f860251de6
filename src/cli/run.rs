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
    let asked_to_stop = async move {
        // Not within the macro: where the line is not logged, its fields are not looked at either.
        let signal = asked.await;
        info!(signal, "asked to stop");
    };
    let ended = app::run(config, asked_to_stop).await?;
    if ended == app::Ended::EndOfInput {
        info!("all input is answered");
    }
    Ok(OK)
}
