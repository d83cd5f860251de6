//! Brokers that refuse rows or break links: one row never stops the others, and none is lost.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use benchlight::publisher::Timing;
use rumqttc::{ConnectReturnCode, DisconnectReasonCode, PubAckReason};

use crate::{
    bench::{Bench, Running, quick},
    scripted::{Manners, Reaction, Scripted, Seen, TAKEN},
    support::{
        dashboard::Dashboard,
        eventually,
        mosquitto::{DASHBOARD, Mosquitto},
    },
};

const SOON: Duration = Duration::from_secs(15);

/// The `seq` of every row that the journal has set aside.
fn set_aside(bench: &Bench) -> Vec<(u64, String)> {
    bench.journal.health().borrow().set_aside.clone()
}

async fn until_set_aside(bench: &Bench, seq: u64, why: &str) {
    eventually("it is set aside", SOON, || {
        set_aside(bench) == [(seq, why.to_owned())]
    })
    .await;
}

fn complete(broker: &Scripted, last: u64) -> bool {
    let seen: BTreeSet<u64> = broker.seqs().into_iter().collect();
    (1..=last).all(|seq| seen.contains(&seq))
}

async fn running(bench: &Bench, broker: &Scripted) -> Running {
    running_with(bench, broker, quick()).await
}

async fn running_with(bench: &Bench, broker: &Scripted, timing: Timing) -> Running {
    let mut running = bench.publish_with(bench.settings(broker.port), timing);
    running.connected().await;
    running
}

#[tokio::test]
async fn the_will_is_offline_retained_and_a_clean_stop_says_so_and_disconnects() {
    let broker = Scripted::start(Manners::default(), |_| TAKEN).await;
    let bench = Bench::new();
    let running = running(&bench, &broker).await;
    assert_eq!(
        broker.wills(),
        [r#"benchlight/v1/ams1/bench-1/availability b"offline" true"#]
    );
    running.stop().await;
    eventually("DISCONNECT", SOON, || {
        broker.disconnects() == [DisconnectReasonCode::NormalDisconnection]
    })
    .await;
    let last = broker.seen().pop().unwrap();
    assert!(last.topic.ends_with("/availability") && last.retained);
}

#[tokio::test]
async fn a_receive_maximum_of_one_is_kept() {
    let broker = Scripted::start(
        Manners {
            receive_max: Some(1),
            ..Manners::default()
        },
        |seen| {
            assert_eq!(seen.unanswered, 1);
            TAKEN
        },
    )
    .await;
    let mut bench = Bench::new();
    bench.scan(50).await;
    let running = running(&bench, &broker).await;
    bench.scan(20).await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 70));
    assert!(
        broker
            .seen()
            .iter()
            .any(|seen| seen.topic.ends_with("/health")),
        "state gets its turn"
    );
    running.stop().await;
}

#[tokio::test]
async fn no_more_than_the_window_is_in_flight() {
    let broker = Scripted::start(Manners::default(), |seen| {
        assert!(seen.unanswered <= 32, "{}", seen.unanswered);
        if seen.is_record() && seen.unanswered < 30 {
            Reaction::After
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(300).await;
    let running = running(&bench, &broker).await;
    eventually("a full window", SOON, || {
        broker.seen().iter().any(|seen| seen.unanswered >= 30)
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn acknowledgements_out_of_order_are_understood() {
    let mut turn = 0_u64;
    let broker = Scripted::start(Manners::default(), move |seen| {
        turn += 1;
        if seen.is_record() && !turn.is_multiple_of(5) {
            Reaction::After
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(400).await;
    let running = running(&bench, &broker).await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 400));
    assert!(
        broker.seqs().len() == 400,
        "each went once: {}",
        broker.seqs().len()
    );
    running.stop().await;
}

#[tokio::test]
async fn a_session_that_the_broker_only_claims_to_have_is_not_believed() {
    let broker = Scripted::start(
        Manners {
            session_present: |connection| connection < 2,
            ..Manners::default()
        },
        |_| TAKEN,
    )
    .await;
    let mut bench = Bench::new();
    bench.scan(40).await;
    let mut running = bench.publish(bench.settings(broker.port));
    let words = running.away().await;
    assert!(words.contains("session"), "{words}");
    running.connected().await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 40));
    running.stop().await;
}

#[tokio::test]
async fn a_message_larger_than_the_broker_takes_is_set_aside_and_the_rest_flows() {
    const LIMIT: usize = 1_200;
    let broker = Scripted::start(
        Manners {
            max_packet_size: Some(1_200),
            ..Manners::default()
        },
        |seen| {
            assert!(seen.size <= LIMIT, "{} bytes", seen.size);
            TAKEN
        },
    )
    .await;
    let mut bench = Bench::new();
    bench.scan(3).await;
    let large = benchlight::record::Record {
        message: "x".repeat(1_000),
        ..crate::bench::scan(900)
    };
    bench.journal.record(vec![large]).await.unwrap();
    bench.scan(3).await;
    let running = running(&bench, &broker).await;
    until_set_aside(&bench, 4, "packet_too_large").await;
    bench.all_sent(SOON).await;
    assert_eq!(broker.seqs(), [1, 2, 3, 5, 6, 7]);
    running.stop().await;
}

#[tokio::test]
async fn a_row_that_alone_is_refused_is_set_aside_after_ten_times_and_the_rest_flows() {
    let broker = Scripted::start(Manners::default(), |seen| {
        if seen.seq() == Some(3) {
            Reaction::Ack(PubAckReason::PayloadFormatInvalid)
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(5).await;
    let mut timing = quick();
    timing.rows.first = Duration::from_millis(10);
    timing.rows.most = Duration::from_millis(50);
    let mut running = running_with(&bench, &broker, timing).await;
    until_set_aside(&bench, 3, "payload_format_invalid").await;
    assert_eq!(broker.times(3), 10);
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 5));
    assert!(running.state.borrow_and_update().refused_topic.is_none());
    running.stop().await;
}

#[tokio::test]
async fn what_was_set_aside_is_offered_again_at_the_start_and_later_on_a_stable_link() {
    let broker = Scripted::start(Manners::default(), {
        let mut refusals = 0;
        move |seen: &Seen| {
            if seen.seq() == Some(2) && refusals < 12 {
                refusals += 1;
                return Reaction::Ack(PubAckReason::PayloadFormatInvalid);
            }
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(3).await;
    let mut timing = quick();
    timing.rows.first = Duration::from_millis(10);
    timing.rows.most = Duration::from_millis(20);
    timing.rows.aside = Duration::from_millis(800);
    let running = running_with(&bench, &broker, timing).await;
    until_set_aside(&bench, 2, "payload_format_invalid").await;
    // The 11th and 12th refusal each put it back at once; the next time the broker accepts it.
    eventually("it is delivered", SOON, || {
        set_aside(&bench).is_empty() && bench.unsent() == 0 && broker.times(2) == 13
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_busy_keeps_everything_and_is_not_hammered() {
    let started = Instant::now();
    let broker = Scripted::start(Manners::default(), move |seen| {
        let busy = seen.is_record() && started.elapsed() < Duration::from_millis(1_500);
        if busy {
            Reaction::Ack(
                [
                    PubAckReason::QuotaExceeded,
                    PubAckReason::UnspecifiedError,
                    PubAckReason::ImplementationSpecificError,
                ][seen.unanswered % 3],
            )
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(100).await;
    let running = running(&bench, &broker).await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 100));
    assert!(set_aside(&bench).is_empty());
    let tries = broker.seqs().len() - 100;
    // One window at first, then one row each after 50, 100, 200, 400, 400 .. ms.
    assert!(tries <= 32 + 10, "{tries} refused tries");
    running.stop().await;
}

#[tokio::test]
async fn a_topic_that_the_station_may_not_write_keeps_all_its_rows_and_health_says_so() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/v1/#").await;
    let list = std::fs::read_to_string(mosquitto.path("acl")).unwrap();
    mosquitto.use_access_list(&list.replace("pattern write benchlight/v1/+/%u/scan\n", ""));
    mosquitto.reload();
    let mut bench = Bench::new();
    let recorded = bench.scan(40).await;
    bench
        .journal
        .record(vec![crate::bench::change(&recorded[0])])
        .await
        .unwrap();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running
        .until("the topic is named", |state| {
            state.refused_topic.as_deref() == Some("benchlight/v1/ams1/bench-1/scan")
        })
        .await;
    dashboard
        .wait("health names it", SOON, |all| {
            all.iter().any(|m| {
                m.channel() == "health"
                    && m.json()["broker"]["refused_topic"] == "benchlight/v1/ams1/bench-1/scan"
            })
        })
        .await;
    dashboard
        .wait("the other topic flows", SOON, |all| {
            all.iter().any(|m| m.channel() == "change")
        })
        .await;
    eventually("forty wait", SOON, || bench.unsent() == 40).await;
    assert_eq!(
        (set_aside(&bench), dashboard.count("scan")),
        (Vec::new(), 0)
    );

    mosquitto.use_access_list(&list);
    mosquitto.reload();
    bench.all_sent(SOON).await;
    running
        .until("all is well", |state| state.refused_topic.is_none())
        .await;
    dashboard
        .wait("everything", SOON, |all| {
            all.iter().filter(|m| m.channel() == "scan").count() >= 40
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn rights_that_are_taken_away_later_cost_no_row() {
    let broker = Scripted::start(Manners::default(), {
        let mut taken = 0;
        move |seen: &Seen| {
            if !seen.is_record() {
                return TAKEN;
            }
            taken += 1;
            if (11..=60).contains(&taken) {
                Reaction::Ack(PubAckReason::NotAuthorized)
            } else {
                TAKEN
            }
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(30).await;
    let mut timing = quick();
    timing.rows.first = Duration::from_millis(5);
    timing.rows.most = Duration::from_millis(40);
    let running = running_with(&bench, &broker, timing).await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 30));
    assert!(set_aside(&bench).is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_row_that_breaks_every_link_is_sent_alone_and_then_set_aside() {
    let broker = Scripted::start(Manners::default(), |seen| {
        if seen.seq() == Some(7) {
            Reaction::Close
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(40).await;
    let mut running = bench.publish(bench.settings(broker.port));
    until_set_aside(&bench, 7, "breaks_the_link").await;
    running.connected().await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 40));
    let offered: Vec<Seen> = broker
        .seen()
        .into_iter()
        .filter(|seen| seen.seq() == Some(7))
        .collect();
    assert_eq!(
        offered.len(),
        7,
        "three times among others, four times alone"
    );
    assert!(
        offered[3..].iter().all(|seen| seen.unanswered == 1),
        "alone is alone"
    );
    // No other row was blamed.
    bench.scan(5).await;
    bench.all_sent(SOON).await;
    running.stop().await;
}

#[tokio::test]
async fn a_row_that_the_broker_never_answers_does_not_hold_the_others_for_ever() {
    let broker = Scripted::start(Manners::default(), |seen| {
        if seen.seq() == Some(2) {
            Reaction::Ignore
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(6).await;
    let mut timing = quick();
    timing.silence.unacknowledged = Duration::from_millis(300);
    let running = running_with(&bench, &broker, timing).await;
    eventually("the others are through", Duration::from_secs(2), || {
        bench.unsent() == 1
    })
    .await;
    assert!(set_aside(&bench).is_empty());
    // It ends links like a row that breaks them, and is treated the same.
    eventually("it has ended links", SOON, || broker.times(2) > 1).await;
    bench.scan(6).await;
    until_set_aside(&bench, 2, "breaks_the_link").await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 12));
    running.stop().await;
}

/// A broker that does this to every record on its first twenty links, and then works.
async fn ill_broker(reaction: Reaction) -> Scripted {
    Scripted::start(Manners::default(), move |seen| {
        if seen.is_record() && seen.connection < 20 {
            reaction
        } else {
            TAKEN
        }
    })
    .await
}

#[tokio::test]
async fn a_broker_that_hangs_up_on_every_record_or_answers_none_has_no_row_set_aside() {
    for reaction in [
        Reaction::Close,
        Reaction::Ignore,
        Reaction::Disconnect(DisconnectReasonCode::UnspecifiedError),
    ] {
        let broker = ill_broker(reaction).await;
        let mut bench = Bench::new();
        let recorded = bench.scan(2).await;
        bench
            .journal
            .record(vec![crate::bench::change(&recorded[0])])
            .await
            .unwrap();
        let mut timing = quick();
        timing.silence.unacknowledged = Duration::from_millis(100);
        let running = running_with(&bench, &broker, timing).await;
        eventually("it is well again", Duration::from_secs(60), || {
            assert_eq!(set_aside(&bench), [], "{reaction:?}");
            bench.unsent() == 0
        })
        .await;
        assert!(complete(&broker, 3));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_row_that_breaks_links_is_kept_until_another_shows_that_the_broker_takes_rows() {
    let broker = Scripted::start(Manners::default(), |seen| {
        if seen.seq() == Some(1) {
            Reaction::Close
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(1).await;
    let running = running(&bench, &broker).await;
    eventually("many broken links", SOON, || broker.times(1) > 12).await;
    assert_eq!((set_aside(&bench), bench.unsent()), (Vec::new(), 1));
    bench.scan(1).await;
    until_set_aside(&bench, 1, "breaks_the_link").await;
    bench.all_sent(SOON).await;
    assert!(broker.seqs().contains(&2));
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_goes_away_by_itself_blames_no_row() {
    let broker = Scripted::start(Manners::default(), |seen| {
        let goes = seen.connection < 9 && seen.seq().is_some_and(|seq| seq >= 5);
        if goes {
            Reaction::Disconnect(DisconnectReasonCode::ServerShuttingDown)
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    bench.scan(12).await;
    let mut timing = quick();
    timing.reconnect.next = Duration::from_millis(60);
    let running = running_with(&bench, &broker, timing).await;
    bench.all_sent(SOON).await;
    assert!(complete(&broker, 12));
    assert!(set_aside(&bench).is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_says_taken_over_raises_the_alarm() {
    let broker = Scripted::start(Manners::default(), |seen| {
        if seen.connection < 2 && seen.topic.ends_with("/health") {
            Reaction::Disconnect(DisconnectReasonCode::SessionTakenOver)
        } else {
            TAKEN
        }
    })
    .await;
    let mut bench = Bench::new();
    let mut running = bench.publish(bench.settings(broker.port));
    running
        .until("the alarm", |state| state.session_taken_over)
        .await;
    let before = Instant::now();
    running.connected().await;
    assert!(
        before.elapsed() >= Duration::from_millis(300),
        "a long back-off"
    );
    bench.scan(3).await;
    bench.all_sent(SOON).await;
    running
        .until("calm again", |state| !state.session_taken_over)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_refused_connection_is_said_in_words_and_not_hammered() {
    for (code, word) in [
        (
            ConnectReturnCode::BadUserNamePassword,
            "password_credential",
        ),
        (ConnectReturnCode::NotAuthorized, "access list"),
        (ConnectReturnCode::UnsupportedProtocolVersion, "MQTT 5"),
        (ConnectReturnCode::ServerBusy, "no connection now"),
    ] {
        let broker = Scripted::start(
            Manners {
                code,
                ..Manners::default()
            },
            |_| TAKEN,
        )
        .await;
        let bench = Bench::new();
        let mut running = bench.publish(bench.settings(broker.port));
        let words = running.away().await;
        assert!(words.contains(word), "{words}");
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(
            broker.wills().len() <= 24,
            "{} connections",
            broker.wills().len()
        );
        running.stop().await;
    }
}

#[tokio::test]
async fn a_broker_without_qos_1_is_no_broker_for_a_station_and_one_without_retain_is() {
    let bench = Bench::new();
    let broker = Scripted::start(
        Manners {
            max_qos: Some(0),
            ..Manners::default()
        },
        |_| TAKEN,
    )
    .await;
    let mut running = bench.publish(bench.settings(broker.port));
    assert!(running.away().await.contains("QoS 1"));
    running.stop().await;

    let mut bench = Bench::new();
    let broker = Scripted::start(
        Manners {
            retain_available: Some(0),
            ..Manners::default()
        },
        |seen| {
            assert!(!seen.retained);
            TAKEN
        },
    )
    .await;
    bench.scan(3).await;
    let running = self::running(&bench, &broker).await;
    bench.all_sent(SOON).await;
    running.stop().await;
}

#[tokio::test]
async fn limits_that_leave_no_room_for_a_message_are_said_in_words_and_cost_no_row() {
    let limits = [
        (
            Manners {
                receive_max: Some(0),
                ..Manners::default()
            },
            "receive maximum",
        ),
        (
            Manners {
                max_packet_size: Some(0),
                ..Manners::default()
            },
            "maximum packet size",
        ),
        (
            Manners {
                max_packet_size: Some(1),
                ..Manners::default()
            },
            "maximum packet size",
        ),
    ];
    for (manners, word) in limits {
        let broker = Scripted::start(manners, |_| TAKEN).await;
        let mut bench = Bench::new();
        bench.scan(3).await;
        let mut running = bench.publish(bench.settings(broker.port));
        let words = running.away().await;
        assert!(words.contains(word), "{words}");
        eventually("it is tried again", SOON, || broker.wills().len() > 2).await;
        assert_eq!((bench.unsent(), set_aside(&bench)), (3, Vec::new()));
        running.stop().await;
    }
}

#[tokio::test]
async fn whatever_the_broker_names_as_its_limits_a_quiet_link_stays_and_every_row_is_sent() {
    let limits = [
        Manners {
            server_keep_alive: Some(0),
            ..Manners::default()
        },
        Manners {
            server_keep_alive: Some(u16::MAX),
            ..Manners::default()
        },
        Manners {
            receive_max: Some(u16::MAX),
            max_packet_size: Some(u32::MAX),
            ..Manners::default()
        },
        Manners {
            session_expiry_interval: Some(u32::MAX),
            ..Manners::default()
        },
    ];
    for manners in limits {
        let said = format!("{manners:?}");
        let broker = Scripted::start(manners, |_| TAKEN).await;
        let mut bench = Bench::new();
        bench.scan(40).await;
        // Otherwise idle: no health in between.
        let mut timing = quick();
        timing.health.least = Duration::from_secs(60);
        timing.health.most = Duration::from_secs(60);
        let mut settings = bench.settings(broker.port);
        settings.keep_alive = Duration::from_secs(10);
        let mut running = bench.publish_with(settings, timing);
        running.connected().await;
        bench.all_sent(SOON).await;
        // Five times the grace.
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.scan(1).await;
        bench.all_sent(SOON).await;
        assert_eq!(
            (complete(&broker, 41), broker.wills().len()),
            (true, 1),
            "{said}"
        );
        running.stop().await;
    }
}

/// A PUBLISH with QoS 0: topic, properties, payload.
fn publish(flags: u8, topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if flags & 6 != 0 {
        body.extend_from_slice(&[0xff, 0xff]);
    }
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    let mut packet = vec![0x30 | flags];
    let mut length = body.len();
    loop {
        let more = length > 0x7f;
        packet.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    packet.extend_from_slice(&body);
    packet
}

#[tokio::test]
async fn nothing_that_a_broker_sends_ends_the_publisher_or_costs_a_row() {
    let own = |channel: &str| format!("benchlight/v1/ams1/bench-1/{channel}");
    let deep = "[".repeat(8_000);
    let mut nonsense: Vec<Vec<u8>> = [
        // Unsolicited answers: PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK; identifiers 0, 33, 65535.
        &[0x40, 2, 0, 0][..],
        &[0x40, 2, 0, 33],
        &[0x40, 2, 0xff, 0xff],
        &[0x50, 2, 0xff, 0xff],
        &[0x62, 2, 0xff, 0xff],
        &[0x70, 2, 0xff, 0xff],
        &[0x90, 3, 0xff, 0xff, 0],
        &[0x90, 4, 0, 1, 0, 0xff],
        &[0xb0, 3, 0xff, 0xff, 0],
        // A second CONNACK, packets that only a client may send, AUTH, and unknown types.
        &[0x20, 3, 0, 0, 0],
        &[0x10, 0],
        &[0x82, 0],
        &[0xc0, 0],
        &[0xf0, 0],
        &[0x00, 0],
        // An unknown reason. Lengths: the largest, one that never ends, one with nothing after it.
        &[0xe0, 1, 0xff],
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 4, 0xff, 0xff, b'x', b'x'],
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    // Properties: topic alias, expiry, subscription identifier; QoS 2, QoS 3, no topic, no UTF-8; retained under the station's own name.
    nonsense.push(publish(0, "", &[0x23, 0xff, 0xff], b"x"));
    nonsense.push(publish(0, "x", &[0x02, 0xff, 0xff, 0xff, 0xff], b"x"));
    nonsense.push(publish(0, "x", &[0x0b, 0], b"x"));
    nonsense.push(publish(4, "x", &[], b"x"));
    nonsense.push(publish(6, "x", &[], b"x"));
    nonsense.push(publish(0, "", &[], b"x"));
    nonsense.push(publish(
        1,
        &own("availability"),
        &[0x02, 0xff, 0xff, 0xff, 0xff],
        &[0xff; 12_000],
    ));
    for text in [
        deep.as_str(),
        "",
        "{",
        "null",
        "1e400",
        "{\"epoch\":-1}",
        "{\"epoch\":9223372036854775808}",
        "{\"epoch\":NaN}",
    ] {
        nonsense.push(publish(1, &own("meta"), &[], text.as_bytes()));
        nonsense.push(publish(1, &own("health"), &[], text.as_bytes()));
        nonsense.push(publish(0, &own("cmd/backfill"), &[], text.as_bytes()));
    }
    for bytes in nonsense {
        let said = format!("{:x?}", bytes.iter().take(24).collect::<Vec<_>>());
        let broker = Scripted::start(
            Manners {
                nonsense: bytes,
                ..Manners::default()
            },
            |_| TAKEN,
        )
        .await;
        let mut bench = Bench::new();
        bench.scan(2).await;
        let mut settings = bench.settings(broker.port);
        settings.commands = true;
        let mut timing = quick();
        timing.reconnect.next = Duration::from_millis(20);
        let running = bench.publish_with(settings, timing);
        eventually(&said, SOON, || bench.unsent() == 0).await;
        assert_eq!(
            (complete(&broker, 2), set_aside(&bench)),
            (true, Vec::new()),
            "{said}"
        );
        running.stop().await;
    }
}
