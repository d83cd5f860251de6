//! Which machine this is.

use std::{fs, sync::OnceLock};

use uuid::Uuid;

/// Where a Pi's firmware leaves its serial number.
const DEVICE_TREE: [&str; 2] = [
    "/sys/firmware/devicetree/base/serial-number",
    "/proc/device-tree/serial-number",
];

/// This Raspberry Pi's model in its firmware's words; `None` on other machines.
pub fn pi_model() -> Option<String> {
    model_text(&fs::read("/sys/firmware/devicetree/base/model").ok()?)
}

/// This Raspberry Pi's serial number; `None` on other machines.
pub fn pi_serial() -> Option<String> {
    // Other boards have a serial number there too, in other forms; only a Pi's is unique by its last eight digits.
    pi_model()?;
    DEVICE_TREE
        .iter()
        .find_map(|path| serial_text(&fs::read(path).ok()?))
}

/// The machine's own identity: the board's serial number, else the machine id, else one fixed word.
///
/// A serial number stays when the card is written anew; a machine id is copied along with a cloned card, so it comes last.
pub fn identity() -> String {
    DEVICE_TREE
        .iter()
        .chain(&["/etc/machine-id"])
        .find_map(|path| identity_text(&fs::read(path).ok()?))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The id of this boot, within which the boot-time clock counts. One that cannot be read is drawn, so that it equals no other.
pub fn boot_id() -> Uuid {
    static ID: OnceLock<Uuid> = OnceLock::new();
    *ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().parse().unwrap_or_else(|_| Uuid::now_v7())
    })
}

/// A serial number of zeros is one that was never set.
fn identity_text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (text.bytes().any(|byte| byte != b'0')).then(|| text.to_owned())
}

fn model_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes)
        .ok()?
        .trim_matches(['\0', ' ', '\n']);
    text.starts_with("Raspberry Pi").then(|| text.to_owned())
}

/// The device tree ends its texts with a NUL.
fn serial_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes)
        .ok()?
        .trim_matches(['\0', ' ', '\n']);
    (!text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().any(|byte| byte != b'0'))
    .then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_raspberry_pi_has_a_model() {
        assert_eq!(
            model_text(b"Raspberry Pi 3 Model B Rev 1.2\0").as_deref(),
            Some("Raspberry Pi 3 Model B Rev 1.2")
        );
        for bytes in [&b""[..], b"\0", b"linux,dummy-virt\0", b"\xff\xfe"] {
            assert_eq!(model_text(bytes), None);
        }
    }

    #[test]
    fn a_serial_number_is_read_without_its_nul() {
        assert_eq!(
            serial_text(b"100000003d1a2b4c\0").as_deref(),
            Some("100000003d1a2b4c")
        );
        for bytes in [&b""[..], b"\0", b"0000000000000000\0", b"\xff\xfe", b"a b"] {
            assert_eq!(serial_text(bytes), None);
        }
    }

    #[test]
    fn an_identity_is_trimmed_and_zeros_are_none() {
        assert_eq!(
            identity_text(b"10000000abcdef01\0"),
            Some("10000000abcdef01".to_owned())
        );
        assert_eq!(
            identity_text(b"9703f56c10ce48768f5978e5e23a1520\n"),
            Some("9703f56c10ce48768f5978e5e23a1520".to_owned())
        );
        assert_eq!(identity_text(b"0000000000000000\0"), None);
        assert_eq!(identity_text(b"\n"), None);
    }
}
