//! Standard input: a line is a scan, and the end of the file is the end of the scanner.

use std::io::{self, Read};

use tokio::sync::mpsc;

use super::{Outlet, State, Teller, framing::Framer};

/// Reads `input` to its end. Returns when it has ended and every scan has been taken, or when the station has ended.
pub(super) async fn run(
    name: &str,
    input: impl Read + Send + 'static,
    outlet: &Outlet,
    teller: &Teller,
) {
    // A thread of its own, not tokio's blocking pool: a terminal's read cannot be interrupted, and the pool would hold the
    // process back at its end. This thread ends with the process.
    let (sender, mut chunks) = mpsc::channel(1);
    if let Err(error) = std::thread::Builder::new()
        .name(format!("scanner-{name}"))
        .spawn(move || read_chunks(input, &sender))
    {
        teller.tell(State::Fault(format!(
            "cannot start a thread to read standard input: {error}"
        )));
        return;
    }
    teller.tell(State::Ok);
    let mut framer = Framer::default();
    // Nobody need type, and a busy station holds a pipe back.
    while let Some(chunk) = teller.pulse.through(chunks.recv()).await {
        let scans = match chunk {
            Ok(bytes) => framer.push(&bytes),
            Err(error) => {
                if framer.pending() {
                    framer.spoil("standard input broke off in the middle of a line");
                    if let Some(scan) = framer.end() {
                        teller.pulse.through(outlet.send_waiting(scan)).await;
                    }
                }
                teller.tell(State::Fault(format!("cannot read standard input: {error}")));
                return;
            }
        };
        for scan in scans {
            if !teller.pulse.through(outlet.send_waiting(scan)).await {
                return;
            }
        }
    }
    if let Some(scan) = framer.end()
        && !teller.pulse.through(outlet.send_waiting(scan)).await
    {
        return;
    }
    teller.tell(State::Ended);
}

/// Passes on what comes, one chunk at a time, so that a pipe is held back while the station is busy.
fn read_chunks(mut input: impl Read, chunks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; 4_096];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => Ok(buffer.get(..length).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}
