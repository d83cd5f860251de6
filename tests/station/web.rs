//! The page at the bench, through the whole station: what it shows, who is let in, and that no scan is late for it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::scans::World;
use crate::support::{
    eventually, free_port,
    http::Server,
    station::{Home, Station},
};

const PATIENCE: Duration = Duration::from_secs(20);
const READY: &str = "DEMOREADY001";

/// A station with a page that takes scans.
struct Bench {
    world: World,
    home: Home,
    station: Station,
    page: Server,
}

impl Bench {
    async fn new() -> Self {
        Self::with("").await
    }

    /// `more`: keys of `[web]`.
    async fn with(more: &str) -> Self {
        let world = World::new().await;
        let page = Server::on(free_port());
        let home = world.home(false, &web(page, more));
        home.credential("web-password", "right horse");
        home.credential("metrics-password", "numbers only");
        let station = home.start();
        page.awaited();
        Self {
            world,
            home,
            station,
            page,
        }
    }
}

fn web(page: Server, more: &str) -> String {
    format!(
        "\n[[scanner]]\nname = \"page\"\nkind = \"web\"\n[web]\nlisten = \"{}\"\n{more}\n",
        page.0
    )
}

fn basic(user: &str, password: &str) -> String {
    let word = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {word}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_from_the_page_is_seen_answered_and_explained() {
    let bench = Bench::new().await;
    let _listens = bench.world.dashboard().await;
    let mut events = bench.page.events();
    let state = events.find("state", |_| true);
    assert_eq!(
        (&state["v"], &state["name"]),
        (&1.into(), &"bench-1".into())
    );
    assert_eq!(state["scan"]["lane"], "main");
    assert_eq!(state["lanes"][0]["show"], Value::Null, "not checked");

    let reply = bench.page.scan(READY);
    assert_eq!(reply.status, 202, "{reply:?}");
    let id = reply.json()["id"].clone();
    let seen = events.find("lane", |lane| lane["scanned"]["text"] == READY);
    assert_eq!(
        (&seen["answer"], &seen["show"]),
        (&Value::Null, &Value::Null)
    );
    let answer = events.find("answer", |answer| answer["id"] == id);
    assert_eq!(
        (&answer["reason"], &answer["scanner"]),
        (&"assigned".into(), &"page".into())
    );
    let lit = events.find("lane", |lane| lane["show"] == "ready");
    assert_eq!(lit["answer"]["id"], id, "a green has its box with it");
    assert!(lit["until_ms"].as_u64().unwrap() <= lit["since_ms"].as_u64().unwrap() + 3_000);
    // The same code again joins that scan.
    assert_eq!(bench.page.scan(READY).json()["id"], id);
    events.find("lane", |lane| lane["repeat"] == 1);
    // It goes when the lamp goes.
    let dark = events.find("lane", |lane| lane["show"].is_null() && lane["repeat"] == 1);
    assert_eq!(dark["answer"]["id"], id, "the answer stays below");

    let path = format!("/api/answers/{}", id.as_str().unwrap());
    let mut why = bench.page.get(&path).json();
    let end = Instant::now() + PATIENCE;
    while why["delivered_at"].is_null() {
        assert!(Instant::now() < end, "delivered: {why}");
        std::thread::sleep(Duration::from_millis(50));
        why = bench.page.get(&path).json();
    }
    assert_eq!(why["evidence"][0]["says"], "ready");
    assert_eq!(why["answer"]["id"], id);
    assert_eq!(bench.page.get("/api/answers/none").status, 400);
    let unknown = "/api/answers/01a2280e-43f7-769e-8de2-00bfc42a2226";
    assert_eq!(bench.page.get(unknown).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn shelves_answers_and_the_day_outlive_a_restart() {
    let mut bench = Bench::new().await;
    let mut events = bench.page.events();
    let wait = "DEMOWAIT0004";
    for serial in [READY, wait, "NOSUCHBOX01"] {
        bench.station.scan(serial.as_bytes());
        bench.station.answer();
    }
    let shelves = events.find("shelves", |shelves| {
        shelves["waiting"]["total"] == 1 && shelves["problem"]["total"] == 1
    });
    assert_eq!(shelves["waiting"]["boxes"][0]["serial"], wait);
    let problem = &shelves["problem"]["boxes"][0];
    assert_eq!(
        (&problem["reason"], &problem["asked_again"]),
        (&"not_found".into(), &true.into())
    );
    events.find("today", |today| today["by_verdict"]["ready"] == 1);
    bench.station.kill();
    drop(events);
    let station = bench.home.start();
    bench.page.awaited();
    let mut state = Value::Null;
    eventually("the page has what the journal holds", PATIENCE, || {
        state = bench.page.get("/api/state").json();
        state["answers"].as_array().unwrap().len() == 3
            && state["waiting"]["total"] == 1
            && state["problem"]["total"] == 1
            && state["today"]["by_verdict"]["ready"] == 1
    })
    .await;
    let lane = &state["lanes"][0];
    assert_eq!(
        (&lane["show"], &lane["answer"]),
        (&Value::Null, &Value::Null)
    );
    drop(station);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_the_files_and_may_load_nothing_else() {
    let bench = Bench::new().await;
    let page = bench.page.get("/");
    let state = bench.page.get("/api/state");
    let build = state.json()["build"].as_str().unwrap().to_owned();
    assert!(
        page.body.contains(&format!("content=\"{build}\"")),
        "{page:?}"
    );
    for reply in [&page, &state] {
        assert_eq!(
            reply.header("content-security-policy").unwrap(),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    assert_eq!(state.header("cache-control"), Some("no-store"));
    let tag = format!("If-None-Match: {}", page.header("etag").unwrap());
    let again = bench.page.ask("GET /", &[&tag], b"").unwrap();
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    for path in ["/page.css", "/page.js", "/icon.svg", "/lang/de.json"] {
        let file = bench.page.get(path);
        assert_eq!(
            (file.status, file.header("cache-control")),
            (200, Some("no-cache")),
            "{path}"
        );
    }
    for path in ["/lang/xx.json", "/../Cargo.toml", "/index.html", "/api"] {
        assert_eq!(bench.page.get(path).status, 404, "{path}");
    }
    assert_eq!(
        bench.page.get("/healthz").body,
        r#"{"able":true,"reason":null}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_another_page_and_no_page_are_refused() {
    let bench = Bench::with("hosts = [\"bench.example\"]").await;
    let page = bench.page;
    let port = page.0.port();
    let host = |host: &str| {
        let reply = page.ask("GET /api/state", &[&format!("Host: {host}")], b"");
        reply.unwrap().status
    };
    for ours in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("LOCALHOST:{port}"),
        format!("[::1]:{port}"),
        "bench.example".to_owned(),
    ] {
        assert_eq!(host(&ours), 200, "{ours}");
    }
    for foreign in [
        "evil.example",
        "bench.example.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.7",
        "localhost.evil.example:80",
        "evil.example@127.0.0.1",
        "",
    ] {
        assert!(matches!(host(foreign), 400 | 421), "{foreign}");
    }
    let none = page
        .send(b"GET /api/state HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert!(matches!(none.status, 400 | 421), "{none:?}");
    let two = ["Host: 127.0.0.1", "Host: evil.example"];
    assert!(matches!(
        page.ask("GET /", &two, b"").unwrap().status,
        400 | 421
    ));
    let by_line = page.ask("GET http://evil.example/", &[], b"").unwrap();
    assert_eq!(by_line.status, 421);
    assert_eq!(
        page.ask("GET /healthz", &["Host: evil.example"], b"")
            .unwrap()
            .status,
        421
    );

    let body = br#"{"text":"DEMOREADY001"}"#;
    let post = |headers: &[&str]| page.ask("POST /api/scan", headers, body).unwrap().status;
    let json = "Content-Type: application/json";
    let own = format!("Origin: http://127.0.0.1:{port}");
    assert_eq!(post(&[json, &own]), 202);
    assert_eq!(
        post(&[json, &own.replace("http:", "https:")]),
        202,
        "TLS in front"
    );
    assert_eq!(
        post(&["Host: bench.example", json, "Origin: https://bench.example"]),
        202
    );
    for origin in [
        "http://evil.example".to_owned(),
        format!("http://127.0.0.1:{}", port.wrapping_add(1)),
        format!("http://localhost:{port}"),
        format!("http://evil.example@127.0.0.1:{port}"),
        "null".to_owned(),
        "file://".to_owned(),
        String::new(),
    ] {
        assert_eq!(post(&[json, &format!("Origin: {origin}")]), 403, "{origin}");
    }
    assert_eq!(post(&[json]), 403, "no Origin");
    assert_eq!(
        post(&[json, &own, "Origin: http://evil.example"]),
        403,
        "two of them"
    );
    assert_eq!(post(&["Content-Type: text/plain", &own]), 415);
    assert_eq!(post(&[&own]), 415);
    assert_eq!(post(&[json, "Content-Type: text/plain", &own]), 415);
    for (other, status) in [
        ("PUT /api/scan", 405),
        ("GET /api/scan", 405),
        ("DELETE /api/state", 405),
        ("OPTIONS /api/scan", 405),
        ("POST /", 405),
        ("GET /api/answers/%ff", 400),
        ("GET /nothing", 404),
    ] {
        let reply = page.ask(other, &[json, &own], b"").unwrap();
        assert_eq!(reply.status, status, "{other}");
        assert!(reply.json()["remedy"].is_string(), "{other}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_waits_and_the_right_one_never_does() {
    let more = "password_credential = \"web-password\"\nmetrics_password_credential = \"metrics-password\"";
    let bench = Bench::with(more).await;
    let page = bench.page;
    let get = move |path: &str, word: &str| {
        let begun = Instant::now();
        let headers: &[&str] = if word.is_empty() { &[] } else { &[word] };
        let status = page
            .ask(&format!("GET {path}"), headers, b"")
            .unwrap()
            .status;
        (status, begun.elapsed())
    };
    const SECOND: Duration = Duration::from_secs(1);
    let right = basic("benchlight", "right horse");
    for path in [
        "/",
        "/events",
        "/api/state",
        "/metrics",
        "/page.js",
        "/none",
    ] {
        let (status, took) = get(path, "");
        assert_eq!(status, 401, "{path}");
        assert!(
            took < SECOND / 2,
            "who sends none is asked at once: {took:?}"
        );
    }
    let wrongs: Vec<_> = [
        basic("benchlight", "right hors"),
        basic("benchlight", "right horse "),
        basic("Benchlight", "right horse"),
        basic("metrics", "right horse"),
        basic("", ""),
        "Authorization: Basic %%%".to_owned(),
        "Authorization: Bearer right horse".to_owned(),
    ]
    .into_iter()
    .map(|wrong| std::thread::spawn(move || (get("/api/state", &wrong), wrong)))
    .collect();
    std::thread::sleep(Duration::from_millis(200));
    for path in ["/", "/api/state", "/metrics"] {
        let (status, took) = get(path, &right);
        assert_eq!(status, 200, "{path}");
        assert!(took < SECOND / 2, "beside wrong ones: {took:?}");
    }
    for wrong in wrongs {
        let ((status, took), wrong) = wrong.join().unwrap();
        assert_eq!(status, 401, "{wrong}");
        assert!(took >= SECOND, "{wrong}: {took:?}");
    }
    let numbers = basic("metrics", "numbers only");
    assert_eq!(get("/metrics", &numbers).0, 200);
    assert_eq!(get("/api/state", &numbers).0, 401, "the numbers alone");
    assert_eq!(get("/healthz", "").0, 200);
    assert_eq!(page.scan(READY).status, 401);
    // A new password counts without a restart.
    bench.home.credential("web-password", "another horse");
    assert_eq!(get("/", &right).0, 401);
    assert_eq!(get("/", &basic("benchlight", "another horse")).0, 200);
    let log = bench.home.log();
    assert!(
        !log.contains("horse") && !log.contains("numbers only"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_codes_that_are_none_are_refused_in_words() {
    let bench = Bench::new().await;
    let page = bench.page;
    let text = |count: usize| format!("{{\"text\":\"{}\"}}", "A".repeat(count));
    for (body, status) in [
        (text(1_000_000), 413),
        (text(8_192), 413),
        (text(4_097), 413),
        (text(4_096), 202),
        (text(0), 400),
        (r#"{"text":"  "}"#.to_owned(), 400),
        (r#"{"text":7}"#.to_owned(), 400),
        (r#"{"code":"DEMOREADY001"}"#.to_owned(), 400),
        ("DEMOREADY001".to_owned(), 400),
        (r#"{"text":"DEMO"#.to_owned(), 400),
        (r#" ["DEMOREADY001"]"#.to_owned(), 400),
        (r#"{"text":"A","text":"B"}"#.to_owned(), 400),
    ] {
        let reply = page.post(&body, &[]);
        let shown: String = body.chars().take(40).collect();
        assert_eq!(reply.status, status, "{shown}");
        if status != 202 {
            let words = reply.json();
            assert!(
                words["error"].is_string() && words["remedy"].is_string(),
                "{words}"
            );
        }
    }
    // Sent in pieces without an end, it is cut at the limit, too.
    let chunk = format!("4000\r\n{}\r\n", "A".repeat(0x4000));
    let chunked = page.ask(
        "POST /api/scan",
        &[
            "Content-Type: application/json",
            &format!("Origin: http://{}", page.0),
            "Transfer-Encoding: chunked",
            "Content-Length:",
        ],
        chunk.as_bytes(),
    );
    assert!(chunked.is_none_or(|reply| matches!(reply.status, 400 | 413)));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_barcode_holds_is_text() {
    let mut bench = Bench::new().await;
    let page = bench.page;
    let mut events = page.events();
    for (code, shown) in [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("\u{202e}DEMO\u{200b}", "\\u{202e}DEMO\\u{200b}"),
        ("\u{1b}[2J\u{0}x", "␛[2J␀x"),
        (
            "\r\nevent: lane\r\ndata: {}\r\n\r\n",
            "␍␊event: lane␍␊data: {}␍␊␍␊",
        ),
    ] {
        assert_eq!(page.scan(code).status, 202, "{code:?}");
        let seen = events.find("lane", |lane| !lane["scanned"].is_null());
        assert_eq!(seen["scanned"]["text"], *shown);
        let answer = events.find("answer", |_| true);
        assert_eq!(
            (&answer["verdict"], &answer["serial"]),
            (&"rescan".into(), &Value::Null)
        );
        assert!(
            !answer["raw"]
                .as_str()
                .unwrap()
                .contains(['\u{1b}', '\u{202e}', '\n']),
            "{answer}"
        );
        // Not the next one's.
        events.find("lane", |lane| lane["show"] == "rescan");
    }
    bench.station.scan(READY.as_bytes());
    bench.station.answer();
    // A wrong barcode right after a serial number does not take its lane.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let long = "Z".repeat(3_000);
    assert_eq!(page.scan(&long).status, 202);
    let seen = events.find("lane", |lane| {
        lane["scanned"]["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("ZZ"))
    });
    assert_eq!(seen["scanned"]["text"].as_str().unwrap().len(), 100);
    assert!(
        !page.get("/metrics").body.contains(READY),
        "no serial number in a label"
    );
    let of_the_page = |line: &&str| line.contains("benchlight::web");
    let log = bench.home.log();
    assert!(
        log.lines()
            .filter(of_the_page)
            .all(|line| !line.contains(READY)),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_half_heads_and_long_heads_end_and_no_scan_waits() {
    let mut bench = Bench::new().await;
    let page = bench.page;
    bench.station.scan(READY.as_bytes());
    assert_eq!(bench.station.answer().reason, "assigned");
    let begun = Instant::now();
    let files = || {
        std::fs::read_dir(format!("/proc/{}/fd", bench.station.pid()))
            .unwrap()
            .count()
    };
    let before = files();
    let mut idle: Vec<TcpStream> = Vec::new();
    for nth in 0..1_000 {
        let mut stream = page.connect();
        // Every second one with half a head.
        if nth % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-");
        }
        idle.push(stream);
    }
    let most = files();
    assert!(most <= before + 40, "{before} files, then {most}");
    let scanned = Instant::now();
    bench.station.scan(b"DEMOIPAD0002");
    bench.station.answer();
    assert!(
        scanned.elapsed() < Duration::from_secs(1),
        "{:?}",
        scanned.elapsed()
    );
    // Those that hold a place say nothing whole for 10 s, and lose it.
    while page.ask("GET /healthz", &[], b"").is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the places come back"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "they were taken");
    drop(idle);
    let long = format!("X-Long: {}", "x".repeat(9_000));
    let refused = page.ask("GET /healthz", &[&long], b"");
    assert!(refused.is_none_or(|reply| reply.status == 431));
    let fits = format!("X-Long: {}", "x".repeat(7_500));
    assert_eq!(page.ask("GET /healthz", &[&fits], b"").unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_do_not_read_are_let_go_and_no_scan_waits_for_them() {
    let mut bench = Bench::new().await;
    let page = bench.page;
    bench.station.scan(READY.as_bytes());
    bench.station.answer();
    // Slow ones take little before they stop.
    let slow: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = page.connect();
            rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 2_048).unwrap();
            stream
                .write_all(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    let mut quick = page.events();
    quick.find("state", |_| true);
    let last = std::thread::spawn(move || {
        quick.find("answer", |answer| answer["serial"] == "NOSUCH00299");
        quick
    });
    let mut longest = Duration::ZERO;
    for nth in 0..300 {
        let begun = Instant::now();
        bench.station.scan(format!("NOSUCH{nth:05}").as_bytes());
        bench.station.answer();
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let mut quick = tokio::task::spawn_blocking(|| last.join().unwrap())
        .await
        .unwrap();
    let open = || {
        let text = page.get("/metrics").body;
        let line = text
            .lines()
            .find(|line| line.starts_with("benchlight_open_pages "));
        line.unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    let reading = std::thread::spawn(move || while quick.next().is_some() {});
    eventually("the slow ones are let go", PATIENCE, || open() == 1).await;
    assert!(!reading.is_finished(), "who reads stays");
    // They see that the station is lost: each connection is reset.
    for mut stream in slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = stream.read_to_end(&mut Vec::new());
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said_and_taken_later() {
    let world = World::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = Server(taken.local_addr().unwrap());
    let home = world.home(false, &web(page, ""));
    let dashboard = world.dashboard().await;
    let mut station = home.start();
    station.scan(READY.as_bytes());
    assert_eq!(station.answer().reason, "assigned", "the station runs on");
    let said = |wanted: &str| {
        let health = dashboard.on("health");
        health.last().is_some_and(|health| {
            let health = health.json();
            health["web"]["state"] == wanted && health["scanners"]["page"]["state"] == wanted
        })
    };
    eventually("health says that the port is busy", PATIENCE, || {
        said("busy")
    })
    .await;
    drop(taken);
    eventually("the page is open", Duration::from_secs(30), || said("ok")).await;
    assert_eq!(page.get("/healthz").status, 200);
    station.signal("TERM");
    let ended = station.ended_within(Duration::from_secs(5));
    assert!(
        ended.is_some_and(|status| status.success()),
        "{}",
        home.log()
    );
}
