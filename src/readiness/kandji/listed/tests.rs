//! The list of a simulated tenant, page by page, and what is kept of it.
#![cfg(feature = "simulate")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{os::unix::fs::OpenOptionsExt, time::Duration};

use jiff::SignedDuration;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    super::{
        Settings,
        simulator::{
            Options, Tenant, serve,
            stock::{Device, Enrollment, Stock, Token as StockToken},
        },
    },
    *,
};
use crate::{
    label::Candidates,
    readiness::{
        evidence::{Finding, Grade},
        http::Limits,
        replica::ReadAt,
        service::{Adapter, Endpoint, Heard},
    },
    runtime::{
        clock::{Boot, ClockWatch},
        credential::CredentialStore,
        name::Name,
    },
    simulator::{
        faults::Effect,
        stock::{SERVER_NAME, SERVER_UUID},
    },
};

const TOKEN: &str = "t0ken-of-the-tests";
const PATH: &str = "/api/v1/integrations/apple/ade/devices";

const READY: Finding = Finding::Ready(Grade::Relayed);
const BROKEN: Finding = Finding::Unknown(Reason::MdmLinkBroken);

struct Bench {
    tenant: Tenant,
    kandji: Kandji,
    folder: TempDir,
}

async fn bench(devices: Vec<Device>) -> Bench {
    let tenant = serve(Options::new(TOKEN, Stock::of(devices)))
        .await
        .unwrap();
    let folder = TempDir::new().unwrap();
    let mut file = std::fs::OpenOptions::new();
    let file = file.create(true).write(true).mode(0o600);
    std::io::Write::write_all(
        &mut file.open(folder.path().join("kandji-token")).unwrap(),
        TOKEN.as_bytes(),
    )
    .unwrap();
    Bench {
        kandji: source(&tenant, &folder),
        tenant,
        folder,
    }
}

fn source(tenant: &Tenant, folder: &TempDir) -> Kandji {
    let settings = Settings {
        token: CredentialStore::new(folder.path()).credential("kandji-token"),
        policy: Policy {
            tokens: Vec::new(),
            max_fetch_age: Duration::from_hours(24),
            expected_blueprints: Vec::new(),
        },
    };
    let endpoint = Endpoint {
        name: Name::new("kandji").unwrap(),
        url: tenant.base().parse().unwrap(),
        ca_file: None,
        reads_per_minute: 0,
        quota_share: 1.0,
        clocks: ClockWatch::Fixed { synced: true }.into(),
        limits: Limits::default(),
    };
    Kandji::new(settings, endpoint).unwrap()
}

fn numbered(numbers: impl IntoIterator<Item = usize>) -> Vec<Device> {
    numbers
        .into_iter()
        .map(|number| Device::ready(&format!("C02LIST{number:05}")))
        .collect()
}

impl Bench {
    async fn page(&self, next: Option<&str>) -> Result<Page, Fault> {
        self.kandji.page(next).await
    }

    /// The source after a restart of the station.
    fn again(&self) -> Kandji {
        source(&self.tenant, &self.folder)
    }

    /// Every page, in order.
    async fn pages(&self) -> Vec<Page> {
        let mut pages = vec![self.page(None).await.unwrap()];
        while let Some(next) = pages.last().unwrap().next.clone() {
            pages.push(self.page(Some(&next)).await.unwrap());
        }
        pages
    }

    /// The facts as they are stored.
    async fn facts(&self) -> StoredFacts {
        let facts = self.kandji.facts().await.unwrap();
        StoredFacts {
            body: facts.body,
            read_at: read_at(facts.date),
        }
    }

    async fn detail(&self, next: Option<&str>, effect: Effect) -> String {
        self.tenant.faults().path(PATH, effect);
        let page = self.page(next).await;
        self.tenant.faults().clear();
        let fault = page.map(|page| page.rows.len()).unwrap_err();
        assert_eq!(fault.reason, Reason::GarbledAnswer, "{fault:?}");
        fault.detail.unwrap()
    }
}

fn read_at(date: Timestamp) -> ReadAt {
    ReadAt {
        boot_id: Uuid::nil(),
        boot: Boot::from_duration(Duration::ZERO),
        date,
    }
}

fn stored(row: &ListedRow, date: Timestamp) -> StoredRow {
    StoredRow {
        body: row.body.clone(),
        read_at: read_at(date),
    }
}

fn replaced(from: &str, to: &str) -> Effect {
    Effect::Replace {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

#[tokio::test]
async fn the_whole_list_comes_in_pages_that_the_station_counts_itself() {
    let bench = bench(numbered(0..700)).await;
    let pages = bench.pages().await;
    let sizes: Vec<_> = pages
        .iter()
        .map(|page| (page.rows.len(), page.total, page.next.as_deref()))
        .collect();
    assert_eq!(
        sizes,
        [
            (300, Some(700), Some("2")),
            (300, Some(700), Some("3")),
            (100, Some(700), None)
        ]
    );
    assert_eq!(
        bench.tenant.requests(),
        [1, 2, 3].map(|number| format!("GET {PATH}?page={number}"))
    );
    assert_eq!(bench.kandji.reads(), 3);
    assert_eq!(bench.tenant.violations(), Vec::<String>::new());
    let rows: Vec<_> = pages.iter().flat_map(|page| &page.rows).collect();
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
    assert_eq!(ids.len(), 700, "each record has an id of its own");
    assert_eq!(rows[321].serial.as_str(), "C02LIST00321");
}

#[tokio::test]
async fn an_empty_list_is_one_page() {
    let bench = bench(Vec::new()).await;
    let page = bench.page(None).await.unwrap();
    assert_eq!((page.rows.len(), page.total, page.next), (0, Some(0), None));
}

#[tokio::test]
async fn a_stored_row_says_what_the_live_question_says() {
    let devices = vec![
        Device::ready("C02LIST00001"),
        Device::pending("C02LIST00002"),
        Device {
            enrollment: Enrollment::Enrolled,
            profile_status: Some("pushed".to_owned()),
            ..Device::ready("C02LIST00003")
        },
        Device {
            profile_status: Some("removed".to_owned()),
            ..Device::ready("C02LIST00004")
        },
        // Two records of one serial number that disagree.
        Device::ready("C02LIST00005"),
        Device {
            profile_status: Some("removed".to_owned()),
            ..Device::ready("C02LIST00005")
        },
        Device {
            token: "gone".to_owned(),
            ..Device::ready("C02LIST00006")
        },
    ];
    let bench = bench(devices).await;
    let facts = bench.facts().await;
    let page = bench.page(None).await.unwrap();
    let mut ready = 0;
    for number in 1..=6 {
        let serial = Serial::new(&format!("C02LIST0000{number}")).unwrap();
        let candidates = Candidates::one(serial.clone());
        let live = bench
            .kandji
            .look_up(&candidates, Purpose::Scan, &Heard::default())
            .await
            .remove(0);
        let rows: Vec<_> = page
            .rows
            .iter()
            .filter(|row| row.serial == serial)
            .map(|row| stored(row, page.date))
            .collect();
        let copy = bench.kandji.judge(&serial, &rows, &facts, page.date);
        ready += u32::from(copy.finding == READY);
        assert_eq!(
            copy,
            Evidence {
                as_of: Some(live.as_of.unwrap_or(page.date)),
                replied_at: Some(page.date),
                heard: false,
                // Of bad news, which no row brings.
                used_at: None,
                ..live
            }
        );
    }
    assert_eq!(ready, 1);
}

#[tokio::test]
async fn without_a_row_nothing_is_known() {
    let bench = bench(numbered([1])).await;
    let facts = bench.facts().await;
    let page = bench.page(None).await.unwrap();
    let serial = page.rows[0].serial.clone();
    let unknown = |rows: &[StoredRow]| {
        let evidence = bench.kandji.judge(&serial, rows, &facts, page.date);
        assert_eq!(
            (evidence.finding, evidence.known),
            (Finding::Unknown(Reason::Stale), false)
        );
    };
    unknown(&[]);
    // Damaged, and of another form.
    let good = stored(&page.rows[0], page.date);
    let mut cut = good.clone();
    cut.body.pop();
    let mut other = good.clone();
    other.body[0] += 1;
    unknown(&[cut.clone()]);
    unknown(&[good, cut]);
    unknown(&[other]);
}

#[tokio::test]
async fn a_row_is_as_old_as_its_reading_and_a_profile_settles_until_then() {
    let bench = bench(numbered([1])).await;
    let facts = bench.facts().await;
    let page = bench.page(None).await.unwrap();
    let row = &page.rows[0];
    let (now, minutes) = (page.date, |minutes| Duration::from_mins(minutes));
    let judged = |rows: &[StoredRow], now| bench.kandji.judge(&row.serial, rows, &facts, now);
    // Kandji itself fetched five minutes ago.
    let new = judged(&[stored(row, now)], now);
    assert_eq!(new.replied_at, Some(now));
    assert!(new.as_of.is_some_and(|as_of| as_of < now));
    let old = judged(&[stored(row, now - minutes(20))], now);
    assert_eq!(
        (old.as_of, old.replied_at),
        (Some(now - minutes(20)), Some(now - minutes(20)))
    );
    let both = judged(&[stored(row, now), stored(row, now - minutes(20))], now);
    assert_eq!(both.replied_at, old.replied_at, "the oldest of its rows");
    // The age of Kandji's own fetch is counted to the scan, not to the reading of the row.
    let later = judged(&[stored(row, now)], now + Duration::from_hours(25));
    assert_eq!(later.finding, Finding::Unknown(Reason::Stale));
}

#[tokio::test]
async fn the_newest_reading_of_the_token_list_counts_whoever_made_it() {
    let broken = |bench: &Bench| {
        bench.tenant.stock(|stock| {
            for token in &mut stock.tokens {
                token.status = "BROKEN".to_owned();
            }
        })
    };
    let bench = bench(numbered([1])).await;
    let facts = bench.facts().await;
    let page = bench.page(None).await.unwrap();
    let row = &page.rows[0];
    let rows = [stored(row, page.date)];
    let judged = |kandji: &Kandji, facts| kandji.judge(&row.serial, &rows, facts, page.date);
    assert_eq!(judged(&bench.kandji, &facts).finding, READY);
    broken(&bench);
    assert_eq!(judged(&bench.kandji, &facts).finding, READY);
    bench.kandji.fetch_tokens(Purpose::Scan).await.unwrap();
    assert_eq!(judged(&bench.kandji, &facts).finding, BROKEN);
    // After a restart there is only what was stored.
    let restarted = bench.again();
    assert_eq!(judged(&restarted, &facts).finding, READY);
    let facts = bench.facts().await;
    assert_eq!(judged(&restarted, &facts).finding, BROKEN);
}

#[tokio::test]
async fn a_malformed_record_makes_the_whole_page_no_page() {
    let bench = bench(numbered(0..302)).await;
    let page = bench.page(None).await.unwrap();
    let id = format!("\"id\":\"{}\"", page.rows[17].id);
    let serial = "\"serial_number\":\"C02LIST00017\"";
    for (from, to) in [
        (serial, "\"serial_number\":7"),
        (serial, "\"serial_number\":\"\""),
        (
            "\"failed_assignment_attempts\":0",
            "\"failed_assignment_attempts\":-1",
        ),
        (&*id, "\"id\":7"),
        (&*id, "\"id\":null"),
        (&*id, "\"x\":7"),
    ] {
        let detail = bench.detail(None, replaced(from, to)).await;
        assert!(detail.starts_with("Kandji's "), "{to}: {detail}");
    }
    let twice = replaced("C02LIST00018", "C02LIST00017");
    bench.tenant.faults().path(PATH, twice);
    assert!(
        bench.page(None).await.is_ok(),
        "two records of one serial number are two records"
    );
    bench.tenant.faults().clear();
    for (next, effect, wanted) in [
        (
            None,
            replaced("\"count\":302", "\"count\":299"),
            "does not add up",
        ),
        (
            None,
            replaced("\"count\":302", "\"count\":\"302\""),
            "count",
        ),
        (
            None,
            replaced("\"previous\":null", "\"previous\":\"x\""),
            "another page",
        ),
        (
            Some("2"),
            replaced("\"previous\":\"https", "\"previous\":null,\"x\":\"https"),
            "another page",
        ),
        (
            Some("2"),
            replaced("\"results\":[", "\"results\":[],\"x\":["),
            "does not add up",
        ),
    ] {
        let detail = bench.detail(next, effect).await;
        assert!(detail.contains(wanted), "{wanted}: {detail}");
    }
    let page = bench.page(Some("2")).await.unwrap();
    let [one, other] = [&page.rows[0].id, &page.rows[1].id];
    let detail = bench.detail(Some("2"), replaced(other, one)).await;
    assert!(detail.contains("twice"), "{detail}");
}

#[tokio::test]
async fn an_old_a_packed_and_a_refused_page_are_no_page() {
    let bench = bench(numbered([1])).await;
    let header = |name: &str, value: &str| Effect::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let too_many = Effect::TooMany {
        retry_after: Some("3600".to_owned()),
    };
    for (effect, reason) in [
        (header("Age", "72000"), Reason::Stale),
        (
            Effect::Clock(SignedDuration::from_hours(-20)),
            Reason::Stale,
        ),
        (header("Content-Encoding", "gzip"), Reason::GarbledAnswer),
        (Effect::CutJson, Reason::GarbledAnswer),
        (Effect::CutBody, Reason::GarbledAnswer),
        (Effect::Html, Reason::GarbledAnswer),
        (Effect::Status(401), Reason::CredentialsRefused),
        (Effect::Status(503), Reason::SourceError),
        (too_many, Reason::RateLimited),
    ] {
        bench.tenant.faults().path(PATH, effect.clone());
        let fault = bench.page(None).await.unwrap_err();
        assert_eq!(fault.reason, reason, "{effect:?}");
        bench.tenant.faults().clear();
    }
    bench.tenant.forget();
    let held = bench.page(None).await.unwrap_err();
    assert!(held.retry_at.is_some(), "the service's wait is kept");
    assert_eq!(bench.tenant.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_record_that_no_code_can_name_is_left_out_and_not_missed() {
    let mut devices = numbered(0..301);
    devices.insert(5, Device::ready("0123456789"));
    devices.push(Device::ready("A-SERIAL-NUMBER-OF-ANOTHER-FORM"));
    devices.push(Device::ready("c02lower0001"));
    let bench = bench(devices).await;
    for _ in 0..2 {
        let pages = bench.pages().await;
        let rows: usize = pages.iter().map(|page| page.rows.len()).sum();
        assert_eq!((rows, pages[1].total), (302, Some(302)));
        let last = pages[1].rows.last().unwrap();
        assert_eq!(
            last.serial.as_str(),
            "C02LOWER0001",
            "case is the service's own"
        );
    }
}

#[tokio::test]
async fn the_account_is_the_address_and_the_servers_in_any_order_and_spelling() {
    let bench = bench(Vec::new()).await;
    let account = async || bench.kandji.facts().await.unwrap().account;
    let one = account().await;
    assert!(one.contains(&bench.tenant.base()), "{one}");
    let other = StockToken::healthy("t2", "Other", "0123456789ABCDEF0123456789ABCDEF");
    bench.tenant.stock(|stock| stock.tokens.push(other.clone()));
    let two = account().await;
    assert_ne!(one, two);
    let dashed = StockToken::healthy(
        "t3",
        SERVER_NAME,
        &Uuid::try_parse(SERVER_UUID).unwrap().to_string(),
    );
    bench
        .tenant
        .stock(|stock| stock.tokens = vec![other, dashed]);
    assert_eq!(account().await, two);
}

#[tokio::test]
async fn a_pass_leaves_the_last_fifth_of_the_tenants_limit() {
    let bench = bench(numbered([1])).await;
    bench.tenant.set_quota_left(2001);
    assert!(bench.page(None).await.is_ok());
    let kept = bench.page(None).await.unwrap_err();
    assert_eq!(kept.reason, Reason::RateLimited);
}

/// A record with everything that Kandji's own samples hold, and more than that.
fn personal() -> serde_json::Value {
    json!({
        "id": "0b7c0f6e-0000-4000-8000-000000000001", "serial_number": "C02LIST00001",
        "profile_status": "assigned", "profile_assign_time": "2026-11-20T08:00:00Z", "profile_push_time": null,
        "last_assignment_status": "SUCCESS", "failed_assignment_attempts": 0, "assignment_status_received_at": "2026-11-20T08:00:01.123456Z",
        "mdm_device": {"id": "PERSONAL", "name": "PERSONAL", "is_removed": true, "enrolled_at": "2026-11-20T08:00:00Z"},
        "blueprint_id": "7a0cb2c4-52d1-4f0b-8a55-00000000b001", "blueprint": {"id": "7a0cb2c4-52d1-4f0b-8a55-00000000b001", "name": "PERSONAL"},
        "use_blueprint_routing": false, "user_id": "PERSONAL", "user": {"email": "PERSONAL", "name": "PERSONAL"},
        "dep_account": {"id": "4d6f1c1e-8f5a-4a53-9d0e-000000000001", "server_name": "Kandji, Amsterdam", "admin_id": "PERSONAL"},
        "asset_tag": "PERSONAL", "model": "MacBook Air (13-inch, M4, 2025)", "device_family": "Mac", "os": "OSX", "color": "SILVER",
        "description": "PERSONAL", "device_assigned_by": "PERSONAL", "device_assigned_date": "2026-11-19T08:00:00.123456Z",
        "imei": ["PERSONAL"], "eid": "PERSONAL", "meid": ["PERSONAL"], "wifi_mac_address": "PERSONAL",
    })
}

#[test]
fn a_body_is_small_and_holds_nothing_personal() {
    let row = Row::read(&personal()).unwrap();
    let body = compact::written(FORM, &row).unwrap();
    let holds = |text: &str| body.windows(text.len()).any(|here| here == text.as_bytes());
    assert!(holds("MacBook Air") && holds("Amsterdam"));
    assert!(!holds("PERSONAL") && !holds("C02LIST00001"));
    assert!(body.len() <= 160, "{} bytes", body.len());
    let token = Token::read(
        &json!({"id": "t1", "server_name": "HQ", "admin_id": "PERSONAL", "org_name": "PERSONAL"}),
    )
    .unwrap();
    let facts = compact::written(FORM, &vec![token]).unwrap();
    assert!(!facts.windows(8).any(|here| here == b"PERSONAL"));
}

/// Files that an earlier version wrote hold bodies of this form.
#[test]
fn the_form_of_a_body_changes_only_with_its_number() {
    let row = Row::read(&personal()).unwrap();
    let token = Token::read(&json!({
        "id": "t1", "server_name": "HQ", "server_uuid": "A0", "access_token_expiry": "soon", "days_left": 100,
        "status": "SUCCESS", "status_reason": null, "last_device_sync": "2026-11-23T11:30:00Z"
    }))
    .unwrap();
    let hex = |body: Vec<u8>| {
        body.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(FORM, 1);
    assert_eq!(
        hex(compact::written(FORM, &row).unwrap()),
        "010180a8c687c8d8b1e931010861737369676e6564018080e0a6d9fdd8e931010753554343455353000101007a0cb2c452d14f0b8a5500000000b00101007a0cb2c452d14f0b8a5500000000b0010001004d6f1c1e8f5a4a539d0e00000000000101114b616e646a692c20416d7374657264616d011f4d6163426f6f6b20416972202831332d696e63682c204d342c20323032352901034d6163"
    );
    assert_eq!(
        hex(compact::written(FORM, &vec![token]).unwrap()),
        "010102743101024851010241300101c801010753554343455353000280c0f98dc5cad4ea31"
    );
}

mod like_live {
    //! What is stored says what the live answer says.

    use proptest::prelude::*;

    use super::{
        super::super::finding::tests::{Given, SERIAL, bare, properties::any_given, table},
        *,
    };

    /// The evidence from the same rows and tokens as the replica keeps them, read just now, and what it must be. `None`: what a
    /// replica holds was read whole and dated.
    fn both(given: &Given) -> Option<[Evidence; 2]> {
        let (now, _) = given.now.zip(given.tokens_now)?;
        let tokens = compact::written(FORM, given.tokens.as_ref().ok()?).unwrap();
        let tokens: Vec<Token> = compact::read(FORM, &tokens).unwrap();
        let stored = |row: &Row| StoredRow {
            body: compact::written(FORM, row).unwrap(),
            read_at: read_at(now),
        };
        let serial = Serial::new(SERIAL).unwrap();
        let ours = |row: &&Row| serial.is(&row.serial_number);
        let rows: Vec<StoredRow> = given.rows.iter().filter(ours).map(stored).collect();
        let copy = judge(bare(Reason::Stale), &rows, &tokens, now, &given.policy);
        let live = given.judged();
        let wanted = if rows.is_empty() {
            bare(Reason::Stale)
        } else {
            Evidence {
                as_of: live.as_of.map_or(Some(now), |as_of| Some(as_of.min(now))),
                used_at: None,
                ..live
            }
        };
        Some([copy, wanted])
    }

    #[test]
    fn stored_rows_give_the_finding_of_the_live_answer_in_every_row_of_the_table() {
        let mut judged = 0;
        for (name, given, ..) in table() {
            let Some([copy, wanted]) = both(&given) else {
                continue;
            };
            assert_eq!(copy, wanted, "{name}");
            judged += u32::from(copy.known);
        }
        assert!(judged > 60, "{judged}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn stored_rows_give_the_finding_of_the_live_answer(given in any_given()) {
            if let Some([copy, wanted]) = both(&given) {
                prop_assert_eq!(copy, wanted);
            }
        }
    }
}
