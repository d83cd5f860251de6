//! Result lines: their form, and hostile texts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;

use super::*;

fn line() -> Line {
    Line {
        change: false,
        id: Uuid::from_u128(0x019a_b0c2_6d1e_7c3a_9f00_3f2b_6c1d_9e10),
        serial: Some("C02XK0AAJG5H".to_owned()),
        verdict: Verdict::Ready,
        reason: Reason::Assigned,
        message: Reason::Assigned.message(None),
    }
}

#[test]
fn a_line_has_the_promised_form() {
    let id = "019ab0c2-6d1e-7c3a-9f00-3f2b6c1d9e10";
    assert_eq!(
        line().to_string(),
        format!("{id} C02XK0AAJG5H ready assigned The enrollment profile is Assigned.")
    );
    let change = Line {
        change: true,
        verdict: Verdict::NotReady,
        reason: Reason::Released,
        message: Reason::Released.message(None),
        ..line()
    };
    assert!(
        change
            .to_string()
            .starts_with(&format!("change {id} C02XK0AAJG5H not_ready released "))
    );
    let rescan = Line {
        serial: None,
        verdict: Verdict::Rescan,
        reason: Reason::Imei,
        message: Reason::Imei.message(None),
        ..line()
    };
    assert_eq!(
        rescan.to_string(),
        format!("{id} - rescan imei That is the IMEI.")
    );
}

#[test]
fn a_message_cannot_steer_the_terminal_or_forge_a_line() {
    let hostile = Line {
        message: "gone\r\x1b[2K\u{9b}31m\nforged\u{202e}left\u{2028}\u{feff}\0\u{e0041}\u{fe0f}"
            .to_owned(),
        ..line()
    };
    let text = hostile.to_string();
    assert!(
        text.ends_with(
            "gone␍␛[2K\\u{9b}31m␊forged\\u{202e}left\\u{2028}\\u{feff}␀\\u{e0041}\\u{fe0f}"
        ),
        "{text:?}"
    );
}

proptest! {
    #[test]
    fn whatever_is_in_it_a_result_is_one_line_without_control_characters(message in any::<String>(), serial in any::<String>()) {
        let text = Line { message, serial: Some(serial), ..line() }.to_string();
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(text.lines().count(), 1);
    }
}
