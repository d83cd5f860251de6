//! What `label` promises for any bytes. Shared by the fuzz target and the property tests, which both bring `label` and `reason` into scope.

use super::{
    label::{self, Meaning},
    reason::Reason,
};

/// Checks every promise; panics at the first broken one.
pub(super) fn hold_for(bytes: &[u8]) {
    let meaning = label::read(bytes);
    let lossy = String::from_utf8_lossy(bytes);
    match &meaning {
        Meaning::Serials(members) => {
            assert!(
                (1..=256).contains(&members.len()),
                "a group has 1 to 256 members"
            );
            assert!(bytes.is_ascii(), "only ASCII is ever asked for");
            let upper = without_character_sets(&lossy).to_ascii_uppercase();
            for (place, member) in members.iter().enumerate() {
                assert!(!members[..place].contains(member), "no member twice");
                for serial in member.iter() {
                    assert!(
                        label::Serial::new(serial.as_str()).as_ref() == Some(serial),
                        "only what can be a serial number is asked for"
                    );
                    assert!(
                        upper.contains(serial.as_str()),
                        "a serial number stands in the code as it is asked for"
                    );
                }
                if let Some(stripped) = &member.stripped {
                    let prefix = member.scanned.as_str().strip_suffix(stripped.as_str());
                    assert!(
                        matches!(prefix, Some("S" | "1S")),
                        "only a leading S or 1S is ever taken away"
                    );
                }
            }
            let names_its_fields = upper.contains(['\x1d', '(']) || upper.contains("21");
            assert!(
                names_its_fields
                    || !upper.contains(['&', '/', '%', '#', '+', '<', '>', '"', '\'', '\\']),
                "no markup and no part of an address is asked for"
            );
        }
        Meaning::Wrong(reason) => {
            use Reason::{Carton, Eid, Imei, PartNumber, Tracking, Unreadable, Upc};
            assert!(
                matches!(
                    reason,
                    Imei | Eid | Upc | PartNumber | Carton | Tracking | Unreadable
                ),
                "{reason:?} is not a label's reason"
            );
        }
    }

    let normalised = label::normalised(bytes);
    assert!(
        label::read(normalised.as_bytes()) == meaning,
        "what is taken for a repeat reads alike: {normalised:?}"
    );
    if !lossy
        .trim_start_matches([' ', '\t', '\r', '\n'])
        .starts_with(']')
    {
        let spaced = [b" ".as_slice(), &bytes.to_ascii_lowercase(), b"\r\n"].concat();
        assert!(
            label::read(&spaced) == meaning,
            "case and surrounding space do not matter"
        );
    }

    let visible = label::visible(bytes);
    assert!(
        !visible.contains(char::is_control),
        "nothing in a record moves a terminal's cursor"
    );
    assert!(
        visible.chars().count() >= lossy.chars().count(),
        "nothing is left out of a record"
    );
}

/// The text without any backslash followed by six digits.
fn without_character_sets(text: &str) -> String {
    let mut pieces = text.split('\\');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let is_set = piece.len() >= 6 && piece.bytes().take(6).all(|byte| byte.is_ascii_digit());
        if is_set {
            text + &piece[6..]
        } else {
            text + "\\" + piece
        }
    })
}
