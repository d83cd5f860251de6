//! NanoDEP and MicroMDM over real HTTP: they pass Apple's word on, and their own faults are never a box's.

use std::fmt;

use benchlight::{
    readiness::{evidence::SourceKind, examination::Remark, micromdm, nanodep},
    simulator::{
        Order, Running,
        device_assignment::{Apple, Failure},
        stock::{Mdm, Own},
    },
};

use super::*;

/// A fresh bench at any free port.
const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NanoDep,
    MicroMdm,
}

const KINDS: [Kind; 2] = [Kind::NanoDep, Kind::MicroMdm];

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NanoDep => "nanodep",
            Self::MicroMdm => "micromdm",
        })
    }
}

enum Behind {
    NanoDep(nanodep::simulator::Simulator),
    MicroMdm(micromdm::simulator::Simulator),
}

struct Bench {
    behind: Behind,
    folder: TempDir,
    settings: Settings,
}

impl Bench {
    async fn new(kind: Kind) -> Self {
        Self::with(kind, &[], &[]).await
    }

    async fn with(kind: Kind, profiles: &[&str], hosts: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let credential = CredentialStore::new(folder.path()).credential("key");
        let (behind, service) = match kind {
            Kind::NanoDep => {
                let server = nanodep::simulator::serve(ANY.into(), 0).await.unwrap();
                let expected = nanodep::Expected {
                    profiles: owned(profiles),
                    hosts: owned(hosts),
                };
                let name = nanodep::simulator::DEP_NAME;
                let settings = nanodep::Settings::new(name, credential, expected);
                (Behind::NanoDep(server), Service::NanoDep(settings))
            }
            Kind::MicroMdm => {
                let server = micromdm::simulator::serve(ANY.into(), 0).await.unwrap();
                let settings = micromdm::Settings::new(credential, owned(profiles));
                (Behind::MicroMdm(server), Service::MicroMdm(settings))
            }
        };
        let mut bench = Self {
            behind,
            folder,
            settings: Settings {
                name: Name::new("mdm").unwrap(),
                url: "http://127.0.0.1:9".parse().unwrap(),
                ca_file: None,
                reads_per_minute: 0,
                replica: Default::default(),
                service,
            },
        };
        bench.settings.url = bench.running().base().parse().unwrap();
        bench.write_key(&bench.key());
        bench
    }

    fn write_key(&self, key: &str) {
        write_credential(self.folder.path(), "key", key);
    }

    fn key(&self) -> String {
        match &self.behind {
            Behind::NanoDep(server) => server.key().to_owned(),
            Behind::MicroMdm(server) => server.key().to_owned(),
        }
    }

    fn running(&self) -> &Running {
        match &self.behind {
            Behind::NanoDep(server) => server,
            Behind::MicroMdm(server) => server,
        }
    }

    fn apple(&self) -> &Apple {
        match &self.behind {
            Behind::NanoDep(server) => server.apple(),
            Behind::MicroMdm(server) => server.apple(),
        }
    }

    fn devices(&self) -> &'static str {
        match &self.behind {
            Behind::NanoDep(_) => "/proxy/mdmserver1/devices",
            Behind::MicroMdm(_) => "/v1/dep/devices",
        }
    }

    fn source(&self) -> Source {
        let limits = Limits {
            total: Duration::from_secs(2),
            ..Limits::default()
        };
        Source::with_limits(self.settings.clone(), SYNCED, limits).unwrap()
    }

    fn says(&self, status: u16, text: &str) {
        let text = text.to_owned();
        self.running()
            .faults()
            .path(self.devices(), Effect::Say { status, text });
    }
}

async fn bad(source: &Source, reason: Reason, words: &str) {
    let evidence = ask(source, HEALTHY).await;
    assert_eq!(evidence.finding, Finding::Unknown(reason), "{evidence:?}");
    assert!(!evidence.known);
    let detail = evidence.detail.unwrap_or_default();
    assert!(detail.contains(words), "{words:?} is not in {detail:?}");
}

#[tokio::test]
async fn every_box_is_found_as_apple_holds_it() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source();
        for demo in stock::DEMO {
            if let Mdm::Own(Own::Fails | Own::Odd) = demo.mdm {
                continue;
            }
            let evidence = ask(&source, demo.serial).await;
            let mut wanted = dep_finding(demo.dep);
            if kind == Kind::MicroMdm && demo.dep == Dep::Migrating {
                // Its version of Apple's protocol has no deadline of a migration.
                wanted.0 = Finding::Ready(Grade::Apple);
            }
            let found = (evidence.judged(false), evidence.known);
            assert_eq!(found, wanted, "{kind}: {}", demo.story);
            assert_eq!(evidence.kind.code(), kind.to_string());
            let server = (kind == Kind::NanoDep).then_some(stock::SERVER_UUID);
            assert_eq!(evidence.server_uuid.as_deref(), server);
            assert!(evidence.replied_at.is_some() && evidence.as_of.is_none());
            if let Dep::Assigned(_) = demo.dep {
                assert!(evidence.assigned_at.is_some());
                assert!(evidence.device_assigned_at < evidence.assigned_at);
                assert_eq!(evidence.model.as_deref(), Some(demo.model));
                assert_eq!(evidence.family.as_deref(), Some(demo.family));
            }
            if demo.dep == Dep::Empty {
                assert_eq!((evidence.assigned_at, evidence.used_at), (None, None));
            }
        }
        let requests = bench.running().requests();
        let accounts = times(&requests, "GET /proxy/mdmserver1/account");
        assert_eq!(
            accounts,
            usize::from(kind == Kind::NanoDep),
            "once, if ever"
        );
        assert_eq!(bench.running().violations(), [""; 0]);
    }
}

/// The reason that each simulator promises for a station that asks it alone, and for one that asks apple-business beside it.
#[tokio::test]
async fn every_box_ends_as_its_simulator_says() {
    for kind in [SourceKind::NanoDep, SourceKind::MicroMdm] {
        let order = Order {
            listen: ANY.into(),
            boxes: 0,
            limits: false,
        };
        let one = benchlight::readiness::simulate(kind, order).await.unwrap();
        let other = benchlight::readiness::simulate(SourceKind::AppleBusiness, order);
        let other = other.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_credential(folder.path(), one.credential.0, &one.credential.1);
        write_credential(folder.path(), other.credential.0, &other.credential.1);
        let station = format!(
            "[station]\nsite = \"a\"\nname = \"b\"\ncredentials_dir = {:?}\n[[scanner]]\nname = \"c\"\nkind = \"stdin\"\n[indicator]\nkind = \"none\"\n[mqtt]\nurl = \"mqtts://broker.example\"\n",
            folder.path(),
        );
        let text = format!("{station}{}\n{}\n", one.source, other.source);
        let options = benchlight::config::Options::of_this_machine();
        let config = benchlight::config::parse(&text, "test.toml", &options).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        let sources: Vec<Source> = config
            .sources
            .iter()
            .map(|settings| Source::new(settings.clone(), SYNCED).unwrap())
            .collect();
        for demo in stock::DEMO {
            let Meaning::Serials(read) = label::read(demo.serial.as_bytes()) else {
                panic!("{}", demo.serial)
            };
            let deadline = Duration::from_secs(2);
            let mut answers = Vec::new();
            for source in &sources {
                let answer = tokio::time::timeout(deadline, source.ask(&read[0], Purpose::Scan));
                answers.extend(answer.await.ok());
            }
            let policy = |count: usize| Policy {
                sources: sources[..count]
                    .iter()
                    .map(|source| PolicySource {
                        name: source.name().clone(),
                        kind: source.kind(),
                        required: true,
                        refresh: None,
                    })
                    .collect(),
                settle: Duration::from_secs(60),
                ..config.policy.clone()
            };
            let alone = answers
                .iter()
                .filter(|one| one.source == *sources[0].name());
            let alone: Vec<_> = alone.cloned().collect();
            let (_, wanted, _) = one.boxes.iter().find(|one| one.0 == demo.serial).unwrap();
            let found = decide(&read[0], &alone, &policy(1)).reason.code();
            assert_eq!(found, *wanted, "{} alone: {}", kind.code(), demo.story);

            let differs = one.differs.iter().find(|one| one.0 == demo.serial);
            let wanted = differs.map_or(demo.expected, |(_, reason)| *reason);
            assert!(differs.is_none_or(|_| wanted != demo.expected));
            let found = decide(&read[0], &answers, &policy(2)).reason.code();
            assert_eq!(found, wanted, "{}: {}", kind.code(), demo.story);
        }
    }
}

#[tokio::test]
async fn both_candidates_go_in_one_request_and_another_scan_in_its_own() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source();
        source.probe().await.unwrap();
        bench.running().forget();
        let candidates = Candidates {
            scanned: serial("SC02XK0AAJG5H"),
            stripped: Some(serial(HEALTHY)),
            unless_known: None,
        };
        let answer = source.ask(&candidates, Purpose::Scan).await;
        let found = answer.evidence.iter();
        let found: Vec<_> = found.map(|one| (one.finding, one.known)).collect();
        let not_found = (Finding::No(Reason::NotFound), false);
        assert_eq!(found, [not_found, (Finding::Ready(Grade::Apple), true)]);
        let asked = format!("POST {}", bench.devices());
        assert_eq!(times(&bench.running().requests(), &asked), 1);
        // What spoils one box's question spoils no other's.
        let (good, failing) = tokio::join!(ask(&source, HEALTHY), ask(&source, "DEMOERROR020"));
        assert_eq!(good.finding, Finding::Ready(Grade::Apple));
        assert_eq!(failing.finding, Finding::Unknown(Reason::SourceError));
        // What nobody waits for goes together.
        bench.running().forget();
        let boxes =
            [HEALTHY, "FVFGK1BBQ6L4", "K7QW2CCPX9"].map(|text| Candidates::one(serial(text)));
        let [one, two, three] = &boxes;
        let (one, two, three) = tokio::join!(
            source.ask(one, Purpose::Confirmation),
            source.ask(two, Purpose::Confirmation),
            source.ask(three, Purpose::Confirmation),
        );
        for answer in [one, two, three] {
            assert_eq!(answer.evidence[0].finding, Finding::Ready(Grade::Apple));
        }
        assert_eq!(times(&bench.running().requests(), &asked), 1);
        assert_eq!(bench.running().violations(), [""; 0]);
    }
}

#[tokio::test]
async fn what_apple_refuses_behind_them_says_that_nobody_could_say() {
    let calls = [
        (403, "T_C_NOT_SIGNED", Reason::TermsNotSigned),
        (403, "\"T_C_NOT_SIGNED\"\n", Reason::TermsNotSigned),
        (403, "token_expiredForbidden", Reason::CredentialsExpired),
        (403, "ACCESS_DENIED", Reason::CredentialsRefused),
        (403, "FORBIDDEN", Reason::CredentialsRefused),
        (401, "UNAUTHORIZED", Reason::CredentialsRefused),
        (401, "token_rejected", Reason::CredentialsRefused),
        (400, "USER_AGENT_INVALID", Reason::StationFault),
        (400, "MALFORMED_REQUEST_BODY", Reason::StationFault),
        (404, "NOT_FOUND", Reason::GarbledAnswer),
        (429, "TOO_MANY_REQUESTS", Reason::RateLimited),
        (500, "SERVER_ERROR", Reason::SourceError),
        (503, "T_C_NOT_SIGNED", Reason::SourceError),
    ];
    let sessions = [
        (403, "T_C_NOT_SIGNED", Reason::TermsNotSigned),
        (
            401,
            "oauth_problem_adviceUnauthorized",
            Reason::CredentialsRefused,
        ),
        (403, "token_expiredForbidden", Reason::CredentialsExpired),
        (
            400,
            "oauth_problem_adviceBad Request",
            Reason::CredentialsRefused,
        ),
        (503, "SERVER_ERROR", Reason::SourceError),
    ];
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source();
        for (status, text, reason) in calls {
            bench.apple().fail(Some(Failure::Call(status, text)));
            bad(&source, reason, "").await;
        }
        for (status, text, reason) in sessions {
            bench.apple().fail(Some(Failure::Session(status, text)));
            // MicroMDM keeps Apple's text about a session to itself.
            let reason = match reason {
                Reason::TermsNotSigned | Reason::CredentialsExpired if kind == Kind::MicroMdm => {
                    Reason::CredentialsRefused
                }
                reason => reason,
            };
            bad(&source, reason, "").await;
        }
        let (unreachable, no_token) = match kind {
            Kind::NanoDep => ("cannot reach Apple", "`dep_name`"),
            Kind::MicroMdm => ("look at its log", "no server token"),
        };
        bench.apple().fail(Some(Failure::Unreachable));
        bad(&source, Reason::SourceError, unreachable).await;
        bench.apple().fail(Some(Failure::NoToken));
        bad(&source, Reason::SourceError, no_token).await;
        bench.apple().fail(None);
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Ready(Grade::Apple)
        );
    }
}

#[tokio::test]
async fn their_own_refusals_are_told_from_apples() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source();
        let good = || async { ask(&source, HEALTHY).await.finding == Finding::Ready(Grade::Apple) };
        assert!(good().await);
        bench.write_key("another");
        bad(&source, Reason::CredentialsRefused, "refuses the key").await;
        for (key, words) in [("", "empty"), ("two\nlines", "one line")] {
            bench.write_key(key);
            bad(&source, Reason::CredentialsRefused, words).await;
        }
        // A new key counts without a restart.
        bench.write_key(&bench.key());
        assert!(good().await);
        for (status, text, reason, words) in [
            (
                404,
                "404 page not found\n",
                Reason::GarbledAnswer,
                "no such path",
            ),
            (
                403,
                "<html>Forbidden</html>",
                Reason::CredentialsRefused,
                "web page",
            ),
            (
                401,
                "<html>Authorization Required</html>",
                Reason::CredentialsRefused,
                "web page",
            ),
            (502, "<html>Bad Gateway</html>", Reason::SourceError, ""),
            (500, "<html>T_C_NOT_SIGNED</html>", Reason::SourceError, ""),
            (405, "Method Not Allowed", Reason::GarbledAnswer, ""),
            (200, "{\"devices\":[]}", Reason::GarbledAnswer, "a list"),
            (
                200,
                "{\"error\":\"x\",\"devices\":{}}",
                Reason::GarbledAnswer,
                "error",
            ),
            (200, "null", Reason::GarbledAnswer, "null"),
        ] {
            bench.running().faults().clear();
            bench.says(status, text);
            bad(&source, reason, words).await;
        }
        bench.running().faults().clear();
        assert!(good().await);
    }
}

#[tokio::test]
async fn the_faults_of_the_way_are_named() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source();
        for (effect, reason) in [
            (Effect::Reset, Reason::Offline),
            (Effect::Drop, Reason::Offline),
            (Effect::Silence(Duration::from_secs(8)), Reason::Timeout),
            (Effect::Html, Reason::GarbledAnswer),
            (Effect::CutJson, Reason::GarbledAnswer),
            (Effect::CutBody, Reason::GarbledAnswer),
            (
                Effect::Huge {
                    bytes: 9 * 1024 * 1024,
                },
                Reason::GarbledAnswer,
            ),
            (
                Effect::Redirect("http://127.0.0.1:9".to_owned()),
                Reason::GarbledAnswer,
            ),
            (Effect::As(206), Reason::GarbledAnswer),
            (
                Effect::Clock(SignedDuration::from_hours(-20)),
                Reason::Stale,
            ),
        ] {
            bench.running().faults().clear();
            let faults = bench.running().faults();
            faults.path(bench.devices(), effect.clone());
            let evidence = ask(&source, HEALTHY).await;
            assert_eq!(
                evidence.finding,
                Finding::Unknown(reason),
                "{kind} {effect}"
            );
        }
        bench.running().faults().clear();
        let wait = Some("30".to_owned());
        let faults = bench.running().faults();
        faults.path(bench.devices(), Effect::TooMany { retry_after: wait });
        bad(&source, Reason::RateLimited, "UTC").await;
        faults.clear();
        bench.running().forget();
        bad(&source, Reason::RateLimited, "UTC").await;
        let requests = bench.running().requests();
        assert_eq!(times(&requests, &format!("POST {}", bench.devices())), 0);
    }
}

#[tokio::test]
async fn a_record_that_is_not_the_box_asked_for_is_garbled() {
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let source = bench.source();
        for (fields, reason) in [
            (
                json!({"serial_number": "C02XK0AAJG5J"}),
                Reason::GarbledAnswer,
            ),
            (json!({"profile_status": "perhaps"}), Reason::GarbledAnswer),
            (json!({"response_status": "MAYBE"}), Reason::GarbledAnswer),
            (
                json!({"profile_assign_time": "2099-01-01T00:00:00Z"}),
                Reason::GarbledAnswer,
            ),
        ] {
            bench.apple().overlay(HEALTHY, fields.clone());
            let finding = ask(&source, HEALTHY).await.finding;
            assert_eq!(finding, Finding::Unknown(reason), "{kind} {fields}");
        }
        // A null of Apple's, which MicroMDM writes out as a record without a word.
        bench.apple().overlay(HEALTHY, json!(null));
        let evidence = ask(&source, HEALTHY).await;
        let found = (evidence.finding, evidence.known, evidence.status);
        assert_eq!(
            found,
            (Finding::No(Reason::NotFound), false, None),
            "{kind}"
        );
        bench.apple().overlay(
            HEALTHY,
            json!({"profile_assign_time": null, "device_assigned_date": null}),
        );
        let evidence = ask(&source, HEALTHY).await;
        assert_eq!(evidence.finding, Finding::Ready(Grade::Apple));
        assert_eq!(
            (evidence.assigned_at, evidence.device_assigned_at),
            (None, None)
        );
    }
}

#[tokio::test]
async fn only_an_expected_profile_of_an_expected_host_is_green() {
    for kind in KINDS {
        let uuid = stock::PROFILE_UUID;
        let bench = Bench::with(kind, &[uuid], &[]).await;
        let source = bench.source();
        assert_eq!(
            ask(&source, HEALTHY).await.finding,
            Finding::Ready(Grade::Apple)
        );
        let wrong = ask(&source, "DEMOBLUE0011").await.finding;
        assert_eq!(wrong, Finding::No(Reason::WrongProfile));
    }
    for (host, wanted) in [
        ("acme.web-api.kandji.io", Finding::Ready(Grade::Apple)),
        ("mdm.example.org", Finding::No(Reason::WrongProfile)),
    ] {
        let bench = Bench::with(Kind::NanoDep, &[], &[host]).await;
        let source = bench.source();
        for _ in 0..2 {
            assert_eq!(ask(&source, HEALTHY).await.finding, wanted, "{host}");
        }
        let profile = format!(
            "GET /proxy/mdmserver1/profile?profile_uuid={}",
            stock::PROFILE_UUID
        );
        assert_eq!(times(&bench.running().requests(), &profile), 1);
        let unread = ask(&source, "DEMOBLUE0011").await.finding;
        assert_eq!(
            unread,
            Finding::Unknown(Reason::GarbledAnswer),
            "no such profile"
        );
    }
}

#[tokio::test]
async fn the_doctor_says_what_the_key_is_for_what_it_opens_and_what_is_invisible() {
    let words = |remarks: &[Remark]| {
        let all = remarks
            .iter()
            .map(|one| format!("{}: {}; {}", one.about, one.finding, one.remedy));
        all.collect::<Vec<_>>().join("\n")
    };
    for kind in KINDS {
        let bench = Bench::new(kind).await;
        let examination = bench.source().examine().await;
        let said = words(&examination.remarks);
        assert!(
            examination
                .remarks
                .iter()
                .all(|one| one.outcome == Outcome::Ok),
            "{said}"
        );
        let wanted: &[&str] = match kind {
            Kind::NanoDep => &[
                "mdmserver1",
                stock::SERVER_NAME,
                stock::SERVER_UUID,
                "Acme",
                "proxy",
                "hub",
            ],
            Kind::MicroMdm => &[
                "single devices",
                "migration",
                "apple-business",
                "proxy",
                "hub",
            ],
        };
        for word in wanted {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        let servers = usize::from(kind == Kind::NanoDep);
        assert_eq!(examination.servers.len(), servers);
        assert!(!said.contains(&bench.key()), "the key is shown");

        bench.write_key("another");
        let examination = bench.source().examine().await;
        let said = words(&examination.remarks);
        let [only] = examination.remarks.as_slice() else {
            panic!("{said}")
        };
        assert!(
            only.outcome == Outcome::Fail && said.contains("refuses the key"),
            "{said}"
        );
        assert!(bench.source().probe().await.is_err());
        bench.write_key(&bench.key());
        bench.source().probe().await.unwrap();
        bench.apple().fail(Some(Failure::NoToken));
        let fault = bench.source().probe().await.unwrap_err();
        assert_eq!(fault.reason, Reason::SourceError);
        assert_eq!(bench.running().violations(), [""; 0]);
    }
}

#[tokio::test]
async fn nothing_but_the_questions_leaves_and_only_nanodep_has_a_list() {
    for kind in KINDS {
        let bench = Bench::with(kind, &[], &["acme.web-api.kandji.io"]).await;
        let source = bench.source();
        source.probe().await.unwrap();
        for demo in stock::DEMO {
            if !matches!(demo.mdm, Mdm::Own(Own::Fails)) {
                ask(&source, demo.serial).await;
            }
        }
        source.examine().await;
        assert_eq!(source.is_listed(), kind == Kind::NanoDep);
        for request in bench.running().requests() {
            let fits = match kind {
                Kind::NanoDep => {
                    [
                        "GET /proxy/mdmserver1/account",
                        "POST /proxy/mdmserver1/devices",
                    ]
                    .contains(&request.as_str())
                        || request.starts_with("GET /proxy/mdmserver1/profile?profile_uuid=")
                }
                Kind::MicroMdm => request == "POST /v1/dep/devices",
            };
            assert!(fits, "{request}");
        }
    }
}

#[tokio::test]
async fn a_dep_name_that_nanodep_does_not_have_is_named() {
    let mut bench = Bench::new(Kind::NanoDep).await;
    let Service::NanoDep(settings) = &mut bench.settings.service else {
        unreachable!()
    };
    "mdmserver2".clone_into(&mut settings.dep_name);
    bad(&bench.source(), Reason::SourceError, "`dep_name`").await;
    // A name that a path must write otherwise arrives as it is.
    let Service::NanoDep(settings) = &mut bench.settings.service else {
        unreachable!()
    };
    "mdm server?1".clone_into(&mut settings.dep_name);
    bad(&bench.source(), Reason::SourceError, "`dep_name`").await;
    let requests = bench.running().requests();
    assert_eq!(
        times(&requests, "POST /proxy/mdm%20server%3F1/devices"),
        1,
        "{requests:?}"
    );
    assert_eq!(bench.running().violations(), [""; 0]);
}
