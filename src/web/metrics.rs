//! `/metrics`: the station in numbers, in Prometheus' text format 0.0.4. Pure: what is known goes in, a text comes out.
//!
//! Base units, a counter ends in `_total`, and no label has a value from outside. Counters begin at 0 with the process, and every
//! label of theirs is there from the start.

use std::{
    fmt::{Display, Write as _},
    sync::atomic::Ordering,
};

use jiff::Timestamp;

use crate::{
    health::{
        ALARMS, Health, JournalHealth, LinkCondition, ReplicaCondition, SourceHealth, WebCondition,
    },
    reason::Verdict,
    runtime::{
        histogram::{Counted, Histogram},
        name::Name,
    },
    station::{lamp_feed::LampFeed, tally::Tally},
};

/// The type of the answer.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is known now.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) version: &'a str,
    pub(super) health: &'a Health,
    pub(super) topic_refused: bool,
    pub(super) tally: &'a Tally,
    pub(super) lamps: &'a [(Name, LampFeed)],
    /// The journal's own counts when the process began.
    pub(super) at_start: &'a JournalHealth,
    /// Since when the oldest unsent record waits; `None`: none does.
    pub(super) oldest_unsent: Option<Timestamp>,
    pub(super) open_pages: usize,
}

/// All of it.
pub(super) fn text(known: &Known<'_>) -> String {
    let mut page = Page::default();
    page.station(known);
    page.parts(known.health);
    page.answers(known.tally);
    page.times(known);
    page.sources(known.health, known.tally);
    page.replicas(known.health);
    page.outbox(known);
    page.scanners(known.health, known.tally);
    page.0
}

type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric. Writing to a String cannot fail.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value. Names, reasons and the like need no escapes: none has a quote, a backslash or a line end.
    fn value(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let _ = match labels.as_slice() {
            [] => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, "gauge", help);
        self.value(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.begin(name, "counter", help);
        self.value(name, &[], value);
    }

    fn flag(&mut self, name: &str, help: &str, is_on: bool) {
        self.gauge(name, help, u8::from(is_on));
    }

    fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let Counted {
            at_most,
            count,
            sum,
        } = histogram.counted();
        let bucket = format!("{name}_bucket");
        let ends = at_most
            .iter()
            .map(|(end, count)| (end.to_string(), *count))
            .chain([("+Inf".to_owned(), count)]);
        for (end, count) in ends {
            let labels = [labels, &[("le", end.as_str())]].concat();
            self.value(&bucket, &labels, count);
        }
        self.value(&format!("{name}_sum"), labels, sum);
        self.value(&format!("{name}_count"), labels, count);
    }

    fn station(&mut self, known: &Known<'_>) {
        let health = known.health;
        let name = "benchlight_build_info";
        self.begin(name, "gauge", "The version of the agent.");
        self.value(name, &[("version", known.version)], 1);
        self.flag(
            "benchlight_able",
            "Whether the station can answer a scan now.",
            health.unable.is_none(),
        );
        let name = "benchlight_alarm";
        self.begin(name, "gauge", "Whether an alarm of health is on.");
        for alarm in ALARMS {
            let is_on = health.alarms.contains(&alarm);
            self.value(name, &[("alarm", alarm)], u8::from(is_on));
        }
        self.gauge(
            "benchlight_waiting_boxes",
            "Boxes that the station asks about again by itself.",
            health.waiting,
        );
        self.flag(
            "benchlight_clock_synced",
            "Whether a time server keeps the clock right.",
            health.clock_synced,
        );
        self.counter(
            "benchlight_log_lines_dropped_total",
            "Log lines that nobody read.",
            health.log_dropped,
        );
        self.counter(
            "benchlight_result_lines_dropped_total",
            "Result lines that nobody read.",
            health.results_dropped,
        );
        self.gauge(
            "benchlight_open_pages",
            "Pages that show the station now.",
            known.open_pages,
        );
    }

    fn parts(&mut self, health: &Health) {
        let name = "benchlight_part_ok";
        self.begin(name, "gauge", "Whether a part of the station works.");
        let mut part = |part: &str, of: &str, is_well: bool| {
            self.value(name, &[("part", part), ("name", of)], u8::from(is_well));
        };
        for (of, scanner) in &health.scanners {
            part("scanner", of.as_str(), scanner.state.trouble().is_none());
        }
        for (of, lamps) in &health.lamps {
            part("lane", of.as_str(), lamps.trouble().is_none());
        }
        for (of, source) in &health.sources {
            part("source", of.as_str(), source.failing.is_none());
        }
        part("broker", "", health.broker.trouble().is_none());
        part("journal", "", health.journal.state.trouble().is_none());
        part("clock", "", health.clock_synced);
        if let Some(web) = health.web {
            part("web", "", WebCondition::trouble(web).is_none());
        }
    }

    fn answers(&mut self, tally: &Tally) {
        let name = "benchlight_scans_total";
        self.begin(name, "counter", "Finished scans by their answer.");
        for (lane, answers) in &tally.lanes {
            for (reason, many) in answers.all() {
                let labels = [
                    ("lane", lane.as_str()),
                    ("verdict", reason.verdict().code()),
                    ("reason", reason.code()),
                ];
                self.value(name, &labels, many);
            }
        }
        let name = "benchlight_changes_total";
        self.begin(name, "counter", "Changes of recorded boxes by their cause.");
        for (cause, many) in tally.changes() {
            self.value(name, &[("cause", cause.code())], many);
        }
    }

    fn times(&mut self, known: &Known<'_>) {
        let name = "benchlight_scan_duration_seconds";
        self.begin(
            name,
            "histogram",
            "From a scan until its answer was recorded, wrong barcodes too.",
        );
        self.histogram(name, &[], &known.tally.took);
        let name = "benchlight_lamp_duration_seconds";
        self.begin(name, "histogram", "From a scan to the light of its answer.");
        for (lane, feed) in known.lamps {
            self.histogram(name, &[("lane", lane.as_str())], feed.lit());
        }
        let name = "benchlight_source_duration_seconds";
        self.begin(
            name,
            "histogram",
            "How long a source took for what was recorded of a box.",
        );
        for (source, of) in &known.tally.sources {
            self.histogram(name, &[("source", source.as_str())], &of.took);
        }
    }

    fn sources(&mut self, health: &Health, tally: &Tally) {
        let name = "benchlight_source_failures_total";
        self.begin(
            name,
            "counter",
            "Answers of a source that said nothing about the box.",
        );
        for (source, of) in &tally.sources {
            let failures = of.failures.all();
            for (reason, many) in
                failures.filter(|(reason, _)| reason.verdict() == Verdict::Unknown)
            {
                let labels = [("source", source.as_str()), ("reason", reason.code())];
                self.value(name, &labels, many);
            }
        }
        let seconds = |at: Timestamp| at.as_second() as f64;
        self.of_sources(
            health,
            "benchlight_source_as_of_timestamp_seconds",
            "When the service last fetched from Apple.",
            |source| source.as_of.map(seconds),
        );
        self.of_sources(
            health,
            "benchlight_quota_remaining",
            "Requests that the service still allows in its window.",
            |source| source.quota_left.map(|left| left as f64),
        );
        self.of_sources(
            health,
            "benchlight_quota_limit",
            "Requests that the service allows in a window.",
            |source| source.quota_limit.map(|limit| limit as f64),
        );
        self.of_sources(
            health,
            "benchlight_credential_expiry_timestamp_seconds",
            "When the credential, or the token of the MDM with Apple, expires.",
            |source| source.credential_expires.map(seconds),
        );
    }

    fn replicas(&mut self, health: &Health) {
        let seconds = |at: Timestamp| at.as_second() as f64;
        self.of_sources(
            health,
            "benchlight_replica_rows",
            "Records of the local copy.",
            |source| source.replica.as_ref().map(|replica| replica.rows as f64),
        );
        self.of_sources(
            health,
            "benchlight_replica_pass_timestamp_seconds",
            "When the last complete pass over the list of the service began.",
            |source| source.replica.as_ref()?.pass_at.map(seconds),
        );
        let has_state = |source: &SourceHealth, states: &[ReplicaCondition]| {
            let replica = source.replica.as_ref()?;
            Some(f64::from(u8::from(states.contains(&replica.state))))
        };
        self.of_sources(
            health,
            "benchlight_replica_filled",
            "Whether the local copy is filled and up to date.",
            |source| has_state(source, &[ReplicaCondition::Ok, ReplicaCondition::Shrunken]),
        );
        self.of_sources(
            health,
            "benchlight_replica_shrunken",
            "Whether the list of the service has lost more than half of its devices.",
            |source| has_state(source, &[ReplicaCondition::Shrunken]),
        );
    }

    /// A gauge of each source that has it.
    fn of_sources(
        &mut self,
        health: &Health,
        name: &str,
        help: &str,
        value: impl Fn(&SourceHealth) -> Option<f64>,
    ) {
        let values: Vec<_> = health
            .sources
            .iter()
            .filter_map(|(source, of)| Some((source, value(of)?)))
            .collect();
        if !values.is_empty() {
            self.begin(name, "gauge", help);
        }
        for (source, value) in values {
            self.value(name, &[("source", source.as_str())], value);
        }
    }

    fn outbox(&mut self, known: &Known<'_>) {
        let (health, journal) = (known.health, &known.health.journal);
        self.flag(
            "benchlight_mqtt_connected",
            "Whether the session with the broker is up.",
            health.broker == LinkCondition::Connected,
        );
        self.flag(
            "benchlight_nobody_listens",
            "Whether the broker says that nobody subscribes to the scans.",
            health.nobody_listens,
        );
        self.flag(
            "benchlight_topic_refused",
            "Whether the broker does not let the station publish to a topic.",
            known.topic_refused,
        );
        self.gauge(
            "benchlight_outbox_records",
            "Records that wait for the acknowledgement of the broker.",
            journal.unsent,
        );
        if let Some(oldest) = known.oldest_unsent {
            self.gauge(
                "benchlight_outbox_oldest_timestamp_seconds",
                "When the oldest of them was made.",
                oldest.as_second(),
            );
        }
        self.gauge(
            "benchlight_set_aside_records",
            "Records that the broker refuses.",
            journal.set_aside.len(),
        );
        let since_start = |now: u64, then: u64| now.saturating_sub(then);
        self.counter(
            "benchlight_dropped_total",
            "Undelivered records that were dropped for lack of space.",
            since_start(journal.dropped, known.at_start.dropped),
        );
        self.counter(
            "benchlight_faulted_scans_total",
            "Scans that could not be recorded.",
            since_start(journal.faulted, known.at_start.faulted),
        );
        self.gauge(
            "benchlight_interrupted_scans",
            "Scans in the journal that ended before their answer, usually by a power cut.",
            journal.interrupted,
        );
        if let Some(lost) = journal.lost_rows {
            self.gauge(
                "benchlight_lost_records",
                "Records that were lost with a damaged journal.",
                lost,
            );
        }
    }

    fn scanners(&mut self, health: &Health, tally: &Tally) {
        let name = "benchlight_scanner_scans_total";
        self.begin(name, "counter", "Finished scans of a scanner.");
        for (scanner, many) in &tally.scanners {
            let many = many.load(Ordering::Relaxed);
            self.value(name, &[("scanner", scanner.as_str())], many);
        }
        let name = "benchlight_scanner_proven";
        self.begin(
            name,
            "gauge",
            "Whether a scanner has read a serial number that a source knew.",
        );
        for (scanner, of) in &health.scanners {
            let labels = [("scanner", scanner.as_str())];
            self.value(name, &labels, u8::from(of.proven));
        }
        let name = "benchlight_scanner_unended";
        self.begin(
            name,
            "gauge",
            "Whether the codes of a scanner arrive without an end key.",
        );
        for (scanner, of) in &health.scanners {
            let labels = [("scanner", scanner.as_str())];
            self.value(name, &labels, u8::from(of.unended));
        }
    }
}
