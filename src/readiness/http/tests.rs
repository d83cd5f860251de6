//! What may leave, and what never shows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::readiness::shape::Object;
use crate::runtime::clock::ClockWatch;

/// Nothing listens there: the reason shows whether a request was sent or refused.
pub(in crate::readiness) const NOBODY: &str = "http://127.0.0.1:9";

/// What comes of a request to [`NOBODY`] by a client that may ask `allow`.
pub(in crate::readiness) async fn sent(allow: Vec<Allowed>, request: Request) -> Reason {
    let settings = ClientSettings {
        allow,
        user_agent: "test",
        ca_file: None,
        reads_per_minute: 0,
        quota_share: 1.0,
        quota: None,
        clocks: ClockWatch::Fixed { synced: true }.into(),
        limits: Limits::default(),
    };
    let client = Client::new(settings).unwrap();
    Fault::from(client.send(request, Purpose::Scan).await.unwrap_err()).reason
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn date(moment: Timestamp) -> String {
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn reason(no: impl Into<Fault>) -> Reason {
    no.into().reason
}

fn client(allow: Vec<Allowed>) -> Client {
    Client::new(ClientSettings {
        allow,
        user_agent: "benchlight/test",
        ca_file: None,
        reads_per_minute: 0,
        quota_share: 1.0,
        quota: None,
        clocks: ClockWatch::Fixed { synced: true }.into(),
        limits: Limits {
            connect: Duration::from_millis(200),
            total: Duration::from_millis(200),
            ..Limits::default()
        },
    })
    .unwrap()
}

#[test]
fn only_listed_questions_fit() {
    let base = url("https://mdm.example/v1/");
    let allow = [
        Allowed::get(&base, "devices", &["serial_number", "page"]),
        Allowed::get(&base, "devices/*/server", &[]),
        Allowed::post(&base, "ask"),
        Allowed::post(&url("https://login.example/token"), ""),
    ];
    let cases = [
        (Method::Get, "https://mdm.example/v1/devices", true),
        (Method::Get, "https://mdm.example/v1/devices/", true),
        (
            Method::Get,
            "https://mdm.example:443/v1/devices?serial_number=A&page=2",
            true,
        ),
        (
            Method::Get,
            "https://mdm.example/v1/devices/C02X/server",
            true,
        ),
        (Method::Post, "https://mdm.example/v1/ask", true),
        (Method::Post, "https://login.example/token", true),
        (Method::Post, "https://mdm.example/v1/devices", false),
        (Method::Get, "https://mdm.example/v1/ask", false),
        (
            Method::Get,
            "https://mdm.example/v1/devices?serial_number=A&delete=1",
            false,
        ),
        (
            Method::Get,
            "https://mdm.example/v1/devices/C02X/server?x=1",
            false,
        ),
        (Method::Get, "https://mdm.example/v1/devices/C02X", false),
        (
            Method::Get,
            "https://mdm.example/v1/devices/C02X/server/more",
            false,
        ),
        (
            Method::Get,
            "https://mdm.example/v1/devices/a%2Fb/server",
            false,
        ),
        (
            Method::Get,
            "https://mdm.example/v1/devices/../profiles/server",
            false,
        ),
        (Method::Get, "https://mdm.example/v2/devices", false),
        (Method::Get, "https://mdm.example/devices", false),
        (Method::Get, "http://mdm.example/v1/devices", false),
        (Method::Get, "https://mdm.example:8443/v1/devices", false),
        (
            Method::Get,
            "https://mdm.example.evil.example/v1/devices",
            false,
        ),
        (Method::Post, "https://login.example/token/more", false),
    ];
    for (method, asked, expected) in cases {
        assert_eq!(
            allow
                .iter()
                .any(|allowed| allowed.fits(method, &url(asked))),
            expected,
            "{method:?} {asked}"
        );
    }
}

#[tokio::test]
async fn what_is_not_listed_is_refused_before_a_byte_leaves() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = url(&format!("http://{}/", listener.local_addr().unwrap()));
    let client = client(vec![Allowed::get(&base, "devices", &["serial_number"])]);
    for request in [
        Request::get(below(&base, "profiles")),
        Request::post(below(&base, "devices"), "application/json", b"{}".to_vec()),
        Request::get(url("http://127.0.0.1:9/devices")),
    ] {
        assert_eq!(
            reason(client.send(request, Purpose::Scan).await.unwrap_err()),
            Reason::StationFault
        );
    }
    let came = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(came.is_err(), "nobody may have connected");
    // The same client does connect for what is listed.
    let (result, came) = tokio::join!(
        client.send(Request::get(below(&base, "devices")), Purpose::Scan),
        listener.accept()
    );
    assert!(came.is_ok());
    assert_eq!(reason(result.unwrap_err()), Reason::Timeout);
}

#[tokio::test]
async fn a_credential_that_cannot_be_sent_is_not_sent() {
    let base = url("http://127.0.0.1:9");
    let client = client(vec![Allowed::get(&base, "devices", &[])]);
    let request = Request::get(below(&base, "devices")).header("authorization", "Bearer a\nb");
    let fault = Fault::from(client.send(request, Purpose::Scan).await.unwrap_err());
    assert_eq!(fault.reason, Reason::StationFault);
    assert!(fault.detail.unwrap().contains("authorization"));
}

#[test]
fn no_debug_text_shows_a_header_or_a_body() {
    let request = Request::post(
        url("https://mdm.example/v1/ask"),
        "application/json",
        b"s3cret-body".to_vec(),
    )
    .header("authorization", "Bearer s3cret");
    assert_eq!(format!("{request:?}"), "Post https://mdm.example/v1/ask");
    let came = |status: u16| {
        let mut headers = HeaderMap::new();
        headers.insert("date", date(Timestamp::now()).parse().unwrap());
        Came {
            url: request.url.clone(),
            status,
            headers,
            sent: Boot::now(),
            came: Boot::now(),
        }
    };
    let clocks = Clocks::from(ClockWatch::Fixed { synced: true });
    let refused = came(400).refused(b"s3cret".to_vec(), clocks.own);
    assert_eq!(format!("{refused:?}"), "Refused(400)");
    assert!(!format!("{:?}", Fault::from(NoReply::Refused(refused))).contains("s3cret"));
    let reply = came(200)
        .answer(br#"{"s3cret":"s3cret"}"#, &clocks)
        .unwrap();
    assert_eq!(format!("{reply:?}"), "Reply(200)");
    let misshaped = Object::read("The answer", reply.body())
        .unwrap()
        .list("data")
        .unwrap_err();
    let fault = reply.fault(Reason::GarbledAnswer, &misshaped.to_string());
    assert!(!format!("{fault:?}").contains("s3cret"));
}

#[test]
fn a_url_below_a_base_keeps_the_bases_path() {
    for base in [
        "https://mdm.example/v1",
        "https://mdm.example/v1/",
        "https://mdm.example/v1?x=1#y",
    ] {
        assert_eq!(
            below(&url(base), "orgDevices/C02X").as_str(),
            "https://mdm.example/v1/orgDevices/C02X"
        );
    }
    assert_eq!(
        below(&url("https://acme.api.kandji.io"), "api/v1/devices").as_str(),
        "https://acme.api.kandji.io/api/v1/devices"
    );
}

#[test]
fn an_http_date_is_read_and_nothing_else() {
    assert_eq!(
        http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
        "1994-11-06T08:49:37Z".parse().ok()
    );
    for text in [
        "",
        "now",
        "1994-11-06T08:49:37Z",
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(http_date(text), None, "{text}");
    }
}
