//! The station's own parts: scanners, lamps, journal, disk and clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Line, State,
    sources::{unreadable, with_copies},
};
use crate::{
    indicator,
    journal::{
        self, Stored,
        reader::{ReadFault, Reader},
        survey,
    },
    publisher,
    readiness::http::CLOCK_TOLERANCE,
    runtime::{certificate, credential::Credential, machine::pi_model, name::Name, times},
    scanner::{self, ScannerKind, ScannerState, UNENDED_REMEDY},
};

/// Records looked at for the rhythm of fetches.
const RECORDS: usize = 5_000;
/// So many of a list are shown.
const SHOWN: usize = 8;
/// Below this much room, records are in danger soon ..
const LITTLE: u64 = 128 << 20;
/// .. and now.
const NEXT_TO_NOTHING: u64 = 8 << 20;
/// A clock this far off is worth a word.
const OFF: SignedDuration = SignedDuration::from_secs(30);

/// A record that waits longer than this is not on its way.
const OVERDUE: SignedDuration = SignedDuration::from_mins(1);

const RIGHTS: &str = "give this user the rights of config/mosquitto/acl: to write the station's own channels and to read its availability";

/// What to do where nobody can tell whether an agent runs.
const UNTOLD: &str = "run this as root (sudo benchlight doctor), with a `state_dir` that is right";

/// One scanner. `agent`: does an agent run; `None`: nobody can tell.
pub(super) fn scanner(settings: &scanner::Settings, agent: Option<bool>) -> Line {
    let (part, kind) = (format!("scanner {}", settings.name), &settings.kind);
    if agent == Some(false) {
        let state = scanner::probe(settings);
        return of_scanner(part, kind, &state, &tried(kind));
    }
    // Not even tried: the agent may be opening it again just now.
    let state = scanner::look(settings);
    match (state == ScannerState::Ok, agent) {
        (true, Some(_)) => Line::in_use(part, &format!(": {} is there", kind.place())),
        (true, None) => Line::new(
            part,
            State::Warn,
            format!("{} is there, and was not tried", kind.place()),
            UNTOLD,
        ),
        (false, _) => of_scanner(part, kind, &state, ""),
    }
}

/// A good scanner in words.
fn tried(kind: &ScannerKind) -> String {
    match kind {
        ScannerKind::Hid { .. } => format!(
            "{} is there and can be taken for Benchlight alone",
            kind.place()
        ),
        ScannerKind::Serial { .. } => format!("{} is there and can be opened", kind.place()),
        ScannerKind::Stdin => "the agent reads its standard input".to_owned(),
        ScannerKind::Tcp { .. } => format!("{} is free to listen on", kind.place()),
    }
}

fn of_scanner(part: String, kind: &ScannerKind, state: &ScannerState, well: &str) -> Line {
    if *state == ScannerState::Ok {
        return Line::ok(part, well);
    }
    let mut remedy = state.remedy(kind).unwrap_or_default();
    if *state == ScannerState::NoRight {
        remedy.push_str("; this was tried as the user who runs the doctor: sudo benchlight doctor tries it as root");
    }
    Line::new(part, State::Fail, state.describe(kind), remedy)
}

/// Adds whether the scanner has read a serial number that a source knew. A wrong layout or prefix shows here.
pub(super) fn with_proof(mut line: Line, scanner: &Name, proofs: Option<&Proofs>) -> Line {
    let Some(proofs) = proofs.filter(|_| line.state < State::Fail) else {
        return line;
    };
    match proofs.get(scanner) {
        Some(Some(known)) => line.finding.push_str(&format!(
            "; read a known serial number {}",
            times::moment(*known)
        )),
        Some(None) => {
            line.finding
                .push_str("; none of its codes was a known serial number yet");
            line.state = line.state.max(State::Warn);
            line.remedy =
                "scan a box that the MDM knows; if it is not found either, check the scanner's keyboard layout, prefix and `layout`".to_owned();
        }
        None => line.finding.push_str("; nothing scanned yet"),
    }
    line
}

/// Adds that the scanner's codes arrive without an end key, as the agent saw it.
pub(super) fn with_end_key(mut line: Line, scanner: &Name, unended: &BTreeSet<String>) -> Line {
    if line.state < State::Fail && unended.contains(scanner.as_str()) {
        line.finding
            .push_str("; its codes arrive without an end key");
        line.remedy = if line.remedy.is_empty() {
            UNENDED_REMEDY.to_owned()
        } else {
            format!("{UNENDED_REMEDY}; {}", line.remedy)
        };
        line.state = State::Warn;
    }
    line
}

/// One lane's lamps. Beside an agent they are only looked at: tried, they would go dark.
pub(super) fn lamps(lane: &Name, settings: &indicator::Settings, agent: Option<bool>) -> Line {
    let part = format!("lamps {lane}");
    let pins = match settings {
        indicator::Settings::None => return Line::ok(part, "none fitted"),
        indicator::Settings::Terminal { .. } => {
            return Line::ok(part, "drawn on the agent's terminal");
        }
        indicator::Settings::Gpio(gpio) => gpio,
    };
    let state = match agent {
        None => {
            return Line::new(
                part,
                State::Warn,
                "not tried: an agent may hold them",
                UNTOLD,
            );
        }
        Some(true) => indicator::look(settings).map(|()| None),
        Some(false) => indicator::probe(settings),
    };
    let state = match state {
        Ok(_) if agent == Some(true) => return Line::in_use(part, ""),
        Ok(None) => return Line::ok(part, "none fitted"),
        Ok(Some(driver)) => {
            let numbers = [
                Some(("green", pins.green)),
                Some(("red", pins.red)),
                pins.amber.map(|pin| ("amber", pin)),
                pins.buzzer.map(|pin| ("buzzer", pin)),
            ];
            let numbers: Vec<String> = numbers
                .into_iter()
                .flatten()
                .map(|(name, pin)| format!("{name} on GPIO{pin}"))
                .collect();
            let here = pi_model()
                .map(|model| format!(" on a {model}"))
                .unwrap_or_default();
            let finding = format!(
                "{} can be driven and read dark by {driver}{here}",
                numbers.join(", ")
            );
            return Line::new(
                part,
                State::Ok,
                finding,
                "`benchlight lamps test` lights them for your eyes",
            );
        }
        Err(state) => state,
    };
    let remedy = match &state {
        indicator::LampState::Busy(_) => {
            "end the program that holds the pin, or choose another pin"
        }
        indicator::LampState::Missing(_) => {
            "check `driver`, `chip` and the pins in [indicator]; on a machine without pins use kind = \"terminal\" or \"none\""
        }
        indicator::LampState::NoRight(_) => {
            "add the agent's user to the group gpio; run this as root or as the agent's user"
        }
        indicator::LampState::Ok | indicator::LampState::None | indicator::LampState::Fault(_) => {
            "check the wiring and the pins in [indicator]; see docs/hardware.md"
        }
    };
    Line::new(
        part,
        State::Fail,
        state.problem().unwrap_or_else(|| state.code()),
        remedy,
    )
}

/// The way to the broker. Beside an agent only as far as TLS: a session of this user could end the agent's own.
pub(super) async fn broker(settings: publisher::Settings, agent: Option<bool>) -> Line {
    let mut line = match agent {
        Some(false) => let_in(&settings).await,
        _ => reached(settings.clone(), agent).await,
    };
    with_copies(
        &mut line,
        settings
            .password
            .iter()
            .chain(settings.client_certificate.iter().map(|(_, key)| key)),
    );
    line
}

const BROKER: &str = "broker";

/// What keeps anybody from trying, and the broker's place.
fn place(settings: &publisher::Settings) -> Result<String, Line> {
    let password = settings
        .password
        .as_ref()
        .map(Credential::read_password)
        .transpose()
        .map(drop);
    let key = settings
        .client_certificate
        .as_ref()
        .map(|(_, key)| certificate::private_key(key))
        .transpose()
        .map(drop);
    if let Err(fault) = password.and(key) {
        return Err(unreadable(BROKER.to_owned(), &fault));
    }
    if settings.url.host_str() == Some("broker.example") {
        return Err(Line::new(
            BROKER,
            State::Fail,
            "[mqtt] url is still the example's: broker.example",
            "write your own broker's address",
        ));
    }
    Ok(format!(
        "{}:{}",
        settings.url.host_str().unwrap_or_default(),
        settings.url.port().unwrap_or_default()
    ))
}

/// A failure in words that end in their remedy, where there is one.
fn no_way(words: &str) -> Line {
    let (finding, remedy) = words
        .rsplit_once(": ")
        .unwrap_or((words, "look at the broker's log, then try again"));
    Line::new(BROKER, State::Fail, finding, remedy)
}

async fn reached(settings: publisher::Settings, agent: Option<bool>) -> Line {
    let place = match place(&settings) {
        Ok(place) => place,
        Err(line) => return line,
    };
    let way = if settings.url.scheme() == "mqtts" {
        " over TLS"
    } else {
        ""
    };
    let reached = tokio::task::spawn_blocking(move || publisher::reach(&settings)).await;
    match (
        reached.unwrap_or_else(|_| Err("the try of the broker broke off".to_owned())),
        agent,
    ) {
        (Err(words), _) => no_way(&words),
        (Ok(()), Some(_)) => Line::in_use(BROKER, &format!(": {place} can be reached{way}")),
        (Ok(()), None) => Line::new(
            BROKER,
            State::Warn,
            format!("{place} can be reached{way}; user and rights were not tried"),
            UNTOLD,
        ),
    }
}

/// With a running agent it is seen in the journal whether the broker takes its records.
pub(super) fn with_delivery(mut line: Line, waits: Option<SignedDuration>) -> Line {
    if line.state == State::InUse
        && let Some(time) = waits.filter(|time| *time > OVERDUE)
    {
        line.finding.push_str(&format!(
            "; records have been waiting for it for {}",
            times::length(time)
        ));
        line.remedy = format!("look at the agent's log (journalctl -u benchlight); {RIGHTS}");
        line.state = State::Warn;
    }
    line
}

async fn let_in(settings: &publisher::Settings) -> Line {
    let place = match place(settings) {
        Ok(place) => place,
        Err(line) => return line,
    };
    let probed = match publisher::probe(settings).await {
        Ok(probed) => probed,
        Err(words) => return no_way(&words),
    };
    let way = if settings.url.scheme() == "mqtts" {
        "over TLS"
    } else {
        "without TLS"
    };
    let user = settings
        .username
        .as_ref()
        .map(|name| format!(" as {name:?}"))
        .unwrap_or_default();
    let connected = format!("{place} lets this station in {way}{user}");
    if let Some(why) = probed.refused {
        return Line::new(
            BROKER,
            State::Warn,
            format!("{connected}, and does not let it listen to its own availability ({why})"),
            RIGHTS,
        );
    }
    if probed.availability.as_deref() == Some("online") {
        let remedy = "a station of the same site and name may run elsewhere; if the agent was killed just now, the broker says offline by itself in a minute";
        return Line::new(
            BROKER,
            State::Warn,
            format!("{connected}; it says that this station is online, and no agent runs here"),
            remedy,
        );
    }
    Line::ok(
        BROKER,
        format!("{connected}; whether it may publish shows when the agent runs"),
    )
}

/// When each scanner last read a known serial number, see [`Reader::proofs`].
type Proofs = BTreeMap<Name, Option<Timestamp>>;

/// What the journal and its folder showed.
pub(super) struct JournalSeen {
    pub(super) lines: Vec<Line>,
    /// The newest records, newest first; `None`: there is no journal that can be read.
    pub(super) records: Option<Vec<Stored>>,
    /// The proof of each scanner; `None` likewise.
    pub(super) proofs: Option<Proofs>,
    /// Scanners whose codes arrive without an end key.
    pub(super) unended: BTreeSet<String>,
    /// How long the oldest record that the broker has not got has been waiting.
    pub(super) waits: Option<SignedDuration>,
}

impl JournalSeen {
    /// That line and nothing else.
    pub(super) fn of(line: Line) -> Self {
        Self {
            lines: vec![line],
            records: None,
            proofs: None,
            unended: BTreeSet::new(),
            waits: None,
        }
    }
}

/// The journal and the disk under it, and what stands in it of these scanners.
pub(super) fn journal(
    state_dir: Option<&Path>,
    settings: Option<&journal::Settings>,
    agent: bool,
    scanners: &BTreeSet<Name>,
) -> JournalSeen {
    const PART: &str = "journal";
    let Some(dir) = state_dir else {
        return JournalSeen::of(Line::new(
            PART,
            State::Fail,
            "`state_dir` is wrong in the config",
            "mend the config first",
        ));
    };
    if !dir.exists() {
        let parent = dir
            .ancestors()
            .find(|parent| parent.is_dir())
            .unwrap_or(Path::new("/"));
        let remedy = "the service makes it at its start; by hand: create it with mode 0700 for the agent's user";
        return JournalSeen::of(match survey::writable(parent) {
            Ok(()) => Line::ok(
                PART,
                format!("{} is made at the first start", dir.display()),
            ),
            Err(_) => Line::new(
                PART,
                State::Warn,
                format!(
                    "{} is not there yet, and this user may not make it",
                    dir.display()
                ),
                remedy,
            ),
        });
    }
    let mut lines = Vec::new();
    let (mut records, mut proofs, mut unended, mut waits) = (None, None, BTreeSet::new(), None);
    let mut reader = Reader::open(dir);
    let waiting = match &mut reader {
        Ok(reader) => {
            records = reader.newest(RECORDS).ok();
            proofs = reader.proofs(scanners).ok();
            unended = reader.unended().unwrap_or_default();
            waits = reader
                .outbox()
                .ok()
                .and_then(|(_, since)| Some(Timestamp::now().duration_since(since?)));
            read(reader, agent, &mut lines)
        }
        Err(ReadFault::Absent(_)) => Line::ok(
            PART,
            format!(
                "{} holds no journal yet; the first start makes it",
                dir.display()
            ),
        ),
        Err(fault @ ReadFault::Closed { .. }) => Line::new(
            PART,
            State::Fail,
            fault.to_string(),
            "run this as root: sudo benchlight doctor",
        ),
        Err(fault) => Line::new(
            PART,
            State::Warn,
            fault.to_string(),
            "nothing: the agent sets such a file aside by itself and saves what can be read",
        ),
    };
    let journal = match survey::writable(dir) {
        Err(error) if !agent => {
            let remedy = "make it the agent's own (chown benchlight, mode 0700); if the disk is read-only, check the card";
            Line::new(
                PART,
                State::Fail,
                format!("{} cannot be written: {error}", dir.display()),
                remedy,
            )
        }
        _ => waiting,
    };
    lines.insert(0, journal);
    lines.extend(salvaged(dir));
    lines.push(room(dir, settings));
    JournalSeen {
        lines,
        records,
        proofs,
        unended,
        waits,
    }
}

/// What the reader tells; records that were set aside are a line of their own.
fn read(reader: &mut Reader, agent: bool, lines: &mut Vec<Line>) -> Line {
    const PART: &str = "journal";
    let (outbox, aside) = match (reader.outbox(), reader.aside()) {
        (Ok(outbox), Ok(aside)) => (outbox, aside),
        (Err(fault), _) | (_, Err(fault)) => {
            let remedy = "start the agent: it sets a damaged file aside and saves what can be read";
            return Line::new(PART, State::Warn, fault.to_string(), remedy);
        }
    };
    let (many, listed) = aside;
    if many > 0 {
        let list: Vec<String> = listed
            .iter()
            .take(SHOWN)
            .map(|(seq, why)| format!("seq {seq} ({why})"))
            .collect();
        let more = if listed.len() > SHOWN { ", .." } else { "" };
        let finding = format!(
            "{} that the broker does not take: {}{more}",
            records(many),
            list.join(", ")
        );
        let remedy = "mend the broker's limits or rights; they are offered again at the next start and every hour";
        lines.push(Line::new(
            "journal, set aside",
            State::Warn,
            finding,
            remedy,
        ));
    }
    let unsent = match outbox {
        (0, _) => "everything is delivered".to_owned(),
        (many, Some(since)) => format!(
            "{} waiting for the broker, the oldest since {}",
            records(many),
            times::moment(since)
        ),
        (many, None) => format!("{} waiting for the broker", records(many)),
    };
    match (agent, outbox.0) {
        (true, _) => Line::in_use(PART, &format!("; {unsent}")),
        (false, 0) => Line::ok(PART, format!("can be read and written; {unsent}")),
        (false, _) => Line::new(
            PART,
            State::Warn,
            format!("can be read and written; {unsent}"),
            "start the agent: it delivers them",
        ),
    }
}

fn records(many: u64) -> String {
    format!("{many} record{}", if many == 1 { "" } else { "s" })
}

fn salvaged(dir: &Path) -> Option<Line> {
    let files = survey::set_aside(dir);
    if files.is_empty() {
        return None;
    }
    let list: Vec<String> = files
        .iter()
        .take(SHOWN)
        .map(|(path, bytes)| format!("{} ({})", path.display(), size(*bytes)))
        .collect();
    let remedy = "what could be read of them is in the journal already; health says how many records were lost (journal.lost, null: nobody can say); copy them elsewhere if their loss matters, then delete them. A card that damages files wants replacing";
    Some(Line::new(
        "journal, salvaged",
        State::Warn,
        format!("damaged or foreign journals lie here: {}", list.join(", ")),
        remedy,
    ))
}

fn room(dir: &Path, settings: Option<&journal::Settings>) -> Line {
    const PART: &str = "disk";
    let remedy = "free some space, or set a smaller [journal] max_bytes";
    match survey::free(dir) {
        Err(error) => Line::new(
            PART,
            State::Fail,
            format!("its room cannot be told: {error}"),
            "check the filesystem of `state_dir`",
        ),
        Ok(free) => {
            let bound = settings
                .map(|settings| format!("; the journal may grow to {}", size(settings.max_bytes)))
                .unwrap_or_default();
            let finding = format!("{} free at {}{bound}", size(free), dir.display());
            match free {
                ..NEXT_TO_NOTHING => Line::new(PART, State::Fail, finding, remedy),
                NEXT_TO_NOTHING..LITTLE => Line::new(PART, State::Warn, finding, remedy),
                _ => Line::ok(PART, finding),
            }
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        ..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// The wall clock, by the kernel and by the services' own clocks.
pub(super) fn clock(synced: bool, ahead: &[(Name, SignedDuration)]) -> Line {
    const PART: &str = "clock";
    const REMEDY: &str = "let the station reach a time server (UDP port 123): `timedatectl set-ntp true`, `timedatectl timesync-status`";
    let kept = if synced {
        "kept right by a time server"
    } else {
        "not synchronised: nobody keeps it right"
    };
    let worst = ahead.iter().max_by_key(|(_, ahead)| ahead.abs());
    let off = worst.map_or(SignedDuration::ZERO, |(_, ahead)| ahead.abs());
    let finding = match worst {
        Some((name, ahead)) if off > OFF => {
            format!(
                "{kept}; {} {} what {name}'s service says",
                times::length(off),
                if ahead.is_positive() {
                    "behind"
                } else {
                    "ahead of"
                }
            )
        }
        Some(_) => format!("{kept}; agrees with the services' clocks"),
        None => format!("{kept}; no service told its time"),
    };
    if off.unsigned_abs() > CLOCK_TOLERANCE {
        Line::new(PART, State::Fail, finding, REMEDY)
    } else if off > OFF || !synced {
        Line::new(PART, State::Warn, finding, REMEDY)
    } else {
        Line::ok(PART, finding)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_clock_fails_when_it_is_minutes_off_and_warns_when_nobody_keeps_it() {
        let ahead = |seconds| {
            vec![(
                Name::new("kandji").unwrap(),
                SignedDuration::from_secs(seconds),
            )]
        };
        for (synced, ahead, state, words) in [
            (true, ahead(2), State::Ok, "agrees"),
            (true, vec![], State::Ok, "no service told"),
            (false, ahead(0), State::Warn, "nobody keeps it right"),
            (true, ahead(45), State::Warn, "45 s behind what kandji"),
            (true, ahead(-301), State::Fail, "5 min ahead of what kandji"),
        ] {
            let line = clock(synced, &ahead);
            assert!(
                line.state == state && line.finding.contains(words),
                "{line:?}"
            );
            assert_eq!(line.remedy.is_empty(), state == State::Ok);
        }
    }

    #[test]
    fn a_running_agent_whose_records_wait_for_minutes_is_not_called_well_connected() {
        let line = || Line::in_use(BROKER, ": 127.0.0.1:1883 can be reached");
        for waits in [None, Some(SignedDuration::from_secs(59))] {
            assert_eq!(with_delivery(line(), waits), line());
        }
        let late = with_delivery(line(), Some(SignedDuration::from_mins(5)));
        assert!(
            late.state == State::Warn
                && late.finding.ends_with("waiting for it for 5 min")
                && late.remedy.contains("journalctl"),
            "{late:?}"
        );
        let failed = Line::new(BROKER, State::Fail, "f", "r");
        assert_eq!(
            with_delivery(failed.clone(), Some(SignedDuration::from_mins(5))),
            failed
        );
    }

    #[test]
    fn sizes_are_told_in_round_numbers() {
        assert_eq!(
            [900, 2_048, 5 << 20, 3 << 30].map(size),
            ["900 bytes", "2 KiB", "5 MiB", "3 GiB"]
        );
    }
}
