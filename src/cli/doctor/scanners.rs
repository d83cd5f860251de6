//! The scanners: there, free, and proven to read serial numbers.

use std::collections::BTreeSet;

use super::{Line, State, UNTOLD, journal::Proofs};
use crate::{
    runtime::{name::Name, times},
    scanner::{self, ScannerKind, ScannerState, UNENDED_REMEDY},
};

/// One scanner. `agent`: whether an agent runs; `None`: unknown.
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
        ScannerKind::Web => "the page sends what is typed or scanned there".to_owned(),
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
