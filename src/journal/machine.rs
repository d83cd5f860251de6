//! Which machine this is: a card that wakes up in another Pi must not go on counting in the old epoch.

use std::fs;

/// Where a machine says who it is, best first. A Raspberry Pi's serial number stays when the card is written anew; a
/// machine id is copied along with a cloned card, so it comes last.
const PLACES: [&str; 3] = [
    "/sys/firmware/devicetree/base/serial-number",
    "/proc/device-tree/serial-number",
    "/etc/machine-id",
];

/// The machine's own identity: the Pi's serial number, else the machine id, else one fixed word.
pub fn machine_id() -> String {
    PLACES
        .iter()
        .find_map(|place| fs::read(place).ok().and_then(|bytes| identity(&bytes)))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The identity in a file's bytes. The device tree ends its texts with a NUL; a serial number of zeros is one that was never set.
fn identity(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (text.bytes().any(|byte| byte != b'0')).then(|| text.to_owned())
}

/// What the journal keeps of it. A machine id is confidential (machine-id(5)), so only a keyed hash is stored.
pub(super) fn hashed(machine: &str) -> String {
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        b"benchlight journal: which machine",
    );
    let tag = ring::hmac::sign(&key, machine.as_bytes());
    tag.as_ref()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_trimmed_and_zeros_are_none() {
        assert_eq!(
            identity(b"10000000abcdef01\0"),
            Some("10000000abcdef01".to_owned())
        );
        assert_eq!(
            identity(b"9703f56c10ce48768f5978e5e23a1520\n"),
            Some("9703f56c10ce48768f5978e5e23a1520".to_owned())
        );
        assert_eq!(identity(b"0000000000000000\0"), None);
        assert_eq!(identity(b"\n"), None);
    }

    #[test]
    fn the_stored_hash_tells_machines_apart_and_hides_them() {
        assert_ne!(hashed("pi-1"), hashed("pi-2"));
        assert_eq!(hashed("pi-1"), hashed("pi-1"));
        assert_eq!(hashed("pi-1").len(), 32);
        assert!(!hashed("pi-1").contains("pi-1"));
    }
}
