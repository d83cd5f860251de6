//! What a station sends to systemd's watchdog.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::{
    scans::World,
    support::{free_port, station::Station},
};

/// `WatchdogSec=10` in the unit.
const WATCHDOG: Duration = Duration::from_secs(10);

/// When each notification with that name came, over `time`.
fn heard(socket: &UnixDatagram, word: &str, time: Duration) -> Vec<Instant> {
    let (mut buffer, mut times, end) = ([0; 1_024], Vec::new(), Instant::now() + time);
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        socket.set_read_timeout(Some(left)).unwrap();
        match socket.recv(&mut buffer) {
            Ok(length)
                if String::from_utf8_lossy(&buffer[..length])
                    .lines()
                    .any(|line| line == word) =>
            {
                times.push(Instant::now())
            }
            Ok(_) => {}
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            ),
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_station_with_every_kind_of_scanner_is_fed_for_longer_than_the_watchdogs_time_and_a_stopped_one_is_not()
 {
    let world = World::new().await;
    let home = world.home(false, "");
    let scanner = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&scanner).unwrap();
    unlockpt(&scanner).unwrap();
    let port = ptsname(&scanner, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    let more = [
        format!("name = \"serial\"\nkind = \"serial\"\ndevice = {port:?}"),
        format!(
            "name = \"tcp\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:{}\"",
            free_port()
        ),
        "name = \"hid\"\nkind = \"hid\"\ndevice = \"/nonexistent/scanner\"".to_owned(),
    ];
    let more: String = more
        .iter()
        .map(|keys| format!("[[scanner]]\n{keys}\n\n"))
        .collect();
    let config = std::fs::read_to_string(home.config())
        .unwrap()
        .replace("[indicator]", &format!("{more}[indicator]"));
    std::fs::write(home.config(), config).unwrap();

    let path = home.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = home.command(&["run"]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
        .env_remove("WATCHDOG_PID");
    let station = Station::of(command);
    let quiet = tokio::task::spawn_blocking(move || {
        // Present and missing scanners, lamps, source and broker, without any scan.
        let fed = heard(&socket, "WATCHDOG=1", WATCHDOG + Duration::from_secs(5));
        let gaps: Vec<Duration> = fed.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            fed.len() >= 3 && gaps.iter().all(|gap| *gap < WATCHDOG),
            "fed {} times, {gaps:?} apart",
            fed.len()
        );
        println!(
            "a quiet station fed the watchdog {} times in 15 s, {gaps:?} apart",
            fed.len()
        );
        station.signal("STOP");
        let late = heard(&socket, "WATCHDOG=1", Duration::from_secs(4));
        assert!(
            late.len() <= 1,
            "a stopped station goes on feeding: {}",
            late.len()
        );
        station.signal("CONT");
        assert!(
            !heard(&socket, "WATCHDOG=1", Duration::from_secs(4)).is_empty(),
            "it goes on"
        );
        drop(station);
    });
    quiet.await.unwrap();
    drop(scanner);
}
