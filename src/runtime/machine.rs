//! A Raspberry Pi's serial number.

use std::fs;

/// Where a Pi's firmware leaves its serial number.
const DEVICE_TREE: [&str; 2] = ["/sys/firmware/devicetree/base/serial-number", "/proc/device-tree/serial-number"];

/// This Raspberry Pi's serial number; `None` on other machines.
pub fn pi_serial() -> Option<String> {
    // Other boards have a serial number there too, in other forms; only a Pi's is unique by its last eight digits.
    let model = fs::read("/sys/firmware/devicetree/base/model").unwrap_or_default();
    if !model.starts_with(b"Raspberry Pi") {
        return None;
    }
    DEVICE_TREE.iter().find_map(|path| serial_text(&fs::read(path).ok()?))
}

/// The device tree ends its texts with a NUL.
fn serial_text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches(['\0', ' ', '\n']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && text.bytes().any(|byte| byte != b'0')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_without_its_nul() {
        assert_eq!(serial_text(b"100000003d1a2b4c\0").as_deref(), Some("100000003d1a2b4c"));
        for bytes in [&b""[..], b"\0", b"0000000000000000\0", b"\xff\xfe", b"a b"] {
            assert_eq!(serial_text(bytes), None);
        }
    }
}
