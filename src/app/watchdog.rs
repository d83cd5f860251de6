//! Feeds systemd's watchdog while every part gives signs of life, and keeps the line that `systemctl status` shows.

use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::{
    health::{Health, ReplicaCondition},
    runtime::{pulse::Pulses, systemd::Systemd},
};

/// How often the signs of life are looked at where no systemd says how often.
const WATCH: Duration = Duration::from_secs(3);

/// Feeds systemd's watchdog while every part has given a sign of life since it was fed last.
///
/// Three parts are not asked, for they may rightly block for ever, and a restart would mend none of them:
/// - the journal's thread: a disk that hangs is a state (unable, `journal_fault`) that lamps and dashboards show;
/// - the threads that write the log and the result lines, and the one that reads standard input: a terminal may be stopped, and nobody need type.
pub(super) async fn run(systemd: Systemd, pulses: Pulses, health: watch::Receiver<Health>) {
    let (mut status, mut hanging) = (String::new(), Vec::new());
    loop {
        let silent = pulses.silent();
        systemd.catch_up();
        if silent.is_empty() {
            systemd.alive();
        } else if silent != hanging {
            warn!(
                parts = silent.join(", "),
                "no sign of life; systemd will restart the agent if this lasts"
            );
        }
        hanging = silent;
        let now = story(&health.borrow());
        if now != status && systemd.status(&now) {
            status = now;
        }
        tokio::time::sleep(systemd.watchdog_interval().unwrap_or(WATCH)).await;
    }
}

/// The line that `systemctl status` shows.
fn story(health: &Health) -> String {
    let able = match health.unable {
        Some(why) => format!("cannot answer: {}", why.code()),
        None => "ready for scans".to_owned(),
    };
    let mut story = format!(
        "{able}; broker {}, {} unsent, {} boxes waiting",
        health.broker.code(),
        health.journal.unsent,
        health.waiting
    );
    for (name, source) in &health.sources {
        if let Some(replica) = &source.replica
            && replica.state == ReplicaCondition::Filling
        {
            story += &match replica.total {
                Some(total) => format!("; filling {name}: {} of {total} devices", replica.rows),
                None => format!("; filling {name}: {} devices so far", replica.rows),
            };
        }
    }
    story
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{sync::mpsc, thread};

    use super::*;
    use crate::{health::ReplicaHealth, runtime::pulse::Pulse};

    #[test]
    fn the_first_fill_of_a_replica_is_in_the_line() {
        let mut health = crate::app::health::nothing_wrong();
        let source = health.sources.values_mut().next().unwrap();
        let replica = |state, total| ReplicaHealth {
            state,
            rows: 3_000,
            total,
            pass_at: None,
            fault: None,
        };
        source.replica = Some(replica(ReplicaCondition::Ok, None));
        assert!(!story(&health).contains("filling"));
        for (total, said) in [
            (None, ": 3000 devices so far"),
            (Some(12_000), ": 3000 of 12000 devices"),
        ] {
            let source = health.sources.values_mut().next().unwrap();
            source.replica = Some(replica(ReplicaCondition::Filling, total));
            let line = story(&health);
            assert!(
                line.contains("; filling ") && line.ends_with(said),
                "{line}"
            );
        }
    }

    /// Is the watchdog fed within that time?
    fn fed(hears: &mpsc::Receiver<String>, within: Duration) -> bool {
        let end = std::time::Instant::now() + within;
        while let Ok(word) =
            hears.recv_timeout(end.saturating_duration_since(std::time::Instant::now()))
        {
            if word == "WATCHDOG=1" {
                return true;
            }
        }
        false
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_thread_that_hangs_stops_the_feeding_until_it_goes_on() {
        const LIMIT: Duration = Duration::from_millis(600);
        let pulses = Pulses::default();
        let (well, hanging) = (pulses.pulse("station"), pulses.pulse("scanner left"));
        let turns = |pulse: Pulse, stuck: Option<(mpsc::Receiver<()>, mpsc::Receiver<()>)>| {
            thread::spawn(move || {
                loop {
                    pulse.beat();
                    thread::sleep(Duration::from_millis(5));
                    match &stuck {
                        // Until it is told to go on, it is where a driver would never return from.
                        Some((hang, go_on)) if hang.try_recv().is_ok() => go_on.recv().unwrap(),
                        _ => {}
                    }
                }
            })
        };
        let ((hang, hangs), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        turns(well, None);
        turns(hanging, Some((hangs, goes_on)));
        let (systemd, hears) = Systemd::double(LIMIT);
        let (_health, seen) = watch::channel(crate::app::health::nothing_wrong());
        tokio::spawn(run(systemd, pulses, seen));
        tokio::task::spawn_blocking(move || {
            for _ in 0..5 {
                assert!(fed(&hears, LIMIT * 20), "all parts answer");
            }
            hang.send(()).unwrap();
            // It may have answered just before; from then on nothing comes.
            while fed(&hears, LIMIT) {}
            assert!(!fed(&hears, LIMIT * 3), "a part hangs");
            go_on.send(()).unwrap();
            assert!(fed(&hears, LIMIT * 20), "all parts answer again");
        })
        .await
        .unwrap();
    }
}
