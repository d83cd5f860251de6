//! Check digits. They distinguish the other codes on a box from its serial number, which has none.

/// Luhn's formula over all digits (IMEI). False for anything but digits.
pub(super) fn luhn(digits: &str) -> bool {
    weighted(digits, |place, digit| match (place % 2, digit) {
        (0, digit) => digit,
        (_, digit) if digit > 4 => digit * 2 - 9,
        (_, digit) => digit * 2,
    })
    .is_some_and(|sum| sum % 10 == 0)
}

/// GS1's modulo 10 over all digits, weights 3 and 1 (UPC, EAN, GTIN-14, SSCC). False for anything but digits.
pub(super) fn gs1(digits: &str) -> bool {
    weighted(
        digits,
        |place, digit| if place % 2 == 0 { digit } else { digit * 3 },
    )
    .is_some_and(|sum| sum % 10 == 0)
}

/// The number modulo 97 is 1 (EID). False for anything but digits.
pub(super) fn modulo_97_is_1(digits: &str) -> bool {
    digits.chars().try_fold(0, |rest, character| {
        Some((rest * 10 + character.to_digit(10)?) % 97)
    }) == Some(1)
}

/// The check digit of a postal S10 number's nine digits. False for anything but nine digits.
pub(super) fn s10(digits: &str) -> bool {
    let Some(digits) = digits
        .chars()
        .map(|character| character.to_digit(10))
        .collect::<Option<Vec<u32>>>()
    else {
        return false;
    };
    let [serial @ .., check] = digits.as_slice() else {
        return false;
    };
    let sum: u32 = serial
        .iter()
        .zip([8, 6, 4, 2, 3, 5, 9, 7])
        .map(|(digit, weight)| digit * weight)
        .sum();
    let expected = match 11 - sum % 11 {
        10 => 0,
        11 => 5,
        digit => digit,
    };
    serial.len() == 8 && *check == expected
}

/// The sum of the weighted digits; places count from the right, the check digit is place 0.
fn weighted(digits: &str, weight: impl Fn(usize, u32) -> u32) -> Option<u32> {
    digits
        .chars()
        .rev()
        .enumerate()
        .try_fold(0, |sum, (place, character)| {
            Some(sum + weight(place, character.to_digit(10)?))
        })
}
