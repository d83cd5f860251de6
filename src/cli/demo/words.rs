//! The words that a person types in the demo beside serial numbers.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use super::screens::{HELP, LIST, OUTAGE};
use crate::{
    runtime::stream::LOG,
    simulator::faults::{Effect, Faults},
};

/// For so long.
const OUTAGE_LASTS: Duration = Duration::from_secs(60);

/// Takes the words out of standard input; the station's scanner gets the rest. `services`: the switches of each service;
/// `list` and `help`: the answers to those words.
///
/// # Errors
/// The system gives no pipe or no thread.
pub(super) fn take_out(services: Vec<Faults>, list: String, help: String) -> io::Result<()> {
    let typed = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (rest, mut to_station) = io::pipe()?;
    rustix::stdio::dup2_stdin(rest)?;
    thread::Builder::new()
        .name("demo words".to_owned())
        .spawn(move || {
            let mut typed = BufReader::new(typed);
            let mut line = Vec::new();
            while typed
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                match line.trim_ascii().to_ascii_lowercase().as_slice() {
                    word if word == OUTAGE.as_bytes() => begin_outage(&services),
                    word if word == LIST.as_bytes() => LOG.push(list.as_bytes()),
                    word if word == HELP.as_bytes() => LOG.push(help.as_bytes()),
                    _ if to_station.write_all(&line).is_err() => return,
                    _ => {}
                }
                line.clear();
            }
        })?;
    Ok(())
}

/// The services reset every connection, until the time is over.
fn begin_outage(services: &[Faults]) {
    for faults in services {
        faults.all(Effect::Reset);
    }
    LOG.push(
        b"The services are dead for a minute. Boxes that the replica holds go on: their green says how old it is.\n",
    );
    let services = services.to_vec();
    let over = move || {
        thread::sleep(OUTAGE_LASTS);
        services.iter().for_each(Faults::clear);
        LOG.push(b"The services are back.\n");
    };
    // Without the thread they would stay dead; the system gives one where the demo runs at all.
    if thread::Builder::new().spawn(over).is_err() {
        LOG.push(b"The end of the outage cannot be timed: start the demo again.\n");
    }
}
