//! Apple's replies must be about what was asked, have the documented shape, and use words that the station knows.

use super::*;

const GARBLED: Finding = Finding::Unknown(Reason::GarbledAnswer);
const READY: Finding = Finding::Ready(Grade::Apple);
const UNKNOWN_BOX: &str = "C02NEVERSEEN";

fn replace(from: &str, to: &str) -> Effect {
    Effect::Replace {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

#[tokio::test]
async fn a_reply_of_devices_that_does_not_answer_the_question_is_no_answer() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    source.probe().await.unwrap();
    for (what, from, to) in [
        (
            "another device beside it",
            r#"{"devices":{"#,
            r#"{"devices":{"C02OTHERBOX1":{"response_status":"NOT_ACCESSIBLE"},"#,
        ),
        (
            "itself again, in another case",
            r#"{"devices":{"#,
            r#"{"devices":{"c02xk0aajg5h":null,"#,
        ),
        (
            "itself in another case",
            r#""C02XK0AAJG5H":{"#,
            r#""c02xk0aajg5h":{"#,
        ),
        (
            "another record under its key",
            r#""serial_number":"C02XK0AAJG5H""#,
            r#""serial_number":"C02XK0AAJG5J""#,
        ),
        (
            "a list for a map",
            r#"{"devices":{"#,
            r#"{"devices":[],"x":{"#,
        ),
        ("no devices", r#"{"devices":{"#, r#"{"device":{"#),
        (
            "null devices",
            r#"{"devices":{"#,
            r#"{"devices":null,"x":{"#,
        ),
        (
            "not accessible, and yet with a profile",
            r#""response_status":"SUCCESS""#,
            r#""response_status":"NOT_ACCESSIBLE""#,
        ),
        (
            "a word in another case",
            r#""response_status":"SUCCESS""#,
            r#""response_status":"success""#,
        ),
        (
            "a word with a space",
            r#""response_status":"SUCCESS""#,
            r#""response_status":"SUCCESS ""#,
        ),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().path("/devices", replace(from, to));
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!(
            (evidence.finding, evidence.known),
            (GARBLED, false),
            "{what}"
        );
    }
    bench.apple.faults().clear();
    bench.apple.faults().path(
        "/devices",
        replace(
            r#"{"response_status""#,
            r#"{"serial_number":"C02XK0AAJG5J","response_status""#,
        ),
    );
    assert_eq!(
        ask(&source, UNKNOWN_BOX).await.finding,
        GARBLED,
        "not accessible is another device"
    );
    bench.apple.faults().clear();
    bench.apple.faults().path(
        "/devices",
        replace(
            r#"{"response_status""#,
            r#"{"serial_number":"C02NEVERSEEN","response_status""#,
        ),
    );
    assert_eq!(
        ask(&source, UNKNOWN_BOX).await.finding,
        Finding::No(Reason::NotFound)
    );
}

#[tokio::test]
async fn a_device_of_which_a_field_has_another_type_or_an_unknown_word_is_no_answer() {
    let bench = DepBench::new(apple_dep::Options::demo()).await;
    let source = bench.source(SYNCED);
    source.probe().await.unwrap();
    for (field, values) in [
        ("response_status", &["7", "null", "[]"][..]),
        ("serial_number", &["7", "null"]),
        (
            "profile_status",
            &["7", "[]", "\"ASSIGNED\"", "\"assigned \"", "\"reassigned\""],
        ),
        ("profile_uuid", &["7", "{}"]),
        ("profile_assign_time", &["7", "false", "\"soon\""]),
        (
            "device_assigned_date",
            &["7", "\"yesterday\"", "\"2099-01-01T00:00:00Z\""],
        ),
        ("mdm_migration_deadline", &["false", "7", "{}"]),
        ("model", &["7"]),
        ("description", &["[]"]),
        ("device_family", &["7"]),
    ] {
        for value in values {
            let mut fields = json!({});
            fields[field] = serde_json::from_str(value).unwrap();
            // A null in the overlay removes the field.
            bench.apple.faults().clear();
            if fields[field].is_null() {
                bench.apple.faults().path(
                    "/devices",
                    replace(
                        &format!("\"{field}\":\""),
                        &format!("\"{field}\":null,\"x\":\""),
                    ),
                );
            }
            bench.apple.apple().overlay(HEALTHY, fields);
            assert_eq!(
                ask(&source, HEALTHY).await.finding,
                GARBLED,
                "{field}: {value}"
            );
        }
    }
    bench.apple.apple().overlay(HEALTHY, json!({}));
    bench.apple.faults().clear();
    assert_eq!(ask(&source, HEALTHY).await.finding, READY);
}

#[tokio::test]
async fn a_profile_that_is_not_the_one_asked_for_says_nothing_and_is_not_kept() {
    let expecting = Wanted {
        hosts: vec!["acme.web-api.kandji.io".to_owned()],
        ..Wanted::default()
    };
    let bench = DepBench::with(apple_dep::Options::demo(), expecting).await;
    let source = bench.source(SYNCED);
    source.probe().await.unwrap();
    let uuid = format!("\"profile_uuid\":\"{}\"", stock::PROFILE_UUID);
    for (from, to) in [
        (
            uuid.as_str(),
            r#""profile_uuid":"00000000000000000000000000000000""#,
        ),
        (&uuid, r#""profile_uuid":null"#),
        (&uuid, r#""profile_uuid":7"#),
        (&uuid, r#""x":1"#),
        (r#""url":"#, r#""url":7,"x":"#),
        (r#""url":"#, r#""url":null,"x":"#),
        (r#""url":"#, r#""url":"acme.web-api.kandji.io","x":"#),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().path("/profile", replace(from, to));
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!((evidence.finding, evidence.known), (GARBLED, true), "{to}");
    }
    bench.apple.faults().clear();
    bench
        .apple
        .faults()
        .path("/profile", replace(&uuid, &uuid.to_ascii_lowercase()));
    assert_eq!(
        ask(&source, HEALTHY).await.finding,
        READY,
        "hex digits have no case"
    );
    bench.apple.faults().clear();
    bench.apple.faults().path("/profile", Effect::Status(500));
    assert_eq!(ask(&source, HEALTHY).await.finding, READY, "it is kept");
}

#[tokio::test]
async fn a_record_of_the_organisation_that_is_not_as_documented_is_no_answer() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let device = format!("/v1/orgDevices/{HEALTHY}");
    for (from, to) in [
        (
            r#"{"data":"#,
            r#"{"errors":[{"status":"404","code":"NOT_FOUND"}],"data":"#,
        ),
        (r#"{"data":"#, r#"{"errors":[],"data":"#),
        (r#"{"data":"#, r#"{"data":[],"x":"#),
        (r#"{"data":"#, r#"{"data":null,"x":"#),
        (r#""type":"orgDevices""#, r#""type":"mdmServers""#),
        (r#""type":"orgDevices""#, r#""type":7"#),
        (r#""type":"orgDevices""#, r#""kind":"orgDevices""#),
        (r#""id":"C02XK0AAJG5H""#, r#""id":"c02xk0aajg5h""#),
        (r#""id":"C02XK0AAJG5H""#, r#""id":"C02XK0AAJG5J""#),
        (r#""id":"C02XK0AAJG5H""#, r#""id":null"#),
        (r#""attributes":{"#, r#""attributes":{"serialNumber":7,"#),
        (
            r#""attributes":{"#,
            r#""attributes":{"serialNumber":"C02XK0AAJG5J","#,
        ),
        (r#""attributes":{"#, r#""attributes":[],"x":{"#),
        (r#""status":"ASSIGNED""#, r#""status":"assigned""#),
        (r#""status":"ASSIGNED""#, r#""status":"ASSIGNED ""#),
        (r#""status":"ASSIGNED""#, "\"status\":\"\\u0007ASSIGNED\""),
        (r#""status":"ASSIGNED""#, r#""status":7"#),
        (r#""status":"ASSIGNED""#, r#""status":null"#),
        (r#""updatedDateTime":"#, r#""updatedDateTime":7,"x":"#),
        (
            r#""updatedDateTime":"#,
            r#""updatedDateTime":"yesterday","x":"#,
        ),
        (
            r#""attributes":{"#,
            r#""attributes":{"releasedFromOrgDateTime":false,"#,
        ),
        (
            r#""attributes":{"#,
            r#""attributes":{"releasedFromOrgDateTime":7,"#,
        ),
        (r#""deviceModel":"#, r#""deviceModel":7,"x":"#),
        (r#""productFamily":"#, r#""productFamily":[],"x":"#),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().path(&device, replace(from, to));
        assert_eq!(ask(&source, HEALTHY).await.finding, GARBLED, "{to}");
    }
    bench.apple.faults().clear();
    bench
        .apple
        .faults()
        .path(&device, replace(r#"{"data":"#, r#"{"errors":null,"data":"#));
    assert_eq!(ask(&source, HEALTHY).await.finding, Finding::NoObjection);
    bench.apple.faults().clear();
    for (from, to) in [
        (
            r#"{"errors":"#,
            r#"{"data":{"type":"orgDevices"},"errors":"#,
        ),
        (r#"{"errors":["#, r#"{"errors":[7,"#),
        (r#""status":"404""#, r#""status":404"#),
        (r#""status":"404""#, r#""status":"403""#),
        (r#""code":"NOT_FOUND""#, r#""code":7"#),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().serial(UNKNOWN_BOX, replace(from, to));
        assert_eq!(ask(&source, UNKNOWN_BOX).await.finding, GARBLED, "{to}");
    }
}

#[tokio::test]
async fn a_migration_status_is_one_of_the_known_words_or_nobody_knows() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    for (word, finding) in [
        (json!("REQUESTED"), Finding::No(Reason::MigrationPending)),
        (json!("STARTED"), Finding::No(Reason::MigrationPending)),
        (json!("SUCCESS"), Finding::NoObjection),
        (json!("FAILED"), Finding::NoObjection),
        (json!(null), Finding::NoObjection),
        (json!("COMPLETED"), GARBLED),
        (json!("requested"), GARBLED),
        (json!("Failed"), GARBLED),
        (json!("SUCCESS "), GARBLED),
        (json!(7), GARBLED),
        (json!(false), GARBLED),
    ] {
        bench
            .apple
            .overlay(HEALTHY, json!({ "mdmMigrationStatus": word }));
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!(evidence.finding, finding, "{word}");
        assert_eq!(
            evidence
                .detail
                .is_some_and(|detail| detail.contains("FAILED")),
            word == "FAILED",
            "{word}"
        );
    }
}

#[tokio::test]
async fn a_linkage_that_is_not_as_documented_or_another_devices_is_no_answer() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let linkage = format!("/v1/orgDevices/{HEALTHY}/relationships/assignedServer");
    for (from, to) in [
        (r#"{"data":"#, r#"{"errors":[],"data":"#),
        (r#"{"data":"#, r#"{"data":[],"x":"#),
        (r#"{"data":"#, r#"{"data":7,"x":"#),
        (r#"{"data":"#, r#"{"x":"#),
        (r#""type":"mdmServers""#, r#""type":"orgDevices""#),
        (r#""type":"mdmServers""#, r#""type":null"#),
        (r#""id":"#, r#""id":7,"x":"#),
        ("/orgDevices/C02XK0AAJG5H/", "/orgDevices/C02XK0AAJG5J/"),
    ] {
        bench.apple.faults().clear();
        bench.apple.faults().path(&linkage, replace(from, to));
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!((evidence.finding, evidence.known), (GARBLED, true), "{to}");
    }
}

#[tokio::test]
async fn a_list_of_servers_that_does_not_add_up_or_comes_twice_is_no_answer() {
    let bench = BusinessBench::new(apple_business::Options::demo()).await;
    let source = bench.source(SYNCED);
    let server = format!("\"id\":\"{}\"", stock::SERVER_UUID);
    let other = format!("\"id\":\"{}\"", stock::OTHER_SERVER_UUID.to_lowercase());
    for (from, to) in [
        (r#""total":3"#, r#""total":4"#),
        (r#""total":3"#, r#""total":"3""#),
        (r#""paging":{"#, r#""paging":{"nextCursor":"after-0","#),
        (r#""paging":{"#, r#""paging":{"nextCursor":7,"#),
        (server.as_str(), other.as_str()),
        (r#""serverType":"MDM""#, r#""serverType":7"#),
        (r#""type":"mdmServers""#, r#""type":"orgDevices""#),
        (r#"{"data":"#, r#"{"errors":[],"data":"#),
        (r#"{"data":["#, r#"{"data":[[],"#),
    ] {
        bench.apple.faults().clear();
        bench
            .apple
            .faults()
            .path("/v1/mdmServers", replace(from, to));
        assert_eq!(
            source.probe().await.unwrap_err().reason,
            Reason::GarbledAnswer,
            "{to}"
        );
    }
    bench.apple.faults().clear();
    source.probe().await.unwrap();
}
