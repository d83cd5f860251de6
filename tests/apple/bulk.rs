//! The lists of Apple's two simulated services over raw HTTP: pages, cursors, limits, and every way in which a list can mislead.

use std::collections::BTreeSet;

use benchlight::simulator::fleet;
use serde_json::Value;

use super::*;

const BOXES: u32 = 2_500;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(rows: &Value, name: &str) -> Vec<String> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| text(&row[name])).collect()
}

/// The serial numbers that a service lists: those put in by hand, in order, then the generated ones.
fn listed<T: Copy>(
    of: fn(&stock::DemoBox) -> T,
    is_listed: fn(T) -> bool,
    boxes: u32,
) -> Vec<String> {
    let own = stock::DEMO.iter().filter(|demo| is_listed(of(demo)));
    let mut own: Vec<String> = own.map(|demo| demo.serial.to_owned()).collect();
    own.sort_unstable();
    let generated = (0..boxes).filter(|number| is_listed(of(fleet::story(*number))));
    own.into_iter()
        .chain(generated.map(fleet::serial))
        .collect()
}

// ---- POST /server/devices ----

struct DepList {
    apple: apple_dep::Simulator,
    client: reqwest::Client,
    word: String,
}

impl DepList {
    async fn new(boxes: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = apple_dep::Options {
            boxes,
            rotate_every: 0,
            ..apple_dep::Options::demo()
        };
        let apple = apple_dep::serve(options).await.unwrap();
        let credential: Value = serde_json::from_str(&apple.credential()).unwrap();
        let reply = session(&apple, "bulk", 0, &text(&credential["access_secret"])).await;
        let reply: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        Self {
            word: text(&reply["auth_session_token"]),
            client: reqwest::Client::new(),
            apple,
        }
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = self
            .client
            .post(format!("{}{path}", self.apple.base()))
            .header("x-adm-auth-session", &self.word)
            .header("user-agent", "test")
            .header("x-server-protocol-version", "10")
            .header("content-type", "application/json;charset=UTF8")
            .header("accept", "application/json;charset=UTF8");
        let reply = request.body(body.to_owned()).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    async fn page(&self, limit: usize, cursor: Option<&str>) -> Value {
        let mut body = json!({ "limit": limit });
        if let Some(cursor) = cursor {
            body["cursor"] = json!(cursor);
        }
        let (status, reply) = self.post("/server/devices", &body.to_string()).await;
        assert_eq!(status, 200, "{body}: {reply}");
        serde_json::from_str(&reply).unwrap()
    }

    /// All pages, to the list's own end.
    async fn whole(&self, limit: usize) -> Vec<Value> {
        let mut pages = vec![self.page(limit, None).await];
        while let Some(last) = pages.last().filter(|last| last["more_to_follow"] == true) {
            let cursor = text(&last["cursor"]);
            pages.push(self.page(limit, Some(&cursor)).await);
            assert!(pages.len() < 100, "the list does not end");
        }
        pages
    }

    async fn serials(&self) -> Vec<String> {
        let pages = self.whole(1000).await;
        let serials = pages
            .iter()
            .flat_map(|page| texts(&page["devices"], "serial_number"));
        serials.collect()
    }

    fn switch(&self, fault: &str) {
        let fault = format!("/server/devices={fault}");
        self.apple.faults().replace(vec![fault.parse().unwrap()]);
    }
}

fn on_the_server() -> Vec<String> {
    listed(|demo| demo.dep, |dep| dep != Dep::NotAccessible, BOXES)
}

#[tokio::test]
async fn the_servers_devices_come_page_by_page_and_each_once() {
    let bench = DepList::new(BOXES).await;
    let pages = bench.whole(1000).await;
    let sizes: Vec<usize> = pages
        .iter()
        .map(|page| page["devices"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes[..2], [1000, 1000]);
    assert_eq!(bench.serials().await, on_the_server());
    let (mut states, mut cursors) = (BTreeSet::new(), BTreeSet::new());
    for page in &pages {
        assert!(page["fetched_until"].as_str().unwrap().ends_with('Z'));
        assert!(cursors.insert(text(&page["cursor"])), "a cursor twice");
        for device in page["devices"].as_array().unwrap() {
            assert!(
                device.get("response_status").is_none(),
                "the list has no such field: {device}"
            );
            states.insert(text(&device["profile_status"]));
        }
    }
    assert_eq!(
        states,
        ["assigned", "empty", "pushed", "removed"]
            .map(str::to_owned)
            .into()
    );
    let (_, reply) = bench.post("/server/devices", "{}").await;
    let page: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(
        page["devices"].as_array().unwrap().len(),
        100,
        "the default"
    );
    assert_eq!(bench.apple.violations(), [""; 0]);
}

#[tokio::test]
async fn a_device_is_the_same_in_the_list_in_a_look_up_and_in_the_next_pass() {
    let bench = DepList::new(BOXES).await;
    let first = bench.page(1000, None).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let again = bench.page(1000, None).await;
    let generated = |page: &Value| {
        let devices = page["devices"].as_array().unwrap().iter();
        let own = |device: &&Value| fleet::number(&text(&device["serial_number"])).is_none();
        devices.skip_while(own).cloned().collect::<Vec<_>>()
    };
    assert_eq!(generated(&again), generated(&first));
    for mut device in generated(&first).into_iter().step_by(97) {
        let serial = text(&device["serial_number"]);
        let body = json!({ "devices": [serial] }).to_string();
        let (_, reply) = bench.post("/devices", &body).await;
        let asked: Value = serde_json::from_str(&reply).unwrap();
        device["response_status"] = json!("SUCCESS");
        assert_eq!(asked["devices"][&serial], device);
    }
    let soon = first["devices"].as_array().unwrap();
    let soon = soon
        .iter()
        .find(|device| device["serial_number"] == "DEMOSOON0003");
    assert_eq!(
        soon.unwrap()["profile_status"],
        "empty",
        "nobody scanned it"
    );
}

#[tokio::test]
async fn a_cursor_that_is_old_used_up_or_made_up_is_refused_in_apples_words() {
    let bench = DepList::new(BOXES).await;
    let pages = bench.whole(1000).await;
    let refused = async |cursor: &str| {
        let body = json!({ "cursor": cursor, "limit": 1000 }).to_string();
        let (status, reply) = bench.post("/server/devices", &body).await;
        (status, reply.trim_matches(['"', '\n']).to_owned())
    };
    let last = text(&pages.last().unwrap()["cursor"]);
    assert_eq!(refused(&last).await, (400, "EXHAUSTED_CURSOR".to_owned()));
    for cursor in ["", "x", "MTIz", &last[1..]] {
        assert_eq!(
            refused(cursor).await,
            (400, "INVALID_CURSOR".to_owned()),
            "{cursor:?}"
        );
    }
    bench.apple.apple().expire_cursors();
    let first = text(&pages[0]["cursor"]);
    assert_eq!(refused(&first).await, (400, "EXPIRED_CURSOR".to_owned()));
    let fresh = text(&bench.page(1000, None).await["cursor"]);
    assert_eq!(refused(&fresh).await.0, 200);
    assert_eq!(
        bench.apple.violations(),
        [""; 0],
        "all this is part of normal life"
    );
}

#[tokio::test]
async fn a_question_for_the_servers_devices_that_apple_does_not_know_is_refused_and_noted() {
    let bench = DepList::new(0).await;
    for body in [
        "",
        "[]",
        r#"{"limit":0}"#,
        r#"{"limit":1001}"#,
        r#"{"limit":"1000"}"#,
        r#"{"limit":-1}"#,
        r#"{"cursor":7}"#,
        r#"{"cursor":null}"#,
        r#"{"limit":10,"sort":"serial"}"#,
    ] {
        bench.apple.forget();
        assert_eq!(bench.post("/server/devices", body).await.0, 400, "{body}");
        assert_eq!(bench.apple.violations().len(), 1, "{body}");
    }
    bench.apple.forget_sessions();
    assert_eq!(
        bench.post("/server/devices", "{}").await.0,
        403,
        "no session"
    );
}

#[tokio::test]
async fn the_servers_list_can_shift_shrink_never_end_or_break_in_the_middle() {
    let bench = DepList::new(BOXES).await;
    let all = on_the_server();
    bench.switch("list:shift=-1#2");
    let read = bench.serials().await;
    assert_eq!(
        (read.len(), read.contains(&all[1000])),
        (all.len() - 1, false)
    );
    bench.switch("list:shift=1#2");
    let read = bench.serials().await;
    assert_eq!(
        (read.len(), &read[1000]),
        (all.len() + 1, &all[999]),
        "a device twice"
    );
    bench.switch("list:keep=1500");
    assert_eq!(bench.serials().await, all[..1500]);
    bench.switch("list:keep=0");
    assert_eq!(bench.serials().await, [""; 0]);
    bench.switch("list:stuck#2");
    let first = text(&bench.page(1000, None).await["cursor"]);
    let second = bench.page(1000, Some(&first)).await;
    assert_eq!(
        (&second["cursor"], &second["more_to_follow"]),
        (&json!(first), &json!(true))
    );
    bench.switch("cut-json#2*1");
    let first = text(&bench.page(1000, None).await["cursor"]);
    let body = json!({ "cursor": first, "limit": 1000 }).to_string();
    let (status, reply) = bench.post("/server/devices", &body).await;
    assert!(status == 200 && serde_json::from_str::<Value>(&reply).is_err());
    assert_eq!(bench.serials().await, all, "once only");
}

#[tokio::test]
async fn a_device_that_is_moved_away_or_re_assigned_shows_so_in_the_next_pass() {
    let bench = DepList::new(BOXES).await;
    let mut all = on_the_server();
    for serial in [fleet::serial(0), HEALTHY.to_owned()] {
        bench
            .apple
            .apple()
            .put(&serial, Some(Dep::Assigned(Duration::from_secs(1))));
        assert_eq!(bench.serials().await, all, "{serial} keeps its place");
        let pages = bench.whole(1000).await;
        let devices = pages[0]["devices"].as_array().unwrap();
        let device = devices
            .iter()
            .find(|device| device["serial_number"] == *serial);
        let at: Timestamp = text(&device.unwrap()["profile_assign_time"])
            .parse()
            .unwrap();
        assert!(
            Timestamp::now().duration_since(at).as_secs() < 60,
            "just now"
        );
        bench.apple.apple().put(&serial, Some(Dep::NotAccessible));
        all.retain(|other| *other != serial);
        assert_eq!(bench.serials().await, all, "{serial} is on another server");
    }
    let gone = fleet::serial(1);
    bench.apple.apple().put(&gone, None);
    all.retain(|other| *other != gone);
    assert_eq!(bench.serials().await, all);
    let (_, reply) = bench
        .post("/devices", &json!({ "devices": [gone] }).to_string())
        .await;
    assert!(reply.contains("NOT_ACCESSIBLE"), "{reply}");
}

// ---- Apple Business ----

struct BusinessList {
    apple: apple_business::Simulator,
    client: reqwest::Client,
    token: String,
}

impl BusinessList {
    async fn new(options: apple_business::Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let apple = apple_business::serve(options).await.unwrap();
        let header = json!({"alg": "ES256", "kid": apple_business::KEY_ID, "typ": "JWT"});
        let reply = token(&apple, &header, &claims("bulk"), true).await;
        let reply: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        Self {
            token: text(&reply["access_token"]),
            client: reqwest::Client::new(),
            apple,
        }
    }

    async fn of(boxes: u32) -> Self {
        Self::new(apple_business::Options {
            boxes,
            ..apple_business::Options::demo()
        })
        .await
    }

    /// Status, `Retry-After` and body.
    async fn get(&self, path: &str) -> (u16, Option<u64>, Value) {
        let reply = self
            .client
            .get(format!("{}{path}", self.apple.api()))
            .header("user-agent", "test")
            .header("authorization", format!("Bearer {}", self.token))
            .send()
            .await
            .unwrap();
        let wait = reply.headers().get("retry-after");
        let wait = wait.map(|wait| wait.to_str().unwrap().parse().unwrap());
        let (status, body) = (reply.status().as_u16(), reply.bytes().await.unwrap());
        (
            status,
            wait,
            serde_json::from_slice(&body).unwrap_or_default(),
        )
    }

    async fn page(&self, path: &str, cursor: Option<&str>) -> Value {
        let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let (status, _, page) = self.get(&format!("{path}?limit=1000{cursor}")).await;
        assert_eq!(status, 200, "{path}: {page}");
        page
    }

    async fn whole(&self, path: &str) -> Vec<Value> {
        let mut pages = vec![self.page(path, None).await];
        while let Some(next) = pages.last().and_then(cursor) {
            pages.push(self.page(path, Some(&next)).await);
            assert!(pages.len() < 100, "the list does not end");
        }
        pages
    }

    async fn serials(&self, path: &str) -> Vec<String> {
        let pages = self.whole(path).await;
        pages
            .iter()
            .flat_map(|page| texts(&page["data"], "id"))
            .collect()
    }

    fn switch(&self, path: &str, fault: &str) {
        let fault = format!("/v1{path}={fault}");
        self.apple.faults().replace(vec![fault.parse().unwrap()]);
    }
}

fn cursor(page: &Value) -> Option<String> {
    page["meta"]["paging"].get("nextCursor").map(text)
}

fn in_the_organisation() -> Vec<String> {
    listed(|demo| demo.business, |held| held != Business::None, BOXES)
}

fn devices_of(server: &str) -> String {
    format!("/mdmServers/{server}/relationships/devices")
}

#[tokio::test]
async fn all_devices_and_those_of_each_server_come_page_by_page_and_each_once() {
    let bench = BusinessList::of(BOXES).await;
    let all = in_the_organisation();
    let pages = bench.whole("/orgDevices").await;
    let mut unassigned = 0;
    for page in &pages {
        assert_eq!(page["meta"]["paging"]["total"], all.len());
        for device in page["data"].as_array().unwrap() {
            assert_eq!(device["type"], "orgDevices");
            assert_eq!(device["attributes"]["serialNumber"], device["id"]);
            unassigned += usize::from(device["attributes"]["status"] == "UNASSIGNED");
        }
    }
    assert_eq!(bench.serials("/orgDevices").await, all);
    let next = text(&pages[0]["links"]["next"]);
    assert!(
        next.starts_with("https://elsewhere.example/v1/orgDevices?cursor="),
        "{next}"
    );

    let servers = bench.page("/mdmServers", None).await;
    let ids = texts(&servers["data"], "id");
    assert_eq!(
        ids,
        [
            stock::SERVER_UUID,
            stock::OTHER_SERVER_UUID,
            stock::CONFIGURATOR_UUID
        ]
    );
    let mut linked = Vec::new();
    for id in &ids {
        let pages = bench.whole(&devices_of(id)).await;
        assert_eq!(pages.len(), if *id == stock::SERVER_UUID { 3 } else { 1 });
        for page in &pages {
            assert_eq!(page["meta"]["paging"]["limit"], 1000);
            let rows = page["data"].as_array().unwrap();
            assert!(rows.iter().all(|row| row["type"] == "orgDevices"));
            linked.extend(texts(&page["data"], "id"));
        }
    }
    let lagging = listed(
        |demo| demo.business,
        |held| held == Business::Lagging,
        BOXES,
    )
    .len();
    assert_eq!(linked.len() + unassigned + lagging, all.len());
    linked.sort_unstable();
    linked.dedup();
    assert_eq!(
        linked.len() + unassigned + lagging,
        all.len(),
        "under one server each"
    );
    assert_eq!(bench.apple.violations(), [""; 0]);
}

#[tokio::test]
async fn a_device_of_the_organisation_says_the_same_in_the_list_and_alone() {
    let bench = BusinessList::of(BOXES).await;
    let first = bench.page("/orgDevices", None).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let again = bench.page("/orgDevices", None).await;
    let rows = |page: &Value| page["data"].as_array().unwrap()[60..].to_vec();
    assert_eq!(rows(&again), rows(&first), "a second later");
    for mut device in rows(&first).into_iter().step_by(97) {
        let serial = text(&device["id"]);
        let (_, _, alone) = bench.get(&format!("/orgDevices/{serial}")).await;
        let fields = device["attributes"].as_object_mut().unwrap();
        assert!(fields.remove("serialNumber").is_some());
        assert_eq!(alone["data"], device);
    }
}

#[tokio::test]
async fn a_question_for_a_list_that_apple_business_does_not_know_is_refused_and_noted() {
    let bench = BusinessList::of(0).await;
    for list in [
        "/orgDevices".to_owned(),
        "/mdmServers".to_owned(),
        devices_of(stock::SERVER_UUID),
    ] {
        for (query, noted) in [
            ("?limit=0", 1),
            ("?limit=1001", 1),
            ("?limit=x", 1),
            ("?sort=id", 1),
            ("?limit=10&offset=3", 1),
            ("?cursor=elsewhere", 0),
        ] {
            bench.apple.forget();
            let (status, _, body) = bench.get(&format!("{list}{query}")).await;
            assert_eq!(status, 400, "{list}{query}");
            assert_eq!(body["errors"][0]["status"], "400");
            assert_eq!(bench.apple.violations().len(), noted, "{list}{query}");
        }
    }
    let (status, _, body) = bench.get(&devices_of("0123")).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (404, &json!("NOT_FOUND"))
    );
    bench.apple.expire_tokens();
    assert_eq!(bench.get("/orgDevices?limit=1000").await.0, 401);
}

#[tokio::test]
async fn a_list_of_the_organisation_can_shift_lie_shrink_never_end_or_break_in_the_middle() {
    let bench = BusinessList::of(BOXES).await;
    for path in ["/orgDevices".to_owned(), devices_of(stock::SERVER_UUID)] {
        bench.apple.faults().clear();
        let all = bench.serials(&path).await;
        bench.switch(&path, "list:shift=-1#2");
        let read = bench.serials(&path).await;
        assert_eq!(
            (read.len(), read.contains(&all[1000])),
            (all.len() - 1, false)
        );
        bench.switch(&path, "list:shift=1#2");
        let read = bench.serials(&path).await;
        assert_eq!((read.len(), &read[1000]), (all.len() + 1, &all[999]));
        bench.switch(&path, "list:keep=1200");
        assert_eq!(bench.serials(&path).await, all[..1200]);
        bench.switch(&path, "list:keep=0");
        assert_eq!(bench.serials(&path).await, [""; 0]);
        bench.switch(&path, "list:stuck#2");
        let first = cursor(&bench.page(&path, None).await).unwrap();
        let second = bench.page(&path, Some(&first)).await;
        assert_eq!(cursor(&second), Some(first));
        bench.switch(&path, "429:3600#2*1");
        let first = cursor(&bench.page(&path, None).await).unwrap();
        let query = format!("{path}?limit=1000&cursor={first}");
        let (status, wait, _) = bench.get(&query).await;
        assert_eq!((status, wait), (429, Some(3600)));
        assert_eq!(bench.get(&query).await.0, 200, "once only");
    }
    bench.switch("/orgDevices", "list:total=-5");
    let total = bench.page("/orgDevices", None).await["meta"]["paging"]["total"].clone();
    assert_eq!(total, in_the_organisation().len() - 5);
}

#[tokio::test]
async fn a_device_that_is_moved_released_or_gone_shows_so_in_the_next_pass() {
    let bench = BusinessList::of(BOXES).await;
    let (ours, other) = (
        devices_of(stock::SERVER_UUID),
        devices_of(stock::OTHER_SERVER_UUID),
    );
    for serial in [fleet::serial(0), HEALTHY.to_owned()] {
        assert!(bench.serials(&ours).await.contains(&serial));
        bench.apple.put(&serial, Some(Business::Other));
        assert!(!bench.serials(&ours).await.contains(&serial));
        assert!(bench.serials(&other).await.contains(&serial));
        bench.apple.put(&serial, Some(Business::Released));
        assert!(!bench.serials(&other).await.contains(&serial));
        assert!(bench.serials("/orgDevices").await.contains(&serial));
        bench.apple.put(&serial, None);
        assert!(!bench.serials("/orgDevices").await.contains(&serial));
        assert_eq!(bench.get(&format!("/orgDevices/{serial}")).await.0, 404);
    }
}

#[tokio::test]
async fn a_linkage_that_lags_is_in_no_servers_list_yet() {
    let bench = BusinessList::new(apple_business::Options {
        boxes: 100,
        linkage_lag: Duration::from_hours(1),
        ..apple_business::Options::demo()
    })
    .await;
    let ours = devices_of(stock::SERVER_UUID);
    for serial in [fleet::serial(0), HEALTHY.to_owned()] {
        bench.apple.put(&serial, Some(Business::Ours));
        assert!(!bench.serials(&ours).await.contains(&serial));
        assert!(bench.serials("/orgDevices").await.contains(&serial));
    }
}

#[tokio::test]
async fn twenty_reads_a_minute_are_answered_and_the_next_waits_as_long_as_it_is_told() {
    let bench = BusinessList::new(apple_business::Options {
        reads_per_minute: apple_business::MEASURED,
        ..apple_business::Options::demo()
    })
    .await;
    // The token call counts as well.
    for read in 1..apple_business::MEASURED {
        assert_eq!(bench.get("/mdmServers").await.0, 200, "read {read}");
    }
    let (status, wait, body) = bench.get("/mdmServers").await;
    assert_eq!((status, &body["errors"][0]["status"]), (429, &json!("429")));
    assert!(
        wait.is_some_and(|wait| (30..=60).contains(&wait)),
        "{wait:?}"
    );
}
