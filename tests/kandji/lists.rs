//! A list must answer the question, have as many rows as it says, and have the documented shape.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const GARBLED: Finding = Finding::Unknown(Reason::GarbledAnswer);
const BROKEN: Finding = Finding::Unknown(Reason::MdmLinkBroken);
const STALE: Finding = Finding::Unknown(Reason::Stale);
const NOT_FOUND: Finding = Finding::No(Reason::NotFound);

/// The finding about `serial` when every `from` in the replies of `path` is replaced by `to`.
async fn rewritten(bench: &Bench, path: &str, from: &str, to: &str, serial: &str) -> Evidence {
    let query = match path {
        ADE_DEVICES => format!("?serial_number={serial}"),
        DEVICES => format!("?serial_number={serial}&limit=300"),
        _ => String::new(),
    };
    let request = format!(
        "GET {path}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\naccept: application/json\r\n"
    );
    bench.tenant.faults().clear();
    let truth = raw(
        &bench.tenant,
        &format!("{request}cache-control: no-cache\r\n\r\n"),
    )
    .await;
    assert!(truth.contains(from), "{from} is not in {truth}");
    bench.tenant.faults().path(
        path,
        Effect::Replace {
            from: from.to_owned(),
            to: to.to_owned(),
        },
    );
    bench.ask(serial).await
}

/// The URL of a service whose bodies `answer` makes from each request's path and query.
async fn scripted(answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(peer.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let body = answer(head.split(' ').nth(1).unwrap()).to_string();
            let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
            let reply = format!(
                "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            peer.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    url
}

fn token_row() -> Value {
    let now = jiff::Timestamp::now();
    json!({"id": "t1", "server_name": "HQ", "server_uuid": "A0", "access_token_expiry": (now + Duration::from_hours(2400)).to_string(), "days_left": 100,
           "status": "SUCCESS", "status_reason": null, "last_device_sync": (now - Duration::from_mins(5)).to_string()})
}

fn ade_row(id: usize, serial: &str) -> Value {
    let days_ago = (jiff::Timestamp::now() - Duration::from_hours(48)).to_string();
    json!({"id": format!("row-{id}"), "serial_number": serial, "profile_status": "assigned", "profile_assign_time": days_ago, "last_assignment_status": "SUCCESS",
           "failed_assignment_attempts": 0, "mdm_device": null, "dep_account": {"id": "t1", "server_name": "HQ"}, "device_assigned_date": days_ago})
}

/// The finding from these pages of the ADE list; the first one is page 1.
async fn paged(pages: Vec<Value>) -> Evidence {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let url =
        scripted(
            move |question| match question.split('?').next().unwrap().trim_end_matches('/') {
                ADE_TOKENS => json!([token_row()]),
                DEVICES => json!([]),
                _ => {
                    let page = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert_eq!(
                        question.contains(&format!("page={}", page + 1)),
                        page > 0,
                        "{question}"
                    );
                    pages
                        .get(page)
                        .cloned()
                        .unwrap_or_else(|| panic!("asked for page {}", page + 1))
                }
            },
        )
        .await;
    Setting {
        url: Some(url),
        ..Setting::of(Vec::new())
    }
    .bench()
    .await
    .ask(SERIAL)
    .await
}

#[tokio::test]
async fn a_row_that_does_not_contain_the_question_makes_the_whole_list_no_answer() {
    let bench = Setting::of(vec![Device::ready(SERIAL), Device::ready("TESTKANDJ0019")])
        .bench()
        .await
        .warmed()
        .await;
    let swapped = rewritten(&bench, ADE_DEVICES, "TESTKANDJ001", "OTHERBOX0001", SERIAL).await;
    assert_eq!((swapped.finding, swapped.known), (GARBLED, false));
    assert!(
        swapped
            .detail
            .unwrap()
            .contains("does not answer the question")
    );
    let one_of_two = rewritten(&bench, ADE_DEVICES, "TESTKANDJ0019", "OTHERBOX0001", SERIAL).await;
    assert_eq!(one_of_two.finding, GARBLED, "beside its own row, too");
    let longer = rewritten(
        &bench,
        ADE_DEVICES,
        "TESTKANDJ001\"",
        "TESTKANDJ001X\"",
        SERIAL,
    )
    .await;
    assert_eq!(
        (longer.finding, longer.known),
        (NOT_FOUND, false),
        "rows that contain it and are longer are a true not-found"
    );
    let lower = rewritten(&bench, ADE_DEVICES, "TESTKANDJ001", "testkandj001", SERIAL).await;
    assert_eq!(
        lower.finding, READY,
        "the case of letters is the service's own"
    );
    bench.tenant.faults().clear();
    assert_eq!(bench.ask(SERIAL).await.finding, READY);
}

#[tokio::test]
async fn a_device_that_does_not_contain_the_question_makes_the_device_list_no_answer() {
    let enrolled = Device {
        in_ade: false,
        enrollment: Enrollment::Enrolled,
        ..Device::ready(SERIAL)
    };
    let bench = Setting::of(vec![enrolled]).bench().await.warmed().await;
    assert_eq!(
        rewritten(&bench, DEVICES, SERIAL, "OTHERBOX0001", SERIAL)
            .await
            .finding,
        GARBLED
    );
    assert_eq!(
        rewritten(&bench, DEVICES, SERIAL, "TESTKANDJ001X", SERIAL)
            .await
            .finding,
        NOT_FOUND
    );
    assert_eq!(
        rewritten(&bench, DEVICES, SERIAL, "testkandj001", SERIAL)
            .await
            .finding,
        Finding::No(Reason::AlreadyEnrolled)
    );
    for (from, to) in [
        (r#""is_removed":false"#, r#""is_removed":"true""#),
        (r#""is_removed":false"#, r#""is_removed":1"#),
        (
            r#""serial_number":"TESTKANDJ001""#,
            r#""serial_number":null"#,
        ),
        (r#""serial_number":"TESTKANDJ001""#, r#""serial_number":7"#),
    ] {
        assert_eq!(
            rewritten(&bench, DEVICES, from, to, SERIAL).await.finding,
            GARBLED,
            "{to}"
        );
    }
}

#[tokio::test]
async fn the_rows_of_both_candidates_are_held_against_the_shorter_one_that_was_asked_for() {
    let bench = Setting::of(vec![Device::ready("DMPX0000A1")])
        .bench()
        .await
        .warmed()
        .await;
    bench.tenant.faults().path(
        ADE_DEVICES,
        Effect::Replace {
            from: "DMPX0000A1".to_owned(),
            to: "SDMPX0000A1".to_owned(),
        },
    );
    let [scanned, stripped] = bench.ask_both("SDMPX0000A1", "DMPX0000A1").await;
    assert_eq!(
        (scanned.finding, stripped.finding),
        (READY, NOT_FOUND),
        "a row of the longer one contains the shorter"
    );
    bench.tenant.faults().clear();
    bench.tenant.faults().path(
        ADE_DEVICES,
        Effect::Replace {
            from: "DMPX0000A1".to_owned(),
            to: "OTHERBOX0001".to_owned(),
        },
    );
    let [scanned, stripped] = bench.ask_both("SDMPX0000A1", "DMPX0000A1").await;
    assert_eq!((scanned.finding, stripped.finding), (GARBLED, GARBLED));
}

#[tokio::test]
async fn a_page_that_is_not_as_documented_is_no_answer() {
    let bench = Setting::of(vec![Device::ready(SERIAL)])
        .bench()
        .await
        .warmed()
        .await;
    for (from, to) in [
        (r#""count":1"#, r#""count":3"#),
        (r#""count":1"#, r#""count":0"#),
        (r#""count":1"#, r#""count":null"#),
        (r#""count":1,"#, ""),
        (r#""count":1"#, r#""count":-1"#),
        (r#""count":1"#, r#""count":1.5"#),
        (r#""count":1"#, r#""count":"1""#),
        (r#""count":1"#, r#""count":9223372036854775808"#),
        (r#""count":1"#, r#""count":1e400"#),
        (r#""next":null,"#, ""),
        (r#""next":null"#, r#""next":7"#),
        (r#""next":null"#, r#""next":false"#),
        (r#""next":null"#, r#""next":"""#),
        (
            r#""next":null"#,
            r#""next":"https://acme.kandji.io/?page=2""#,
        ),
        (r#""previous":null,"#, ""),
        (r#""previous":null"#, r#""previous":7"#),
        (
            r#""previous":null"#,
            r#""previous":"https://acme.kandji.io/?page=1""#,
        ),
        (r#""results":["#, r#""rows":["#),
        (r#""results":["#, r#""results":[null,"#),
        (r#""results":["#, r#""results":[[],"#),
        (r#""results":["#, r#""results":7,"rows":["#),
    ] {
        let evidence = rewritten(&bench, ADE_DEVICES, from, to, SERIAL).await;
        assert_eq!((evidence.finding, evidence.known), (GARBLED, false), "{to}");
        bench.tenant.forget();
        bench.ask(SERIAL).await;
        assert_eq!(
            bench.tenant.counts().total,
            1,
            "{to}: no page is asked for where all rows are there"
        );
    }
}

#[tokio::test]
async fn rows_that_are_announced_and_not_there_are_named_and_never_not_found() {
    for empty in [
        json!({"count": 3, "next": null, "previous": null, "results": []}),
        json!({"count": 2, "next": null, "previous": null, "results": [ade_row(1, SERIAL)]}),
    ] {
        let evidence = paged(vec![empty.clone()]).await;
        assert_eq!(evidence.finding, GARBLED, "{empty}");
        assert!(
            evidence
                .detail
                .as_deref()
                .is_some_and(|detail| detail.contains(&format!("count is {}", empty["count"]))),
            "{:?}",
            evidence.detail
        );
    }
}

#[tokio::test]
async fn counts_add_up_over_all_pages_and_no_page_or_row_comes_twice() {
    let (next, previous) = (
        json!("https://acme.kandji.io/?page=n"),
        json!("https://acme.kandji.io/?page=p"),
    );
    let page = |count: usize, next: &Value, previous: &Value, rows: &[&Value]| json!({"count": count, "next": next, "previous": previous, "results": rows});
    let (ours, other) = (ade_row(1, SERIAL), ade_row(2, "TESTKANDJ0012"));
    let null = Value::Null;
    let first = || page(2, &next, &null, &[&ours]);
    assert_eq!(
        paged(vec![first(), page(2, &null, &previous, &[&other])])
            .await
            .finding,
        READY,
        "two good pages"
    );
    let bad = [
        ("the count changes", page(3, &null, &previous, &[&other])),
        ("the first page again", first()),
        (
            "the first page's rows again",
            page(2, &null, &previous, &[&ours]),
        ),
        (
            "a row with the id of another",
            page(2, &null, &previous, &[&ade_row(1, "TESTKANDJ0012")]),
        ),
        (
            "the same id in another case",
            page(
                2,
                &null,
                &previous,
                &[&json!({"id": "ROW-1", "serial_number": "TESTKANDJ0012"})],
            ),
        ),
        ("too few", page(2, &null, &previous, &[])),
        (
            "too many",
            page(2, &null, &previous, &[&other, &ade_row(3, "TESTKANDJ0013")]),
        ),
        ("no previous page", page(2, &null, &null, &[&other])),
        (
            "another question's row",
            page(2, &null, &previous, &[&ade_row(2, "OTHERBOX0001")]),
        ),
    ];
    for (what, second) in bad {
        assert_eq!(
            paged(vec![first(), second]).await.finding,
            GARBLED,
            "{what}"
        );
    }
    let twice = json!({"serial_number": SERIAL, "profile_status": "removed"});
    assert_eq!(
        paged(vec![page(2, &null, &null, &[&ours, &ours])])
            .await
            .finding,
        GARBLED,
        "one row twice on one page"
    );
    assert_eq!(
        paged(vec![page(2, &null, &null, &[&twice, &twice])])
            .await
            .finding,
        GARBLED,
        "and without an id"
    );
    let endless = (1..=5)
        .map(|nth| {
            page(
                99,
                &next,
                if nth == 1 { &null } else { &previous },
                &[&ade_row(nth, SERIAL)],
            )
        })
        .collect();
    assert_eq!(
        paged(endless).await.finding,
        GARBLED,
        "pages that do not end"
    );
}

#[tokio::test]
async fn of_a_token_listed_twice_the_worse_one_counts_in_either_order() {
    let bad = [
        (
            "BROKEN",
            (|token| token.status = "BROKEN".to_owned()) as fn(&mut Token),
            BROKEN,
        ),
        (
            "expired",
            |token| token.expires_at = jiff::Timestamp::UNIX_EPOCH,
            BROKEN,
        ),
        (
            "fetched long ago",
            |token| token.fetched_ago = Some(Duration::from_hours(30)),
            STALE,
        ),
        (
            "an unknown word",
            |token| token.status = "PAUSED".to_owned(),
            GARBLED,
        ),
    ];
    for (what, change, finding) in bad {
        for other_id in [
            HQ.to_owned(),
            HQ.to_uppercase(),
            format!(" {HQ}"),
            "another-id".to_owned(),
        ] {
            for worse_first in [true, false] {
                let mut setting = Setting::of(vec![Device::ready(SERIAL)]);
                let mut worse = Token {
                    id: other_id.clone(),
                    ..setting.options.stock.tokens[0].clone()
                };
                change(&mut worse);
                setting
                    .options
                    .stock
                    .tokens
                    .insert(usize::from(!worse_first), worse);
                let bench = setting.bench().await;
                assert_eq!(
                    bench.ask(SERIAL).await.finding,
                    finding,
                    "{what}, {other_id}, worse first: {worse_first}"
                );
                assert_eq!(
                    bench.ask("TESTABSENT01").await.finding,
                    finding,
                    "{what}, {other_id}, worse first: {worse_first}, no row"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_which_a_field_cannot_be_read_is_never_good_news() {
    let expiry = |tenant: &Tenant| {
        tenant.stock(|stock| {
            stock.tokens[0]
                .expires_at
                .strftime(r#""access_token_expiry":"%Y-%m-%dT%H:%M:%SZ""#)
                .to_string()
        })
    };
    let with_expiry = [
        (r#""access_token_expiry":"soon""#, GARBLED),
        (r#""access_token_expiry":7"#, GARBLED),
        (r#""access_token_expiry":false"#, GARBLED),
        (r#""access_token_expiry":"2020-01-01T00:00:00Z""#, BROKEN),
        (r#""access_token_expiry":null"#, READY),
    ];
    for (to, finding) in with_expiry {
        let bench = Setting::of(vec![Device::ready(SERIAL)]).bench().await;
        let from = expiry(&bench.tenant);
        assert_eq!(
            rewritten(&bench, ADE_TOKENS, &from, to, SERIAL)
                .await
                .finding,
            finding,
            "{to}"
        );
    }
    let fields = [
        (r#""days_left":"#, r#""days_left":-"#, BROKEN),
        (r#""days_left":"#, r#""days_left":99999"#, GARBLED),
        (
            r#""days_left":"#,
            r#""days_left":9223372036854775808,"x":"#,
            GARBLED,
        ),
        (
            r#""days_left":"#,
            r#""days_left":-9223372036854775809,"x":"#,
            GARBLED,
        ),
        (
            r#""days_left":"#,
            r#""days_left":9223372036854775807,"x":"#,
            GARBLED,
        ),
        (r#""days_left":"#, r#""days_left":1e400,"x":"#, GARBLED),
        (r#""days_left":"#, r#""days_left":NaN,"x":"#, GARBLED),
        (r#""days_left":"#, r#""days_left":"200","x":"#, GARBLED),
        (r#""days_left":"#, r#""days_left":199.5,"x":"#, GARBLED),
        (r#""days_left":"#, r#""days_left":null,"x":"#, READY),
        (r#""status":"SUCCESS""#, r#""status":"success""#, GARBLED),
        (r#""status":"SUCCESS""#, r#""status":"""#, GARBLED),
        (r#""status":"SUCCESS""#, r#""status":null"#, GARBLED),
        (r#""status":"SUCCESS""#, r#""status":true"#, GARBLED),
        (r#""status":"SUCCESS","#, "", GARBLED),
        (
            r#""last_device_sync":"#,
            r#""last_device_sync":null,"x":"#,
            STALE,
        ),
        (
            r#""last_device_sync":"#,
            r#""last_device_sync":"never","x":"#,
            STALE,
        ),
        (
            r#""last_device_sync":"#,
            r#""last_device_sync":5,"x":"#,
            GARBLED,
        ),
        (r#""server_name":"#, r#""server_name":5,"x":"#, GARBLED),
        (r#""server_uuid":"#, r#""server_uuid":[],"x":"#, GARBLED),
        (r#""status_reason":null"#, r#""status_reason":{}"#, GARBLED),
        (r#""id":"#, r#""id":null,"x":"#, GARBLED),
        (r#""id":"#, r#""id":7,"x":"#, GARBLED),
        (r#""id":"#, r#""id":"","x":"#, GARBLED),
        (r#"[{"#, r#"[[],{"#, GARBLED),
    ];
    for (from, to, finding) in fields {
        let bench = Setting::of(vec![Device::ready(SERIAL)]).bench().await;
        assert_eq!(
            rewritten(&bench, ADE_TOKENS, from, to, SERIAL)
                .await
                .finding,
            finding,
            "{to}"
        );
    }
}

#[tokio::test]
async fn a_token_list_in_pages_is_held_to_its_count_as_the_rows_are() {
    let listed = |count: Value, next: Value, rows: Vec<Value>| json!({"count": count, "next": next, "previous": null, "results": rows});
    for (list, finding) in [
        (listed(json!(1), json!(null), vec![token_row()]), READY),
        (listed(json!(2), json!(null), vec![token_row()]), GARBLED),
        (listed(json!(0), json!(null), vec![token_row()]), GARBLED),
        (
            listed(
                json!(2),
                json!("https://acme.kandji.io/?page=2"),
                vec![token_row()],
            ),
            GARBLED,
        ),
        (listed(json!(null), json!(null), vec![token_row()]), GARBLED),
        (json!({"results": [token_row()]}), GARBLED),
        (json!({"detail": "moved"}), GARBLED),
        (json!(token_row()), GARBLED),
        (json!(null), GARBLED),
    ] {
        let shown = list.to_string();
        let url = scripted(move |question| match question.split('?').next().unwrap().trim_end_matches('/') {
            ADE_TOKENS => list.clone(),
            _ => json!({"count": 1, "next": null, "previous": null, "results": [ade_row(1, SERIAL)]}),
        })
        .await;
        assert_eq!(
            Setting {
                url: Some(url),
                ..Setting::of(Vec::new())
            }
            .bench()
            .await
            .ask(SERIAL)
            .await
            .finding,
            finding,
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_row_of_which_a_field_has_another_type_than_documented_is_no_answer() {
    let mut setting = Setting::of(vec![Device::ready(SERIAL)]);
    setting.expected_blueprints =
        vec![benchlight::readiness::kandji::simulator::stock::BLUEPRINT.to_owned()];
    let bench = setting.bench().await.warmed().await;
    for (field, values) in [
        ("id", &["7", "null", "{}"][..]),
        ("serial_number", &["7", "null", "[]"]),
        ("profile_status", &["7", "true", "[]", "{}"]),
        ("profile_assign_time", &["7", "false", "\"soon\""]),
        ("last_assignment_status", &["7", "false"]),
        (
            "failed_assignment_attempts",
            &["\"0\"", "0.5", "-1", "9223372036854775808", "false"],
        ),
        (
            "mdm_device",
            &[
                "false",
                "0",
                "\"\"",
                "[]",
                "\"d\"",
                "{\"is_removed\":\"false\"}",
                "{\"is_removed\":0}",
            ],
        ),
        ("blueprint_id", &["7", "[]"]),
        (
            "blueprint",
            &[
                "7",
                "[]",
                "{\"id\":7}",
                "\"00000000-0000-4000-8000-00000000b002\"",
            ],
        ),
        ("use_blueprint_routing", &["\"false\"", "0"]),
        (
            "dep_account",
            &["7", "[]", "null", "\"t1\"", "{\"id\":7}", "{\"id\":null}"],
        ),
        ("model", &["7", "{}"]),
        ("device_family", &["7", "[]"]),
        ("device_assigned_date", &["7", "\"yesterday\""]),
    ] {
        for value in values {
            let (from, to) = (
                format!("\"{field}\":"),
                format!("\"{field}\":{value},\"x\":"),
            );
            let evidence = rewritten(&bench, ADE_DEVICES, &from, &to, SERIAL).await;
            assert_eq!(evidence.finding, GARBLED, "{to}");
        }
    }
}
