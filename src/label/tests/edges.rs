//! Boundaries: identifiers and values of every length, and each condition that changes what a code is.

use super::*;

#[test]
fn a_serial_number_is_the_same_whatever_the_case_and_the_space_around_it() {
    let serial = Serial::new("C02XK0AAJG5H").unwrap();
    assert!(serial.is("C02XK0AAJG5H") && serial.is(" c02xk0aajg5h\n"));
    assert!(!serial.is("C02XK0AAJG5J") && !serial.is("SC02XK0AAJG5H") && !serial.is(""));
    assert_eq!(serial.to_string(), "C02XK0AAJG5H");
}

#[test]
fn as_much_is_read_as_a_scanner_may_deliver() {
    let list: Vec<String> = (0..256).map(|number| format!("AB{number:06}")).collect();
    let padded = |length: usize| read(format!("{:,<length$}", list.join(",")).as_bytes());
    assert!(matches!(padded(4_096), Meaning::Serials(members) if members.len() == 256));
    assert_eq!(padded(4_097), Meaning::Wrong(Reason::Unreadable));
}

#[test]
fn every_kind_of_gs1_element_ends_where_its_length_says() {
    table(&[
        // Values with a fixed length need no separator: carton, article, 04, date, variant, location, weight.
        ("]C10010614141234567890821C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C10100194252020135 21C02XK0AAJG5H", "unreadable"),
        ("]C104123456789012345621C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C11124013121C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C1200121C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C1410400638133393121C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C1310300012321C02XK0AAJG5H", "C02XK0AAJG5H"),
        // Identifiers of three and four digits, with values of any length.
        ("]C1240ABC\u{1d}21C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C18008240131\u{1d}21C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]C124", "unreadable"),
        ("]C1800", "unreadable"),
        ("]C124A5\u{1d}21C02XK0AAJG5H", "unreadable"),
        // Not declared as GS1: only a carton's or an article's number shows that it is.
        ("21C02XK0AAJG5HXX", "unreadable"),
    ]);
}

#[test]
fn a_gs1_element_that_breaks_the_rules_spoils_the_code() {
    let lot = |length: usize| format!("(10){}(21)C02XK0AAJG5H", "X".repeat(length));
    table(&[
        ("(001)106141412345678908(21)C02XK0AAJG5H", "unreadable"),
        ("(11)240131(21)C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("(11)24013(21)C02XK0AAJG5H", "unreadable"),
        ("(11)24013A(21)C02XK0AAJG5H", "unreadable"),
        (&lot(0), "unreadable"),
        (&lot(1), "C02XK0AAJG5H"),
        (&lot(90), "C02XK0AAJG5H"),
        (&lot(91), "unreadable"),
        ("10A\u{1e}B\u{1d}21C02XK0AAJG5H", "unreadable"),
        ("]C10010614141234567890721C02XK0AAJG5H", "unreadable"),
    ]);
}

#[test]
fn a_field_whose_identifier_is_none_spoils_the_envelope() {
    let with = |field: &str| format!("[)>\u{1e}06\u{1d}{field}\u{1d}SC02XK0AAJG5H\u{1e}\u{4}");
    table(&[
        (&with("123S1"), "C02XK0AAJG5H"),
        (&with("1234S1"), "unreadable"),
        (&with("12-1"), "unreadable"),
        (&with("12"), "unreadable"),
        ("SC02XK0AAJG5H\u{1d}Q1\u{1e}2", "unreadable"),
    ]);
    // Dun & Bradstreet's form of 25S: UN, nine digits, then the serial number.
    table(&[
        (
            "[)>\u{1e}06\u{1d}25SUN06070478XC02XK0AAJG5H\u{1e}\u{4}",
            "unreadable",
        ),
        ("[)>\u{1e}06\u{1d}25SUN060704780\u{1e}\u{4}", "UN060704780"),
    ]);
}

#[test]
fn a_part_number_has_five_to_twelve_letters_and_digits_before_one_letter() {
    table(&[
        ("MHDH3/A", "part_number"),
        ("MHDH/A", "unreadable"),
        ("MHDH3QN12345/A", "part_number"),
        ("MHDH3QN123456/A", "unreadable"),
        ("MHD-3QN/A", "unreadable"),
        ("12345/A", "unreadable"),
        ("MHDH3QN/1", "unreadable"),
        ("MHDH3QN/", "unreadable"),
        ("1Z999AA1012345678-", "unreadable"),
    ]);
}

#[test]
fn a_postal_number_has_two_letters_at_each_end() {
    table(&[
        ("RR473124829GB", "RR473124829GB?tracking"),
        ("R1473124829GB", "R1473124829GB"),
        ("RR4731248291B", "RR4731248291B"),
        // Check digits for which the formula gives 10 and 11.
        ("RR123456710GB", "RR123456710GB?tracking"),
        ("RR123456745GB", "RR123456745GB?tracking"),
        ("RR123456740GB", "RR123456740GB"),
    ]);
}

/// A waiting box is asked for again in the same way as at its scan.
#[test]
fn what_was_asked_for_before_is_the_same_candidates_again() {
    for code in [
        "C02XK0AAJG5H",
        "SC02XK0AAJG5H",
        "F0D1A9BC23E4",
        "SR473124829GB",
    ] {
        let Meaning::Serials(members) = read(code.as_bytes()) else {
            panic!("{code}")
        };
        let [candidates] = members.as_slice() else {
            panic!("{code}")
        };
        let asked: Vec<Serial> = candidates.iter().cloned().collect();
        assert_eq!(
            Candidates::asked_before(&asked).as_ref(),
            Some(candidates),
            "{code}"
        );
    }
    assert_eq!(Candidates::asked_before(&[]), None);
}
