//! `check`: the config, all problems at once.

use std::{
    io::{self, Write},
    path::Path,
};

use super::OK;
use crate::{
    config::{self, Config},
    runtime::visible,
};

/// Checks the config and says what it amounts to. Problems are an error.
pub(super) fn check(path: &Path) -> anyhow::Result<u8> {
    let config = config::load(path)?;
    let mut words = io::stderr().lock();
    for warning in &config.warnings {
        writeln!(words, "{} (allowed)", visible::text(warning))?;
    }
    writeln!(
        io::stdout().lock(),
        "{}: good: {}",
        path.display(),
        summary(&config)
    )?;
    Ok(OK)
}

fn summary(config: &Config) -> String {
    let count = |number: usize, thing: &str| {
        format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
    };
    let sources: Vec<&str> = config
        .sources
        .iter()
        .map(|source| source.kind().code())
        .collect();
    format!(
        "station {}/{}, {}, {}, asks {}, policy {}",
        config.site,
        config.station,
        count(config.scanners.len(), "scanner"),
        count(config.lanes.len(), "lane"),
        sources.join(" and "),
        config.policy.hash
    )
}
