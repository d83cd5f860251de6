//! The outbox against a journal and a broker of a few lines each, in time that is made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;

use super::*;
use crate::{
    journal::{self, Journal, reader::Reader},
    publisher::{
        reading::{Found, JournalReading, Question},
        samples::{change, recorded},
    },
};

fn row(key: Key) -> Row {
    Row {
        key,
        recorded: recorded(key),
    }
}

/// A journal, the outbox over it, and the time.
struct Bench {
    outbox: Outbox,
    pace: Pace,
    now: Instant,
    /// Rows that wait for their PUBACK; true: of the topic `change`.
    unsent: BTreeMap<Key, bool>,
    aside: BTreeMap<Key, &'static str>,
    newest: Key,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let outbox = Outbox::new(&Timing::default(), NoSubscriber::Keep, now);
        Self {
            outbox,
            pace: Pace::new(0, now),
            now,
            unsent: BTreeMap::new(),
            aside: BTreeMap::new(),
            newest: 0,
        }
    }

    fn record(&mut self, many: u64) -> &mut Self {
        for _ in 0..many {
            self.newest += 1;
            self.unsent.insert(self.newest, false);
        }
        self.outbox.newest(self.newest);
        self
    }

    fn record_change(&mut self) {
        self.newest += 1;
        self.unsent.insert(self.newest, true);
        self.outbox.newest(self.newest);
    }

    fn link_up(&mut self) -> &mut Self {
        self.outbox.link_up(self.newest, self.now);
        self
    }

    fn wait(&mut self, seconds: f64) -> &mut Self {
        self.now += Duration::from_secs_f64(seconds);
        self
    }

    fn read(&mut self) {
        while let Some(want) = self.outbox.want(self.now) {
            let behind = self.unsent.range(want.after + 1..).take(want.limit);
            let rows: Vec<Row> = behind
                .map(|(key, is_change)| {
                    if *is_change {
                        Row {
                            key: *key,
                            recorded: change(*key),
                        }
                    } else {
                        row(*key)
                    }
                })
                .collect();
            let more = rows.len() >= want.limit;
            let after = rows.last().map_or(want.after, |row| row.key);
            self.outbox.read(want, Page { rows, after, more });
        }
    }

    /// Everything that may leave now, `window` in flight at most.
    fn send(&mut self, window: usize) -> Vec<(Key, Queue)> {
        let mut sent = Vec::new();
        loop {
            self.read();
            if self.outbox.in_flight() >= window {
                return sent;
            }
            match self.outbox.next(0, &mut self.pace, self.now) {
                Some((row, lane)) => sent.push((row.key, lane)),
                None => return sent,
            }
        }
    }

    fn keys(&mut self, window: usize) -> Vec<Key> {
        self.send(window).into_iter().map(|(key, _)| key).collect()
    }

    fn ack(&mut self, key: Key, ack: Ack) {
        let outcome = self.outbox.acked(key, ack, self.now);
        self.settle(outcome);
    }

    fn settle(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        for outcome in outcomes {
            match outcome {
                Outcome::Delivered(key) => {
                    self.unsent.remove(&key).expect("a row is delivered once");
                }
                Outcome::Aside(key, why) => {
                    self.unsent.remove(&key).expect("a row that waits");
                    self.aside.insert(key, why);
                }
            }
        }
    }

    fn break_link(&mut self) {
        let outcomes = self.outbox.link_down(true, self.now);
        self.settle(outcomes);
    }

    /// A broker that answers by `answer`, until nothing moves any more or an hour has passed.
    fn run(&mut self, answer: impl Fn(Key) -> Ack) {
        let end = self.now + Duration::from_secs(3_600);
        while self.now < end {
            let sent = self.keys(32);
            for key in &sent {
                self.ack(*key, answer(*key));
            }
            if !sent.is_empty() {
                continue;
            }
            match self.outbox.wake_at(&self.pace, self.now) {
                Some(at) => {
                    assert!(at > self.now, "never awake for nothing");
                    self.now = at;
                }
                None => return,
            }
        }
    }
}

#[test]
fn a_row_that_is_recorded_while_the_journal_is_read_does_not_wait_for_the_next_one() {
    let mut bench = Bench::new();
    bench.link_up().read();
    bench.record(1);
    let want = bench.outbox.want(bench.now).unwrap();
    // The reading began before the second row was there, and its answer comes after it.
    bench.record(1);
    let page = Page {
        rows: vec![row(1)],
        after: 1,
        more: false,
    };
    bench.outbox.read(want, page);
    let live: Vec<Key> = bench.send(10).into_iter().map(|(key, _)| key).collect();
    assert_eq!(live, [1, 2]);
    assert_eq!(
        bench.outbox.want(bench.now),
        None,
        "and no reading goes round in circles"
    );
}

#[test]
fn live_rows_leave_first_and_each_lane_keeps_its_order() {
    let mut bench = Bench::new();
    bench.record(3).link_up().record(2);
    assert_eq!(
        bench.send(32),
        [
            (4, Queue::Live),
            (5, Queue::Live),
            (1, Queue::Backlog),
            (2, Queue::Backlog),
            (3, Queue::Backlog)
        ]
    );
}

#[test]
fn a_row_in_flight_when_the_link_went_is_sent_again_as_replay() {
    let mut bench = Bench::new();
    bench.link_up().record(2);
    assert_eq!(bench.send(1), [(1, Queue::Live)]);
    bench.outbox.link_down(false, bench.now);
    bench.link_up();
    assert_eq!(bench.send(32), [(1, Queue::Backlog), (2, Queue::Backlog)]);
}

#[tokio::test]
async fn a_row_that_was_acknowledged_is_not_sent_again_while_the_journal_still_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = journal::Settings {
        state_dir: folder.path().to_owned(),
        keep: Duration::from_secs(86_400),
        keep_raw: Duration::from_secs(86_400),
        max_bytes: 1 << 30,
    };
    let journal = Journal::open(&settings, "machine-1").unwrap();
    let records: Vec<_> = (1..=2).map(|seq| recorded(seq).record).collect();
    journal.record(records).await.unwrap();
    let before = *journal.newest().borrow() - 2;
    let mut reading = JournalReading::new(journal.clone());
    let mut bench = Bench::new();
    bench.outbox.link_up(before, bench.now);
    bench.outbox.newest(before + 2);

    let want = bench.outbox.want(bench.now).unwrap();
    reading.ask(Question::Unsent(want));
    let Some(Found::Unsent(want, page)) = reading.found().await else {
        panic!("the journal cannot be read");
    };
    bench.outbox.read(want, page);
    let mut next = || Some(bench.outbox.next(0, &mut bench.pace, bench.now)?.0.key);
    assert_eq!([next(), next()], [Some(before + 1), Some(before + 2)]);
    // The journal is read for the next link while the broker answers.
    bench.outbox.link_down(false, bench.now);
    bench.outbox.link_up(before + 2, bench.now);
    reading.ask(Question::Unsent(bench.outbox.want(bench.now).unwrap()));
    journal.delivered(vec![before + 1]);
    let Some(Found::Unsent(want, page)) = reading.found().await else {
        panic!("the journal cannot be read");
    };
    bench.outbox.read(want, page);
    let row = bench.outbox.next(0, &mut bench.pace, bench.now).unwrap().0;
    assert_eq!(row.key, before + 2);
    assert_eq!(
        bench
            .outbox
            .next(0, &mut bench.pace, bench.now)
            .map(|row| row.0.key),
        None
    );
    let mut file = Reader::open(folder.path()).unwrap();
    assert_eq!(file.unsent(0, 10).unwrap().len(), 2, "the file names both");
}

#[test]
fn while_nobody_listens_one_row_a_minute_probes_and_live_rows_are_offered_once() {
    let mut bench = Bench::new();
    bench.record(100).link_up();
    for key in bench.keys(32) {
        bench.ack(key, Ack::Unheard);
    }
    assert!(bench.outbox.nobody_listens());
    assert_eq!(bench.keys(32), [0; 0]);
    assert_eq!(bench.wait(59.0).keys(32), [0; 0]);
    assert_eq!(bench.wait(1.5).keys(32), [1], "the oldest probes");
    bench.ack(1, Ack::Unheard);
    assert_eq!(bench.record(1).send(32), [(101, Queue::Live)]);
    bench.ack(101, Ack::Unheard);
    assert_eq!(bench.keys(32), [0; 0]);
    // Somebody listens: the first 0x00, on whatever row, lets all follow.
    assert_eq!(bench.record(1).keys(32), [102]);
    bench.ack(102, Ack::Taken);
    assert!(!bench.outbox.nobody_listens());
    bench.run(|_| Ack::Taken);
    assert!(bench.unsent.is_empty(), "{:?}", bench.unsent);
}

#[test]
fn backlog_that_was_read_before_a_live_row_went_unheard_is_not_forgotten() {
    let mut bench = Bench::new();
    bench.record(1).link_up().record(32);
    assert!(
        !bench.keys(32).contains(&1),
        "the live rows fill the window"
    );
    bench.ack(2, Ack::Unheard);
    let in_flight: Vec<Key> = bench.outbox.in_flight.keys().copied().collect();
    for key in in_flight {
        bench.ack(key, Ack::Taken);
    }
    bench.run(|_| Ack::Taken);
    assert!(bench.unsent.is_empty(), "{:?}", bench.unsent);
}

#[test]
fn where_rules_take_everything_an_unheard_row_is_delivered() {
    let mut bench = Bench::new();
    bench.outbox = Outbox::new(&Timing::default(), NoSubscriber::Accept, bench.now);
    bench.record(40).link_up().run(|_| Ack::Unheard);
    assert!(bench.unsent.is_empty() && !bench.outbox.nobody_listens());
}

#[test]
fn a_single_refused_row_is_set_aside_after_ten_refusals() {
    let mut bench = Bench::new();
    bench.record(50).link_up();
    let before = bench.now;
    bench.run(|key| {
        if key == 20 {
            Ack::Refused("payload_format_invalid")
        } else {
            Ack::Taken
        }
    });
    assert_eq!(
        (bench.unsent.len(), bench.aside.clone()),
        (0, [(20, "payload_format_invalid")].into())
    );
    // 1 + 2 + 4 .. + 64 + 120 + 120 seconds between ten tries.
    assert_eq!((bench.now - before).as_secs(), 367);
}

#[test]
fn a_topic_that_takes_nothing_keeps_its_rows_and_the_other_topic_flows() {
    let mut bench = Bench::new();
    bench.record(600);
    bench.record_change();
    bench.record(600);
    bench.link_up().run(|key| {
        if key == 601 {
            Ack::Taken
        } else {
            Ack::Refused("not_authorized")
        }
    });
    assert_eq!((bench.unsent.len(), bench.aside.len()), (1_200, 0));
    assert!(!bench.unsent.contains_key(&601));
    assert_eq!(bench.outbox.refused_topic(), Some(0));
    bench.run(|_| Ack::Taken);
    assert!(bench.unsent.is_empty());
    assert_eq!(bench.outbox.refused_topic(), None);
}

#[test]
fn one_bad_row_at_the_head_does_not_make_a_topic_refused_for_ever() {
    let mut bench = Bench::new();
    bench.record(100).link_up().run(|key| {
        if key <= 2 {
            Ack::Refused("topic_name_invalid")
        } else {
            Ack::Taken
        }
    });
    assert_eq!(bench.outbox.refused_topic(), None);
    assert_eq!(
        (
            bench.unsent.len(),
            bench.aside.keys().copied().collect::<Vec<_>>()
        ),
        (0, vec![1, 2])
    );
}

#[test]
fn a_busy_broker_is_tried_with_one_row_at_a_time() {
    let mut bench = Bench::new();
    bench.record(100).link_up();
    for key in bench.keys(32) {
        bench.ack(key, Ack::Busy);
    }
    assert_eq!(bench.keys(32), [0; 0]);
    assert_eq!(bench.wait(130.0).keys(32).len(), 1);
    let key = *bench.outbox.in_flight.keys().next().unwrap();
    bench.ack(key, Ack::Taken);
    assert_eq!(bench.keys(32).len(), 32);
}

#[test]
fn a_row_that_breaks_links_is_found_among_its_neighbours() {
    let mut bench = Bench::new();
    bench.record(64).link_up();
    let mut broken = 0;
    let mut alone = 0;
    while bench.aside.is_empty() {
        let sent = bench.keys(32);
        if sent.contains(&10) {
            alone += usize::from(sent.len() == 1 && bench.outbox.must_be_alone());
            broken += 1;
            assert!(broken <= 7, "three among others, four alone");
            bench.break_link();
            bench.link_up();
        } else if sent.is_empty() {
            bench.wait(1.0);
        } else {
            for key in sent {
                bench.ack(key, Ack::Taken);
            }
        }
    }
    assert_eq!((broken, alone), (7, 4));
    assert_eq!(bench.aside, [(10, "breaks_the_link")].into());
    bench.run(|_| Ack::Taken);
    assert!(bench.unsent.is_empty(), "its neighbours are delivered");
}

#[test]
fn a_row_set_aside_for_breaking_links_comes_back_alone_and_has_one_chance() {
    let mut bench = Bench::new();
    bench.record(3).link_up();
    bench.outbox.suspects.set_aside(2, BREAKS_THE_LINK);
    assert_eq!(bench.keys(32), [1, 3]);
    for key in [1, 3] {
        bench.ack(key, Ack::Taken);
    }
    assert_eq!(bench.wait(1.0).keys(32), [2]);
    bench.break_link();
    assert_eq!(bench.aside, [(2, "breaks_the_link")].into());
    // The journal offers it again; this time the broker takes it.
    bench.aside.clear();
    bench.unsent.insert(2, false);
    bench.link_up();
    bench.outbox.start_over();
    bench.wait(1.0).run(|_| Ack::Taken);
    assert!(bench.unsent.is_empty());
}

/// A link after which nothing is sent that the broker does not hang up on.
fn hang_up(bench: &mut Bench) {
    if bench.keys(32).is_empty() {
        bench.wait(1.0).keys(32);
    }
    bench.break_link();
    bench.wait(2.0).link_up();
}

#[test]
fn a_broker_that_hangs_up_on_every_row_has_none_set_aside_and_keeps_few_of_them_in_memory() {
    let mut bench = Bench::new();
    bench.record(2_000).link_up();
    for _ in 0..200 {
        hang_up(&mut bench);
        assert!(
            bench.outbox.suspects.len() < WAITING + CHUNK,
            "{}",
            bench.outbox.suspects.len()
        );
    }
    assert_eq!(bench.aside, BTreeMap::new());
    // Mended: all of them flow, and a link that breaks once more with one of them alone is no proof.
    let first = loop {
        match bench.keys(32).as_slice() {
            [] => _ = bench.wait(1.0),
            [first] => break *first,
            many => panic!("{many:?} are above suspicion"),
        }
    };
    bench.ack(first, Ack::Taken);
    assert_eq!(bench.keys(32).len(), 1);
    bench.break_link();
    bench.link_up();
    bench.run(|_| Ack::Taken);
    assert_eq!((bench.unsent.len(), bench.aside.len()), (0, 0));
}

#[test]
fn a_row_alone_is_set_aside_only_after_another_of_its_topic_was_accepted_in_the_outage() {
    let mut bench = Bench::new();
    bench.record(1).link_up();
    for _ in 0..100 {
        hang_up(&mut bench);
    }
    // Another topic's row is no proof.
    bench.record_change();
    assert_eq!(bench.keys(32), [2]);
    bench.ack(2, Ack::Taken);
    for _ in 0..100 {
        hang_up(&mut bench);
    }
    assert_eq!(bench.aside, BTreeMap::new());
    bench.record(1);
    assert_eq!(bench.keys(32), [3]);
    bench.ack(3, Ack::Taken);
    for times in 1..=3 {
        assert_eq!(bench.aside, BTreeMap::new(), "{times}");
        hang_up(&mut bench);
    }
    assert_eq!(
        bench.aside,
        [(1, "breaks_the_link")].into(),
        "of what came before one counts"
    );
}

#[test]
fn a_stable_link_ends_the_outage_and_what_was_counted_in_it() {
    let mut bench = Bench::new();
    bench.record(40).link_up();
    for key in bench.keys(32) {
        bench.ack(key, Ack::Taken);
    }
    // Each link is stable, and broke for whatever reason with the same row in flight.
    for _ in 0..20 {
        let sent = bench.keys(32);
        assert!(sent.len() > 1, "{sent:?}");
        bench.wait(60.0).break_link();
        bench.link_up();
    }
    assert_eq!(bench.aside, BTreeMap::new());
}

#[test]
fn a_link_that_ends_for_a_reason_of_its_own_blames_no_row() {
    let mut bench = Bench::new();
    bench.record(5);
    for _ in 0..50 {
        bench.link_up();
        assert_eq!(bench.keys(32), [1, 2, 3, 4, 5]);
        bench.outbox.link_down(false, bench.now);
    }
}

#[test]
fn rows_that_wait_for_their_next_try_are_bounded() {
    let mut bench = Bench::new();
    bench.record(2_000).link_up();
    bench.outbox.refusals.topics[0].accepted = 1;
    for _ in 0..2_000 {
        for key in bench.keys(32) {
            bench.ack(key, Ack::Busy);
        }
        bench.wait(0.5);
    }
    assert!(
        bench.outbox.refusals.len() <= WAITING + CHUNK,
        "{}",
        bench.outbox.refusals.len()
    );
}

#[derive(Clone, Debug)]
enum Day {
    Record(u64),
    Acks(Vec<u8>),
    Breaks,
    Away,
    Hours,
}

fn day() -> impl Strategy<Value = Day> {
    prop_oneof![
        3 => (1_u64..40).prop_map(Day::Record),
        5 => proptest::collection::vec(0_u8..16, 1..40).prop_map(Day::Acks),
        1 => Just(Day::Breaks),
        1 => Just(Day::Away),
        1 => Just(Day::Hours),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_broker_did_once_it_is_well_every_row_is_delivered(days in proptest::collection::vec(day(), 1..40)) {
        let mut bench = Bench::new();
        bench.link_up();
        for day in days {
            match day {
                Day::Record(many) => { bench.record(many); }
                Day::Acks(answers) => {
                    let mut in_flight: Vec<Key> = bench.outbox.in_flight.keys().copied().collect();
                    in_flight.extend(bench.keys(32));
                    in_flight.dedup();
                    for (key, answer) in in_flight.into_iter().zip(answers) {
                        bench.ack(key, match answer {
                            0 => Ack::Unheard,
                            1 => Ack::Busy,
                            2 => Ack::Refused("not_authorized"),
                            3..=6 => continue,
                            _ => Ack::Taken,
                        });
                    }
                    bench.wait(0.3);
                }
                Day::Breaks => { bench.keys(32); bench.break_link(); bench.wait(1.0).link_up(); }
                Day::Away => { bench.outbox.link_down(false, bench.now); bench.wait(1.0).link_up(); }
                Day::Hours => { bench.wait(7_200.0); }
            }
        }
        // The broker is well again: what is in flight is answered, and the rest follows.
        let in_flight: Vec<Key> = bench.outbox.in_flight.keys().copied().collect();
        for key in in_flight {
            bench.ack(key, Ack::Taken);
        }
        bench.run(|_| Ack::Taken);
        prop_assert!(bench.unsent.is_empty(), "left: {:?}", bench.unsent);
    }
}
