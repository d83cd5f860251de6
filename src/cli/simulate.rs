//! `simulate`: a service on loopback, with the part of a config that asks it.

use std::io::{self, Write};

use anyhow::Context;

use super::{OK, arguments::Simulate, signals::asked_to_end};
use crate::{
    readiness,
    runtime::file,
    simulator::{Introduction, Order, fleet},
};

/// The generated boxes that are named.
const NAMED: u32 = 5;

/// Serves until a signal asks for the end.
pub(super) async fn simulate(order: Simulate) -> anyhow::Result<u8> {
    // Before anything is said: who reads the address may stop it at once.
    let ended = asked_to_end()?;
    let wanted = Order {
        listen: order.listen,
        boxes: order.boxes,
        limits: order.limits,
    };
    let introduction = readiness::simulate(order.kind, wanted)
        .await
        .context("cannot start the simulator")?;
    introduce(&order, &introduction)?;
    ended.await;
    Ok(OK)
}

/// Prints what a station needs to ask the simulator. All of it is TOML: it can be appended to a config.
fn introduce(order: &Simulate, introduction: &Introduction) -> anyhow::Result<()> {
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
            file::write_private(&path, secret)
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
    if !introduction.lists.is_empty() {
        writeln!(out, "# it lists everything, page by page:")?;
    }
    for call in introduction.lists {
        writeln!(out, "#   {call}")?;
    }
    if order.boxes > 0 {
        writeln!(out, "# {} generated boxes, such as:", order.boxes)?;
    }
    for number in 0..order.boxes.min(NAMED) {
        let (serial, story) = (fleet::serial(number), fleet::story(number));
        writeln!(
            out,
            "#   {serial:<14} {:<20} {}",
            story.expected, story.story
        )?;
    }
    if !order.kind.is_mdm() {
        writeln!(
            out,
            "# the reasons below are those of a station that asks Kandji and both of Apple's services"
        )?;
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
