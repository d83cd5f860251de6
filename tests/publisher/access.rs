//! The shipped access list: who may write and read what, and under which client id each user can connect.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use rumqttc::{LastWill, QoS};

use crate::{
    bench::{Bench, secret},
    support::{
        dashboard::Dashboard,
        eventually,
        mosquitto::{
            DASHBOARD, Differences, HOME_ASSISTANT, Mosquitto, OPERATOR, OTHER_STATION, STATION,
            TELEGRAF, shipped,
        },
    },
};

const SOON: Duration = Duration::from_secs(15);
const CHANNELS: [&str; 8] = [
    "availability",
    "meta",
    "health",
    "scan",
    "change",
    "last",
    "rsp/backfill",
    "cmd/backfill",
];
const ALL: &str = "benchlight/v1/#";
/// The last message to a dashboard: when it arrives, everything before it has arrived or never will.
const BARRIER: &str = "benchlight/v1/x/bench-1/rsp/barrier";

const fn is_station(user: &str) -> bool {
    matches!(user.as_bytes(), b"bench-1" | b"bench-2")
}

/// Every user, and the names a station could be impersonated under.
fn users() -> [(&'static str, &'static str); 6] {
    [
        STATION,
        OTHER_STATION,
        DASHBOARD,
        TELEGRAF,
        HOME_ASSISTANT,
        OPERATOR,
    ]
}

/// By which Home Assistant finds the station of that name.
fn discovery(name: &str) -> String {
    format!("homeassistant/device/benchlight-x/{name}/config")
}

#[tokio::test]
async fn a_station_writes_its_own_channels_an_operator_commands_and_nobody_else_anything() {
    let mosquitto = Mosquitto::start();
    for user in users() {
        let client = Dashboard::connect(mosquitto.plain, user, "nothing").await;
        for (name, _) in users() {
            let topics = CHANNELS
                .map(|channel| format!("benchlight/v1/x/{name}/{channel}"))
                .into_iter()
                .chain([discovery(name)]);
            for topic in topics {
                let right = match topic.ends_with("cmd/backfill") {
                    true => user == OPERATOR && name != OPERATOR.0,
                    false => is_station(user.0) && user.0 == name,
                };
                assert_eq!(
                    client.may_write(&topic, "{}", false).await,
                    right,
                    "{} on {topic}",
                    user.0
                );
                // An empty retained message clears what is retained there.
                assert_eq!(
                    client.may_write(&topic, "", true).await,
                    right,
                    "{} clears {topic}",
                    user.0
                );
            }
        }
        let own = format!("benchlight/v1/x/{}", user.0);
        for topic in [
            "benchlight/v1",
            "benchlight/v2/x/bench-1/scan",
            "other",
            &own,
            &format!("{own}/scan/more"),
            &format!("{own}/cmd"),
            &format!("y/{own}/scan"),
            "homeassistant",
            &format!("homeassistant/device/{}/config", user.0),
            &format!("homeassistant/sensor/x/{}/config", user.0),
            &format!("homeassistant/device/x/{}/config/more", user.0),
        ] {
            assert!(
                !client.may_write(topic, "{}", true).await,
                "{} on {topic}",
                user.0
            );
        }
        assert_eq!(
            client
                .may_write("homeassistant/status", "online", false)
                .await,
            user == HOME_ASSISTANT,
            "{}",
            user.0
        );
    }
}

#[tokio::test]
async fn a_station_reads_what_it_said_itself_and_a_dashboard_everything_of_stations() {
    let mosquitto = Mosquitto::start();
    let topics: Vec<String> = [STATION.0, OTHER_STATION.0]
        .iter()
        .flat_map(|name| {
            CHANNELS
                .iter()
                .map(move |channel| format!("benchlight/v1/x/{name}/{channel}"))
                .chain([discovery(name)])
        })
        .collect();
    for user in [STATION, OTHER_STATION, OPERATOR] {
        let client = Dashboard::connect(mosquitto.plain, user, "nothing").await;
        for topic in &topics {
            let own = topic.split('/').nth(3) == Some(user.0) && !topic.contains("/cmd/")
                || user == OPERATOR && topic.contains("/cmd/");
            assert!(
                !own || client.may_write(topic, "{}", true).await,
                "{} on {topic}",
                user.0
            );
        }
    }
    for user in users() {
        // The broker accepts any subscription, and sends only what the user may read.
        for filter in ["#", "+/+/+/+/+", "$SYS/#", "$share/group/#"] {
            let client = Dashboard::connect(mosquitto.plain, user, filter).await;
            let heard = kept(&client).await;
            let own = |channel: &str| format!("benchlight/v1/x/{}/{channel}", user.0);
            let may: BTreeSet<String> = match is_station(user.0) {
                true => ["availability", "meta", "health", "cmd/backfill"]
                    .map(own)
                    .into_iter()
                    .chain([discovery(user.0)])
                    .collect(),
                false => topics
                    .iter()
                    .filter(|topic| user == HOME_ASSISTANT || topic.starts_with("benchlight/"))
                    .cloned()
                    .collect(),
            };
            let may = may.into_iter().filter(|topic| match filter {
                "#" | "$share/group/#" => true,
                "+/+/+/+/+" => topic.split('/').count() == 5,
                // No user may read the broker's statistics.
                _ => false,
            });
            assert_eq!(heard, may.collect(), "{} on {filter}", user.0);
        }
    }
}

/// The topics of all messages that arrived, once there are no more.
async fn kept(client: &Dashboard) -> BTreeSet<String> {
    // The answer to a message comes after all messages of the subscription.
    let _ = client.may_write("other", "", false).await;
    client
        .all()
        .into_iter()
        .map(|message| message.topic)
        .collect()
}

#[tokio::test]
async fn nobody_takes_a_stations_connection_by_its_client_id() {
    let mosquitto = Mosquitto::start();
    let watcher = Dashboard::connect(mosquitto.plain, TELEGRAF, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    watcher
        .wait("online", SOON, |all| {
            all.iter()
                .any(|message| message.channel() == "availability")
        })
        .await;
    for (user, id) in [
        (DASHBOARD, "benchlight-ams1-bench-1"),
        (OTHER_STATION, "benchlight-ams1-bench-1"),
        (OPERATOR, "bench-1"),
    ] {
        let thief = Dashboard::open(Dashboard::options(mosquitto.plain, user, id), ALL).await;
        // Both stay connected at the same time.
        assert!(!thief.may_write("other", "", false).await);
    }
    bench.scan(1).await;
    bench.all_sent(SOON).await;
    watcher
        .wait("the scan", SOON, |all| {
            all.iter().any(|message| message.channel() == "scan")
        })
        .await;
    let said: Vec<String> = watcher
        .on("availability")
        .iter()
        .map(|message| message.text())
        .collect();
    assert_eq!(said, ["online"], "nobody else ended its session");
    running.stop().await;
}

#[tokio::test]
async fn a_will_speaks_for_nobody_else() {
    let mosquitto = Mosquitto::start();
    let watcher = Dashboard::connect(mosquitto.plain, TELEGRAF, ALL).await;
    for user in [DASHBOARD, OPERATOR, OTHER_STATION] {
        let mut options = Dashboard::options(mosquitto.plain, user, "any");
        options.set_last_will(LastWill::new(
            "benchlight/v1/x/bench-1/availability",
            "offline",
            QoS::AtLeastOnce,
            true,
            None,
        ));
        let client = Dashboard::open(options, "nothing").await;
        drop(client);
        let gone = format!("Client {} closed its connection", user.0);
        eventually("its end", SOON, || mosquitto.log().contains(&gone)).await;
    }
    let station = Dashboard::connect(mosquitto.plain, STATION, "nothing").await;
    assert!(station.may_write(BARRIER, "", false).await);
    watcher
        .wait("the barrier", SOON, |all| {
            all.iter().any(|message| message.topic == BARRIER)
        })
        .await;
    assert_eq!(watcher.all().len(), 1, "{:?}", watcher.all());
}

#[tokio::test]
async fn with_mutual_tls_the_certificate_says_who_connects_whatever_the_client_says() {
    let mosquitto = Mosquitto::start_with(Differences {
        mutual_tls: true,
        ..Differences::default()
    });
    let watcher = Dashboard::connect(mosquitto.plain, TELEGRAF, ALL).await;
    let mut bench = Bench::new();
    let good = mosquitto.authority.client(STATION.0);
    let certificate = bench.folder.path().join("client.pem");
    fs::write(&certificate, &good.certificate).unwrap();
    let key = secret(bench.folder.path(), "mqtt-key", &good.key);
    let mut running = bench.publish(benchlight::publisher::Settings {
        url: format!("mqtts://localhost:{}", mosquitto.tls)
            .parse()
            .unwrap(),
        ca_file: Some(mosquitto.path("ca.pem")),
        username: None,
        password: None,
        client_certificate: Some((certificate, key)),
        ..bench.settings(mosquitto.tls)
    });
    running.connected().await;
    watcher
        .wait("online", SOON, |all| {
            all.iter()
                .any(|message| message.channel() == "availability")
        })
        .await;

    let other = mosquitto.authority.client(OTHER_STATION.0);
    fs::write(mosquitto.path("other.pem"), other.certificate).unwrap();
    fs::write(mosquitto.path("other.key"), other.key).unwrap();
    let output = Command::new("mosquitto_pub")
        .args([
            "-V",
            "5",
            "-q",
            "1",
            "-d",
            "-h",
            "localhost",
            "-p",
            &mosquitto.tls.to_string(),
            "--cafile",
        ])
        .arg(mosquitto.path("ca.pem"))
        .arg("--cert")
        .arg(mosquitto.path("other.pem"))
        .arg("--key")
        .arg(mosquitto.path("other.key"))
        .args([
            "-u",
            STATION.0,
            "-P",
            STATION.1,
            "-i",
            "benchlight-ams1-bench-1",
            "-r",
            "-t",
            "benchlight/v1/ams1/bench-1/availability",
            "-m",
            "offline",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(
        words.contains("CONNACK (0)") && words.contains("RC:135"),
        "let in as itself, and refused there: {words}"
    );

    bench.scan(1).await;
    bench.all_sent(SOON).await;
    watcher
        .wait("the scan", SOON, |all| {
            all.iter().any(|message| message.channel() == "scan")
        })
        .await;
    let said: Vec<String> = watcher
        .on("availability")
        .iter()
        .map(|message| message.text())
        .collect();
    assert_eq!(said, ["online"], "nobody else ended its session");
    running.stop().await;
}

/// The users that the shipped access list names.
fn named() -> Vec<String> {
    shipped("acl")
        .lines()
        .filter_map(|line| line.strip_prefix("user "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_program_of_the_access_list_is_kept_from_speaking_as_a_station() {
    let list = shipped("acl");
    for user in named() {
        assert!(
            list.contains(&format!(
                "\nuser {user}\ntopic deny benchlight/v1/+/{user}/#\ntopic deny homeassistant/device/+/{user}/#\n"
            )),
            "{user} has no deny line of its own"
        );
    }
    let settings = shipped("conf");
    let listeners = settings.matches("\nlistener ").count();
    assert_eq!(
        settings
            .matches("\nuse_username_as_clientid true\n")
            .count(),
        listeners,
        "on every listener"
    );
}

#[test]
fn each_snippet_of_the_documents_has_a_user_of_its_own_in_the_access_list() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dashboards.md")).unwrap();
    let users: Vec<&str> = page
        .lines()
        .filter_map(|line| line.trim().strip_prefix("username = \"")?.strip_suffix('"'))
        .collect();
    assert!(users.len() >= 3, "{users:?}");
    let distinct: BTreeSet<&str> = users.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        users.len(),
        "two clients of one user end each other's connection: {users:?}"
    );
    let named = named();
    for user in users {
        assert!(
            named.iter().any(|name| name == user),
            "the access list does not know {user}"
        );
    }
}
