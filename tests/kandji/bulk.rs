//! The simulated tenant's whole ADE list over raw HTTP: its pages, its limits, and every way in which it can mislead who reads it.

use std::collections::{BTreeSet, HashSet};

use benchlight::{
    readiness::kandji::simulator::stock::AssignedAt,
    simulator::fleet::{self, Fleet},
};
use serde_json::{Value, json};

use super::*;

/// Of the boxes of a fleet the tenant lists almost all.
const BOXES: u32 = 2_500;
const PAGE: usize = 300;

struct Reply {
    status: u16,
    /// Status line and headers.
    head: String,
    body: Value,
}

impl Reply {
    fn serials(&self) -> Vec<String> {
        let rows = self.body["results"].as_array().unwrap();
        let serial = |row: &Value| row["serial_number"].as_str().unwrap().to_owned();
        rows.iter().map(serial).collect()
    }
}

async fn get(tenant: &Tenant, query: &str) -> Reply {
    let reply = raw(
        tenant,
        &format!(
            "GET {ADE_DEVICES}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
             accept: application/json\r\ncache-control: no-cache\r\n\r\n"
        ),
    )
    .await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    Reply {
        status: head[9..12].parse().unwrap(),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
    }
}

async fn page(tenant: &Tenant, number: usize) -> Reply {
    let reply = get(tenant, &format!("?page={number}")).await;
    assert_eq!(reply.status, 200, "page {number}: {}", reply.head);
    reply
}

/// The serial numbers of all pages, to the list's own end.
async fn whole(tenant: &Tenant) -> Vec<String> {
    let mut serials = Vec::new();
    for number in 1..100 {
        let page = page(tenant, number).await;
        serials.extend(page.serials());
        if page.body["next"].is_null() {
            return serials;
        }
    }
    panic!("the list does not end");
}

/// The demo's boxes and generated ones.
async fn tenant(boxes: u32) -> Tenant {
    let mut stock = demo_stock().stock;
    stock.fleet = Fleet::of(boxes);
    serve(Options::new(TOKEN, stock)).await.unwrap()
}

/// What the tenant must list.
fn listed(tenant: &Tenant, boxes: u32) -> Vec<String> {
    let generated = (0..boxes)
        .filter(|number| !matches!(fleet::story(*number).mdm, Mdm::None | Mdm::NotFetchedYet));
    tenant.stock(|stock| {
        let own = stock.devices.iter().filter(|device| device.in_ade);
        let own = own.map(|device| device.serial.clone());
        own.chain(generated.map(fleet::serial)).collect()
    })
}

#[tokio::test]
async fn the_whole_list_comes_in_pages_of_300_and_holds_each_record_once() {
    let tenant = tenant(BOXES).await;
    let expected = listed(&tenant, BOXES);
    assert!(expected.len() > 2_400);
    let (mut serials, mut ids, mut states) = (Vec::new(), HashSet::new(), BTreeSet::new());
    let last = expected.len().div_ceil(PAGE);
    for number in 1..=last {
        let page = page(&tenant, number).await;
        assert_eq!(page.body["count"], expected.len(), "page {number}");
        let link = |other: usize| {
            json!(format!(
                "https://simulated.kandji.io{ADE_DEVICES}?page={other}"
            ))
        };
        let next = (number < last).then(|| link(number + 1));
        let previous = (number > 1).then(|| link(number - 1));
        assert_eq!(page.body["next"], json!(next), "page {number}");
        assert_eq!(page.body["previous"], json!(previous), "page {number}");
        if number < last {
            assert_eq!(page.serials().len(), PAGE);
        }
        for row in page.body["results"].as_array().unwrap() {
            assert!(ids.insert(row["id"].clone()), "{}", row["id"]);
            let enrolled = !row["mdm_device"].is_null();
            states.insert(format!(
                "{} {} {enrolled}",
                row["profile_status"].as_str().unwrap(),
                row["last_assignment_status"].as_str().unwrap_or("-"),
            ));
        }
        serials.extend(page.serials());
    }
    assert_eq!(serials, expected);
    for state in [
        "assigned SUCCESS false",
        "assigned SUCCESS true",
        "empty - false",
        "empty FAILED false",
        "empty THROTTLED false",
        "pushed SUCCESS false",
        "pushed SUCCESS true",
        "removed SUCCESS false",
    ] {
        assert!(states.contains(state), "{state} is not in {states:?}");
    }
    for beyond in [format!("{}", last + 1), "0".to_owned(), "x".to_owned()] {
        let reply = get(&tenant, &format!("?page={beyond}")).await;
        assert_eq!(
            (reply.status, reply.body),
            (404, json!({"detail": "Invalid page."})),
            "page {beyond}"
        );
    }
    assert_eq!(tenant.violations(), [""; 0]);
}

#[tokio::test]
async fn a_row_is_the_same_in_the_list_in_a_look_up_and_in_the_next_pass() {
    let tenant = tenant(BOXES).await;
    let first = page(&tenant, 3).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(page(&tenant, 3).await.body, first.body, "a second later");
    let row = &first.body["results"][7];
    let serial = row["serial_number"].as_str().unwrap();
    let one = get(&tenant, &format!("?serial_number={serial}")).await;
    assert_eq!(
        (&one.body["count"], &one.body["results"][0]),
        (&json!(1), row)
    );
    let part = &serial[..4].to_lowercase();
    let several = get(&tenant, &format!("?serial_number={part}")).await;
    assert!(several.serials().iter().any(|found| found == serial));
    assert!(
        several.serials().len() < 10,
        "{part}: {:?}",
        several.serials()
    );
}

#[tokio::test]
async fn reading_the_list_makes_no_box_of_the_demo_ready() {
    let tenant = tenant(0).await;
    let status = |page: &Reply, serial: &str| {
        let rows = page.body["results"].as_array().unwrap();
        let row = rows.iter().find(|row| row["serial_number"] == serial);
        row.unwrap()["profile_status"].clone()
    };
    let list = page(&tenant, 1).await;
    for serial in ["DEMOSOON0003", "DEMOFRESH006"] {
        assert_eq!(
            status(&list, serial),
            "empty",
            "{serial}: nobody scanned it"
        );
    }
    get(&tenant, "?serial_number=DEMOFRESH006").await;
    let list = page(&tenant, 1).await;
    assert_eq!(status(&list, "DEMOFRESH006"), "assigned", "it was scanned");
    assert_eq!(status(&list, "DEMOSOON0003"), "empty");
}

#[tokio::test]
async fn a_million_boxes_are_listed_to_the_last() {
    let tenant = serve(Options::new(
        TOKEN,
        Stock {
            fleet: Fleet::of(fleet::MOST),
            ..Stock::of(Vec::new())
        },
    ))
    .await
    .unwrap();
    let count = tenant.stock(|stock| stock.ade_count());
    assert!(count > 980_000, "{count}");
    let last = page(&tenant, count.div_ceil(PAGE)).await;
    assert_eq!(last.body["count"], count);
    assert_eq!(last.serials().len(), count % PAGE);
    assert_eq!(last.serials().last(), Some(&fleet::serial(fleet::MOST - 1)));
}

#[tokio::test]
async fn what_changes_between_two_pages_shifts_the_rest_of_the_list() {
    let tenant = tenant(BOXES).await;
    let before = listed(&tenant, BOXES);
    page(&tenant, 1).await;
    let gone = &before[100];
    tenant.stock(|stock| stock.remove(gone));
    let second = page(&tenant, 2).await;
    assert_eq!(second.serials()[0], before[PAGE + 1], "one row is skipped");
    assert_eq!(second.body["count"], before.len() - 1);
    // It is new at the end of the boxes that were put in by hand, in front of the generated ones.
    tenant.stock(|stock| stock.put(Device::ready("TESTKANDJ001")));
    tenant.stock(|stock| stock.put(Device::ready("TESTKANDJ002")));
    let third = page(&tenant, 3).await;
    assert_eq!(
        third.serials()[..2],
        second.serials()[PAGE - 2..],
        "two rows twice"
    );
    assert_eq!(third.body["count"], before.len() + 1);
}

#[tokio::test]
async fn a_box_that_is_moved_re_assigned_or_enrolled_keeps_its_place_and_its_id() {
    let tenant = tenant(BOXES).await;
    let before = page(&tenant, 2).await;
    let serial = before.serials()[5].clone();
    let now = jiff::Timestamp::now();
    tenant.stock(|stock| {
        let mut device = stock.device(&serial).unwrap();
        device.assigned_at = AssignedAt::At(now);
        device.enrollment = Enrollment::Enrolled;
        device.token = "another-token".to_owned();
        stock.put(device);
    });
    let mut after = page(&tenant, 2).await;
    let row = after.body["results"][5].take();
    assert_eq!(row["id"], before.body["results"][5]["id"]);
    assert_eq!(
        row["profile_assign_time"],
        now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    );
    assert_eq!(row["dep_account"]["id"], "another-token");
    assert!(row["mdm_device"].is_object());
    let mut rest = before.body.clone();
    rest["results"][5].take();
    assert_eq!(after.body, rest, "no other row has changed");
    let devices = raw(
        &tenant,
        &format!("GET {DEVICES}?serial_number={serial} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\naccept: application/json\r\ncache-control: no-cache\r\n\r\n"),
    )
    .await;
    assert!(
        devices.contains(&serial),
        "it is among the enrolled: {devices}"
    );
}

#[tokio::test]
async fn a_list_can_shift_lie_shrink_or_never_end() {
    let tenant = tenant(BOXES).await;
    let all = listed(&tenant, BOXES);
    let switch = |fault: &str| {
        let fault = format!("{ADE_DEVICES}={fault}");
        tenant.faults().replace(vec![fault.parse().unwrap()]);
    };
    switch("list:shift=-1#2");
    let read = whole(&tenant).await;
    assert_eq!(
        (read.len(), read.contains(&all[PAGE])),
        (all.len() - 1, false)
    );

    switch("list:shift=1#2");
    let read = whole(&tenant).await;
    assert_eq!(read.len(), all.len() + 1);
    assert_eq!(read[PAGE], read[PAGE - 1], "a row twice");

    switch("list:shift=1,total=-1#2");
    page(&tenant, 1).await;
    assert_eq!(page(&tenant, 2).await.body["count"], all.len());

    switch("list:total=7");
    assert_eq!(page(&tenant, 1).await.body["count"], all.len() + 7);
    assert_eq!(whole(&tenant).await, all);

    switch("list:keep=400");
    assert_eq!(whole(&tenant).await, all[..400]);
    assert_eq!(get(&tenant, "?page=3").await.status, 404);

    switch("list:keep=0");
    let empty = page(&tenant, 1).await.body;
    assert_eq!(
        empty,
        json!({"count": 0, "next": null, "previous": null, "results": []})
    );

    switch("list:stuck");
    let (first, second) = (page(&tenant, 1).await, page(&tenant, 2).await);
    assert_eq!(first.serials(), second.serials());
    let beyond = page(&tenant, all.len().div_ceil(PAGE) + 1).await;
    assert!(beyond.body["next"].is_string(), "there is always one more");

    tenant.faults().clear();
    assert_eq!(whole(&tenant).await, all);
}

#[tokio::test]
async fn one_page_in_the_middle_can_be_broken_refused_or_old() {
    let tenant = tenant(BOXES).await;
    let third = async |fault: &str| {
        let fault = format!("{ADE_DEVICES}={fault}#3*1");
        tenant.faults().replace(vec![fault.parse().unwrap()]);
        for number in [1, 2] {
            page(&tenant, number).await;
        }
        let broken = get(&tenant, "?page=3").await;
        page(&tenant, 3).await;
        broken
    };
    assert_eq!(third("cut-json").await.body, Value::Null);
    assert_eq!(third("html").await.body, Value::Null);
    let limited = third("429:3600").await;
    assert_eq!(limited.status, 429);
    assert!(
        limited.head.contains("retry-after: 3600"),
        "{}",
        limited.head
    );
    let stored = third("header:Age: 72000").await;
    assert_eq!((stored.status, stored.serials().len()), (200, PAGE));
    assert!(stored.head.contains("age: 72000"), "{}", stored.head);
    let old = third("date:Sun, 06 Nov 1994 08:49:37 GMT").await;
    assert!(old.head.contains("date: Sun, 06 Nov 1994"), "{}", old.head);
    let spoilt = third(r#"replace:"profile_status":>"profile_state":"#).await;
    assert_eq!(spoilt.body["results"][0]["profile_status"], Value::Null);
}

#[tokio::test]
async fn a_question_for_the_list_that_the_service_does_not_know_is_refused_and_noted() {
    let tenant = tenant(0).await;
    for query in ["", "?limit=300", "?page=1&limit=1000", "?offset=300"] {
        tenant.forget();
        assert_eq!(get(&tenant, query).await.status, 400, "{query}");
        assert_eq!(tenant.violations().len(), 1, "{query}");
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_of_a_second_or_an_hour_wait_as_long_as_they_are_told() {
    let limited = serve(Options {
        by_second: 2,
        ..Options::new(TOKEN, Stock::of(Vec::new()))
    })
    .await
    .unwrap();
    let replies = futures_util::future::join_all((0..30).map(|_| get(&limited, "?page=1"))).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(
        !refused.is_empty(),
        "more than two were answered within a second"
    );
    for reply in &refused {
        assert!(reply.head.contains("retry-after: 1\r\n"), "{}", reply.head);
        assert!(
            reply.head.contains("x-ratelimit-limit-second: 50"),
            "{}",
            reply.head
        );
        assert_eq!(reply.body["message"], "API rate limit exceeded");
    }
    let answered = replies.len() - refused.len();
    let left = format!("x-ratelimit-remaining-hour: {}", 10_000 - answered);
    assert!(
        replies.iter().any(|reply| reply.head.contains(&left)),
        "{left}"
    );

    limited.set_quota_left(1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    page(&limited, 1).await;
    let reply = get(&limited, "?page=2").await;
    assert_eq!(reply.status, 429);
    let wait = reply
        .head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    let wait: u64 = wait.unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "an hour is left: {wait}");
}
