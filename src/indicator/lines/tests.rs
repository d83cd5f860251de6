//! Result lines: their two forms, and hostile texts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    label::Serial,
    reason::Reason,
    record::{Cause, Change},
    runtime::name::Name,
};

const ID: Uuid = Uuid::from_u128(0x019a_b0c2_6d1e_7c3a_9f00_3f2b_6c1d_9e10);

fn record(reason: Reason) -> Record {
    let lane = Name::new("main").unwrap();
    Record {
        serial: Some(Serial::new("C02XK0AAJG5H").unwrap()),
        ..Record::bare(ID, Timestamp::UNIX_EPOCH, lane, reason)
    }
}

fn change(reason: Reason) -> Record {
    let change = Change {
        scan: ID,
        cause: Cause::Recheck,
        previous_reason: Reason::Assigned,
    };
    Record {
        change: Some(change),
        lamp: Signal::Alarm,
        ..record(reason)
    }
}

#[test]
fn a_line_for_a_program_has_the_promised_form() {
    let id = "019ab0c2-6d1e-7c3a-9f00-3f2b6c1d9e10";
    assert_eq!(
        Form::Piped.lines(&record(Reason::Assigned)),
        format!("{id} C02XK0AAJG5H ready assigned The enrollment profile is Assigned.\n")
    );
    assert!(
        Form::Piped
            .lines(&change(Reason::Released))
            .starts_with(&format!("change {id} C02XK0AAJG5H not_ready released "))
    );
    let rescan = Record {
        serial: None,
        ..record(Reason::Imei)
    };
    assert_eq!(
        Form::Piped.lines(&rescan),
        format!("{id} - rescan imei That is the IMEI.\n")
    );
}

#[test]
fn a_person_reads_the_lamp_the_verdict_the_sentence_and_the_next_action() {
    assert_eq!(
        for_person(&record(Reason::Assigned), 80, false),
        "green  ready     C02XK0AAJG5H  The enrollment profile is Assigned.\n\
         \x20                              Power it on.\n"
    );
    assert_eq!(
        for_person(&change(Reason::ProfileRemoved), 80, false),
        "alarm  not_ready C02XK0AAJG5H  Changed: The enrollment profile of this device\n\
         \x20                              was removed.\n\
         \x20                              Assign the enrollment profile again in the MDM.\n"
    );
    let coloured = for_person(&record(Reason::Offline), 80, true);
    assert!(
        coloured.starts_with("\x1b[1;97;43mamber \x1b[0m unknown   C02XK0AAJG5H  The service"),
        "{coloured:?}"
    );
}

#[test]
fn no_line_is_wider_than_the_terminal_and_a_narrow_one_gets_all_words() {
    for reason in Reason::ALL {
        let record = record(*reason);
        for columns in [0, 20, 51, 80, 200] {
            let text = for_person(&record, columns, false);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns.max(NARROWEST)), "{text}");
            let words: Vec<&str> = text.split_whitespace().skip(3).collect();
            assert_eq!(
                words.join(" "),
                format!("{} {}", record.message, record.action)
            );
        }
    }
}

#[test]
fn a_message_cannot_steer_the_terminal_or_forge_a_line() {
    let hostile = Record {
        message: "gone\r\x1b[2K\u{9b}31m\nforged\u{202e}left\u{2028}\u{feff}\0\u{e0041}\u{fe0f}"
            .to_owned(),
        ..record(Reason::Assigned)
    };
    let seen = "gone␍␛[2K\\u{9b}31m␊forged\\u{202e}left\\u{2028}\\u{feff}␀\\u{e0041}\\u{fe0f}";
    let text = Form::Piped.lines(&hostile);
    assert!(text.ends_with(&format!("{seen}\n")), "{text:?}");
    assert!(for_person(&hostile, 80, false).contains(seen), "{text:?}");
}

proptest! {
    #[test]
    fn whatever_is_in_it_a_result_is_one_line_without_control_characters(message in any::<String>()) {
        let hostile = Record { message, ..record(Reason::Assigned) };
        let text = Form::Piped.lines(&hostile);
        prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control));
        prop_assert_eq!(text.lines().count(), 1);
        let text = for_person(&hostile, 80, false);
        prop_assert!(!text.chars().any(|character| character.is_control() && character != '\n'));
    }
}
