//! The words that a person types in the demo beside serial numbers.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::screens::{HELP, LIST, OUTAGE};
use crate::{
    runtime::stream::LOG,
    simulator::faults::{Effect, Faults},
};

/// An outage lasts so long.
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
                    word if word == OUTAGE.as_bytes() => {
                        begin_outage(&services, OUTAGE_LASTS);
                    }
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

/// Outages that were begun. One that begins during another ends when its own time is over.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// The services reset every connection, until the time is over. The faults that single boxes are there to show stay.
fn begin_outage(services: &[Faults], lasts: Duration) {
    let nth = BEGUN.fetch_add(1, Ordering::Relaxed) + 1;
    for faults in services {
        faults.all(Effect::Reset);
    }
    LOG.push(
        b"The services are dead for a minute. If each has a local copy of its list (a\n\
          replica), boxes that are ready in all of them stay green; the rest is unknown.\n",
    );
    let services = services.to_vec();
    let over = move || {
        thread::sleep(lasts);
        if BEGUN.load(Ordering::Relaxed) > nth {
            return;
        }
        services.iter().for_each(Faults::clear);
        LOG.push(b"The services are back.\n");
    };
    // Without the thread they would stay dead; the system gives one where the demo runs at all.
    if thread::Builder::new().spawn(over).is_err() {
        LOG.push(b"The end of the outage cannot be timed: start the demo again.\n");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        io::Read,
        net::{Ipv4Addr, SocketAddr, TcpStream},
        time::Instant,
    };

    use super::*;
    use crate::{
        readiness::{evidence::SourceKind, simulate},
        simulator::Order,
    };

    /// The status of Kandji's reply about a box; `None`: there is no reply.
    fn status(service: SocketAddr, token: &str, serial: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(service).ok()?;
        let asked = format!("/api/v1/integrations/apple/ade/devices?serial_number={serial}");
        let head = format!(
            "GET {asked} HTTP/1.1\r\nHost: {service}\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        reply.split(' ').nth(1)?.parse().ok()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_an_outage_the_boxes_that_show_faults_show_them_again() {
        let order = Order {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            boxes: 0,
            limits: false,
        };
        let service = simulate(SourceKind::Kandji, order).await.unwrap();
        let (address, token) = (service.running.address(), &service.credential.1);
        let said = || {
            ["DEMOREADY001", "DEMOERROR020", "DEMODENY0024"]
                .map(|serial| status(address, token, serial))
        };
        let before = [Some(200), Some(500), Some(403)];
        assert_eq!(said(), before);
        // Typed twice, it is one that lasts longer.
        let services = [service.running.faults().clone()];
        begin_outage(&services, Duration::from_millis(100));
        begin_outage(&services, Duration::from_millis(800));
        thread::sleep(Duration::from_millis(300));
        assert_eq!(status(address, token, "DEMOREADY001"), None);
        let end = Instant::now() + Duration::from_secs(10);
        while status(address, token, "DEMOREADY001").is_none() {
            assert!(Instant::now() < end, "the services come back");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(said(), before);
    }
}
