//! One question without a bench: the station's own way of a scan, with nothing shown, recorded or published.

use std::{collections::BTreeMap, time::Duration};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::core::{Action, Core, Event, LaneSettings, NewScan, Now};
use crate::{
    readiness::Source,
    record::Record,
    runtime::{
        clock::{Boot, ClockWatch, Moment},
        name::Name,
    },
    scanner::ScannedCode,
};

/// Asks the sources about one code as the lane would, and gives the records that a scan of it would end in.
pub async fn look_up(
    code: &str,
    lane: LaneSettings,
    scanner: &Name,
    sources: &[Source],
    clock: ClockWatch,
) -> Vec<Record> {
    let now = || Now {
        moment: Moment::now(),
        clock_synced: clock.synced(),
    };
    let lane_of = BTreeMap::from([(scanner.clone(), lane.name.clone())]);
    let mut core = Core::new(vec![lane], lane_of, Boot::now(), Uuid::now_v7);
    let mut asked = JoinSet::new();
    let at = Moment::now();
    let scanned = ScannedCode::Whole(code.as_bytes().to_vec());
    let mut event = Event::Scanned(NewScan {
        id: Uuid::now_v7(),
        scanner: scanner.clone(),
        at,
        code: scanned,
        overloaded: false,
    });
    loop {
        for action in core.handle(event, now()) {
            match action {
                Action::Record { records, .. } => return records.records,
                Action::Ask {
                    question,
                    candidates,
                    purpose,
                    ..
                } => {
                    for source in sources {
                        let (source, candidates) = (source.clone(), candidates.clone());
                        asked.spawn(async move {
                            Event::Answered {
                                question,
                                answer: source.ask(&candidates, purpose).await,
                            }
                        });
                    }
                }
                Action::Show(..)
                | Action::LookAtRows { .. }
                | Action::Journal(_)
                | Action::Tell { .. }
                | Action::Unrecorded(_)
                | Action::Finished(_)
                | Action::Joined { .. } => {}
            }
        }
        let wake_in = core
            .wake_at()
            .map_or(Duration::ZERO, |at| at.since(Boot::now()));
        event = tokio::select! {
            Some(Ok(answered)) = asked.join_next() => answered,
            () = tokio::time::sleep(wake_in) => Event::Timer,
        };
    }
}
