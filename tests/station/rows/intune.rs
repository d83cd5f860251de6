//! Intune's table.

use std::time::Duration;

use benchlight::{
    readiness::intune::simulator::{
        CLIENT_ID, Options, TENANT, Tenant, serve,
        stock::{AssignedAt, Device, HQ, OTHER, OTHER_PROFILE, PROFILE, Stock, Token},
    },
    simulator::faults::Effect,
};
use jiff::Timestamp;

use super::{AROUND, Asks, Boxes, Exhibition};

const EXPIRED: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000003";
const FAILED: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000004";
const LATE: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000005";
const NEW: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000006";
const GONE: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000007";
const ZEROS: &str = "00000000-0000-0000-0000-000000000000";

const UNREAD: &str = "an ADE token that was to be asked cannot be read";
const LINK: &str = "the ADE token of its record";
const DELETED: &str = "deleted in Intune";
const STATE: &str = "`enrolled`, `pendingReset`; `failed`; `blocked`";
const PROFILES: &str = "no profile is requested";
const READY: &str = "`notContacted`, with a profile";
const ABSENT: &str = "no record, and every ADE token was read";

pub(super) async fn tenant(devices: Vec<Device>) -> Tenant {
    let mut stock = Stock::of(devices);
    stock.tokens.extend([
        Token::healthy(OTHER, "Other"),
        Token {
            expires_at: Timestamp::now() - Duration::from_hours(1),
            ..Token::healthy(EXPIRED, "Expired")
        },
        Token {
            error: 3008,
            ..Token::healthy(FAILED, "Failed")
        },
        Token {
            synced_ago: Some(Duration::from_hours(25)),
            ..Token::healthy(LATE, "Late")
        },
        Token {
            synced_ago: None,
            ..Token::healthy(NEW, "New")
        },
    ]);
    serve(Options::new(stock)).await.unwrap()
}

pub(super) fn asks(tenant: &Tenant, tokens: &[&str]) -> Asks {
    let source = format!(
        "[[source]]\nname = \"intune\"\nkind = \"intune\"\nurl = \"{}\"\ntoken_url = \"{}\"\ntenant = \"{TENANT}\"\nclient_id = \"{CLIENT_ID}\"\nsecret_credential = \"intune-secret\"\ntokens = {tokens:?}\nexpected_profiles = [\"{PROFILE}\"]",
        tenant.api(),
        tenant.token_url(),
    );
    Asks::one(source, ("intune-secret", tenant.secret())).under("min_grade = \"intent\"")
}

fn on(token: &'static str) -> impl Fn(&mut Device) {
    move |device| token.clone_into(&mut device.token)
}

fn state(word: &'static str) -> impl Fn(&mut Device) {
    move |device| word.clone_into(&mut device.state)
}

fn profile(id: &'static str) -> impl Fn(&mut Device) {
    move |device| id.clone_into(&mut device.profile)
}

fn deleted(device: &mut Device) {
    device.is_deleted = true;
}

fn of_records(boxes: &mut Boxes<Device>) {
    for (token, reason, words) in [
        (EXPIRED, "mdm_link_broken", "\"Expired\" expired on"),
        (FAILED, "mdm_link_broken", "\"Failed\" failed (error 3008)"),
        (LATE, "stale", "by \"Late\", 25 h ago"),
        (NEW, "stale", "\"New\" names no last sync"),
    ] {
        boxes.add(LINK, reason, words, on(token));
    }
    // What is only known through such a token is not known.
    boxes.add(LINK, "mdm_link_broken", "", |device| {
        on(FAILED)(device);
        state("enrolled")(device);
    });
    boxes.absent(LINK, "mdm_link_broken", "ADE token");
    boxes.add(DELETED, "unassigned", "Intune has deleted it", deleted);
    for (word, reason, words) in [
        ("enrolled", "already_enrolled", ""),
        ("Enrolled", "already_enrolled", ""),
        ("pendingReset", "already_enrolled", ""),
        ("failed", "previously_activated", "failed"),
        ("blocked", "assignment_failed", "blocked in Intune"),
        ("unknown", "garbled_answer", "unknown"),
        ("queued", "garbled_answer", "queued"),
        ("", "garbled_answer", "no enrollment state"),
    ] {
        boxes.add(STATE, reason, words, state(word));
    }
    for none in ["", ZEROS] {
        boxes.add(
            PROFILES,
            "no_profile",
            "Intune means to give it none",
            profile(none),
        );
    }
    boxes.add(
        PROFILES,
        "wrong_profile",
        OTHER_PROFILE,
        profile(OTHER_PROFILE),
    );
    let alone = "By Intune's plan alone: Apple has not confirmed it.";
    boxes.add(READY, "assigned", alone, |_| {});
    boxes.add(READY, "assigned", alone, |device| {
        device.assigned_at = AssignedAt::Never;
    });
    boxes.add(AROUND, "garbled_answer", "in the future", |device| {
        device.assigned_at = AssignedAt::At(Timestamp::now() + Duration::from_hours(1));
    });
    boxes.twice("assigned", "", deleted, |_| {});
    boxes.twice("contradiction", "2 times", |_| {}, profile(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_intunes_table() {
    let mut all = Exhibition::new().await;
    let mut boxes = Boxes::new("R0WINTA0", Device::ready);
    of_records(&mut boxes);
    let service = tenant(boxes.held).await;
    let counted = [HQ, EXPIRED, FAILED, LATE, NEW];
    all.show(asks(&service, &counted), &boxes.shows).await;

    let mut boxes = Boxes::new("R0WINTB0", Device::ready);
    boxes.absent(ABSENT, "not_found", "Last sync ");
    boxes.add(ABSENT, "not_found", "", on(EXPIRED));
    let service = tenant(boxes.held).await;
    all.show(asks(&service, &[HQ, OTHER]), &boxes.shows).await;

    for (counted, row, reason, words) in [
        (&[HQ, LATE][..], LINK, "stale", "Last sync"),
        (
            &[HQ, EXPIRED],
            LINK,
            "mdm_link_broken",
            "\"Expired\" expired on",
        ),
        (
            &[HQ, GONE],
            UNREAD,
            "mdm_link_broken",
            "is not in Intune's list",
        ),
    ] {
        let mut boxes = Boxes::new("R0WINTC0", Device::ready);
        boxes.absent(row, reason, words);
        all.show(asks(&service, counted), &boxes.shows).await;
    }

    let mut boxes = Boxes::new("R0WINTD0", Device::ready);
    boxes.add(UNREAD, "mdm_link_broken", "is not in Intune's list", |_| {});
    let service = tenant(boxes.held).await;
    all.show(asks(&service, &[HQ, GONE]), &boxes.shows).await;
    service.stock(|stock| stock.tokens.clear());
    let mut boxes = Boxes::new("R0WINTD0", Device::ready);
    boxes.absent(UNREAD, "mdm_link_broken", "Intune has no ADE token");
    all.show(asks(&service, &[]), &boxes.shows).await;

    // One of the tokens cannot be read: neither what the others hold counts, nor what they do not.
    let mut boxes = Boxes::new("R0WINTE0", Device::ready);
    boxes.add(UNREAD, "source_error", "", |_| {});
    boxes.absent(UNREAD, "source_error", "");
    let service = tenant(boxes.held).await;
    let list = format!(
        "/beta/deviceManagement/depOnboardingSettings/{OTHER}/importedAppleDeviceIdentities"
    );
    service.faults().path(&list, Effect::Status(500));
    all.show(asks(&service, &[HQ, OTHER]), &boxes.shows).await;
    all.must_be_whole("Intune", &[]);
}
