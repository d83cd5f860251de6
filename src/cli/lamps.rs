//! `lamps`: the lamps alone, beside no running agent (`test`) or beside a dead one (`off`).

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{CONFIG, FAILED, OK, arguments::Lamps, runtime, signals::asked_to_end};
use crate::{
    config::{self, Readable},
    indicator::{self, LampState, Settings},
    journal::survey,
};

/// How long `test` lights the lamps.
const TEST: Duration = Duration::from_secs(2);

/// Does what `command` asks with every lane's lamps. Only the lamps' part of the config counts: a missing credential must
/// not keep a lamp lit.
pub(super) fn lamps(path: &Path, command: &Lamps) -> anyhow::Result<u8> {
    let config = config::load_readable(path, false)?;
    match command {
        Lamps::Off => off(&config),
        Lamps::Test => test(&config),
    }
}

/// Darkens what can be darkened, and complains afterwards.
fn off(config: &Readable) -> anyhow::Result<u8> {
    let mut code = OK;
    for (_, settings) in &config.lamps {
        if let Err(state) = indicator::darken(settings) {
            complain(&state)?;
            code = FAILED;
        }
    }
    match &config.problems {
        Some(problems) => {
            writeln!(io::stderr().lock(), "{problems}")?;
            Ok(CONFIG)
        }
        None => Ok(code),
    }
}

fn test(config: &Readable) -> anyhow::Result<u8> {
    if let Some(problems) = &config.problems {
        return Err(problems.clone().into());
    }
    match config
        .state_dir
        .as_deref()
        .map_or(Ok(false), survey::in_use)
    {
        Ok(false) => {}
        Ok(true) => anyhow::bail!("the lamps are in use by benchlight; stop the agent first"),
        Err(error) => anyhow::bail!(
            "cannot tell whether a running agent holds the lamps ({error}); run this as root or as the agent's user"
        ),
    }
    let fitted: Vec<Settings> = config
        .lamps
        .iter()
        .map(|(_, settings)| settings.clone())
        .filter(|settings| *settings != Settings::None)
        .collect();
    if fitted.is_empty() {
        anyhow::bail!(
            "no lamps are configured: write an [indicator] of kind \"gpio\" or \"terminal\""
        );
    }
    runtime()?.block_on(async {
        let mut asked = std::pin::pin!(asked_to_end()?);
        let mut tests = JoinSet::new();
        for settings in fitted {
            tests.spawn(async move { indicator::test(&settings, TEST).await });
        }
        let mut code = OK;
        loop {
            // Interrupted, the tests are dropped: that darkens their lamps.
            let ended = tokio::select! {
                ended = tests.join_next() => ended,
                _ = &mut asked => break code = FAILED,
            };
            match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(state))) => {
                    complain(&state)?;
                    code = FAILED;
                }
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        tests.shutdown().await;
        Ok(code)
    })
}

fn complain(state: &LampState) -> io::Result<()> {
    writeln!(
        io::stderr().lock(),
        "benchlight: lamps: {}",
        state.problem().unwrap_or_else(|| state.code())
    )
}
