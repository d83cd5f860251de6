//! `simulate`: a service on loopback, with the part of a config that asks it.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;

use super::{
    OK,
    arguments::{Simulate, Simulator},
    signals::asked_to_end,
};
use crate::simulator::{Running, apple_business, apple_dep, kandji, stock};

/// The token that the simulated Kandji accepts.
const KANDJI_TOKEN: &str = "simulated-token";

/// What to tell about a simulator once it listens.
struct Introduction<'a> {
    running: &'a Running,
    /// The `[[source]]` for it; every line is TOML.
    source: String,
    /// The credential's name and content.
    credential: (&'static str, String),
    /// Boxes to scan: serial number, reason, words.
    boxes: Vec<(&'static str, &'static str, &'static str)>,
}

/// Serves until a signal asks for the end.
pub(super) async fn simulate(service: Simulate) -> anyhow::Result<u8> {
    // Before anything is said: who reads the address may stop it at once.
    let ended = asked_to_end()?;
    match service {
        Simulate::Kandji(order) => kandji(order, ended).await?,
        Simulate::AppleDep(order) => apple_dep(order, ended).await?,
        Simulate::AppleBusiness(order) => apple_business(order, ended).await?,
    }
    Ok(OK)
}

async fn kandji(order: Simulator, ended: impl Future<Output = &'static str>) -> anyhow::Result<()> {
    let demo = kandji::demo::demo_stock();
    let options = kandji::Options {
        listen: order.listen,
        switches: demo.switches,
        ..kandji::Options::new(KANDJI_TOKEN, demo.stock)
    };
    let tenant = kandji::serve(options)
        .await
        .context("cannot start the simulator")?;
    let source = format!(
        "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = {:?}\n# and in [verdict]: expected_blueprints = {:?}",
        tenant.base(),
        demo.tokens,
        demo.expected_blueprints,
    );
    let boxes = demo
        .samples
        .iter()
        .map(|sample| (sample.serial, sample.reason, sample.words))
        .collect();
    introduce(
        &order,
        &Introduction {
            running: &tenant,
            source,
            credential: ("kandji-token", KANDJI_TOKEN.to_owned()),
            boxes,
        },
    )?;
    ended.await;
    Ok(())
}

async fn apple_dep(
    order: Simulator,
    ended: impl Future<Output = &'static str>,
) -> anyhow::Result<()> {
    let options = apple_dep::Options {
        listen: order.listen,
        ..apple_dep::Options::demo()
    };
    let simulator = apple_dep::serve(options)
        .await
        .context("cannot start the simulator")?;
    let source = format!(
        "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\ntoken_credential = \"apple-dep-token\"",
        simulator.base()
    );
    introduce(
        &order,
        &Introduction {
            running: &simulator,
            source,
            credential: ("apple-dep-token", simulator.credential()),
            boxes: common_boxes(),
        },
    )?;
    ended.await;
    Ok(())
}

async fn apple_business(
    order: Simulator,
    ended: impl Future<Output = &'static str>,
) -> anyhow::Result<()> {
    let options = apple_business::Options {
        listen: order.listen,
        ..apple_business::Options::demo()
    };
    let simulator = apple_business::serve(options)
        .await
        .context("cannot start the simulator")?;
    let source = format!(
        "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\nkey_credential = \"apple-business-key\"\nexpected_servers = [\"{}\"]",
        simulator.api(),
        simulator.token_url(),
        apple_business::CLIENT_ID,
        apple_business::KEY_ID,
        stock::SERVER_UUID,
    );
    introduce(
        &order,
        &Introduction {
            running: &simulator,
            source,
            credential: ("apple-business-key", simulator.credential()),
            boxes: common_boxes(),
        },
    )?;
    ended.await;
    Ok(())
}

/// The boxes that all three simulators know; the reason is that of a station that asks all three.
fn common_boxes() -> Vec<(&'static str, &'static str, &'static str)> {
    stock::DEMO
        .iter()
        .map(|demo| (demo.serial, demo.expected, demo.story))
        .collect()
}

/// Prints what a station needs to ask the simulator. All of it is TOML: it can be appended to a config.
fn introduce(order: &Simulator, introduction: &Introduction<'_>) -> anyhow::Result<()> {
    let (name, secret) = &introduction.credential;
    introduction.running.faults().replace(order.faults.clone());
    let address = introduction.running.address();
    let mut out = Vec::new();
    writeln!(
        out,
        "# listening on {address}; switch faults, also while it runs:\n#   curl -X PUT http://{address}/_simulator/faults -d '[\"delay:300ms\", \"DEMOREADY001=500*2\"]'"
    )?;
    writeln!(out, "{}", introduction.source)?;
    match &order.credentials {
        Some(folder) => {
            let path = folder.join(name);
            write_private(&path, secret)
                .with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(out, "# its credential is in {}", path.display())?;
        }
        None => {
            writeln!(out, "# its credential {name:?} (mode 0600):")?;
            for line in secret.lines() {
                writeln!(out, "#   {line}")?;
            }
        }
    }
    writeln!(out, "# boxes to scan:")?;
    for (serial, reason, words) in &introduction.boxes {
        writeln!(out, "#   {serial:<14} {reason:<20} {words}")?;
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()?;
    Ok(())
}

/// A secret that nobody else may read, not even for a moment.
fn write_private(path: &Path, secret: &str) -> io::Result<()> {
    // A file that is there may be readable by others: a new one is made.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(secret.as_bytes())
}
