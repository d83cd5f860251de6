//! Each MDM beside Apple's services: what Apple Business Manager says, and the rules that combine the answers.

use std::{any::Any, net::SocketAddr, time::Duration};

use benchlight::{
    readiness::{
        apple_business::simulator as business, apple_dep::simulator as apple_dep,
        evidence::SourceKind, fleet::simulator::stock as of_fleet,
        intune::simulator::stock as of_intune, jamf::simulator::stock as of_jamf,
        kandji::simulator::stock as of_kandji, micromdm, nanodep,
        zentral::simulator::stock as of_zentral,
    },
    simulator::{
        faults::Effect,
        stock::{
            Business, CONFIGURATOR_NAME, Dep, OTHER_SERVER_NAME, OTHER_SERVER_UUID, SERVER_UUID,
        },
    },
};
use serde_json::{Value, json};

use super::{
    AROUND, Asks, Boxes, Exhibition, device_assignment as dep, fleet, intune, jamf, kandji, zentral,
};

const TWO_DAYS: Dep = Dep::Assigned(Duration::from_hours(48));
const MINUTES: Dep = Dep::Assigned(Duration::from_mins(3));

const GONE: &str = "it has no such device (a well-formed 404)";
const MIGRATION: &str = "a migration REQUESTED or STARTED";
const UNASSIGNED: &str = "UNASSIGNED";
const SERVER: &str = "ASSIGNED, to a server outside `expected_servers`";
const OURS: &str = "ASSIGNED, to one of `expected_servers`";

/// What an MDM says of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Assigned two days ago.
    Ready,
    /// A word that nobody knows.
    Odd,
    /// No profile yet.
    Pending,
    Absent,
}

/// What each of the three says of a box.
#[derive(Clone, Debug)]
struct Said {
    serial: String,
    mdm: Word,
    dep: Dep,
    business: Option<Business>,
    attributes: Option<Value>,
    /// In the place of Apple's answer to which server it is assigned.
    linkage: Option<&'static str>,
}

fn said(serial: &str) -> Said {
    Said {
        serial: serial.to_owned(),
        mdm: Word::Ready,
        dep: TWO_DAYS,
        business: Some(Business::Ours),
        attributes: None,
        linkage: None,
    }
}

/// A service that runs until it is dropped, and a station that asks it.
struct Served {
    _running: Box<dyn Any>,
    asks: Asks,
}

impl Served {
    fn new(running: impl Any, asks: Asks) -> Self {
        Self {
            _running: Box::new(running),
            asks,
        }
    }
}

const fn any() -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(
        std::net::Ipv4Addr::LOCALHOST,
        0,
    ))
}

/// The MDM with what it says of these boxes.
async fn mdm(kind: SourceKind, all: &[Said]) -> Served {
    let listed = || all.iter().filter(|one| one.mdm != Word::Absent);
    match kind {
        SourceKind::Kandji => {
            let device = |one: &Said| of_kandji::Device {
                profile_status: Some(word(one.mdm).to_owned()),
                ..of_kandji::Device::ready(&one.serial)
            };
            let tenant = kandji::tenant(listed().map(device).collect(), Vec::new()).await;
            let asks = kandji::asks(&tenant, &[of_kandji::HQ]);
            Served::new(tenant, asks)
        }
        SourceKind::Jamf => {
            let device = |one: &Said| {
                of_jamf::Device::with_status(&one.serial, &word(one.mdm).to_uppercase())
            };
            let server = jamf::server(listed().map(device).collect()).await;
            let asks = jamf::asks(&server, &[of_jamf::HQ]);
            Served::new(server, asks)
        }
        SourceKind::Intune => {
            let device = |one: &Said| {
                let mut device = of_intune::Device::ready(&one.serial);
                match one.mdm {
                    Word::Pending => device = device.without_profile(),
                    Word::Odd => word(one.mdm).clone_into(&mut device.state),
                    Word::Ready | Word::Absent => {}
                }
                device
            };
            let tenant = intune::tenant(listed().map(device).collect()).await;
            let asks = intune::asks(&tenant, &[of_intune::HQ]);
            Served::new(tenant, asks)
        }
        SourceKind::Fleet => {
            let host = |one: &Said| {
                let mut host = of_fleet::Host::ready(&one.serial);
                host.device = json!({ "profile_status": word(one.mdm) });
                host
            };
            let server = fleet::server(listed().map(host).collect()).await;
            let asks = fleet::asks(&server);
            Served::new(server, asks)
        }
        SourceKind::Zentral => {
            let device = |one: &Said| {
                let mut device = of_zentral::Device::ready(&one.serial);
                device.status = word(one.mdm);
                device
            };
            let server = zentral::server(listed().map(device).collect()).await;
            let asks = zentral::asks(&server, zentral::SECRET);
            Served::new(server, asks)
        }
        SourceKind::NanoDep => {
            let server = nanodep::simulator::serve(any(), 0).await.unwrap();
            dep::put(server.apple(), listed().map(held).collect());
            let asks = dep::asks_nanodep(&server);
            Served::new(server, asks)
        }
        SourceKind::MicroMdm => {
            let server = micromdm::simulator::serve(any(), 0).await.unwrap();
            dep::put(server.apple(), listed().map(held).collect());
            let asks = dep::asks_micromdm(&server);
            Served::new(server, asks)
        }
        SourceKind::AppleDep | SourceKind::AppleBusiness => unreachable!("no MDM"),
    }
}

fn held(one: &Said) -> dep::Held {
    dep::Held {
        fields: Some(json!({ "profile_status": word(one.mdm) })),
        ..dep::ready(&one.serial)
    }
}

const fn word(word: Word) -> &'static str {
    match word {
        Word::Ready => "assigned",
        Word::Odd => "queued",
        Word::Pending => "empty",
        Word::Absent => "",
    }
}

async fn apple_business(all: &[Said]) -> Served {
    let service = business::serve(business::Options::demo()).await.unwrap();
    for one in all {
        service.put(&one.serial, one.business);
        if let Some(attributes) = &one.attributes {
            service.overlay(&one.serial, attributes.clone());
        }
        if let Some(text) = one.linkage {
            let path = format!("/v1/orgDevices/{}/relationships/assignedServer", one.serial);
            let (status, text) = (200, text.to_owned());
            service.faults().path(&path, Effect::Say { status, text });
        }
    }
    let source = format!(
        "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\nkey_credential = \"apple-business-key\"\nexpected_servers = [\"{SERVER_UUID}\"]",
        service.api(),
        service.token_url(),
        business::CLIENT_ID,
        business::KEY_ID,
    );
    let asks = Asks::one(source, ("apple-business-key", service.credential()));
    Served::new(service, asks)
}

async fn apples(all: &[Said]) -> Served {
    let service = apple_dep::serve(apple_dep::Options::demo()).await.unwrap();
    for one in all {
        service.apple().put(&one.serial, Some(one.dep));
    }
    let asks = dep::asks_apple(&service);
    Served::new(service, asks)
}

impl Asks {
    fn beside(mut self, other: &Self) -> Self {
        self.sources.extend(other.sources.iter().cloned());
        self.credentials.extend(other.credentials.iter().cloned());
        self
    }
}

fn of(business: Business) -> impl Fn(&mut Said) {
    move |said| said.business = Some(business)
}

fn attributes(attributes: Value) -> impl Fn(&mut Said) {
    move |said| said.attributes = Some(attributes.clone())
}

/// The table of Apple Business Manager, beside an MDM that says `ready`.
fn of_business(boxes: &mut Boxes<Said>, kind: SourceKind) {
    // A copy is late; whoever has it from Apple just now is contradicted.
    let against = |reason| {
        if kind.keeps_copy() {
            reason
        } else {
            "contradiction"
        }
    };
    let mut about_assignment = |row, reason, words, change: &dyn Fn(&mut Said)| {
        let reason = against(reason);
        let (row, words) = if reason == "contradiction" {
            (AROUND, "business says no")
        } else {
            (row, words)
        };
        boxes.add(row, reason, words, change);
    };
    about_assignment(GONE, "not_in_org", "", &|said| said.business = None);
    about_assignment(GONE, "released", "", &of(Business::Released));
    about_assignment(UNASSIGNED, "unassigned", "", &of(Business::Unassigned));
    about_assignment(
        SERVER,
        "wrong_server",
        OTHER_SERVER_NAME,
        &of(Business::Other),
    );
    about_assignment(
        SERVER,
        "wrong_server",
        CONFIGURATOR_NAME,
        &of(Business::Configurator),
    );
    boxes.add(
        SERVER,
        "sync_pending",
        "does not name its MDM server yet",
        of(Business::Lagging),
    );
    boxes.add(MIGRATION, "migration_pending", "", of(Business::Migrating));
    for (word, row, reason, words) in [
        ("STARTED", MIGRATION, "migration_pending", ""),
        ("LATER", MIGRATION, "garbled_answer", "mdmMigrationStatus"),
        ("FAILED", OURS, "assigned", "FAILED"),
        ("SUCCESS", OURS, "assigned", ""),
    ] {
        boxes.add(
            row,
            reason,
            words,
            attributes(json!({ "mdmMigrationStatus": word })),
        );
    }
    for word in [json!("LOST"), json!(null)] {
        boxes.add(
            AROUND,
            "garbled_answer",
            "status",
            attributes(json!({ "status": word })),
        );
    }
    for (linkage, row, reason) in [
        (r#"{"data":null}"#, SERVER, "sync_pending"),
        (
            r#"{"data":{"type":"mdmServers","id":""}}"#,
            SERVER,
            "sync_pending",
        ),
        (
            r#"{"data":{"type":"orgDevices","id":"1"}}"#,
            AROUND,
            "garbled_answer",
        ),
    ] {
        boxes.add(row, reason, "", |said| said.linkage = Some(linkage));
    }
    boxes.add(OURS, "assigned", "", |_| {});
    // It changed after the MDM last heard from Apple: rule 11, but where Apple itself says ready.
    let changed = if kind.ready_is_apples() {
        "assigned"
    } else {
        "sync_pending"
    };
    boxes.add(AROUND, changed, "", of(Business::OursJustNow));
    boxes.add(AROUND, "garbled_answer", "", |said| said.mdm = Word::Odd);
}

/// Rules 2 and 5: the MDM does not have the box, and Apple Business Manager does.
fn of_misses(boxes: &mut Boxes<Said>, kind: SourceKind) {
    let mut absent = |reason, business| {
        boxes.add(AROUND, reason, "", |said| {
            said.mdm = Word::Absent;
            said.business = Some(business);
        });
    };
    let denies = kind.speaks_for_apple();
    let or_contradiction = |reason| if denies { "contradiction" } else { reason };
    let fetched_late = kind.speaks_for_mdm() && kind != SourceKind::Zentral;
    let late = if fetched_late {
        "sync_pending"
    } else {
        "not_found"
    };
    absent(or_contradiction("not_found"), Business::Ours);
    absent(or_contradiction(late), Business::OursJustNow);
    absent(
        if denies { "not_found" } else { "sync_pending" },
        Business::Lagging,
    );
    absent("unassigned", Business::Unassigned);
}

/// The rules with Apple's Device Assignment Services beside an MDM, and Apple Business Manager where `both`.
fn of_rules(boxes: &mut Boxes<Said>, kind: SourceKind, both: bool) {
    let mut add = |reason, words, mdm, dep, business| {
        boxes.add(AROUND, reason, words, |said| {
            (said.mdm, said.dep, said.business) = (mdm, dep, Some(business));
        });
    };
    let ours = Business::Ours;
    let is_copy = kind.keeps_copy();
    let tells_age = kind != SourceKind::Zentral;
    // 3b: Apple says ready and the MDM does not have it.
    add(
        "contradiction",
        "apple says ready",
        Word::Absent,
        TWO_DAYS,
        ours,
    );
    let late = if tells_age {
        "sync_pending"
    } else {
        "contradiction"
    };
    add(late, "", Word::Absent, MINUTES, ours);
    // 2a: Apple denies it, and Apple's other service names our server.
    let denied = match (both, is_copy) {
        (true, _) => "contradiction",
        (false, true) => "not_found",
        (false, false) => "contradiction",
    };
    add(denied, "", Word::Ready, Dep::NotAccessible, ours);
    // 3a, 3c: Apple has another word than the MDM.
    for (dep, reason) in [
        (Dep::Removed, "profile_removed"),
        (Dep::Empty, "no_profile"),
    ] {
        let reason = if is_copy { reason } else { "contradiction" };
        add(reason, "", Word::Ready, dep, ours);
    }
    // 4, and 6 for Intune, which knows no waiting.
    let pending = if kind == SourceKind::Intune {
        "no_profile"
    } else {
        "assignment_pending"
    };
    add(pending, "", Word::Pending, Dep::Empty, ours);
    // 6: a certain `no` stands beside an MDM that cannot be understood, but for the one that it might have explained.
    add("profile_removed", "", Word::Odd, Dep::Removed, ours);
    add("garbled_answer", "", Word::Odd, Dep::Empty, ours);
    if both {
        add(
            "unassigned",
            "",
            Word::Odd,
            Dep::NotAccessible,
            Business::Unassigned,
        );
        // 3b with a `no` about the device.
        let migrating = if tells_age {
            "migration_pending"
        } else {
            "contradiction"
        };
        add(migrating, "", Word::Absent, MINUTES, Business::Migrating);
        add(
            "contradiction",
            "",
            Word::Absent,
            TWO_DAYS,
            Business::Migrating,
        );
        // 3c
        add(
            "contradiction",
            "",
            Word::Ready,
            TWO_DAYS,
            Business::Unassigned,
        );
    } else {
        add("garbled_answer", "", Word::Odd, Dep::NotAccessible, ours);
    }
    // 8
    add("garbled_answer", "", Word::Odd, TWO_DAYS, ours);
    // 11 does not apply, 12 does.
    add("assigned", "", Word::Ready, TWO_DAYS, Business::OursJustNow);
}

async fn every_rule(kind: SourceKind) {
    let mut all = Exhibition::new().await;
    // First what a list has not: after a minute another list is asked for.
    let mut boxes = Boxes::new("R0WRULA0", said);
    of_misses(&mut boxes, kind);
    of_business(&mut boxes, kind);
    let (one, other) = (
        mdm(kind, &boxes.held).await,
        apple_business(&boxes.held).await,
    );
    all.show(one.asks.clone().beside(&other.asks), &boxes.shows)
        .await;
    if kind.speaks_for_apple() {
        assert_eq!(all.wrong, [""; 0], "{}", kind.code());
        return;
    }
    for both in [true, false] {
        let mut boxes = Boxes::new("R0WRULB0", said);
        of_rules(&mut boxes, kind, both);
        let (one, apple) = (mdm(kind, &boxes.held).await, apples(&boxes.held).await);
        let mut asks = one.asks.clone().beside(&apple.asks);
        let business = apple_business(&boxes.held).await;
        if both {
            asks = asks.beside(&business.asks);
        }
        all.show(asks, &boxes.shows).await;
    }
    if kind.keeps_copy() {
        all.must_be_whole("Apple Business and School Manager", &[]);
    } else {
        assert_eq!(all.wrong, [""; 0], "{}", kind.code());
    }
}

/// Rule 2b: the station's Apple token is for another server than the MDM's.
#[tokio::test(flavor = "multi_thread")]
async fn an_apple_token_for_another_server_is_said_so() {
    let mut all = Exhibition::new().await;
    let mut boxes = Boxes::new("R0WRULC0", said);
    let words = "for another server than the one";
    boxes.add(AROUND, "contradiction", words, |said| {
        said.dep = Dep::NotAccessible
    });
    let apple = apples(&boxes.held).await;
    let kandji = kandji::tenant(
        vec![of_kandji::Device::ready(&boxes.shows[0].serial)],
        Vec::new(),
    )
    .await;
    kandji.stock(|stock| OTHER_SERVER_UUID.clone_into(&mut stock.tokens[0].server_uuid));
    let jamf = jamf::server(vec![of_jamf::Device::ready(&boxes.shows[0].serial)]).await;
    jamf.stock(|stock| OTHER_SERVER_UUID.clone_into(&mut stock.instances[0].server_uuid));
    for asks in [
        kandji::asks(&kandji, &[of_kandji::HQ]),
        jamf::asks(&jamf, &[of_jamf::HQ]),
    ] {
        all.show(asks.beside(&apple.asks), &boxes.shows).await;
    }
    assert_eq!(all.wrong, [""; 0]);
}

of_each! {
    every_rule, SourceKind::is_mdm =>
    kandji Kandji,
    jamf Jamf,
    intune Intune,
    fleet Fleet,
    zentral Zentral,
    nanodep NanoDep,
    micromdm MicroMdm,
}
