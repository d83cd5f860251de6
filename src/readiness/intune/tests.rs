//! What may leave, how a question is written, and that a good answer is ready only whole.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::*;
use crate::readiness::{
    evidence::Grade,
    http::tests::sent,
    testing::{spoilt, without},
};

const SERIAL: &str = "TESTINTUN001";
const READY: Finding = Finding::Ready(Grade::Intent);

/// Nothing listens there: the reason shows whether a request was sent or refused.
const BASE: &str = "http://127.0.0.1:9/beta";
const TOKEN: &str = "http://127.0.0.1:9/tenant/oauth2/v2.0/token";
const ID: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000001";

async fn reason(request: Request) -> Reason {
    let allow = allowed(&BASE.parse().unwrap(), &TOKEN.parse().unwrap());
    sent(allow, request).await
}

fn get(path: &str) -> Request {
    Request::get(format!("{BASE}/{path}").parse().unwrap())
}

fn post(url: &str) -> Request {
    Request::post(url.parse().unwrap(), "application/json", b"{}".to_vec())
}

#[tokio::test]
async fn what_writes_or_is_not_needed_never_leaves() {
    for path in [
        TOKENS.to_owned(),
        format!("{TOKENS}/{ID}/{DEVICES}"),
        format!("{TOKENS}/{ID}/syncWithAppleDeviceEnrollmentProgram"),
        format!("{TOKENS}/{ID}/{DEVICES}/importAppleDeviceIdentityList"),
        format!("{TOKENS}/{ID}/{PROFILES}/p/updateDeviceProfileAssignment"),
        "deviceManagement/managedDevices/1/wipe".to_owned(),
    ] {
        let request = post(&format!("{BASE}/{path}"));
        assert_eq!(reason(request).await, Reason::StationFault, "POST {path}");
    }
    for path in [
        format!("{TOKENS}/{ID}"),
        format!("{TOKENS}/a%2Fb/{DEVICES}"),
        format!("{TOKENS}/{ID}/{DEVICES}/1"),
        format!("{TOKENS}/{ID}/{DEVICES}?$expand=x"),
        format!("{TOKENS}/{ID}/{DEVICES}?$select=serialNumber"),
        format!("{TOKENS}?$filter=x"),
        format!("{TOKENS}/{ID}/getEncryptionPublicKey()"),
        "deviceManagement/importedDeviceIdentities".to_owned(),
        "deviceManagement/managedDevices".to_owned(),
        "users".to_owned(),
    ] {
        assert_eq!(reason(get(&path)).await, Reason::StationFault, "GET {path}");
    }
    for url in [
        format!("{TOKEN}/x"),
        format!("{TOKEN}?x=1"),
        "http://127.0.0.1:10/tenant/oauth2/v2.0/token".to_owned(),
        "http://127.0.0.1:9/other/oauth2/v2.0/token".to_owned(),
    ] {
        assert_eq!(reason(post(&url)).await, Reason::StationFault, "POST {url}");
    }
    let elsewhere = format!("http://127.0.0.1:10/beta/{TOKENS}");
    assert_eq!(
        reason(Request::get(elsewhere.parse().unwrap())).await,
        Reason::StationFault,
        "a next page elsewhere"
    );
    let version = format!("http://127.0.0.1:9/v1.0/{TOKENS}");
    assert_eq!(
        reason(Request::get(version.parse().unwrap())).await,
        Reason::StationFault
    );
}

#[tokio::test]
async fn what_is_needed_leaves() {
    for path in [
        TOKENS.to_owned(),
        format!("{TOKENS}?$skiptoken=a%27b"),
        format!("{TOKENS}/{ID}/{DEVICES}?{}", question(SERIAL)),
        format!("{TOKENS}/{ID}/{DEVICES}?{}&$skiptoken=x", question(SERIAL)),
        format!("{TOKENS}/{ID}/{PROFILES}"),
    ] {
        assert_eq!(reason(get(&path)).await, Reason::Offline, "GET {path}");
    }
    assert_eq!(reason(post(TOKEN)).await, Reason::Offline);
}

#[test]
fn a_question_is_percent_encoded_and_its_quotes_are_doubled() {
    assert_eq!(
        question(SERIAL),
        "$filter=discoverySource%20eq%20%27deviceEnrollmentProgram%27%20and%20contains%28serialNumber%2C%27TESTINTUN001%27%29"
    );
    assert!(question("O'B").ends_with("%27O%27%27B%27%29"));
    let mut url: Url = BASE.parse().unwrap();
    url.set_query(Some(&question("O'B&x=1#y+z")));
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    assert_eq!(
        pairs,
        [(
            "$filter".to_owned(),
            "discoverySource eq 'deviceEnrollmentProgram' and contains(serialNumber,'O''B&x=1#y+z')".to_owned()
        )]
    );
}

#[test]
fn a_further_page_is_of_the_same_list_and_of_the_same_question() {
    let mut first: Url = format!("{BASE}/{TOKENS}/{ID}/{DEVICES}").parse().unwrap();
    first.set_query(Some(&question(SERIAL)));
    let list = format!("{BASE}/{TOKENS}/{ID}/{DEVICES}");
    let asked = question(SERIAL);
    let other = question("TESTINTUN002");
    for (next, is_followed) in [
        (format!("{list}?$skiptoken=a%27b"), true),
        (format!("{list}?{asked}&$skip=300"), true),
        (format!("{list}?{}&$top=1", asked.replace("%20", "+")), true),
        (format!("{list}?{other}&$skip=300"), false),
        (format!("{list}?$select=id&$skiptoken=x"), false),
        (format!("{list}?$expand=x"), false),
        (format!("{list}?$orderby=serialNumber"), false),
        (list.replace("127.0.0.1:9", "127.0.0.1:10"), false),
        (list.replace("127.0.0.1", "a:b@127.0.0.1"), false),
        (list.replace("http:", "https:"), false),
        (list.replace("/beta/", "/v1.0/"), false),
        (list.replace(DEVICES, PROFILES), false),
        ("/beta".to_owned(), false),
        ("?$skiptoken=x".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(further(&first, &next).is_some(), is_followed, "{next}");
    }
    // A list without a filter gets none on its way.
    let tokens: Url = format!("{BASE}/{TOKENS}").parse().unwrap();
    let filtered = format!("{BASE}/{TOKENS}?$filter=x");
    assert_eq!(further(&tokens, &filtered), None);
}

#[test]
fn no_word_of_entras_hides_another_that_it_begins() {
    for (place, (word, ..)) in WORDS.meanings.iter().enumerate() {
        let first = WORDS
            .meanings
            .iter()
            .position(|(one, ..)| word.contains(one));
        assert_eq!(first, Some(place), "{word}");
    }
}

#[test]
fn each_cloud_is_its_own_audience() {
    for (url, audience) in [
        ("https://graph.microsoft.com/beta", "graph.microsoft.com"),
        ("https://graph.microsoft.us/beta", "graph.microsoft.us"),
        (
            "https://dod-graph.microsoft.us/beta",
            "dod-graph.microsoft.us",
        ),
        (
            "https://microsoftgraph.chinacloudapi.cn/beta",
            "microsoftgraph.chinacloudapi.cn",
        ),
        ("http://127.0.0.1:9/beta", "graph.microsoft.com"),
    ] {
        let expected = format!("https://{audience}/.default");
        assert_eq!(scope(&url.parse().unwrap()), expected, "{url}");
    }
}

/// Damages a good answer: each known field in turn is removed, made null, or given a value of every other type.
#[test]
fn only_a_good_answer_is_ready_whichever_field_is_changed() {
    let now = Timestamp::now();
    let ago = |hours: u64| (now - Duration::from_hours(hours)).to_string();
    let good = json!([
        {"@odata.count": 1, "value": [{"id": ID, "tokenName": "HQ", "tokenExpirationDateTime": (now + Duration::from_hours(2400)).to_string(),
            "lastSuccessfulSyncDateTime": ago(1), "lastSyncErrorCode": 0}]},
        {"@odata.count": 1, "value": [{"id": "row-1", "serialNumber": SERIAL, "requestedEnrollmentProfileId": "p1",
            "requestedEnrollmentProfileAssignmentDateTime": ago(48), "discoverySource": "deviceEnrollmentProgram", "isDeleted": false,
            "enrollmentState": "notContacted", "platform": "macOS"}]},
    ]);
    let finding = |bodies: &Value| {
        let [tokens, rows] = [&bodies[0], &bodies[1]].map(Value::to_string);
        let (serial, source) = (Serial::new(SERIAL).unwrap(), Name::new("intune").unwrap());
        judged([tokens.as_bytes(), rows.as_bytes()], now, &serial, source).finding
    };
    assert_eq!(finding(&good), READY);
    // The field, its type, and whether it may be absent or null.
    for (path, kind, optional) in [
        ("/0/@odata.count", "count", true),
        ("/0/value", "list", false),
        ("/0/value/0/id", "id", false),
        ("/0/value/0/tokenName", "text", true),
        ("/0/value/0/tokenExpirationDateTime", "time", true),
        ("/0/value/0/lastSuccessfulSyncDateTime", "time", false),
        ("/0/value/0/lastSyncErrorCode", "count", true),
        ("/1/@odata.count", "count", true),
        ("/1/value", "list", false),
        ("/1/value/0/id", "id", true),
        ("/1/value/0/serialNumber", "needed", false),
        ("/1/value/0/requestedEnrollmentProfileId", "id", false),
        (
            "/1/value/0/requestedEnrollmentProfileAssignmentDateTime",
            "time",
            true,
        ),
        ("/1/value/0/discoverySource", "needed", true),
        ("/1/value/0/isDeleted", "flag?", true),
        ("/1/value/0/enrollmentState", "needed", false),
        ("/1/value/0/platform", "text", true),
    ] {
        assert_eq!(
            finding(&without(&good, path)) == READY,
            optional,
            "without {path}"
        );
        for (changed, value, of) in spoilt(&good, path) {
            let good_still = match of {
                "null" => optional,
                // Another id is another token, record or profile, and as good.
                "number" => kind == "id",
                of => of == "text" && ["text", "id"].contains(&kind),
            };
            assert_eq!(finding(&changed) == READY, good_still, "{path} is {value}");
        }
    }
}
