//! Standard input: a line is a scan, and the end of the file is the end of the scanner.

use std::io::{self, Read};

use tokio::sync::mpsc;

use super::{Reporter, ScanSender, ScannerState, framing::Framer};

/// Reads `input` to its end. Returns when the station has taken every scan or has ended itself.
pub(super) async fn run(
    name: &str,
    input: impl Read + Send + 'static,
    scan_sender: &ScanSender,
    reporter: &Reporter,
) {
    // Its own thread, not tokio's blocking pool: a read from a terminal cannot be interrupted, and the pool would wait for it
    // when the process ends.
    let (sender, mut chunks) = mpsc::channel(1);
    if let Err(error) = std::thread::Builder::new()
        .name(format!("scanner-{name}"))
        .spawn(move || read_chunks(input, &sender))
    {
        reporter.report(ScannerState::Fault(format!(
            "cannot start a thread to read standard input: {error}"
        )));
        return;
    }
    reporter.report(ScannerState::Ok);
    let mut framer = Framer::default();
    // Waiting is normal, for somebody to type and for a busy station: `through` keeps the pulse alive meanwhile.
    while let Some(chunk) = reporter.pulse.through(chunks.recv()).await {
        let scans = match chunk {
            Ok(bytes) => framer.push(&bytes),
            Err(error) => {
                if framer.pending() {
                    framer.spoil("standard input broke off in the middle of a line");
                    if let Some(scan) = framer.end() {
                        reporter.pulse.through(scan_sender.send_waiting(scan)).await;
                    }
                }
                reporter.report(ScannerState::Fault(format!(
                    "cannot read standard input: {error}"
                )));
                return;
            }
        };
        for scan in scans {
            if !reporter.pulse.through(scan_sender.send_waiting(scan)).await {
                return;
            }
        }
    }
    if let Some(scan) = framer.end()
        && !reporter.pulse.through(scan_sender.send_waiting(scan)).await
    {
        return;
    }
    reporter.report(ScannerState::Ended);
}

/// Passes the input on one chunk at a time, so that the writer of a pipe has to wait while the station is busy.
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
