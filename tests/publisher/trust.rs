//! TLS: which brokers a station trusts, how it authenticates itself, and faults that can be repaired without a restart.

use std::{fs, path::PathBuf, time::Duration};

use benchlight::publisher::Settings;

use crate::{
    bench::{Bench, secret},
    support::{
        certificates::{Authority, Validity},
        dashboard::Dashboard,
        mosquitto::{DASHBOARD, Differences, Mosquitto},
    },
};

const SOON: Duration = Duration::from_secs(15);

fn over_tls(bench: &Bench, mosquitto: &Mosquitto) -> Settings {
    Settings {
        url: format!("mqtts://localhost:{}", mosquitto.tls)
            .parse()
            .unwrap(),
        ca_file: Some(mosquitto.path("ca.pem")),
        ..bench.settings(mosquitto.tls)
    }
}

async fn restart(mosquitto: &mut Mosquitto, change: impl FnOnce(&Mosquitto)) {
    mosquitto.kill();
    change(mosquitto);
    mosquitto.run();
}

#[tokio::test]
async fn a_bad_certificate_is_named_and_a_good_one_counts_without_a_restart() {
    let mut mosquitto = Mosquitto::start();
    let mut bench = Bench::new();
    restart(&mut mosquitto, |mosquitto| {
        mosquitto.use_certificate(&mosquitto.authority.server("localhost", Validity::Expired))
    })
    .await;
    let mut running = bench.publish(over_tls(&bench, &mosquitto));
    bench.scan(3).await;
    let words = running.away().await;
    assert!(words.contains("expired"), "{words}");

    restart(&mut mosquitto, |mosquitto| {
        mosquitto.use_certificate(&mosquitto.authority.server("other.example", Validity::Now))
    })
    .await;
    running
        .until("another name", |state| {
            format!("{:?}", state.link).contains("another name")
        })
        .await;

    restart(&mut mosquitto, |mosquitto| {
        mosquitto.use_certificate(&Authority::new("a stranger").server("localhost", Validity::Now))
    })
    .await;
    running
        .until("a stranger", |state| {
            format!("{:?}", state.link).contains("does not trust")
        })
        .await;
    assert_eq!(bench.unsent(), 3);

    restart(&mut mosquitto, |mosquitto| {
        mosquitto.use_certificate(&mosquitto.authority.server("localhost", Validity::Now))
    })
    .await;
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/v1/#").await;
    running.connected().await;
    bench.all_sent(SOON).await;
    dashboard
        .wait("everything", SOON, |all| {
            all.iter().filter(|m| m.channel() == "scan").count() == 3
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn the_way_to_the_broker_is_tried_as_far_as_tls_beside_the_stations_session() {
    let mut mosquitto = Mosquitto::start();
    let bench = Bench::new();
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/v1/#").await;
    let mut running = bench.publish(over_tls(&bench, &mosquitto));
    running.connected().await;
    let reach = async |settings: Settings| {
        tokio::task::spawn_blocking(move || benchlight::publisher::reach(&settings))
            .await
            .unwrap()
    };
    for settings in [
        over_tls(&bench, &mosquitto),
        bench.settings(mosquitto.plain),
    ] {
        assert_eq!(reach(settings).await, Ok(()));
    }
    let stranger = reach(Settings {
        ca_file: None,
        ..over_tls(&bench, &mosquitto)
    })
    .await
    .unwrap_err();
    assert!(stranger.contains("does not trust"), "{stranger}");
    let swapped = Settings {
        url: format!("mqtts://localhost:{}", mosquitto.plain)
            .parse()
            .unwrap(),
        ..over_tls(&bench, &mosquitto)
    };
    assert!(reach(swapped).await.is_err());
    assert!(running.state.borrow().link == benchlight::publisher::LinkState::Connected);
    assert_eq!(
        dashboard
            .on("availability")
            .iter()
            .filter(|said| said.text() == "offline")
            .count(),
        0
    );
    running.stop().await;
    mosquitto.stop();
    let nobody = reach(over_tls(&bench, &mosquitto)).await.unwrap_err();
    assert!(nobody.contains("nothing listens"), "{nobody}");
}

#[tokio::test]
async fn the_ca_file_is_read_at_every_reconnect() {
    let mosquitto = Mosquitto::start();
    let bench = Bench::new();
    let file = bench.folder.path().join("ca.pem");
    let mut running = bench.publish(Settings {
        ca_file: Some(file.clone()),
        ..over_tls(&bench, &mosquitto)
    });
    running
        .until("no file", |state| {
            format!("{:?}", state.link).contains("ca_file")
        })
        .await;
    fs::write(&file, "no certificate").unwrap();
    running
        .until("no certificate", |state| {
            format!("{:?}", state.link).contains("holds no certificate")
        })
        .await;
    fs::write(&file, mosquitto.authority.pem()).unwrap();
    running.connected().await;
    running.stop().await;
}

#[tokio::test]
async fn mutual_tls_lets_the_named_station_in_and_nobody_else() {
    let mosquitto = Mosquitto::start_with(Differences {
        mutual_tls: true,
        ..Differences::default()
    });
    let dashboard = Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/v1/#").await;
    let mut bench = Bench::new();
    bench.scan(3).await;

    // Without a certificate: the message says so.
    let anonymous = Settings {
        username: None,
        password: None,
        ..over_tls(&bench, &mosquitto)
    };
    let mut running = bench.publish(anonymous.clone());
    let words = running.away().await;
    assert!(words.contains("client_cert_file"), "{words}");
    running.stop().await;

    // With another authority's certificate: the message says so. Replaced by a good one: connected without a restart.
    let stranger = Authority::new("a stranger").client("bench-1");
    let certificate_file: PathBuf = bench.folder.path().join("client.pem");
    fs::write(&certificate_file, &stranger.certificate).unwrap();
    let key = secret(bench.folder.path(), "mqtt-key", &stranger.key);
    let mut running = bench.publish(Settings {
        client_certificate: Some((certificate_file.clone(), key)),
        ..anonymous
    });
    let words = running.away().await;
    assert!(words.contains("client certificate"), "{words}");
    let good = mosquitto.authority.client("bench-1");
    fs::write(&certificate_file, &good.certificate).unwrap();
    secret(bench.folder.path(), "mqtt-key", &good.key);
    running.connected().await;
    // No password: the certificate's CN is the user name in the access list.
    bench.all_sent(SOON).await;
    dashboard
        .wait("everything", SOON, |all| {
            all.iter().filter(|m| m.channel() == "scan").count() == 3
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_new_one_counts_without_a_restart() {
    let mosquitto = Mosquitto::start();
    let bench = Bench::new();
    let settings = bench.settings(mosquitto.plain);
    secret(bench.folder.path(), "mqtt-password", "a typing error");
    let mut running = bench.publish(settings);
    let words = running.away().await;
    assert!(words.contains("password_credential"), "{words}");
    assert!(!words.contains("typing"), "a secret is never said");
    fs::remove_file(bench.folder.path().join("mqtt-password")).unwrap();
    running
        .until("missing", |state| {
            format!("{:?}", state.link).contains("is missing")
        })
        .await;
    secret(
        bench.folder.path(),
        "mqtt-password",
        crate::support::mosquitto::STATION.1,
    );
    running.connected().await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_broker_is_said_in_words() {
    let bench = Bench::new();
    // Nothing listens.
    let mut running = bench.publish(bench.settings(crate::support::free_port()));
    let words = running.away().await;
    assert!(words.contains("nothing listens"), "{words}");
    running.stop().await;
    // TLS on the plain port, and MQTT on the TLS port.
    let mosquitto = Mosquitto::start();
    let swapped = Settings {
        url: format!("mqtts://localhost:{}", mosquitto.plain)
            .parse()
            .unwrap(),
        ..over_tls(&bench, &mosquitto)
    };
    let mut running = bench.publish(swapped);
    let words = running.away().await;
    assert!(words.contains("scheme and port"), "{words}");
    running.stop().await;
    let mut running = bench.publish(bench.settings(mosquitto.tls));
    let words = running.away().await;
    assert!(
        words.contains("scheme") && words.contains("port"),
        "{words}"
    );
    running.stop().await;
}
