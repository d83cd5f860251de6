//! What the journal keeps of the machine it is on: a card that wakes up in another Pi must not go on counting in the old epoch.

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
    fn the_stored_hash_tells_machines_apart_and_hides_them() {
        assert_ne!(hashed("pi-1"), hashed("pi-2"));
        assert_eq!(hashed("pi-1"), hashed("pi-1"));
        assert_eq!(hashed("pi-1").len(), 32);
        assert!(!hashed("pi-1").contains("pi-1"));
    }
}
