//! Every source accepts only a reply that is exactly an answer: here a gateway damages the services' replies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "replies/gateway.rs"]
mod gateway;
#[path = "replies/mutations.rs"]
mod mutations;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use benchlight::{
    label::{Candidates, Serial},
    readiness::{
        Purpose, Service, Settings, Source,
        apple_business::{self as business_source, simulator as apple_business},
        apple_dep::{self as dep_source, simulator as apple_dep},
        evidence::{Evidence, Finding, Grade},
        fleet::{self as fleet_source, simulator as fleet},
        http::{Clocks, Limits},
        intune::{self as intune_source, simulator as intune},
        kandji::{
            self as kandji_source,
            simulator::{
                self as kandji,
                stock::{Device, Stock},
            },
        },
        micromdm, nanodep,
        zentral::{self as zentral_source, simulator as zentral},
    },
    reason::{Reason, Verdict},
    runtime::{clock::ClockWatch, credential::CredentialStore, name::Name},
    simulator::{Running, stock},
};
use gateway::{Gateway, Reply};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

const SERIAL: &str = "C02XK0AAJG5H";
const ABSENT: &str = "C02NEVERSEEN";
const INTUNE_TOKEN: &str = "/8f1c7d2e-3b4a-4c5d-9e6f-0a1b2c3d4e5f/oauth2/v2.0/token";
const INTUNE_DEVICES: &str = "/beta/deviceManagement/depOnboardingSettings/5b9e0a3c-6d1f-4c2e-8a7b-000000000001/importedAppleDeviceIdentities";
const FLEET_ASSIGNMENT: &str = "/api/v1/fleet/hosts/972365899/dep_assignment";
const ZENTRAL_DEVICES: &str = "/api/mdm/dep/devices/";
const SYNCED: ClockWatch = ClockWatch::Fixed { synced: true };
const UNSYNCED: ClockWatch = ClockWatch::Fixed { synced: false };
const TOTAL: Duration = Duration::from_secs(8);

/// The service behind the gateway, kept alive.
enum Behind {
    Kandji(kandji::Tenant),
    Intune(intune::Tenant),
    Dep(apple_dep::Simulator),
    Nano(nanodep::simulator::Simulator),
    Micro(micromdm::simulator::Simulator),
    Business(apple_business::Simulator),
    Fleet(fleet::Server),
    Zentral(zentral::Server),
}

impl Behind {
    fn running(&self) -> &Running {
        match self {
            Self::Kandji(tenant) => tenant,
            Self::Intune(tenant) => tenant,
            Self::Dep(apple) => apple,
            Self::Nano(server) => server,
            Self::Micro(server) => server,
            Self::Business(apple) => apple,
            Self::Fleet(server) => server,
            Self::Zentral(server) => server,
        }
    }
}

/// One source with a gateway in front of its service.
struct Bench {
    behind: Behind,
    gateway: Gateway,
    settings: Settings,
    _folder: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kandji,
    Intune,
    Dep,
    Nano,
    Micro,
    Business,
    Fleet,
    Zentral,
}

const KINDS: [Kind; 8] = [
    Kind::Kandji,
    Kind::Intune,
    Kind::Dep,
    Kind::Nano,
    Kind::Micro,
    Kind::Business,
    Kind::Fleet,
    Kind::Zentral,
];

impl Kind {
    /// Does its answer rest on its own last fetch from Apple?
    fn has_a_last_fetch(self) -> bool {
        matches!(self, Self::Kandji | Self::Intune)
    }

    /// Its finding about [`SERIAL`].
    fn good(self) -> Finding {
        match self {
            Self::Kandji | Self::Zentral => Finding::Ready(Grade::Relayed),
            Self::Intune => Finding::Ready(Grade::Intent),
            Self::Dep | Self::Nano | Self::Micro | Self::Fleet => Finding::Ready(Grade::Apple),
            Self::Business => Finding::NoObjection,
        }
    }

    /// Every request that an answer depends on, with a serial number that needs it.
    fn reads(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Kandji => &[
                ("/api/v1/integrations/apple/ade/devices", SERIAL),
                ("/api/v1/integrations/apple/ade", SERIAL),
                ("/api/v1/devices", ABSENT),
            ],
            Self::Intune => &[
                (INTUNE_TOKEN, SERIAL),
                ("/beta/deviceManagement/depOnboardingSettings", SERIAL),
                (INTUNE_DEVICES, SERIAL),
                (INTUNE_DEVICES, ABSENT),
            ],
            Self::Dep => &[
                ("/session", SERIAL),
                ("/devices", SERIAL),
                ("/devices", ABSENT),
                ("/profile", SERIAL),
            ],
            Self::Nano => &[
                ("/proxy/mdmserver1/devices", SERIAL),
                ("/proxy/mdmserver1/devices", ABSENT),
                ("/proxy/mdmserver1/profile", SERIAL),
            ],
            Self::Micro => &[("/v1/dep/devices", SERIAL), ("/v1/dep/devices", ABSENT)],
            Self::Business => &[
                ("/auth/oauth2/token", SERIAL),
                ("/v1/orgDevices/C02XK0AAJG5H", SERIAL),
                (
                    "/v1/orgDevices/C02XK0AAJG5H/relationships/assignedServer",
                    SERIAL,
                ),
                ("/v1/orgDevices/C02NEVERSEEN", ABSENT),
            ],
            Self::Fleet => &[
                ("/api/v1/fleet/hosts/identifier/C02XK0AAJG5H", SERIAL),
                (FLEET_ASSIGNMENT, SERIAL),
                ("/api/v1/fleet/hosts/identifier/C02NEVERSEEN", ABSENT),
            ],
            Self::Zentral => &[(ZENTRAL_DEVICES, SERIAL), (ZENTRAL_DEVICES, ABSENT)],
        }
    }
}

fn write_credential(folder: &Path, name: &str, text: &str) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join(name))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

impl Bench {
    async fn new(kind: Kind) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let credential = |name: &str, text: &str| {
            write_credential(folder.path(), name, text);
            CredentialStore::new(folder.path()).credential(name)
        };
        let name = Name::new("source").unwrap();
        let (behind, gateway, service) = match kind {
            Kind::Kandji => {
                let tenant = kandji::serve(kandji::Options::new(
                    "t0ken",
                    Stock::of(vec![Device::ready(SERIAL)]),
                ))
                .await
                .unwrap();
                let gateway = Gateway::before(tenant.address()).await;
                let token = credential("kandji-token", "t0ken");
                let max_fetch_age = Duration::from_hours(1);
                (
                    Behind::Kandji(tenant),
                    gateway,
                    Service::Kandji(kandji_source::Settings {
                        token,
                        policy: kandji_source::Policy {
                            tokens: vec![],
                            max_fetch_age,
                            expected_blueprints: vec![],
                        },
                    }),
                )
            }
            Kind::Intune => {
                let devices = vec![intune::stock::Device::ready(SERIAL)];
                let options = intune::Options::new(intune::stock::Stock::of(devices));
                let tenant = intune::serve(options).await.unwrap();
                let gateway = Gateway::before(tenant.address()).await;
                let service = Service::Intune(intune_source::Settings {
                    token_url: format!("http://{}{INTUNE_TOKEN}", gateway.address)
                        .parse()
                        .unwrap(),
                    client_id: intune::CLIENT_ID.to_owned(),
                    secret: credential("intune-secret", &tenant.secret()),
                    policy: intune_source::Policy {
                        tokens: vec![],
                        max_fetch_age: Duration::from_hours(1),
                        expected_profiles: vec![],
                    },
                });
                (Behind::Intune(tenant), gateway, service)
            }
            Kind::Dep => {
                let apple = apple_dep::serve(apple_dep::Options::demo()).await.unwrap();
                let gateway = Gateway::before(apple.address()).await;
                let service = Service::AppleDep(dep_source::Settings {
                    token: credential("apple-dep-token", &apple.credential()),
                    user_agent: "benchlight/test".to_owned(),
                    expected: dep_source::Expected {
                        profiles: vec![],
                        hosts: vec!["acme.web-api.kandji.io".to_owned()],
                    },
                });
                (Behind::Dep(apple), gateway, service)
            }
            Kind::Nano => {
                let any = ([127, 0, 0, 1], 0).into();
                let server = nanodep::simulator::serve(any, 0).await.unwrap();
                let gateway = Gateway::before(server.address()).await;
                let key = credential("nanodep-key", server.key());
                let expected = nanodep::Expected {
                    profiles: vec![],
                    hosts: vec!["acme.web-api.kandji.io".to_owned()],
                };
                let name = nanodep::simulator::DEP_NAME;
                let settings = nanodep::Settings::new(name, key, expected);
                (Behind::Nano(server), gateway, Service::NanoDep(settings))
            }
            Kind::Micro => {
                let any = ([127, 0, 0, 1], 0).into();
                let server = micromdm::simulator::serve(any, 0).await.unwrap();
                let gateway = Gateway::before(server.address()).await;
                let key = credential("micromdm-key", server.key());
                let settings = micromdm::Settings::new(key, vec![]);
                (Behind::Micro(server), gateway, Service::MicroMdm(settings))
            }
            Kind::Business => {
                let apple = apple_business::serve(apple_business::Options::demo())
                    .await
                    .unwrap();
                let gateway = Gateway::before(apple.address()).await;
                let service = Service::AppleBusiness(business_source::Settings {
                    identity: business_source::Identity {
                        token_url: format!("http://{}/auth/oauth2/token", gateway.address)
                            .parse()
                            .unwrap(),
                        scope: "business.api".to_owned(),
                        client_id: apple_business::CLIENT_ID.to_owned(),
                        key_id: apple_business::KEY_ID.to_owned(),
                        key: credential("apple-business-key", &apple.credential()),
                    },
                    expected_servers: vec![stock::SERVER_UUID.to_owned()],
                });
                (Behind::Business(apple), gateway, service)
            }
            Kind::Fleet => {
                let host = fleet::stock::Host::ready(SERIAL);
                let stock = fleet::stock::Stock::of(vec![host]);
                let server = fleet::serve(fleet::Options::new("t0ken", stock)).await;
                let server = server.unwrap();
                let gateway = Gateway::before(server.address()).await;
                let service = Service::Fleet(fleet_source::Settings {
                    token: credential("fleet-token", "t0ken"),
                    expected: fleet_source::Expected::default(),
                });
                (Behind::Fleet(server), gateway, service)
            }
            Kind::Zentral => {
                let device = zentral::stock::Device::ready(SERIAL);
                let stock = zentral::stock::Stock::of(vec![device]);
                let server = zentral::serve(zentral::Options::new("t0ken", stock)).await;
                let server = server.unwrap();
                let gateway = Gateway::before(server.address()).await;
                let service = Service::Zentral(zentral_source::Settings {
                    token: credential("zentral-token", "t0ken"),
                    policy: zentral_source::Policy::default(),
                });
                (Behind::Zentral(server), gateway, service)
            }
        };
        let path = match kind {
            Kind::Business => "/v1",
            Kind::Intune => "/beta",
            Kind::Kandji | Kind::Dep | Kind::Nano | Kind::Micro | Kind::Fleet | Kind::Zentral => "",
        };
        let url = format!("http://{}{path}", gateway.address).parse().unwrap();
        let settings = Settings {
            name,
            url,
            ca_file: None,
            reads_per_minute: 0,
            replica: Default::default(),
            service,
        };
        Self {
            behind,
            gateway,
            settings,
            _folder: folder,
        }
    }

    /// A source that has not asked anything yet.
    fn source(&self, clocks: impl Into<Clocks>) -> Source {
        Source::with_limits(
            self.settings.clone(),
            clocks,
            Limits {
                connect: TOTAL,
                total: TOTAL,
                ..Limits::default()
            },
        )
        .unwrap()
    }

    fn violations(&self) -> Vec<String> {
        self.behind.running().violations()
    }
}

async fn ask(source: &Source, serial: &str) -> Evidence {
    let mut answer = source
        .ask(
            &Candidates::one(Serial::new(serial).unwrap()),
            Purpose::Scan,
        )
        .await;
    assert_eq!(answer.evidence.len(), 1);
    answer.evidence.remove(0)
}

/// An HTTP date that is off by this much.
fn date(off: SignedDuration) -> String {
    Timestamp::now()
        .checked_add(off)
        .unwrap()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

const OLD: SignedDuration = SignedDuration::from_hours(-20);

/// Answers each request of each source with a reply that is damaged like this. The finding must be unknown with that reason.
/// `words`: what that the message must contain.
async fn spoilt(
    reason: Reason,
    words: &[&str],
    spoil: impl Fn(&mut Reply) + Clone + Send + Sync + 'static,
) {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        for (path, serial) in kind.reads() {
            bench.gateway.change_at(path, spoil.clone());
            let evidence = ask(&bench.source(SYNCED), serial).await;
            assert_eq!(
                evidence.finding,
                Finding::Unknown(reason),
                "{kind:?} {path}: {evidence:?}"
            );
            let detail = evidence.detail.unwrap_or_default();
            assert!(
                words.iter().all(|word| detail.contains(word)),
                "{kind:?} {path}: {detail}"
            );
        }
        bench.gateway.pass_on();
        assert_eq!(
            ask(&bench.source(SYNCED), SERIAL).await.finding,
            kind.good(),
            "{kind:?}: good again"
        );
        assert_eq!(bench.violations(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_reply_with_an_age_over_a_minute_is_stale() {
    for age in [
        "72000",
        "61",
        "18446744073709551615",
        "340282366920938463463374607431768211456",
    ] {
        spoilt(Reason::Stale, &["cache", "127.0.0.1"], move |reply| {
            reply.add("age", age)
        })
        .await;
    }
}

#[tokio::test]
async fn a_reply_of_yesterday_is_stale_and_says_so() {
    spoilt(
        Reason::Stale,
        &["cache", "127.0.0.1", "20 h old"],
        |reply| reply.set("date", &date(OLD)),
    )
    .await;
}

#[tokio::test]
async fn a_reply_from_the_future_is_stale() {
    spoilt(Reason::Stale, &["127.0.0.1", "ahead"], |reply| {
        reply.set("date", &date(SignedDuration::from_mins(6)))
    })
    .await;
}

#[tokio::test]
async fn a_reply_without_a_readable_date_is_stale() {
    spoilt(Reason::Stale, &["date"], |reply| reply.drop("date")).await;
    for text in [
        "",
        "no date",
        "2026-11-23T09:41:07Z",
        "Mon, 23 Nov 99999999999 09:41:07 GMT",
    ] {
        spoilt(Reason::Stale, &["date"], move |reply| {
            reply.set("date", text)
        })
        .await;
    }
}

#[tokio::test]
async fn a_reply_with_an_unreadable_age_is_stale() {
    for text in ["", "soon", "-1", "1.5", "0, 0"] {
        spoilt(Reason::Stale, &["Age"], move |reply| reply.add("age", text)).await;
    }
}

#[tokio::test]
async fn a_reply_with_two_dates_or_two_ages_is_garbled() {
    spoilt(Reason::GarbledAnswer, &["Date", "127.0.0.1"], |reply| {
        reply.add("date", &date(OLD))
    })
    .await;
    spoilt(Reason::GarbledAnswer, &["Date"], |reply| {
        reply
            .headers
            .insert(0, ("date".to_owned(), date(SignedDuration::ZERO)))
    })
    .await;
    spoilt(Reason::GarbledAnswer, &["Age"], |reply| {
        reply.add("age", "0");
        reply.add("age", "0");
    })
    .await;
}

#[tokio::test]
async fn only_the_documented_status_is_an_answer() {
    for status in [
        "201 Created",
        "202 Accepted",
        "203 Non-Authoritative Information",
        "206 Partial Content",
        "207 Multi-Status",
        "226 IM Used",
        "299 X",
    ] {
        spoilt(
            Reason::GarbledAnswer,
            &["127.0.0.1", &status[..3]],
            move |reply| reply.status = status.to_owned(),
        )
        .await;
    }
    spoilt(Reason::GarbledAnswer, &["204"], |reply| {
        reply.status = "204 No Content".to_owned();
        reply.body.clear();
    })
    .await;
}

#[tokio::test]
async fn an_encoded_reply_is_garbled_and_its_encoding_is_named() {
    for encoding in ["gzip", "br", "identity, gzip", "deflate"] {
        spoilt(
            Reason::GarbledAnswer,
            &["127.0.0.1", encoding.rsplit(' ').next().unwrap()],
            move |reply| reply.add("content-encoding", encoding),
        )
        .await;
    }
    // Compressed, but no header says so.
    spoilt(Reason::GarbledAnswer, &["gzip"], |reply| {
        reply.body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x03, 0]
    })
    .await;
}

#[tokio::test]
async fn identity_and_a_small_age_spoil_no_answer() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        bench.gateway.change(|_, reply| {
            reply.add("content-encoding", "Identity");
            reply.add("age", "60");
            reply.set("date", &date(SignedDuration::from_secs(-290)));
        });
        assert_eq!(
            ask(&bench.source(SYNCED), SERIAL).await.finding,
            kind.good(),
            "{kind:?}"
        );
    }
}

/// Repeats one name of an object, wherever an object begins.
async fn twice(word: &'static str, first: &'static str, second: &'static str) {
    for place in 0..3 {
        spoilt(Reason::GarbledAnswer, &[word], move |reply| {
            let text = reply.text();
            let text = if text.contains('{') {
                text
            } else {
                "[{}]".to_owned()
            };
            let objects: Vec<usize> = text
                .match_indices('{')
                .map(|(index, _)| index + 1)
                .collect();
            // The innermost one, if there are fewer.
            let at = objects[place.min(objects.len() - 1)];
            let comma = if text[at..].trim_start().starts_with('}') {
                ""
            } else {
                ","
            };
            reply.say(&format!(
                "{}\"{first}\":1,\"{second}\":1{comma}{}",
                &text[..at],
                &text[at..]
            ));
        })
        .await;
    }
}

#[tokio::test]
async fn a_name_given_twice_in_any_object_is_garbled() {
    twice("twice", "unheard_of", "unheard_of").await;
    twice("twice", "unheard_of", "unheard\\u005fof").await;
}

#[tokio::test]
async fn a_status_word_given_twice_is_never_green_in_either_order() {
    for order in [["removed", "assigned"], ["assigned", "removed"]] {
        for kind in [
            Kind::Kandji,
            Kind::Dep,
            Kind::Nano,
            Kind::Fleet,
            Kind::Zentral,
        ] {
            let bench = Bench::new(kind).await;
            bench.gateway.change(move |_, reply| {
                let text = reply.text();
                let good = "\"profile_status\":\"assigned\"";
                reply.say(&text.replace(
                    good,
                    &format!(
                        "\"profile_status\":\"{}\",\"profile_status\":\"{}\"",
                        order[0], order[1]
                    ),
                ));
            });
            assert_eq!(
                ask(&bench.source(SYNCED), SERIAL).await.finding,
                Finding::Unknown(Reason::GarbledAnswer),
                "{kind:?} {order:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_reply_that_is_cut_is_garbled() {
    spoilt(Reason::GarbledAnswer, &["127.0.0.1"], |reply| {
        let length = reply.body.len();
        reply.add("content-length", &(length + 1).to_string());
        reply.ends = true;
    })
    .await;
    // Chunked, and the last chunk never comes.
    spoilt(Reason::GarbledAnswer, &["127.0.0.1"], |reply| {
        reply.add("transfer-encoding", "chunked");
        reply.body = [
            format!("{:x}\r\n", reply.body.len()).as_bytes(),
            &reply.body,
            b"\r\n",
        ]
        .concat();
        reply.ends = true;
    })
    .await;
}

#[tokio::test]
async fn what_stands_behind_the_json_spoils_it() {
    for more in ["{}", "x", "\u{0}", "]", " null"] {
        spoilt(Reason::GarbledAnswer, &[], move |reply| {
            reply.body.extend_from_slice(more.as_bytes())
        })
        .await;
    }
    spoilt(Reason::GarbledAnswer, &[], |reply| {
        reply.body.splice(0..0, *b"\xef\xbb\xbf").for_each(drop)
    })
    .await;
}

#[tokio::test]
async fn an_endless_depth_ends_nobody() {
    for deep in ["[", "{\"a\":"] {
        spoilt(Reason::GarbledAnswer, &[], move |reply| {
            reply.say(&deep.repeat(100_000))
        })
        .await;
    }
}

#[tokio::test]
async fn an_array_in_the_place_of_an_object_is_garbled() {
    // Each object becomes the list of its values, in the order of the station's own fields.
    for (path, serial, text) in [
        (
            "/api/v1/integrations/apple/ade/devices",
            SERIAL,
            "[[], null]",
        ),
        (
            "/api/v1/integrations/apple/ade/devices",
            SERIAL,
            "{\"count\":1,\"next\":null,\"previous\":null,\"results\":[[\"C02XK0AAJG5H\",\"assigned\"]]}",
        ),
        ("/api/v1/integrations/apple/ade", SERIAL, "[[\"hq\"]]"),
        ("/api/v1/devices", ABSENT, "[[\"C02NEVERSEEN\", true]]"),
    ] {
        let bench = Bench::new(Kind::Kandji).await;
        bench.gateway.change_at(path, move |reply| reply.say(text));
        assert_eq!(
            ask(&bench.source(SYNCED), serial).await.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{text}"
        );
    }
    for (kind, path, text) in [
        (Kind::Dep, "/session", "[\"word\"]"),
        (
            Kind::Dep,
            "/profile",
            "[\"https://acme.web-api.kandji.io/\"]",
        ),
        (Kind::Business, "/auth/oauth2/token", "[\"token\", 3600]"),
    ] {
        let bench = Bench::new(kind).await;
        bench.gateway.change_at(path, move |reply| {
            reply.drop("x-adm-auth-session");
            reply.say(text);
        });
        assert_eq!(
            ask(&bench.source(SYNCED), SERIAL).await.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{text}"
        );
    }
    let bench = Bench::new(Kind::Business).await;
    bench.gateway.change_at("/v1/mdmServers", |reply| {
        reply.say("[[[\"1F97349736CF4614A94F624E705841AD\", [\"HQ\", \"MDM\"]]], [[null]]]")
    });
    assert_eq!(
        bench.source(SYNCED).probe().await.unwrap_err().reason,
        Reason::GarbledAnswer
    );
}

#[tokio::test]
async fn an_old_reply_is_known_by_what_the_host_said_before_where_nobody_keeps_our_clock() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source(UNSYNCED);
        assert_eq!(ask(&source, SERIAL).await.finding, kind.good(), "{kind:?}");
        for (path, serial) in kind.reads().iter().filter(|(path, _)| {
            ![
                "/session",
                "/auth/oauth2/token",
                "/profile",
                "/proxy/mdmserver1/profile",
                "/api/v1/integrations/apple/ade",
                INTUNE_TOKEN,
                "/beta/deviceManagement/depOnboardingSettings",
            ]
            .contains(path)
        }) {
            bench
                .gateway
                .change_at(path, |reply| reply.set("date", &date(OLD)));
            assert_eq!(
                ask(&source, serial).await.finding,
                Finding::Unknown(Reason::Stale),
                "{kind:?} {path}"
            );
        }
        bench.gateway.pass_on();
        assert_eq!(ask(&source, SERIAL).await.finding, kind.good(), "{kind:?}");
    }
}

#[tokio::test]
async fn what_a_host_said_is_known_to_every_source_that_asks_it_and_over_a_restart() {
    for kind in KINDS {
        let (bench, folder) = (Bench::new(kind).await, tempfile::tempdir().unwrap());
        let clocks = Clocks::keeping(UNSYNCED, folder.path());
        assert_eq!(
            ask(&bench.source(clocks.clone()), SERIAL).await.finding,
            kind.good(),
            "{kind:?}"
        );
        let begun = Instant::now();
        while fs::read_dir(folder.path()).unwrap().all(|entry| {
            entry
                .unwrap()
                .path()
                .extension()
                .is_none_or(|extension| extension != "json")
        }) {
            assert!(begun.elapsed() < TOTAL, "{kind:?}: nothing is written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench
            .gateway
            .change(|_, reply| reply.set("date", &date(OLD)));
        for (known, clocks) in [
            ("another source", clocks),
            ("after a restart", Clocks::keeping(UNSYNCED, folder.path())),
            ("lookup", Clocks::reading(UNSYNCED, folder.path())),
        ] {
            assert_eq!(
                ask(&bench.source(clocks), SERIAL).await.finding,
                Finding::Unknown(Reason::Stale),
                "{kind:?}, {known}"
            );
        }
        // With such a date, the MDM's own last fetch would be in the future.
        if !kind.has_a_last_fetch() {
            assert_eq!(
                ask(&bench.source(UNSYNCED), SERIAL).await.finding,
                kind.good(),
                "{kind:?}: who has heard nothing cannot tell"
            );
        }
    }
}

#[tokio::test]
async fn a_host_whose_clock_goes_on_is_believed_with_the_third_reply_and_a_stored_reply_never() {
    let check = |kind: Kind, stored: bool| async move {
        let bench = Bench::new(kind).await;
        let (off, kept) = (
            SignedDuration::from_mins(-6),
            date(SignedDuration::from_mins(-6)),
        );
        bench.gateway.change(move |_, reply| {
            reply.set("date", &if stored { kept.clone() } else { date(off) })
        });
        let source = bench.source(SYNCED);
        let mut findings = Vec::new();
        for pause in [0, 1, 5, 5, 0] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            findings.push(ask(&source, SERIAL).await.finding);
        }
        let stale = Finding::Unknown(Reason::Stale);
        let then = if stored { stale } else { kind.good() };
        assert_eq!(
            findings,
            [stale, stale, stale, then, then],
            "{kind:?} stored: {stored}"
        );
    };
    let all = KINDS
        .into_iter()
        .flat_map(|kind| [check(kind, true), check(kind, false)]);
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_clock_of_ours_that_nobody_keeps_spoils_no_answer() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        // The service's clock is right; ours is 20 years behind.
        bench
            .gateway
            .change(|_, reply| reply.set("date", &date(SignedDuration::from_hours(20 * 365 * 24))));
        let finding = ask(&bench.source(UNSYNCED), SERIAL).await.finding;
        // An MDM's last fetch follows its own clock; the gateway has changed only `Date`.
        let expected = if kind.has_a_last_fetch() {
            Finding::Unknown(Reason::MdmLinkBroken)
        } else {
            kind.good()
        };
        assert_eq!(finding, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn faults_keep_their_reasons_whatever_their_date_says() {
    for (status, reason) in [
        ("401 Unauthorized", Reason::CredentialsRefused),
        ("429 Too Many Requests", Reason::RateLimited),
        ("503 Service Unavailable", Reason::SourceError),
    ] {
        spoilt(reason, &[], move |reply| {
            reply.status = status.to_owned();
            reply.set("date", &date(OLD));
            reply.add("date", &date(OLD));
            reply.add("age", "72000");
            reply.add("content-encoding", "gzip");
            reply.say("{}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_web_page_in_the_place_of_a_refusal_names_the_filter() {
    // Whatever this page says, it is not the service's answer; and not every page declares itself as one.
    for (kind, page) in [
        (
            "text/html; charset=utf-8",
            "<!doctype html><html><title>Blocked by policy</title></html>",
        ),
        (
            "text/html",
            "<html>403 FORBIDDEN: T_C_NOT_SIGNED, token_expired, USER_AGENT_INVALID, ACCESS_DENIED</html>",
        ),
        ("application/xhtml+xml", "blocked"),
        ("text/plain", "\u{feff}<html>blocked</html>"),
    ] {
        for (status, reason) in [
            ("403 Forbidden", Reason::CredentialsRefused),
            ("401 Unauthorized", Reason::CredentialsRefused),
            ("404 Not Found", Reason::GarbledAnswer),
        ] {
            spoilt(reason, &["web page", "filter", "127.0.0.1"], move |reply| {
                reply.status = status.to_owned();
                reply.set("content-type", kind);
                reply.say(page);
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_error_beside_an_answer_spoils_it() {
    for error in [
        "\"errors\":[{\"code\":\"X\"}]",
        "\"error\":\"T_C_NOT_SIGNED\"",
        "\"detail\":\"throttled\"",
        "\"message\":\"API rate limit exceeded\"",
    ] {
        spoilt(Reason::GarbledAnswer, &[], move |reply| {
            // Where an error is the documented answer, it must come alone.
            let text = if reply.status.starts_with('2') {
                reply.text()
            } else {
                String::new()
            };
            let rest = text
                .strip_prefix('{')
                .map_or_else(|| "}".to_owned(), |rest| format!(",{rest}"));
            reply.say(&format!("{{{error}{rest}"));
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_used_is_the_services_fault_and_not_the_stations() {
    let (session, token) = ("/session", "/auth/oauth2/token");
    for (kind, path, text) in [
        (
            Kind::Dep,
            session,
            "{\"auth_session_token\":\"a\\r\\nX: y\"}",
        ),
        (Kind::Dep, session, "{\"auth_session_token\":\"\\u0000\"}"),
        (Kind::Dep, session, "{\"auth_session_token\":\"a b\"}"),
        (
            Kind::Business,
            token,
            "{\"access_token\":\"a\\nb\",\"expires_in\":3600}",
        ),
        (
            Kind::Intune,
            INTUNE_TOKEN,
            "{\"access_token\":\"a b\",\"expires_in\":3600}",
        ),
        (
            Kind::Business,
            token,
            "{\"access_token\":\" \",\"expires_in\":3600}",
        ),
        (
            Kind::Business,
            token,
            "{\"access_token\":\"a\",\"token_type\":\"mac\",\"expires_in\":3600}",
        ),
    ] {
        let bench = Bench::new(kind).await;
        bench.gateway.change_at(path, move |reply| {
            reply.drop("x-adm-auth-session");
            reply.say(text);
        });
        let source = bench.source(SYNCED);
        assert_eq!(
            ask(&source, SERIAL).await.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{text}"
        );
        bench.gateway.pass_on();
        assert_eq!(
            ask(&source, SERIAL).await.finding,
            kind.good(),
            "{text}: it is not kept"
        );
    }
}

#[tokio::test]
async fn a_web_page_in_the_place_of_an_answer_is_named() {
    spoilt(Reason::GarbledAnswer, &["web page", "127.0.0.1"], |reply| {
        reply.say("<html><title>Sign in to the guest network</title></html>")
    })
    .await;
}

#[tokio::test]
async fn every_request_asks_for_an_answer_of_now_in_plain_form() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source(SYNCED);
        ask(&source, SERIAL).await;
        ask(&source, ABSENT).await;
        source.probe().await.unwrap();
        let heads = bench.gateway.heads();
        let least = match kind {
            Kind::Micro | Kind::Zentral => 3,
            _ => 4,
        };
        assert!(heads.len() >= least, "{kind:?}: {}", heads.len());
        for head in heads {
            let head = head.to_ascii_lowercase();
            for (name, value) in [
                ("accept-encoding", "identity"),
                ("cache-control", "no-cache, no-store"),
                ("pragma", "no-cache"),
            ] {
                assert_eq!(
                    head.matches(&format!("\r\n{name}:")).count(),
                    1,
                    "{kind:?}: {head}"
                );
                assert!(
                    head.contains(&format!("\r\n{name}: {value}\r\n")),
                    "{kind:?}: {head}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_number_from_outside_ends_nobody() {
    for lasts in [
        "18446744073709551615",
        "9223372036854775808",
        "-1",
        "0",
        "1e400",
        "1e308",
        "NaN",
        "\"3600\"",
        "null",
        "3600.5",
    ] {
        let bench = Bench::new(Kind::Business).await;
        bench.gateway.change_at("/auth/oauth2/token", move |reply| {
            let text = reply.text();
            let at = text.find("\"expires_in\":").unwrap() + "\"expires_in\":".len();
            let end = at + text[at..].find([',', '}']).unwrap();
            reply.say(&format!("{}{lasts}{}", &text[..at], &text[end..]));
        });
        let source = bench.source(SYNCED);
        for _ in 0..2 {
            let finding = ask(&source, SERIAL).await.finding;
            assert!(
                matches!(
                    finding,
                    Finding::NoObjection | Finding::Unknown(Reason::GarbledAnswer)
                ),
                "{lasts}: {finding:?}"
            );
        }
    }
    for length in [
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775808",
        "-1",
        "1e400",
        "NaN",
        "",
    ] {
        for kind in KINDS {
            let bench = Bench::new(kind).await;
            bench.gateway.change(move |_, reply| {
                reply.add("content-length", length);
                reply.ends = true;
            });
            let finding = ask(&bench.source(SYNCED), SERIAL).await.finding;
            assert_eq!(
                finding,
                Finding::Unknown(Reason::GarbledAnswer),
                "{kind:?} {length}"
            );
        }
    }
    for wait in [
        "18446744073709551615",
        "9223372036854775808",
        "99999999999999999999999",
        "-1",
        "0",
        "1e400",
        "NaN",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 0001 00:00:00 GMT",
    ] {
        for kind in KINDS {
            let bench = Bench::new(kind).await;
            bench.gateway.change(move |_, reply| {
                reply.status = "429 Too Many Requests".to_owned();
                reply.add("retry-after", wait);
                reply.add("x-ratelimit-limit-hour", wait);
                reply.add("x-ratelimit-remaining-hour", wait);
            });
            let source = bench.source(SYNCED);
            assert_eq!(
                ask(&source, SERIAL).await.finding,
                Finding::Unknown(Reason::RateLimited),
                "{kind:?} {wait}"
            );
            let _ = (
                ask(&source, SERIAL).await,
                source.vitals(),
                source.clock_ahead(),
            );
        }
    }
    for text in [
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
    ] {
        for (kind, clock) in KINDS
            .into_iter()
            .flat_map(|kind| [(kind, SYNCED), (kind, UNSYNCED)])
        {
            let bench = Bench::new(kind).await;
            bench
                .gateway
                .change(move |_, reply| reply.set("date", text));
            let source = bench.source(clock);
            for serial in [SERIAL, ABSENT, SERIAL] {
                let evidence = ask(&source, serial).await;
                assert!(
                    clock == UNSYNCED || evidence.finding == Finding::Unknown(Reason::Stale),
                    "{kind:?} {text}: {evidence:?}"
                );
                assert!(
                    !kind.has_a_last_fetch()
                        || evidence.finding.reason().map(Reason::verdict) == Some(Verdict::Unknown),
                    "{text}: {evidence:?}"
                );
            }
            let _ = (source.vitals(), source.clock_ahead());
        }
    }
}

#[tokio::test]
async fn every_value_of_every_reply_may_be_any_number_or_date() {
    let odd = [
        "9223372036854775808",
        "-9223372036854775808",
        "1e308",
        "\"9999-12-30T21:59:59Z\"",
        "\"0001-01-01T00:00:00Z\"",
    ];
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        for (path, serial) in kind.reads() {
            for place in 0_usize.. {
                let places = Arc::new(AtomicUsize::new(0));
                for odd in odd {
                    let seen = Arc::clone(&places);
                    bench.gateway.change_at(path, move |reply| {
                        let text = reply.text();
                        let all: Vec<usize> = text
                            .match_indices("\":")
                            .map(|(place, _)| place + 2)
                            .collect();
                        seen.store(all.len(), Ordering::SeqCst);
                        let Some(at) = all.get(place) else { return };
                        if !text[*at..].starts_with(['[', '{']) {
                            let end = at
                                + if text[*at..].starts_with('"') {
                                    text[at + 1..].find('"').unwrap() + 2
                                } else {
                                    text[*at..].find([',', '}']).unwrap()
                                };
                            reply.say(&format!("{}{odd}{}", &text[..*at], &text[end..]));
                        }
                    });
                    let source = bench.source(SYNCED);
                    ask(&source, serial).await;
                    let _ = (source.vitals(), source.probe().await);
                }
                if place + 1 >= places.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_dies_is_asked_again_on_a_new_one() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        bench.gateway.once_only();
        let source = bench.source(SYNCED);
        for _ in 0..3 {
            assert_eq!(ask(&source, SERIAL).await.finding, kind.good(), "{kind:?}");
        }
        source.probe().await.unwrap();
        assert_eq!(
            bench.violations(),
            Vec::<String>::new(),
            "{kind:?}: a signature is used once"
        );
    }
}

#[tokio::test]
async fn a_pool_of_silent_connections_costs_one_scan_at_most() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source(SYNCED);
        let four = || futures_util::future::join_all((0..4).map(|_| ask(&source, SERIAL)));
        four().await;
        assert!(
            four()
                .await
                .iter()
                .all(|evidence| evidence.finding == kind.good()),
            "{kind:?}"
        );
        bench.gateway.fall_silent();
        let first = tokio::spawn({
            let source = source.clone();
            async move { ask(&source, SERIAL).await.finding }
        });
        // The next scan comes one deadline later.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let next = tokio::time::timeout(Duration::from_secs(2), ask(&source, SERIAL)).await;
        assert_eq!(
            next.map(|evidence| evidence.finding),
            Ok(kind.good()),
            "{kind:?}"
        );
        assert!(
            !first.is_finished() || first.await.unwrap() == kind.good(),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_scan_waits_for_no_older_scans_read_that_hangs() {
    for kind in KINDS {
        for (path, serial) in kind.reads() {
            let bench = Bench::new(kind).await;
            let hangs = bench.behind.running().faults().clone();
            hangs.add(format!("{path}=silence:7s*1").parse().unwrap());
            let source = bench.source(SYNCED);
            let older = tokio::spawn({
                let source = source.clone();
                async move { ask(&source, serial).await }
            });
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            let next = tokio::time::timeout(Duration::from_secs(2), ask(&source, serial))
                .await
                .map(|evidence| evidence.finding);
            let well = ask(&bench.source(SYNCED), serial).await.finding;
            assert_eq!(next, Ok(well), "{kind:?} {path}");
            older.abort();
        }
    }
}
