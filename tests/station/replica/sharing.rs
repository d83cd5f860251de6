//! Two stations that share a service's limit.

use benchlight::{
    readiness::apple_business::simulator as apple_business,
    simulator::stock::{self as boxes, Business},
};

use super::{PATIENCE, SELDOM, World, scanned};
use crate::support::{
    eventually, install_crypto,
    mosquitto::{OTHER_STATION, STATION},
    station::Home,
};

/// What the simulated Apple Business answers in a minute.
const LIMIT: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn two_stations_with_half_of_a_limit_stay_under_it_and_neither_is_starved() {
    install_crypto();
    let world = World::new().await;
    let options = apple_business::Options {
        reads_per_minute: LIMIT,
        ..apple_business::Options::demo()
    };
    let business = apple_business::serve(options).await.unwrap();
    let serials: Vec<String> = (0..12).map(|nth| format!("C02XK0AAHC{nth:02}")).collect();
    for serial in &serials {
        business.put(serial, Some(Business::Ours));
        let device = benchlight::readiness::kandji::simulator::stock::Device::ready(serial);
        world.kandji.stock(|stock| stock.put(device));
    }
    let source = format!(
        "replica = \"first\"\n{SELDOM}\n\n[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\n\
         key_credential = \"apple-business-key\"\nexpected_servers = [\"{}\"]\nreads_per_minute = {LIMIT}\nquota_share = 0.5\nreplica = \"fallback\"\n{SELDOM}",
        business.api(),
        business.token_url(),
        apple_business::CLIENT_ID,
        apple_business::KEY_ID,
        boxes::SERVER_UUID,
    );
    let home = |(name, password): (&str, &str)| -> Home {
        let home = world.home(&source);
        let config = std::fs::read_to_string(home.config()).unwrap();
        std::fs::write(home.config(), config.replace("bench-1", name)).unwrap();
        home.credential("apple-business-key", &business.credential());
        home.credential("mqtt-password", password);
        home
    };
    let homes = [STATION, OTHER_STATION].map(home);
    let mut stations = homes.each_ref().map(Home::start);
    for (name, _) in [STATION, OTHER_STATION] {
        eventually("its replicas are filled", PATIENCE, || {
            world
                .dashboard
                .on("health")
                .iter()
                .rev()
                .find(|one| one.topic.contains(name))
                .is_some_and(|one| {
                    let health = one.json();
                    ["kandji", "business"]
                        .iter()
                        .all(|name| health["sources"][name]["replica"]["pass_at"].is_string())
                })
        })
        .await;
    }
    // More than both may ask in this minute.
    let (mut live, mut halves) = ([0_u32, 0], 0);
    for serial in &serials {
        for (station, live) in stations.iter_mut().zip(&mut live) {
            let answer = scanned(station, serial);
            if answer.verdict == "unknown" {
                // Half of an answer was within the limit, and a row never answers over that.
                assert_eq!(answer.reason, "rate_limited");
                halves += 1;
                continue;
            }
            assert_eq!(answer.reason, "assigned", "{answer:?}");
            let evidence = world.event_of(serial).await["evidence"].clone();
            let business = evidence
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["source"] == "business");
            *live += u32::from(business.unwrap()["from"].is_null());
        }
    }
    assert!(
        halves <= 2,
        "at most one box for each station in a minute: {halves}"
    );
    let counts = business.counts();
    println!(
        "{live:?} scans were answered live, of {} each; {} requests",
        serials.len(),
        counts.total
    );
    assert_eq!(counts.too_many, 0, "{:?}", business.requests());
    assert!(live.iter().all(|live| (1..12).contains(live)), "{live:?}");
    assert!(live[0].abs_diff(live[1]) <= 1, "{live:?}");
}
