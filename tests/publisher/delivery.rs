//! Nothing is lost, whatever the network and the broker do.

use std::time::{Duration, Instant};

use benchlight::publisher::Timing;
use serde_json::Value;

use crate::{
    bench::{Bench, Running, change, quick, scan, settings},
    support::{
        dashboard::{Dashboard, Received},
        eventually, free_port,
        mosquitto::{DASHBOARD, Differences, Mosquitto, OTHER_STATION, TELEGRAF, shipped},
        proxy::Proxy,
    },
};

const ALL: &str = "benchlight/v1/#";
const SOON: Duration = Duration::from_secs(15);

/// Everything is sent within that time; every `seq` from 1 to `last` arrived, in one epoch, and no `id` has two bodies.
async fn everything_arrives(dashboard: &Dashboard, bench: &Bench, last: u64, patience: Duration) {
    bench.all_sent(patience).await;
    dashboard
        .wait("everything", SOON, |_| {
            dashboard.places().len() == usize::try_from(last).unwrap()
        })
        .await;
    let places = dashboard.places();
    let epoch = bench.journal.epoch().to_string();
    let missing: Vec<u64> = (1..=last)
        .filter(|seq| !places.contains_key(&(epoch.clone(), *seq)))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert_eq!(places.len(), usize::try_from(last).unwrap());
    let mut bodies = std::collections::BTreeMap::new();
    for message in dashboard.all() {
        if matches!(message.channel(), "scan" | "change") {
            let mut body = message.json();
            body["data"]["replay"] = Value::Null;
            let id = body["id"].as_str().unwrap().to_owned();
            assert_eq!(
                bodies.entry(id).or_insert_with(|| body.clone()),
                &body,
                "one id, two bodies"
            );
        }
    }
}

#[tokio::test]
async fn a_station_is_born_lives_and_says_goodbye() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    dashboard
        .wait("birth", SOON, |all| {
            ["availability", "meta", "health"]
                .iter()
                .all(|channel| all.iter().any(|m| m.channel() == *channel))
        })
        .await;
    let recorded = bench.scan(1).await;
    bench
        .journal
        .record(vec![change(&recorded[0])])
        .await
        .unwrap();
    dashboard
        .wait("scan, change and last", SOON, |all| {
            ["scan", "change", "last"]
                .iter()
                .all(|channel| all.iter().any(|m| m.channel() == *channel))
        })
        .await;

    assert_eq!(dashboard.on("availability")[0].text(), "online");
    let meta = dashboard.on("meta")[0].json();
    assert_eq!(
        (
            meta["epoch"].as_str().unwrap(),
            meta["station"].as_str().unwrap()
        ),
        (bench.journal.epoch().to_string().as_str(), "bench-1")
    );
    assert_eq!(
        dashboard.on("health")[0].json()["broker"]["state"],
        "connected"
    );
    let scan = &dashboard.on("scan")[0];
    assert_eq!(scan.topic, "benchlight/v1/ams1/bench-1/scan");
    assert_eq!(
        scan.properties.content_type.as_deref(),
        Some("application/cloudevents+json")
    );
    assert_eq!(scan.properties.payload_format_indicator, Some(1));
    assert_eq!(
        scan.properties.user_properties,
        [(
            "id".to_owned(),
            scan.json()["id"].as_str().unwrap().to_owned()
        )]
    );
    assert_eq!(
        (
            scan.json()["data"]["replay"].as_bool(),
            scan.json()["data"]["seq"].as_u64()
        ),
        (Some(false), Some(1))
    );
    assert_eq!(dashboard.on("change")[0].json()["data"]["seq"], 2);
    assert_eq!(dashboard.on("last")[0].payload, scan.payload);
    bench.all_sent(SOON).await;

    // A late subscriber gets the retained state, but no results.
    let late = Dashboard::connect(mosquitto.plain, TELEGRAF, ALL).await;
    late.wait("retained state", SOON, |all| all.len() >= 4)
        .await;
    let mut retained: Vec<String> = late
        .all()
        .iter()
        .filter(|message| message.retained)
        .map(|message| message.channel().to_owned())
        .collect();
    retained.sort();
    assert_eq!(retained, ["availability", "health", "last", "meta"]);

    running.stop().await;
    dashboard
        .wait("offline", SOON, |all| {
            all.iter()
                .any(|m| m.channel() == "availability" && m.text() == "offline")
        })
        .await;
    assert_eq!(
        dashboard.on("availability").len(),
        2,
        "a clean stop says offline once, and the will stays unsaid"
    );
}

#[tokio::test]
async fn a_station_that_dies_is_offline_by_its_will() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    dashboard
        .wait("online", SOON, |all| {
            all.iter().any(|m| m.channel() == "availability")
        })
        .await;
    running.kill();
    dashboard
        .wait("offline", SOON, |all| {
            all.iter()
                .any(|m| m.channel() == "availability" && m.text() == "offline")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_twenty_cuts() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let proxy = Proxy::start(mosquitto.plain).await;
    bench.scan(600).await;
    let mut running = bench.publish(bench.settings(proxy.port));
    running.connected().await;
    for cut in 0..20_usize {
        let before = proxy.connections();
        proxy.cut_after(20_000 + 137 * u64::try_from(cut).unwrap());
        bench.scan(70).await;
        eventually("the next link", SOON, || proxy.connections() > before).await;
    }
    everything_arrives(&dashboard, &bench, 2_000, Duration::from_secs(30)).await;
    let repeats: usize = dashboard.places().values().map(|times| times - 1).sum();
    println!("2,000 messages over 20 cuts: 0 lost, {repeats} repeated");
    running.stop().await;
}

#[tokio::test]
async fn a_broker_that_forgets_everything_at_its_restart_loses_nothing() {
    let mut mosquitto = Mosquitto::start_with(Differences {
        forgetful: true,
        ..Differences::default()
    });
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    bench.scan(50).await;
    bench.all_sent(SOON).await;
    mosquitto.kill();
    running.away().await;
    bench.scan(50).await;
    mosquitto.run();
    running.connected().await;
    everything_arrives(&dashboard, &bench, 100, SOON).await;
    let replayed = dashboard
        .on("scan")
        .iter()
        .filter(|message| message.json()["data"]["replay"] == true)
        .count();
    assert!(
        replayed >= 50,
        "the backlog says that it is one: {replayed}"
    );
    let late = Dashboard::connect(mosquitto.plain, TELEGRAF, ALL).await;
    late.wait("the state is published again", SOON, |all| {
        all.iter()
            .any(|m| m.channel() == "availability" && m.text() == "online")
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_half_open_link_is_given_up_and_nothing_is_lost() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let proxy = Proxy::start(mosquitto.plain).await;
    let mut running = bench.publish(bench.settings(proxy.port));
    running.connected().await;
    bench.scan(5).await;
    bench.all_sent(SOON).await;
    proxy.stall();
    let stalled = Instant::now();
    bench.scan(300).await;
    let words = running.away().await;
    // Twice the keep-alive and the grace period: 2.2 s here.
    assert!(
        stalled.elapsed() < Duration::from_secs(4),
        "{:?}",
        stalled.elapsed()
    );
    assert!(
        words.contains("silent") || words.contains("acknowledge"),
        "{words}"
    );
    running.connected().await;
    everything_arrives(&dashboard, &bench, 305, SOON).await;
    running.stop().await;
}

#[tokio::test]
async fn a_frozen_broker_loses_nothing() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    mosquitto.freeze();
    bench.scan(20).await;
    running.away().await;
    mosquitto.thaw();
    running.connected().await;
    everything_arrives(&dashboard, &bench, 20, SOON).await;
    running.stop().await;
}

#[tokio::test]
async fn swallowed_acknowledgements_are_repeats_and_no_losses() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let proxy = Proxy::start(mosquitto.plain).await;
    let mut running = bench.publish(bench.settings(proxy.port));
    running.connected().await;
    dashboard
        .wait("birth", SOON, |all| {
            all.iter().any(|m| m.channel() == "health")
        })
        .await;
    proxy.swallow_acks(true);
    bench.scan(40).await;
    let words = running.away().await;
    assert!(words.contains("acknowledge"), "{words}");
    assert!(bench.unsent() == 40, "no row goes without its PUBACK");
    proxy.swallow_acks(false);
    everything_arrives(&dashboard, &bench, 40, SOON).await;
    assert!(dashboard.places().values().any(|times| *times > 1));
    running.stop().await;
}

#[tokio::test]
async fn what_nobody_heard_follows_when_somebody_listens() {
    let mosquitto = Mosquitto::start();
    let mut bench = Bench::new();
    bench.scan(30).await;
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running
        .until("nobody listens", |state| state.nobody_listens)
        .await;
    bench.scan(30).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.unsent(), 60, "0x10 is not a delivery");
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    everything_arrives(&dashboard, &bench, 60, SOON).await;
    running
        .until("somebody listens", |state| !state.nobody_listens)
        .await;
    dashboard
        .wait("health", SOON, |all| {
            all.iter()
                .any(|m| m.channel() == "health" && m.json()["broker"]["nobody_listens"] == false)
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_broker_whose_rules_take_everything_may_say_that_nobody_listens() {
    let mosquitto = Mosquitto::start();
    let mut bench = Bench::new();
    bench.scan(5).await;
    let settings = benchlight::publisher::Settings {
        no_subscriber: benchlight::publisher::NoSubscriber::Accept,
        ..bench.settings(mosquitto.plain)
    };
    let mut running = bench.publish(settings);
    bench.all_sent(SOON).await;
    running.until("heard", |state| !state.nobody_listens).await;
    running.stop().await;
}

#[tokio::test]
async fn live_records_overtake_the_backlog_and_the_backlog_keeps_to_its_budget() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    bench.scan(120).await;
    let settings = benchlight::publisher::Settings {
        replay_per_second: 50,
        ..bench.settings(mosquitto.plain)
    };
    let started = Instant::now();
    let mut running = bench.publish(settings);
    running.connected().await;
    dashboard
        .wait("the backlog begins", SOON, |all| {
            all.iter().any(|m| m.channel() == "scan")
        })
        .await;
    let live = bench.scan(1).await[0].seq;
    dashboard
        .wait("the live one", Duration::from_secs(1), |all| {
            all.iter()
                .any(|m| m.channel() == "scan" && m.json()["data"]["seq"] == live)
        })
        .await;
    assert!(
        dashboard.count("scan") < 110,
        "the live record did not wait for the backlog"
    );
    let message = dashboard
        .on("scan")
        .into_iter()
        .find(|message| message.json()["data"]["seq"] == live)
        .unwrap();
    assert_eq!(message.json()["data"]["replay"], false);
    bench.all_sent(SOON).await;
    assert!(
        started.elapsed() >= Duration::from_millis(2_200),
        "120 at 50 a second took {:?}",
        started.elapsed()
    );
    let backlog: Vec<u64> = dashboard
        .on("scan")
        .iter()
        .filter_map(|message| message.json()["data"]["seq"].as_u64())
        .filter(|seq| *seq != live)
        .collect();
    assert!(backlog.is_sorted(), "each lane keeps the order of seq");
    running.stop().await;
}

#[tokio::test]
async fn a_foreign_offline_is_corrected() {
    let mut mosquitto = Mosquitto::start();
    // What another site's broker may pass on, through a bridge for example.
    mosquitto.kill();
    mosquitto.use_access_list(&format!(
        "{}\nuser {}\ntopic write benchlight/v1/ams1/bench-1/availability\n",
        shipped("acl"),
        OTHER_STATION.0
    ));
    mosquitto.run();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    dashboard
        .wait("online", SOON, |all| {
            all.iter().any(|m| m.channel() == "availability")
        })
        .await;
    mosquitto.publish_as(
        OTHER_STATION,
        &[
            "-r",
            "-t",
            "benchlight/v1/ams1/bench-1/availability",
            "-m",
            "offline",
        ],
    );
    dashboard
        .wait("online again", SOON, |all| {
            let said: Vec<String> = all
                .iter()
                .filter(|m| m.channel() == "availability")
                .map(|m| m.text())
                .collect();
            said == ["online", "offline", "online"]
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn two_stations_with_one_name_raise_the_alarm_and_calm_down() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let (mut one, mut other) = (Bench::new(), Bench::new());
    let mut first = one.publish(one.settings(mosquitto.plain));
    first.connected().await;
    let mut second = other.publish(other.settings(mosquitto.plain));
    first.away().await;
    let alarm = |running: &mut Running| {
        let mut state = running.state.clone();
        async move {
            state
                .wait_for(|state| state.session_taken_over)
                .await
                .map(|_| ())
        }
    };
    let raised = tokio::time::timeout(SOON, async {
        tokio::select! { found = alarm(&mut first) => found, found = alarm(&mut second) => found }
    })
    .await;
    raised.expect("the alarm is raised").unwrap();
    let words = |running: &Running| format!("{:?}", running.state.borrow().link);
    assert!(
        [words(&first), words(&second)]
            .iter()
            .any(|words| words.contains("rename one")),
        "{} {}",
        words(&first),
        words(&second)
    );
    one.scan(10).await;
    other.scan(10).await;
    second.kill();
    one.all_sent(SOON).await;
    first
        .until("the alarm ends", |state| !state.session_taken_over)
        .await;
    let survivor = other.publish(benchlight::publisher::Settings {
        station: crate::bench::name("bench-1"),
        ..settings(other.folder.path(), mosquitto.plain)
    });
    first.stop().await;
    other.all_sent(SOON).await;
    dashboard
        .wait("both journals", SOON, |_| dashboard.places().len() == 20)
        .await;
    survivor.stop().await;
}

/// Waits until the newest `P/meta` is of that epoch.
async fn introduced(dashboard: &Dashboard, epoch: uuid::Uuid) {
    let of_it = |all: &[Received]| {
        all.iter()
            .rev()
            .find(|one| one.channel() == "meta")
            .is_some_and(|one| one.json()["epoch"] == epoch.to_string())
    };
    dashboard.wait("who the station is", SOON, of_it).await;
}

#[tokio::test]
async fn a_journal_made_anew_is_introduced_on_the_same_link() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    introduced(&dashboard, bench.journal.epoch()).await;
    let births = dashboard.count("availability");
    bench.lose_the_journal().await;
    introduced(&dashboard, bench.journal.epoch()).await;
    assert_eq!(
        dashboard.count("availability"),
        births,
        "the link is the same"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_journal_made_anew_while_the_broker_is_away_is_no_second_station() {
    let mosquitto = Mosquitto::start();
    let proxy = Proxy::start(mosquitto.plain).await;
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let mut timing = quick();
    timing.reconnect.first = Duration::from_millis(400);
    let mut running = bench.publish_with(bench.settings(proxy.port), timing);
    running.connected().await;
    introduced(&dashboard, bench.journal.epoch()).await;
    // Nobody subscribes to it.
    let nowhere = free_port();
    proxy.lead_to(nowhere);
    proxy.cut();
    running.away().await;
    bench.lose_the_journal().await;
    proxy.lead_to(mosquitto.plain);
    // The broker still retains what this same process said about its epoch before.
    running.connected().await;
    introduced(&dashboard, bench.journal.epoch()).await;
    proxy.lead_to(nowhere);
    proxy.cut();
    let words = running.away().await;
    assert!(!words.contains("another client"), "{words}");
    running.stop().await;
}

#[tokio::test]
async fn a_record_that_the_disk_refused_goes_out_once_without_a_place() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    running.unrecorded.push(scan(7));
    dashboard
        .wait("it", SOON, |all| all.iter().any(|m| m.channel() == "scan"))
        .await;
    let data = dashboard.on("scan")[0].json()["data"].clone();
    assert_eq!((&data["epoch"], &data["seq"]), (&Value::Null, &Value::Null));
    running.stop().await;
    assert_eq!(dashboard.count("scan"), 1);
}

#[tokio::test]
async fn of_more_records_that_the_disk_refused_than_are_kept_the_newest_go_out() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    // Before the publisher runs at all, as if the broker were away.
    let refused: Vec<_> = (0..300).map(scan).collect();
    refused
        .iter()
        .for_each(|record| running.unrecorded.push(record.clone()));
    assert_eq!(running.unrecorded.dropped(), 44);
    running.connected().await;
    dashboard
        .wait("all that were kept", SOON, |all| {
            all.iter().filter(|m| m.channel() == "scan").count() == 256
        })
        .await;
    let ids: Vec<String> = dashboard
        .on("scan")
        .iter()
        .map(|m| m.json()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        refused[44..]
            .iter()
            .map(|record| record.id.to_string())
            .collect::<Vec<_>>(),
        "the oldest made room"
    );
    running.stop().await;
}

#[tokio::test]
async fn health_goes_out_on_change_and_on_the_minute_and_not_more_often() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    dashboard
        .wait("birth", SOON, |all| {
            all.iter().any(|m| m.channel() == "health")
        })
        .await;
    let started = Instant::now();
    for waiting in 1..=40 {
        running
            .health
            .send_modify(|health| health.waiting = waiting);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dashboard
        .wait("the newest", SOON, |all| {
            all.iter()
                .any(|m| m.channel() == "health" && m.json()["waiting"] == 40)
        })
        .await;
    let said = dashboard.count("health");
    let allowed = usize::try_from(started.elapsed().as_millis() / 200).unwrap() + 2;
    assert!(said <= allowed, "{said} messages, {allowed} allowed");
    let before = dashboard.count("health");
    dashboard
        .wait("the regular one", Duration::from_secs(3), |all| {
            all.iter().filter(|m| m.channel() == "health").count() > before
        })
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_drains_fast() {
    const ROWS: u64 = 5_000;
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/v1/+/+/scan").await;
    let mut bench = Bench::new();
    bench.scan(ROWS).await;
    let started = Instant::now();
    let running = bench.publish_with(bench.settings(mosquitto.plain), quick());
    bench.all_sent(Duration::from_secs(50)).await;
    let took = started.elapsed();
    println!(
        "{ROWS} rows drained in {took:?}: {:.0} a second (unoptimised build, mosquitto logging)",
        5_000.0 / took.as_secs_f64()
    );
    everything_arrives(&dashboard, &bench, ROWS, SOON).await;
    running.stop().await;
}

/// With the product's own times: how long a broker may be away, and how soon everything has arrived once it is back.
const AWAY: Duration = Duration::from_secs(30);
const BACK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn after_thirty_seconds_without_a_broker_everything_is_there_within_five() {
    let mut mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish_with(bench.settings(mosquitto.plain), Timing::default());
    running.connected().await;
    bench.scan(3).await;
    bench.all_sent(SOON).await;
    mosquitto.kill();
    running.away().await;
    bench.scan(100).await;
    tokio::time::sleep(AWAY).await;
    mosquitto.run();
    let back = Instant::now();
    dashboard
        .wait("everything", BACK, |_| dashboard.places().len() == 103)
        .await;
    println!(
        "after 30 s without a broker everything was there {:?} after its return",
        back.elapsed()
    );
    running.stop().await;
}

#[tokio::test]
async fn after_thirty_seconds_of_unanswered_connects_everything_is_there_within_five() {
    let mosquitto = Mosquitto::start();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, ALL).await;
    let mut bench = Bench::new();
    bench.scan(100).await;
    // A queue for one connection, which is full: the kernel drops all further attempts, as a broken network would.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let door = socket.listen(0).unwrap();
    let port = door.local_addr().unwrap().port();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(
        Duration::from_millis(300),
        tokio::net::TcpStream::connect(("127.0.0.1", port)),
    )
    .await
    {
        queued.push(stream);
    }
    let mut running = bench.publish_with(bench.settings(port), Timing::default());
    tokio::time::sleep(AWAY).await;
    let words = running.away().await;
    assert!(words.contains("does not answer"), "{words}");
    let (back, broker) = (Instant::now(), mosquitto.plain);
    drop(queued);
    tokio::spawn(async move {
        while let Ok((mut station, _)) = door.accept().await {
            tokio::spawn(async move {
                let mut broker = tokio::net::TcpStream::connect(("127.0.0.1", broker))
                    .await
                    .unwrap();
                tokio::io::copy_bidirectional(&mut station, &mut broker).await
            });
        }
    });
    dashboard
        .wait("everything", BACK, |_| dashboard.places().len() == 100)
        .await;
    println!(
        "after 30 s of unanswered connects everything was there {:?} after the return",
        back.elapsed()
    );
    running.stop().await;
}
