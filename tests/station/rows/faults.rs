//! The faults of the way and their reasons, for every service.

use std::{net::SocketAddr, time::Duration};

use benchlight::{
    readiness::{
        evidence::{Grade, SourceKind},
        simulate,
    },
    simulator::{Introduction, Order, faults::Effect, fleet as generated},
};

use super::{AROUND, Asks, Exhibition, Shows};
use crate::support::{
    certificates::{Authority, Validity},
    install_crypto,
    tls_terminator::TlsTerminator,
};

/// Generated boxes besides the demo's.
const BOXES: u32 = 200;
const ABSENT: &str = "R0WFLTC00001";

pub(super) async fn simulated(kind: SourceKind) -> Introduction {
    let order = Order {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        boxes: BOXES,
        limits: false,
    };
    simulate(kind, order).await.unwrap()
}

/// A station that asks this service, beside another where it cannot prove a profile.
pub(super) fn asks(
    service: &Introduction,
    kind: SourceKind,
    beside: Option<&Introduction>,
) -> Asks {
    let mut asks = Asks::default();
    for one in [service].into_iter().chain(beside) {
        asks = asks.and(one.source.clone(), one.credential.clone());
        let told = one.source.lines();
        let mut told = told.filter_map(|line| line.strip_prefix("# and in [verdict]: "));
        if let Some(line) = told.next() {
            asks = asks.under(line);
        }
    }
    if kind.proves() == Some(Grade::Intent) {
        asks = asks.under("min_grade = \"intent\"");
    }
    asks
}

fn header(name: &str, value: &str) -> Effect {
    let [name, value] = [name, value].map(str::to_owned);
    Effect::Header { name, value }
}

fn effects() -> Vec<(Effect, &'static str)> {
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    vec![
        (Effect::Reset, "offline"),
        (Effect::Drop, "offline"),
        (Effect::Status(500), "source_error"),
        (Effect::Status(503), "source_error"),
        (Effect::TooMany { retry_after: None }, "rate_limited"),
        (Effect::Status(401), "credentials_refused"),
        (Effect::Status(403), "credentials_refused"),
        (Effect::Date(old.to_owned()), "stale"),
        (Effect::Date("yesterday".to_owned()), "stale"),
        (header("Age", "61"), "stale"),
        (header("Age", "soon"), "stale"),
        (header("Date", old), "garbled_answer"),
        (header("Content-Encoding", "gzip"), "garbled_answer"),
        (
            Effect::Redirect("http://127.0.0.1:9".to_owned()),
            "garbled_answer",
        ),
        (Effect::CutBody, "garbled_answer"),
        (Effect::CutJson, "garbled_answer"),
        (Effect::Huge { bytes: 9_000_000 }, "garbled_answer"),
        (Effect::Html, "garbled_answer"),
        (Effect::As(206), "garbled_answer"),
        (Effect::Status(404), "garbled_answer"),
        (Effect::Status(418), "garbled_answer"),
    ]
}

async fn every_fault_of_the_way(kind: SourceKind) {
    let mut all = Exhibition::new().await;
    let service = simulated(kind).await;
    let beside = match kind.proves() {
        Some(_) => None,
        None => Some(simulated(SourceKind::Kandji).await),
    };
    let asks = asks(&service, kind, beside.as_ref());
    let healthy = |number: &u32| generated::story(*number).expected == "assigned";
    let mut healthy = (0..BOXES).filter(healthy).map(generated::serial);
    let mut next = |reason| Shows {
        row: AROUND,
        serial: healthy.next().unwrap(),
        reason,
        words: "",
    };

    let faults = service.running.faults();
    let mut shows = vec![next("assigned")];
    for (effect, reason) in effects() {
        shows.push(next(reason));
        faults.serial(&shows.last().unwrap().serial, effect);
    }
    shows.push(next("assigned"));
    if matches!(kind, SourceKind::Kandji | SourceKind::Zentral) {
        for (serial, from, to) in [
            (ABSENT, "\"count\":0", "\"count\":3"),
            (&*generated::serial(0), "\"count\":1", "\"count\":2"),
        ] {
            let [from, to] = [from, to].map(str::to_owned);
            faults.serial(serial, Effect::Replace { from, to });
            shows.push(Shows {
                serial: serial.to_owned(),
                ..next("garbled_answer")
            });
        }
    }
    all.show(asks.clone(), &shows).await;

    let silent = next("timeout");
    faults.serial(&silent.serial, Effect::Silence(Duration::from_secs(8)));
    all.show(asks.clone().under("deadline = \"500ms\""), &[silent])
        .await;

    let (told, within) = (next("rate_limited"), next("rate_limited"));
    let retry_after = Some("600".to_owned());
    faults.serial(&told.serial, Effect::TooMany { retry_after });
    let mut room = all.open(asks.clone());
    room.show(&told).await;
    let answer = room.scanned(&within.serial);
    assert_eq!(answer.reason, within.reason, "{answer:?}");
    drop(room);

    // Apple's own credentials have a form of their own.
    if kind.is_mdm() {
        let mut others = asks.clone();
        others.credentials[0].1 = "another-secret-than-the-services".to_owned();
        all.show(others, &[next("credentials_refused")]).await;
    }

    // Somebody in between, with a certificate of nobody.
    install_crypto();
    let certificate = Authority::new("nobody").server("localhost", Validity::Now);
    let between = TlsTerminator::start(service.running.address(), &certificate).await;
    let (base, tls) = (
        service.running.base(),
        format!("https://localhost:{}", between.port),
    );
    let mut others = asks.clone();
    others.sources[0] = others.sources[0].replace(&base, &tls);
    all.show(others, &[next("tls_untrusted")]).await;

    service.running.stop();
    all.show(asks, &[next("offline")]).await;
    assert_eq!(all.wrong, [""; 0], "{}", kind.code());
}

// Nobody asks a service about a box that can only be listed: its table shows the faults of its list.
of_each! {
    every_fault_of_the_way, |kind| !kind.is_list_only() =>
    kandji Kandji,
    intune Intune,
    fleet Fleet,
    zentral Zentral,
    nanodep NanoDep,
    micromdm MicroMdm,
    apple_dep AppleDep,
    apple_business AppleBusiness,
}
