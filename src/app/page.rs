//! The page's place in the wiring.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use super::{READY_LIMIT, Station, Wiring, meta};
use crate::{
    config::Config,
    health::{Health, WebCondition},
    journal::{Journal, reader::Day},
    publisher,
    runtime::name::Name,
    station::{lamp_feed::LampFeed, tally::Tally},
    web,
};

/// Where the page hears of the station.
pub(super) struct ForPage<'a> {
    pub(super) journal: &'a Journal,
    pub(super) health: watch::Receiver<Health>,
    pub(super) link: watch::Receiver<publisher::State>,
    pub(super) today: watch::Receiver<Option<Arc<Day>>>,
    pub(super) lamps: BTreeMap<Name, LampFeed>,
    pub(super) station: &'a Station,
    pub(super) input_box: Option<web::InputBox>,
}

impl Wiring {
    /// The page at the bench and the metrics, if they are configured.
    pub(super) fn page(&mut self, state: watch::Sender<WebCondition>, from: ForPage<'_>) {
        let Some(settings) = self.config.web.clone() else {
            return;
        };
        let config = &self.config;
        let lanes = config.lanes.iter().filter_map(|lane| {
            let settings = web::LaneSettings {
                name: lane.name.clone(),
                ready_hold: lane.indicator.ready_hold(),
                ready_limit: lane.policy.deadline + READY_LIMIT,
            };
            Some((settings, from.lamps.get(&lane.name)?.clone()))
        });
        let inputs = web::Inputs {
            journal: from.journal.clone(),
            meta: meta(config, from.journal),
            health: from.health,
            link: from.link,
            today: from.today,
            news: from.station.news.listen(),
            lanes: lanes.collect(),
            asked_for: config.policy.recheck_for,
            input_box: from.input_box,
            clock: self.clock,
            tally: Arc::clone(&from.station.tally),
            // With the scanners: the input box is one.
            stop: self.stop_scanners.subscribe(),
            pulse: self.pulses.pulse("page"),
        };
        self.tasks
            .start("page".to_owned(), web::run(settings, inputs, state));
    }
}

/// Nothing answered yet.
pub(super) fn tally(config: &Config) -> Tally {
    let lanes = config.lanes.iter().map(|lane| lane.name.clone());
    let scanners = config.scanners.iter().map(|scanner| scanner.name.clone());
    let sources = config.policy.sources.iter();
    let sources = sources.map(|source| source.name.clone());
    Tally::new(lanes, scanners, sources)
}
