//! Tokens from an endpoint on this machine that gives short ones, hangs, moves and refuses.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::HashMap, fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::*;
use crate::{
    readiness::{
        client_credentials::{ClientCredentials, Words},
        http::{Allowed, ClientSettings, Limits},
    },
    runtime::{clock::ClockWatch, credential::CredentialStore},
    simulator::{
        self, Log, Running,
        faults::{Effect, Faults, Switch},
    },
};

const SECRET: &str = "the-secret-nobody-may-see";
const WORDS: Words = Words {
    service: "Acme",
    meanings: &[
        (
            "ACME1",
            Reason::CredentialsExpired,
            "The client secret has expired (ACME1).",
        ),
        (
            "ACME2",
            Reason::CredentialsRefused,
            "Acme does not know the client (ACME2).",
        ),
    ],
    otherwise: "Acme gives no token.",
};

/// A service that gives tokens and reads with them.
#[derive(Clone, Default)]
struct Acme(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    /// Where tokens are given.
    place: String,
    secret: String,
    expires_in: Value,
    granted: usize,
    good: Vec<String>,
}

impl Acme {
    fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn granted(&self) -> usize {
        self.with(|books| books.granted)
    }
}

async fn answer(State(acme): State<Acme>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let reply = |status: u16, body: Value| {
        (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
    };
    acme.with(|books| {
        if uri.path() == "/things" {
            let token = headers["authorization"].to_str().unwrap().to_owned();
            let known = books
                .good
                .iter()
                .any(|good| format!("Bearer {good}") == token);
            return reply(if known { 200 } else { 401 }, json!({}));
        }
        if uri.path() != books.place {
            return reply(404, json!({}));
        }
        let form: HashMap<String, String> =
            url::form_urlencoded::parse(&body).into_owned().collect();
        let sent = |name: &str| form.get(name).map_or("", String::as_str);
        assert_eq!(
            (sent("grant_type"), sent("client_id"), sent("scope")),
            ("client_credentials", "station 1", "read")
        );
        if sent("client_secret") != books.secret {
            return reply(
                401,
                json!({"error": "invalid_client", "error_description": format!("ACME2: {}", sent("client_secret"))}),
            );
        }
        books.granted += 1;
        let token = format!("token-{}", books.granted);
        books.good.push(token.clone());
        reply(
            200,
            json!({"access_token": token, "token_type": "bearer", "expires_in": books.expires_in}),
        )
    })
}

struct Bench {
    acme: Acme,
    running: Running,
    token: AccessToken<ClientCredentials>,
    things: Url,
    folder: tempfile::TempDir,
}

fn write(folder: &Path, secret: &str) {
    let path = folder.join("acme");
    // Another file, as an editor or a provisioning tool leaves it.
    let _ = fs::remove_file(&path);
    fs::write(&path, secret).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn bench(expires_in: Value) -> Bench {
    let acme = Acme::default();
    acme.with(|books| {
        "/token".clone_into(&mut books.place);
        SECRET.clone_into(&mut books.secret);
        books.expires_in = expires_in;
    });
    let service = Router::new().fallback(answer).with_state(acme.clone());
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = simulator::serve(service, listen, Faults::default(), Log::default())
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), SECRET);
    let at = |path: &str| -> Url { format!("{}{path}", running.base()).parse().unwrap() };
    let (places, things) = (vec![at("/token"), at("/older/token")], at("/things"));
    let mut allow: Vec<Allowed> = places
        .iter()
        .map(|place| Allowed::post(place, ""))
        .collect();
    allow.push(Allowed::get(&things, "", &[]));
    let client = Client::new(ClientSettings {
        allow,
        user_agent: "test",
        ca_file: None,
        reads_per_minute: 0,
        quota_share: 1.0,
        quota: None,
        clocks: ClockWatch::Fixed { synced: true }.into(),
        limits: Limits::default(),
    })
    .unwrap();
    let grant = ClientCredentials {
        client_id: "station 1".to_owned(),
        secret: CredentialStore::new(folder.path()).credential("acme"),
        scope: Some("read"),
        places,
        config_key: "token_url",
        words: &WORDS,
    };
    Bench {
        acme,
        running,
        token: AccessToken::new(client, grant),
        things,
        folder,
    }
}

impl Bench {
    async fn token(&self) -> Result<String, Fault> {
        let token = self.token.token(None, Purpose::Scan).await?;
        Ok(token.reveal().to_owned())
    }

    async fn read(&self) -> Result<Reply, Fault> {
        let request = Request::get(self.things.clone());
        Ok(self.token.send(request, Purpose::Scan).await?)
    }

    /// Until so many tokens were given.
    async fn until_granted(&self, tokens: usize) {
        let soon = Instant::now() + Duration::from_secs(5);
        while self.acme.granted() < tokens {
            assert!(Instant::now() < soon, "no token number {tokens}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn many_callers_get_one_token_and_it_serves_them_for_its_life() {
    let bench = Arc::new(bench(json!(3600)).await);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.read().await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(bench.acme.granted(), 1);
    let renew_in = bench.token.renew_in().unwrap();
    assert!(
        renew_in <= Duration::from_mins(55) && renew_in > Duration::from_mins(54),
        "{renew_in:?}"
    );
}

#[tokio::test]
async fn a_token_is_renewed_after_half_of_a_short_life_while_the_old_one_serves() {
    let bench = bench(json!(2)).await;
    assert_eq!(bench.token().await.unwrap(), "token-1");
    assert!(bench.token.renew_in().unwrap() <= Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    // The renewal hangs, and nobody waits for it.
    bench.running.faults().add(Switch {
        times: Some(1),
        ..Switch::new(
            simulator::faults::Scope::Path("/token".to_owned()),
            Effect::Silence(Duration::from_millis(300)),
        )
    });
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(bench.token().await.unwrap(), "token-1");
    }
    assert!(begun.elapsed() < Duration::from_millis(200));
    bench.until_granted(2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.token().await.unwrap(), "token-2");
    assert_eq!(bench.acme.granted(), 2, "by one of the five");
}

#[tokio::test]
async fn a_token_that_ended_is_not_used_and_one_that_ends_at_once_serves_once() {
    let short = bench(json!(0.2)).await;
    assert_eq!(short.token().await.unwrap(), "token-1");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(short.token().await.unwrap(), "token-2");
    let none = bench(json!(0)).await;
    assert!(none.read().await.is_ok());
    assert!(none.read().await.is_ok());
    assert_eq!(none.acme.granted(), 2);
}

#[tokio::test]
async fn a_fetch_that_hangs_is_not_waited_for() {
    let bench = bench(json!(3600)).await;
    bench.running.faults().add(Switch {
        times: Some(1),
        ..Switch::new(
            simulator::faults::Scope::Path("/token".to_owned()),
            Effect::Silence(Duration::from_secs(8)),
        )
    });
    let hangs = bench.token();
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = Instant::now();
        assert!(bench.token().await.is_ok());
        begun.elapsed()
    };
    tokio::select! {
        _ = hangs => panic!("it hangs"),
        waited = later => assert!(waited < Duration::from_millis(1_500), "{waited:?}"),
    }
}

#[tokio::test]
async fn a_token_that_the_service_refuses_is_thrown_away_and_asked_for_once_more() {
    let bench = bench(json!(3600)).await;
    assert!(bench.read().await.is_ok());
    bench.acme.with(|books| books.good.clear());
    assert!(bench.read().await.is_ok());
    assert_eq!(bench.acme.granted(), 2);
    bench.running.faults().path("/things", Effect::Status(401));
    bench.running.forget();
    assert_eq!(
        bench.read().await.unwrap_err().reason,
        Reason::CredentialsRefused
    );
    assert_eq!(
        bench.running.requests(),
        ["GET /things", "POST /token", "GET /things"],
        "and not a third time"
    );
}

#[tokio::test]
async fn the_secret_is_read_for_each_token_and_a_refused_one_rests_until_it_changes() {
    let bench = bench(json!(0)).await;
    assert!(bench.token().await.is_ok());
    bench
        .acme
        .with(|books| "another".clone_into(&mut books.secret));
    let fault = bench.token().await.unwrap_err();
    let said = format!(
        "Acme does not know the client (ACME2). That was the token endpoint {}/token (key `token_url`).",
        bench.running.base()
    );
    assert_eq!(
        (fault.reason, fault.detail),
        (Reason::CredentialsRefused, Some(said))
    );
    let fault = bench.token().await.unwrap_err();
    assert!(!format!("{fault:?}").contains(SECRET));
    bench.running.forget();
    assert_eq!(bench.token().await.unwrap_err(), fault);
    assert_eq!(bench.running.requests(), [""; 0]);
    write(bench.folder.path(), "another");
    assert!(bench.token().await.is_ok());
    fs::remove_file(bench.folder.path().join("acme")).unwrap();
    assert_eq!(
        bench.token().await.unwrap_err().reason,
        Reason::CredentialsRefused
    );
}

#[tokio::test]
async fn a_place_that_is_not_there_leads_to_the_next_one_and_the_good_one_is_remembered() {
    let bench = bench(json!(0)).await;
    bench
        .acme
        .with(|books| "/older/token".clone_into(&mut books.place));
    for asked in [
        &["POST /token", "POST /older/token"][..],
        &["POST /older/token"],
    ] {
        bench.running.forget();
        assert!(bench.token().await.is_ok());
        assert_eq!(bench.running.requests(), asked);
    }
    // After an upgrade the newer one is there.
    bench
        .acme
        .with(|books| "/token".clone_into(&mut books.place));
    assert!(bench.token().await.is_ok());
    bench
        .acme
        .with(|books| "/nowhere".clone_into(&mut books.place));
    assert_eq!(
        bench.token().await.unwrap_err().reason,
        Reason::GarbledAnswer
    );
}

#[tokio::test]
async fn every_refusal_and_fault_of_the_endpoint_has_its_reason() {
    let bench = bench(json!(3600)).await;
    let say = |status, text: &str| Effect::Say {
        status,
        text: text.to_owned(),
    };
    let token = |text: &str| say(200, text);
    for (effect, reason) in [
        (say(400, "{\"error\":\"x\"}"), Reason::CredentialsRefused),
        (say(401, "{\"error\":\"x\"}"), Reason::CredentialsRefused),
        (say(403, "{\"error\":\"x\"}"), Reason::CredentialsRefused),
        (
            say(401, "{\"error_description\":\"ACME1: too old\"}"),
            Reason::CredentialsExpired,
        ),
        (say(418, "{}"), Reason::GarbledAnswer),
        (Effect::Status(500), Reason::SourceError),
        (Effect::TooMany { retry_after: None }, Reason::RateLimited),
        (Effect::Reset, Reason::Offline),
        (Effect::Html, Reason::GarbledAnswer),
        (Effect::CutJson, Reason::GarbledAnswer),
        (
            Effect::Header {
                name: "age".to_owned(),
                value: "72000".to_owned(),
            },
            Reason::Stale,
        ),
        (token("{}"), Reason::GarbledAnswer),
        (token("{\"access_token\":\"a\"}"), Reason::GarbledAnswer),
        (
            token("{\"access_token\":\"\",\"expires_in\":60}"),
            Reason::GarbledAnswer,
        ),
        (
            token("{\"access_token\":\"a b\",\"expires_in\":60}"),
            Reason::GarbledAnswer,
        ),
        (
            token("{\"access_token\":7,\"expires_in\":60}"),
            Reason::GarbledAnswer,
        ),
        (
            token("{\"access_token\":\"a\",\"expires_in\":\"60\"}"),
            Reason::GarbledAnswer,
        ),
        (
            token("{\"access_token\":\"a\",\"expires_in\":null}"),
            Reason::GarbledAnswer,
        ),
        (
            token("{\"access_token\":\"a\",\"expires_in\":60,\"token_type\":\"mac\"}"),
            Reason::GarbledAnswer,
        ),
    ] {
        // A refused secret rests: another one is tried at once.
        let secret = format!("secret{}", fastrand::u64(..));
        write(bench.folder.path(), &secret);
        bench.acme.with(|books| books.secret = secret);
        bench.running.faults().clear();
        bench.running.faults().path("/token", effect.clone());
        bench.running.faults().path("/older/token", effect.clone());
        let fault = bench.token().await.unwrap_err();
        assert_eq!(fault.reason, reason, "{effect}");
        // The doctor's technician looks at the right address.
        let detail = fault.detail.unwrap();
        let endpoint = format!("the token endpoint {}/", bench.running.base());
        assert!(detail.contains(&endpoint), "{detail}");
        assert!(detail.ends_with("/token (key `token_url`)."), "{detail}");
    }
}
