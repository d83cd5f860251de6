//! The first fill of the replicas, on the terminal's last line.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use crate::{
    health::{Health, ReplicaCondition},
    indicator::progress::Progress,
    runtime::pulse::Pulse,
};

/// Drawn at most so often.
const EVERY: Duration = Duration::from_millis(200);
/// Characters of a bar.
const BAR: u64 = 20;

/// Draws how far the first fill has come; never ends.
pub(super) async fn run(mut health: watch::Receiver<Health>, pulse: Pulse) {
    let mut progress = Progress::default();
    loop {
        progress.show(notes(&health.borrow_and_update()));
        let changed = pulse.through(async {
            sleep(EVERY).await;
            health.changed().await
        });
        if changed.await.is_err() {
            return pulse.through(std::future::pending()).await;
        }
    }
}

/// What is said of each replica that is being filled; one whose list cannot be read is a matter of health.
fn notes(health: &Health) -> Vec<String> {
    let filled = |(name, source): (_, &crate::health::SourceHealth)| {
        let replica = source.replica.as_ref()?;
        if replica.state != ReplicaCondition::Filling || replica.fault.is_some() {
            return None;
        }
        let rows = replica.rows;
        Some(match replica.total {
            Some(total) => {
                let full = rows.min(total) * BAR / total.max(1);
                let bar: String = (0..BAR)
                    .map(|at| if at < full { '█' } else { '░' })
                    .collect();
                format!("{name} {bar} {rows} of {total}")
            }
            None => format!("{name} {rows} devices"),
        })
    };
    health.sources.iter().filter_map(filled).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{health::ReplicaHealth, reason::Reason};

    #[test]
    fn a_bar_grows_with_the_fill_and_is_gone_when_it_ends_or_fails() {
        let mut health = crate::app::health::nothing_wrong();
        let mut said = |state, rows, total, fault| {
            let source = health.sources.values_mut().last().unwrap();
            source.replica = Some(ReplicaHealth {
                state,
                rows,
                total,
                pass_at: None,
                fault,
            });
            notes(&health)
        };
        use ReplicaCondition::{Filling, Ok};
        assert_eq!(said(Filling, 0, None, None), ["kandji 0 devices"]);
        assert_eq!(
            said(Filling, 3_000, Some(12_000), None),
            ["kandji █████░░░░░░░░░░░░░░░ 3000 of 12000"]
        );
        // The list may grow while it is read, or be empty.
        assert_eq!(
            said(Filling, 9, Some(8), None),
            ["kandji ████████████████████ 9 of 8"]
        );
        assert_eq!(
            said(Filling, 0, Some(0), None),
            ["kandji ░░░░░░░░░░░░░░░░░░░░ 0 of 0"]
        );
        assert!(said(Filling, 0, None, Some(Reason::Offline)).is_empty());
        assert!(said(Ok, 12_000, None, None).is_empty());
    }
}
