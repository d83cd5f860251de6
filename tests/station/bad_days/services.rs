//! Services that cannot be reached, are slow, fail or refuse; and an MDM that does not know.

use std::{net::SocketAddr, time::Duration};

use benchlight::{
    readiness::{
        apple_business::simulator as apple_business,
        apple_dep::simulator as apple_dep,
        kandji::simulator::{self as kandji, stock::Stock},
    },
    simulator::{faults::Effect, stock},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    Able, Answers, Row, Seen,
    bench::{Bench, PATIENCE},
    row,
};
use crate::support::{
    certificates::{Authority, Validity},
    dashboard::Received,
    proxy::Proxy,
    tls_terminator::TlsTerminator,
};

pub static ROWS: &[Row] = &[
    row!(
        away,
        "a service that is away",
        "service away",
        Answers::Unknown("offline"),
        Able::No("offline"),
        "nothing",
        "next good probe"
    ),
    row!(
        slow,
        "a service that is too slow",
        "service slower than the deadline",
        Answers::Unknown("timeout"),
        Able::No("timeout"),
        "nothing",
        "next good probe"
    ),
    row!(
        failing,
        "a service that fails with 5xx",
        "service fails (5xx)",
        Answers::Unknown("source_error"),
        Able::No("source_error"),
        "nothing",
        "next good probe"
    ),
    row!(
        limited,
        "a service that asks for fewer requests",
        "too many requests (429)",
        Answers::Unknown("rate_limited"),
        Able::No("rate_limited"),
        "nothing",
        "the end of its `Retry-After`"
    ),
    row!(
        untrusted,
        "a service whose certificate is not trusted",
        "TLS refused",
        Answers::Unknown("tls_untrusted"),
        Able::No("tls_untrusted"),
        "nothing",
        "next good probe"
    ),
    row!(
        refused,
        "a credential that is refused",
        "credential refused",
        Answers::Unknown("credentials_refused"),
        Able::No("credentials_refused"),
        "nothing",
        "new credential file, no restart"
    ),
    row!(
        expired,
        "a credential that has expired",
        "credential expired",
        Answers::Unknown("credentials_expired"),
        Able::No("credentials_expired"),
        "nothing",
        "new credential file, no restart"
    ),
    row!(
        terms,
        "Apple's terms that are not signed",
        "Apple's terms not signed",
        Answers::Unknown("terms_not_signed"),
        Able::No("terms_not_signed"),
        "nothing",
        "signing them at Apple"
    ),
    row!(
        stale,
        "an MDM whose own fetch is stale",
        "MDM's own fetch from Apple is stale",
        Answers::Unknown("stale"),
        Able::Yes,
        "nothing",
        "the MDM"
    ),
    row!(
        kept,
        "a cache in front of the service",
        "a cache or proxy hands out old replies",
        Answers::Unknown("stale"),
        Able::Yes,
        "nothing",
        "the proxy taken away"
    ),
    row!(
        link_broken,
        "an MDM whose own token is broken",
        "MDM's own token with Apple is broken",
        Answers::Unknown("mdm_link_broken"),
        Able::Yes,
        "nothing",
        "the MDM"
    ),
];

/// A service fails and is repaired while the station runs.
async fn day(
    mut bench: Bench,
    spoil: impl AsyncFnOnce(&mut Bench),
    mend: impl AsyncFnOnce(&mut Bench),
) -> Seen {
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    spoil(&mut bench).await;
    bench.break_it();
    bench.scan_is_as_told(&mut running).await;
    bench.health_is_as_expected().await;
    bench.idle_lamps_are_as_told(&mut running).await;
    // It stays like this, and is still recorded.
    bench.scan_is_as_told(&mut running).await;
    mend(&mut bench).await;
    bench.mend();
    if matches!(bench.row.able, Able::No(_)) {
        bench.well_by_itself(&mut running).await;
    } else {
        bench.well_by_a_scan(&mut running).await;
    }
    bench.end().await
}

async fn with_effect(row: &'static Row, effect: Effect) -> Seen {
    let spoil = async |bench: &mut Bench| bench.world.kandji.faults().all(effect);
    day(Bench::new(row).await, spoil, async |bench| {
        bench.world.kandji.faults().clear()
    })
    .await
}

async fn away(row: &'static Row) -> Seen {
    let restart = async |bench: &mut Bench| {
        let listen = bench.world.kandji.address();
        let stock: Stock = bench.world.kandji.stock(|stock| stock.clone());
        let options = kandji::Options {
            listen,
            ..kandji::Options::new("kandji-secret-token", stock)
        };
        bench.world.kandji = kandji::serve(options).await.unwrap();
    };
    let stop = async |bench: &mut Bench| {
        bench.world.kandji.stop();
        let address: SocketAddr = bench.world.kandji.address();
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    day(Bench::new(row).await, stop, restart).await
}

async fn slow(row: &'static Row) -> Seen {
    with_effect(row, Effect::Silence(Duration::from_secs(30))).await
}

async fn failing(row: &'static Row) -> Seen {
    with_effect(row, Effect::Status(503)).await
}

async fn limited(row: &'static Row) -> Seen {
    let spoil = async |bench: &mut Bench| {
        bench.world.kandji.faults().all(Effect::TooMany {
            retry_after: Some("4".to_owned()),
        })
    };
    // No requests are sent within `Retry-After`, so the service counts only a few, however much is scanned.
    day(Bench::new(row).await, spoil, async |bench| {
        bench.world.kandji.faults().clear()
    })
    .await
}

async fn untrusted(row: &'static Row) -> Seen {
    let bench = Bench::new(row).await;
    let good = bench
        .world
        .mosquitto
        .authority
        .server("localhost", Validity::Now);
    let strange = Authority::new("somebody").server("localhost", Validity::Now);
    let terminator = TlsTerminator::start(bench.world.kandji.address(), &good).await;
    over_tls(&bench, terminator.port);
    let spoil = async |_: &mut Bench| {
        terminator.present(&strange);
        // A request on a connection that is just being cut would rightly be `offline`.
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    day(bench, spoil, async |_| terminator.present(&good)).await
}

/// Kandji over https, with a certificate of this bench's authority.
pub fn over_tls(bench: &Bench, port: u16) {
    let plain = bench.world.kandji.base();
    let ca = bench.world.mosquitto.path("ca.pem");
    bench.configure("TLS", |text| {
        text.replace(
            &format!("url = \"{plain}\""),
            &format!("url = \"https://localhost:{port}\"\nca_file = {ca:?}"),
        )
    });
}

async fn refused(row: &'static Row) -> Seen {
    let spoil = async |bench: &mut Bench| bench.world.kandji.accept("another-token");
    day(Bench::new(row).await, spoil, async |bench| {
        bench.home.credential("kandji-token", "another-token")
    })
    .await
}

/// A station that asks only Apple.
pub async fn with_apple(row: &'static Row) -> Bench {
    let mut bench = Bench::new(row).await;
    let apple = apple_dep::serve(apple_dep::Options::demo()).await.unwrap();
    let source = format!(
        "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\ntoken_credential = \"apple-dep-token\"\n",
        apple.base()
    );
    bench.configure("Apple", |text| {
        let (before, rest) = text.split_once("[[source]]").unwrap();
        let (_, after) = rest.split_once("[mqtt]").unwrap();
        format!(
            "{before}{source}\n[mqtt]{}",
            after.split_once("expected_blueprints").map_or(
                after.to_owned(),
                |(head, tail)| format!("{head}{}", tail.split_once('\n').unwrap().1)
            )
        )
    });
    bench
        .home
        .credential("apple-dep-token", &apple.credential());
    bench.apple = Some(apple);
    bench
}

/// A station that also asks Apple Business.
pub async fn with_business(row: &'static Row) -> Bench {
    let mut bench = Bench::new(row).await;
    let business = apple_business::serve(apple_business::Options::demo())
        .await
        .unwrap();
    let source = format!(
        "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\n\
         key_credential = \"apple-business-key\"\nexpected_servers = [\"{}\"]\n\n[mqtt]\n",
        business.api(),
        business.token_url(),
        apple_business::CLIENT_ID,
        apple_business::KEY_ID,
        stock::SERVER_UUID,
    );
    bench.configure("Apple Business", |text| text.replace("[mqtt]\n", &source));
    bench
        .home
        .credential("apple-business-key", &business.credential());
    bench.business = Some(business);
    bench
}

async fn expired(row: &'static Row) -> Seen {
    let mut bench = with_apple(row).await;
    let good = bench.apple.as_ref().unwrap().credential();
    let mut old: serde_json::Value = serde_json::from_str(&good).unwrap();
    let yesterday = Timestamp::now() - SignedDuration::from_hours(24);
    old["access_token_expiry"] = yesterday.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    // Apple refuses it as well.
    bench.apple.as_ref().unwrap().faults().all(Effect::Say {
        status: 403,
        text: "token_expired".to_owned(),
    });
    bench.home.credential("apple-dep-token", &old.to_string());
    let mut running = bench.start_in_trouble();
    bench.break_it();
    bench.health_is_as_expected().await;
    bench.idle_lamps(&running).await;
    bench.scan_is_as_told(&mut running).await;
    bench.apple.as_ref().unwrap().faults().clear();
    bench.home.credential("apple-dep-token", &good);
    bench.mend();
    bench.well_by_itself(&mut running).await;
    bench.end().await
}

async fn terms(row: &'static Row) -> Seen {
    let spoil = async |bench: &mut Bench| {
        bench.apple.as_ref().unwrap().faults().all(Effect::Say {
            status: 403,
            text: "T_C_NOT_SIGNED".to_owned(),
        })
    };
    day(with_apple(row).await, spoil, async |bench| {
        bench.apple.as_ref().unwrap().faults().clear()
    })
    .await
}

/// The state of the MDM's own link to Apple is read only every ten minutes, so here the fault is there before the station starts.
async fn on_a_day(
    row: &'static Row,
    spoil: impl Fn(&mut kandji::stock::Token),
    mend: impl Fn(&mut kandji::stock::Token),
) -> Seen {
    let mut bench = Bench::new(row).await;
    bench
        .world
        .kandji
        .stock(|stock| stock.tokens.iter_mut().for_each(&spoil));
    let mut running = bench.start_in_trouble();
    bench.break_it();
    bench.scan_is_as_told(&mut running).await;
    bench.health_is_as_expected().await;
    bench.idle_lamps_are_as_told(&mut running).await;
    bench
        .world
        .kandji
        .stock(|stock| stock.tokens.iter_mut().for_each(&mend));
    // A station reads it at its start, and then every ten minutes.
    drop(running);
    let mut running = bench.start().await;
    bench.scan_is_green(&mut running).await;
    bench.end().await
}

async fn stale(row: &'static Row) -> Seen {
    let fetched =
        |ago: Duration| move |token: &mut kandji::stock::Token| token.fetched_ago = Some(ago);
    on_a_day(
        row,
        fetched(Duration::from_hours(72)),
        fetched(Duration::from_mins(3)),
    )
    .await
}

async fn kept(row: &'static Row) -> Seen {
    // The date of a stored reply does not change.
    let yesterday = Timestamp::now() - SignedDuration::from_hours(20);
    with_effect(
        row,
        Effect::Date(yesterday.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    )
    .await
}

async fn link_broken(row: &'static Row) -> Seen {
    let status =
        |word: &'static str| move |token: &mut kandji::stock::Token| token.status = word.to_owned();
    on_a_day(row, status("BROKEN"), status("SUCCESS")).await
}

/// All kept connections are dead without having been closed, and new ones work, as after a change of the network.
#[tokio::test(flavor = "multi_thread")]
async fn kept_connections_that_are_dead_cost_one_scan_and_no_restart() {
    let row = ROWS
        .iter()
        .find(|row| row.name == "a service that is too slow")
        .unwrap();
    let mut bench = Bench::new(row).await;
    let proxy = Proxy::start(bench.world.kandji.address().port()).await;
    let plain = bench.world.kandji.base();
    bench.configure("the proxy", |text| {
        text.replace(&plain, &format!("http://127.0.0.1:{}", proxy.port))
    });
    let mut running = bench.start().await;
    for _ in 0..3 {
        bench.scan_is_green(&mut running).await;
    }
    proxy.stall();
    let greens = running.lamps.greens();
    let mut timeouts = 0;
    while bench.scan(&mut running).reason == "timeout" {
        timeouts += 1;
        assert!(timeouts <= 1, "the next scan uses a new connection");
    }
    assert!(timeouts > 0, "the kept connections were dead");
    bench
        .lamps(&running, "green", |lamps| lamps.greens() == greens + 1)
        .await;
    // The boxes scanned during the fault are asked for again.
    let is_mended =
        |one: &Received| one.channel() == "change" && one.json()["data"]["reason"] == "assigned";
    bench
        .dashboard
        .wait("the changes", PATIENCE, |all| {
            all.iter().filter(|one| is_mended(one)).count() == timeouts
        })
        .await;
    bench.nothing_is_lost().await;
}
