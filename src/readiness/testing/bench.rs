//! A source beside the simulated service that it asks, and the faults of the way between them.

use std::{io::Write as _, ops::Deref, os::unix::fs::OpenOptionsExt as _, time::Duration};

use tempfile::TempDir;

use crate::{
    label::{Candidates, Serial},
    readiness::{
        Purpose, Service, Settings, Source,
        evidence::{Evidence, Finding},
        http::Limits,
        replica,
    },
    reason::Reason,
    runtime::{
        clock::ClockWatch,
        credential::{Credential, CredentialStore},
        name::Name,
    },
    simulator::{Introduction, Running, faults::Effect, fleet, stock::DEMO},
};

/// The file of the token that the source shows.
const TOKEN: &str = "token";

/// A source of a station and the simulated service that it asks.
pub(in crate::readiness) struct Bench<S> {
    pub(in crate::readiness) server: S,
    pub(in crate::readiness) source: Source,
    serial: &'static str,
    folder: TempDir,
}

impl<S: Deref<Target = Running>> Bench<S> {
    /// `service` is the source's own settings, with the token. `serial`: whom [`Bench::finding`] asks about.
    pub(in crate::readiness) fn new(
        server: S,
        (serial, token): (&'static str, &str),
        total: Duration,
        service: impl FnOnce(Credential) -> Service,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let credential = CredentialStore::new(folder.path()).credential(TOKEN);
        let settings = Settings {
            name: Name::new("source").unwrap(),
            url: server.base().parse().unwrap(),
            ca_file: None,
            reads_per_minute: 0,
            replica: replica::Settings::default(),
            service: service(credential),
        };
        let limits = Limits {
            connect: total,
            total,
            ..Limits::default()
        };
        let clock = ClockWatch::Fixed { synced: true };
        let bench = Self {
            source: Source::with_limits(settings, clock, limits).unwrap(),
            server,
            serial,
            folder,
        };
        bench.write_token(token);
        bench
    }

    pub(in crate::readiness) fn write_token(&self, token: &str) {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let file = options.open(self.folder.path().join(TOKEN));
        file.unwrap().write_all(token.as_bytes()).unwrap();
    }

    pub(in crate::readiness) async fn ask(&self, serial: &str) -> Evidence {
        let candidates = Candidates::one(Serial::new(serial).unwrap());
        let mut answer = self.source.ask(&candidates, Purpose::Scan).await;
        assert_eq!(answer.evidence.len(), 1);
        answer.evidence.remove(0)
    }

    pub(in crate::readiness) async fn finding(&self) -> Finding {
        self.ask(self.serial).await.finding
    }

    /// Whether each of the two candidates of a label is known, the scanned one first.
    pub(in crate::readiness) async fn known(&self, scanned: &str) -> Vec<bool> {
        let candidates = Candidates {
            scanned: Serial::new(scanned).unwrap(),
            stripped: Serial::new(&scanned[1..]),
            unless_known: None,
        };
        let answer = self.source.ask(&candidates, Purpose::Scan).await;
        answer.evidence.iter().map(|one| one.known).collect()
    }

    /// Asked alone, each box of the demo is answered as it is introduced, and a generated one is known.
    pub(in crate::readiness) async fn assert_as_introduced(&self, introduced: Introduction) {
        assert!(introduced.source.contains(&introduced.running.base()));
        for (serial, reason) in introduced.differs {
            let demo = DEMO.iter().find(|demo| demo.serial == *serial).unwrap();
            assert_ne!(demo.expected, *reason, "{serial} does not differ");
        }
        assert_eq!(introduced.boxes.len(), DEMO.len());
        for (serial, expected, words) in introduced.boxes {
            if expected == "ambiguous" {
                continue;
            }
            let evidence = self.ask(serial).await;
            // The rule calls it settling when a profile was assigned just before the reply.
            let settling = evidence
                .assigned_at
                .zip(evidence.replied_at)
                .is_some_and(|(assigned, now)| now.duration_since(assigned).as_secs() < 60);
            let reason = match evidence.judged(false) {
                Finding::Ready(_) if settling => "settling",
                finding => finding.reason().unwrap().code(),
            };
            assert_eq!(reason, expected, "{serial}, {words}: {evidence:?}");
        }
        assert!(self.ask(&fleet::serial(0)).await.known);
        self.assert_understood();
    }

    pub(in crate::readiness) fn assert_understood(&self) {
        assert_eq!(self.server.violations(), Vec::<String>::new());
    }
}

/// Each way to get no answer, and what it means. A service that waits for less than 2 s runs out of time.
pub(in crate::readiness) fn faults() -> [(Effect, Reason); 14] {
    [
        (Effect::Status(500), Reason::SourceError),
        (Effect::Status(401), Reason::CredentialsRefused),
        (Effect::Status(403), Reason::CredentialsRefused),
        (Effect::TooMany { retry_after: None }, Reason::RateLimited),
        (Effect::Html, Reason::GarbledAnswer),
        (Effect::CutJson, Reason::GarbledAnswer),
        (Effect::CutBody, Reason::GarbledAnswer),
        (Effect::Silence(Duration::from_secs(2)), Reason::Timeout),
        (Effect::Reset, Reason::Offline),
        (Effect::Drop, Reason::Offline),
        (
            Effect::Redirect("http://127.0.0.1:9".to_owned()),
            Reason::GarbledAnswer,
        ),
        (
            Effect::Date("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            Reason::Stale,
        ),
        (Effect::As(206), Reason::GarbledAnswer),
        (
            Effect::Header {
                name: "Age".to_owned(),
                value: "72000".to_owned(),
            },
            Reason::Stale,
        ),
    ]
}
