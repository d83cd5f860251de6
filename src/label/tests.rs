//! Tables of what each code means, and promises that hold for any bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;

use super::*;
use crate::{label, reason};

#[path = "../../fuzz/label_promises.rs"]
mod label_promises;

mod edges;

/// "A": one candidate. "A|B": scanned and stripped. "?" and a reason: `unless_known`. ", " separates members.
fn meaning_of(bytes: &[u8]) -> String {
    label_promises::hold_for(bytes);
    match read(bytes) {
        Meaning::Wrong(reason) => reason.code().to_owned(),
        Meaning::Serials(members) => {
            let member = |member: &Candidates| {
                let serials: Vec<&str> = member.iter().map(Serial::as_str).collect();
                let doubt = member
                    .unless_known
                    .map(|reason| format!("?{}", reason.code()))
                    .unwrap_or_default();
                format!("{}{doubt}", serials.join("|"))
            };
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
    }
}

fn table(rows: &[(&str, &str)]) {
    for (code, expected) in rows {
        assert_eq!(meaning_of(code.as_bytes()), *expected, "for {code:?}");
    }
}

#[test]
fn a_serial_number_is_read_with_and_without_its_data_identifier() {
    table(&[
        ("C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("SC02XK0AAJG5H", "SC02XK0AAJG5H|C02XK0AAJG5H"),
        ("1SC02XK0AAJG5H", "1SC02XK0AAJG5H|C02XK0AAJG5H"),
        ("c02xk0aajg5h", "C02XK0AAJG5H"),
        ("  sC02xK0AAJG5H\r\n", "SC02XK0AAJG5H|C02XK0AAJG5H"),
        // A random number that begins with S, with and without the identifier.
        ("SFW2Q4LX0P", "SFW2Q4LX0P|FW2Q4LX0P"),
        ("SSFW2Q4LX0P", "SSFW2Q4LX0P|SFW2Q4LX0P"),
        ("S1SFW2Q4LX0", "S1SFW2Q4LX0|1SFW2Q4LX0"),
        // Lengths of 8 to 14 with a letter, with and without the identifier.
        ("ABCDEFG1", "ABCDEFG1"),
        ("ABCDEF1", "unreadable"),
        ("ABCDEFGHJKLM12", "ABCDEFGHJKLM12"),
        ("ABCDEFGHJKLM123", "unreadable"),
        ("S1234567", "S1234567"),
        ("S12345678", "S12345678"),
        ("SABCDEFG", "SABCDEFG"),
        ("SABCDEFG1", "SABCDEFG1|ABCDEFG1"),
        ("SABCDEFGHJKLM12", "ABCDEFGHJKLM12"),
        ("1SABCDEFGHJKLM12", "ABCDEFGHJKLM12"),
        ("S12345678901234", "unreadable"),
        ("SABCDEFGHJKLM123", "unreadable"),
        ("12345678", "unreadable"),
        // I and O are mentioned, never refused.
        ("C02XKOAAJGIH", "C02XKOAAJGIH"),
    ]);
    assert!(Serial::new("C02XKOAAJG5H").unwrap().has_doubtful_letter());
    assert!(!Serial::new("C02XK0AAJG5H").unwrap().has_doubtful_letter());
}

#[test]
fn each_wrong_code_of_the_box_is_told_by_name() {
    table(&[
        ("490154203237518", "imei"),
        ("356938035643809", "imei"),
        ("490154203237517", "unreadable"),
        ("4901542032375180", "unreadable"),
        ("89049032000001000000128226584230", "eid"),
        ("89049032000001000000128226584231", "unreadable"),
        ("88049032000001000000128226584230", "unreadable"),
        ("194252020135", "upc"),
        ("0194252020135", "upc"),
        ("4006381333931", "upc"),
        ("194252020136", "unreadable"),
        ("MHDH3QN/A", "part_number"),
        ("mhdh3qn/a", "part_number"),
        ("1PMHDH3QN/A", "part_number"),
        ("MB003LL/A", "part_number"),
        ("MXP22AM/A", "part_number"),
        ("MHDH3QN/AB", "unreadable"),
        ("MHDH3QN//", "unreadable"),
        ("106141412345678908", "carton"),
        ("00106141412345678908", "carton"),
        ("(00)106141412345678908", "carton"),
        ("( 00)106141412345678908", "unreadable"),
        ("106141412345678907", "unreadable"),
        ("1Z999AA10123456784", "tracking"),
        ("1Z999AA1012345678", "unreadable"),
        ("1Z999AA101234567845", "unreadable"),
        // ICCID, MEID in digits.
        ("8904903200000100000", "unreadable"),
        ("89049032000001000001", "unreadable"),
        ("99000012345678", "unreadable"),
        ("270113177609606898", "unreadable"),
        ("8901410321111851072F", "unreadable"),
        // Other parcel services, and parts of tracking numbers: only 1Z with 16 characters and S10 are `tracking`.
        ("1z999aa10123456784", "tracking"),
        ("]C01Z999AA10123456784", "tracking"),
        ("1Z999AA1012345678/", "unreadable"),
        ("JD014600003050000000", "unreadable"),
        ("TBA123456789012", "unreadable"),
        ("9400111899223197428490", "unreadable"),
        ("RR473124829G", "RR473124829G"),
        ("1Z999AA10123", "1Z999AA10123"),
    ]);
}

#[test]
fn what_only_looks_like_something_else_is_asked_for_and_named_if_unknown() {
    table(&[
        ("RR473124829GB", "RR473124829GB?tracking"),
        ("SR473124829GB", "SR473124829GB|R473124829GB?tracking"),
        ("RR473124828GB", "RR473124828GB"),
        ("F0D1A9BC23E4", "F0D1A9BC23E4?unreadable"),
        ("f0d1a9bc23e4", "F0D1A9BC23E4?unreadable"),
        ("F0D1A9BC23EG", "F0D1A9BC23EG"),
        ("F0D1A9BC23E", "F0D1A9BC23E"),
        ("F0D1A9BC23E45", "F0D1A9BC23E45"),
        // A MAC of digits alone has no letter, so it is not a candidate.
        ("001122334456", "unreadable"),
        // After its own data identifier it is what the label says: a serial number.
        ("[)>\u{1e}06\u{1d}SF0D1A9BC23E4\u{1e}\u{4}", "F0D1A9BC23E4"),
        ("F0:D1:A9:BC:23:E4", "unreadable"),
        ("A000000F1234AB", "A000000F1234AB?unreadable"),
        ("9000000F1234AB", "9000000F1234AB"),
    ]);
}

#[test]
fn an_aim_identifier_is_dropped_when_known_and_an_ean_is_never_a_serial_number() {
    table(&[
        ("]C0SC02XK0AAJG5H", "SC02XK0AAJG5H|C02XK0AAJG5H"),
        ("]C0490154203237518", "imei"),
        ("]A0C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]d1C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]Q1 C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]L0C02XK0AAJG5H", "C02XK0AAJG5H"),
        // Declared as GS1, but not an element string: read as it is.
        ("]C1C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("]E00194252020135", "upc"),
        ("]E440123455", "upc"),
        ("]E0C02XK0AAJG5H", "unreadable"),
        ("]E0", "unreadable"),
        ("]y0C02XK0AAJG5H", "unreadable"),
        ("]C", "unreadable"),
        ("]C0]C0C02XK0AAJG5H", "unreadable"),
    ]);
}

#[test]
fn a_change_of_the_character_set_is_no_part_of_the_text() {
    table(&[
        ("]Q2\\000026SHLDRND0002", "SHLDRND0002|HLDRND0002"),
        ("\\000026HLDRND0002", "HLDRND0002"),
        ("\\000003hldrnd0002", "HLDRND0002"),
        (" \\000026 HLDRND0002 ", "HLDRND0002"),
        ("]d4\\000026HLDRND0002", "HLDRND0002"),
        ("]L1\\000026HLDRND0002", "HLDRND0002"),
        ("]z3\\000026HLDRND0002", "HLDRND0002"),
        ("]Q1\\000026HLDRND0002", "HLDRND0002"),
        ("\\000003\\000026HLDRND0002", "HLDRND0002"),
        // In the middle: the text continues after it.
        ("]Q2HLDRND0002,\\000026HLDRND0003", "HLDRND0002, HLDRND0003"),
        ("HLDRND\\0000260002", "HLDRND0002"),
        ("HLDRND0002\\000026", "HLDRND0002"),
        (
            "]Q2\\000026[)>\u{1e}06\u{1d}1PMHDH3QN/A\u{1d}SHLDRND0002\u{1e}\u{4}",
            "HLDRND0002",
        ),
        (
            "]Q4\\0000260100194252020135\u{1d}21HLDRND0002",
            "HLDRND0002",
        ),
        ("]Q421HLDRND0002", "HLDRND0002"),
        ("]d521HLDRND0002", "HLDRND0002"),
        ("]J421HLDRND0002", "HLDRND0002"),
        ("\\000026490154203237518", "imei"),
        ("\\000026", "unreadable"),
        // A doubled backslash is one backslash of the text.
        (
            "]Q2\\000026[)>\u{1e}06\u{1d}Q1\\\\2\u{1d}SHLDRND0002\u{1e}\u{4}",
            "HLDRND0002",
        ),
        ("]Q2\\000026HLDRND\\\\0002", "unreadable"),
        ("\\\\000026HLDRND0002", "unreadable"),
        ("]Q2\\\\000026HLDRND0002", "unreadable"),
        ("\\000026\\\\000026HLDRND0002", "unreadable"),
        // Not a change of the character set.
        ("\\00026HLDRND0002", "unreadable"),
        ("\\HLDRND0002", "unreadable"),
        ("\\00002AHLDRND0002", "unreadable"),
        ("\\000026\\HLDRND0002", "unreadable"),
        ("\\000900HLDRND0002", "unreadable"),
        ("\\811799HLDRND0002", "unreadable"),
        ("/000026HLDRND0002", "unreadable"),
        (
            "]Q2\\000025\u{0}H\u{0}L\u{0}D\u{0}R\u{0}N\u{0}D\u{0}0\u{0}0\u{0}0\u{0}2",
            "unreadable",
        ),
    ]);
    assert_eq!(normalised(b"]Q2\\000026hldrnd0002"), "\\000026HLDRND0002");
}

#[test]
fn gs1_element_strings_are_split() {
    table(&[
        ("]C10100194252020135\u{1d}21C02XK0AAJG5H", "C02XK0AAJG5H"),
        (
            "]d2010019425202013521C02XK0AAJG5H\u{1d}11240131",
            "C02XK0AAJG5H",
        ),
        ("010019425202013521C02XK0AAJG5H", "C02XK0AAJG5H"),
        (
            "0100194252020135\u{1d}21c02xk0aajg5h\u{1d}10LOT7",
            "C02XK0AAJG5H",
        ),
        ("\u{1d}21C02XK0AAJG5H\u{1d}10LOT7", "C02XK0AAJG5H"),
        ("]C121C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("21C02XK0AAJG", "21C02XK0AAJG"),
        // The S belongs to the number: AI 21 says that it is a serial number.
        ("]C121SFW2Q4LX0P", "SFW2Q4LX0P"),
        ("(01)00194252020135(21)C02XK0AAJG5H", "C02XK0AAJG5H"),
        ("(01)00194252020135 (21) C02XK0AAJG5H", "C02XK0AAJG5H"),
        (
            "(21)C02XK0AAJG5H(21)C02XK0AAJG5J",
            "C02XK0AAJG5H, C02XK0AAJG5J",
        ),
        ("]C100106141412345678908", "carton"),
        ("]C10100194252020135", "upc"),
        ("0100194252020135", "upc"),
        ("0200194252020135\u{1d}3712", "upc"),
        ("(01)00194252020135", "upc"),
        ("0100194252020136", "unreadable"),
        ("(01)00194252020136(21)C02XK0AAJG5H", "unreadable"),
        ("]C10100194252020136\u{1d}21C02XK0AAJG5H", "unreadable"),
        ("]C121490154203237518", "imei"),
        ("\u{1d}2112345678", "unreadable"),
        ("]C19912345", "unreadable"),
        ("(21)", "unreadable"),
        ("()", "unreadable"),
        ("(", "unreadable"),
        ("\u{1d}", "unreadable"),
    ]);
}

#[test]
fn iso_15434_envelopes_are_split() {
    let message =
        |fields: &[&str]| format!("[)>\u{1e}06\u{1d}{}\u{1e}\u{4}", fields.join("\u{1d}"));
    table(&[
        (
            &message(&["1PMHDH3QN/A", "SC02XK0AAJG5H", "Q1"]),
            "C02XK0AAJG5H",
        ),
        (&message(&["SSFW2Q4LX0P"]), "SFW2Q4LX0P"),
        (
            &message(&["SC02XK0AAJG5H", "SC02XK0AAJG5J", "SC02XK0AAJG5H"]),
            "C02XK0AAJG5H, C02XK0AAJG5J",
        ),
        (&message(&["1SC02XK0AAJG5H"]), "C02XK0AAJG5H"),
        (&message(&["25SC02XK0AAJG5H"]), "C02XK0AAJG5H"),
        (&message(&["25SUN060704780C02XK0AAJG5H"]), "C02XK0AAJG5H"),
        (
            &message(&["25SUN060704780C02XK0AAJG5H", "1SABCDEFGH1", "SC02XK0AAJG5H"]),
            "C02XK0AAJG5H",
        ),
        // A member that cannot be a serial number is never dropped from its group.
        (&message(&["SC02XK0AAJG5H", "S12"]), "unreadable"),
        (&message(&["SC02XK0AAJG5H", "SA&B=C#D%"]), "unreadable"),
        (&message(&["S490154203237518"]), "imei"),
        (&message(&["1PMHDH3QN/A", "Q1"]), "part_number"),
        (&message(&["1JUN123456789A2B4C6D8E", "Q12"]), "carton"),
        (&message(&["Q1"]), "unreadable"),
        (&message(&[]), "unreadable"),
        (&message(&["1234S1"]), "unreadable"),
        (
            "[)>\u{1e}05\u{1d}0100194252020135\u{1d}21C02XK0AAJG5H\u{1e}\u{4}",
            "C02XK0AAJG5H",
        ),
        (
            "[)>\u{1e}05\u{1d}21C02XK0AAJG5H\u{1e}06\u{1d}SC02XK0AAJG5J\u{1e}\u{4}",
            "C02XK0AAJG5H, C02XK0AAJG5J",
        ),
        // Scanners may cut off the trailer, and the header.
        ("[)>\u{1e}06\u{1d}SC02XK0AAJG5H", "C02XK0AAJG5H"),
        ("1PMHDH3QN/A\u{1d}SC02XK0AAJG5H", "C02XK0AAJG5H"),
        // Formats and shapes that are not understood.
        ("[)>\u{1e}12\u{1d}SC02XK0AAJG5H\u{1e}\u{4}", "unreadable"),
        (
            "[)>\u{1e}06\u{1d}SC02XK0AAJG5H\u{1e}07\u{1d}SC02XK0AAJG5J\u{1e}\u{4}",
            "unreadable",
        ),
        ("[)>06SC02XK0AAJG5H", "unreadable"),
        ("[)>", "unreadable"),
    ]);
}

#[test]
fn a_list_of_serial_numbers_is_one_group_and_every_entry_must_be_one() {
    table(&[
        ("C02XK0AAJG5H,C02XK0AAJG5J", "C02XK0AAJG5H, C02XK0AAJG5J"),
        ("C02XK0AAJG5H; C02XK0AAJG5J;", "C02XK0AAJG5H, C02XK0AAJG5J"),
        (
            "SC02XK0AAJG5H,C02XK0AAJG5H,SC02XK0AAJG5H",
            "SC02XK0AAJG5H|C02XK0AAJG5H, C02XK0AAJG5H",
        ),
        ("C02XK0AAJG5H,490154203237518", "unreadable"),
        ("C02XK0AAJG5H,F0D1A9BC23E4", "unreadable"),
        ("C02XK0AAJG5H,", "unreadable"),
        ("C02XK0AAJG5H C02XK0AAJG5J", "unreadable"),
    ]);
    let list = |count: u32| {
        (0..count)
            .map(|number| format!("AB{number:06}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    assert!(
        matches!(read(list(256).as_bytes()), Meaning::Serials(members) if members.len() == 256)
    );
    assert_eq!(
        read(list(257).as_bytes()),
        Meaning::Wrong(Reason::Unreadable),
        "one group has a bound"
    );
}

#[test]
fn nothing_that_is_not_a_code_of_a_box_is_sent_on() {
    table(&[
        ("", "unreadable"),
        ("   ", "unreadable"),
        ("C02XK0AAJG5H&x=1", "unreadable"),
        ("C02XK/AAJG5H", "unreadable"),
        ("C02XK%41JG5H", "unreadable"),
        ("C02XK#AAJG5H", "unreadable"),
        ("C02XK+AAJG5H", "unreadable"),
        ("C02XK 0AAJG5H", "unreadable"),
        ("C02XK\u{0}0AAJG5H", "unreadable"),
        ("C02XK\u{1b}[2J5H", "unreadable"),
        ("C02XK0AAJG5H\u{7f}", "unreadable"),
        ("C02XK0AAJG5H\nC02XK0AAJG5J", "unreadable"),
        ("<b>C02XK0AAJG5H</b>", "unreadable"),
        ("https://example.com/?serial=C02XK0AAJG5H", "unreadable"),
        ("C02XKÖAAJG5H", "unreadable"),
        // A full-width C, and a letter whose upper case is two ASCII letters.
        ("Ｃ02XK0AAJG5H", "unreadable"),
        ("C02XK0AAJGß", "unreadable"),
        ("\u{a0}C02XK0AAJG5H", "unreadable"),
    ]);
    assert_eq!(meaning_of(b"C02XK0\xffAJG5H"), "unreadable");
    assert_eq!(meaning_of("A".repeat(5_000).as_bytes()), "unreadable");
    assert_eq!(meaning_of(&[b'S'; 100_000]), "unreadable");
    assert_eq!(meaning_of(&[0x1d; 4_096]), "unreadable");
}

#[test]
fn a_repeat_is_recognised_by_its_text() {
    assert_eq!(normalised(b" ]C0sc02xk0aajg5h\r\n"), "SC02XK0AAJG5H");
    assert_eq!(normalised(b"C02XK0\xffAJG5H"), "C02XK0\u{fffd}AJG5H");
    assert_eq!(normalised(b"]E00194252020135"), "0194252020135");
    // An identifier that changes the meaning stays: neither of these two repeats the other.
    assert_eq!(normalised(b"]C121C02XK0AAJG"), "]C121C02XK0AAJG");
    assert_eq!(normalised(b"21C02XK0AAJG"), "21C02XK0AAJG");
    // Found by fuzzing: upper case would turn an unknown identifier into Code 93's.
    assert_eq!(normalised(b"]g1194252020135A"), "]g1194252020135A");
}

#[test]
fn a_record_shows_control_characters_and_cannot_move_a_cursor() {
    assert_eq!(visible(b"[)>\x1e06\x1dS1\x04"), "[)>␞06␝S1␄");
    assert_eq!(visible(b"\x1b[2J\x7f\xff"), "␛[2J␡\u{fffd}");
    assert_eq!(visible("a\u{202e}b\u{85}".as_bytes()), "a\\u{202e}b\\u{85}");
    assert_eq!(visible("Größe".as_bytes()), "Größe");
}

#[test]
fn check_digits_hold() {
    assert!(check_digits::luhn("490154203237518") && !check_digits::luhn("49015420323751x"));
    assert!(check_digits::gs1("106141412345678908") && !check_digits::gs1("106141412345678909"));
    assert!(
        check_digits::modulo_97_is_1("89049032000001000000128226584230")
            && !check_digits::modulo_97_is_1("")
    );
    assert!(
        check_digits::s10("473124829")
            && !check_digits::s10("473124820")
            && !check_digits::s10("4731248290")
    );
}

/// Texts similar to real ones: pieces of codes, joined at random.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "]C0",
            "]C1",
            "]d2",
            "]E0",
            "]Q2\\000026",
            "\\000026",
            "\\\\",
            "[)>\u{1e}",
            "06\u{1d}",
            "05\u{1d}",
            "\u{1d}",
            "\u{1e}\u{4}",
            "S",
            "1S",
            "25S",
            "1P",
            "(21)",
            "(01)",
            "(00)",
            "21",
            "00",
            "01",
            ",",
            ";",
            " ",
            "/A",
            "UN060704780",
            "00194252020135",
            "106141412345678908",
            "490154203237518",
            "MHDH3QN/A",
            "1Z999AA10123456784",
            "RR473124829GB",
            "\r\n",
            "é",
        ])
        .prop_map(str::to_owned),
        "[A-Za-z0-9]{1,16}",
        "[0-9]{8,32}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        label_promises::hold_for(&bytes);
    }

    #[test]
    fn the_promises_hold_for_any_text(text in any::<String>()) {
        label_promises::hold_for(text.as_bytes());
    }

    #[test]
    fn the_promises_hold_for_pieces_of_real_codes(bytes in pieces()) {
        label_promises::hold_for(&bytes);
    }

    #[test]
    fn every_possible_serial_number_is_asked_for_as_it_stands(text in "[A-Z0-9]{8,14}") {
        if let Some(serial) = Serial::new(&text) {
            let Meaning::Serials(members) = read(text.as_bytes()) else { panic!("{text} was refused") };
            prop_assert_eq!(members.len(), 1);
            prop_assert_eq!(&members[0].scanned, &serial);
            prop_assert_eq!(members[0].stripped.is_some(), text.strip_prefix("1S").or(text.strip_prefix('S')).and_then(Serial::new).is_some());
            prop_assert_eq!(read(format!("[)>\x1e06\x1dS{text}\x1e\x04").as_bytes()), Meaning::Serials(vec![Candidates::one(serial)]));
        }
    }
}
