//! ISO 15434 envelopes, used by two-dimensional service and shipping labels: `[)>` RS `06` GS fields RS EOT.

use super::{EOT, Field, GS, RS, gs1};
use crate::reason::Reason;

/// Every such message begins with this.
pub(super) const HEADER: &str = "[)>";

/// The fields of all envelopes of a message without its header. `None` if any part is not understood: it could be a serial number.
pub(super) fn fields(message: &str) -> Option<Vec<Field<'_>>> {
    let message = message.strip_prefix(RS)?;
    let message = message.strip_suffix(EOT).unwrap_or(message);
    let mut fields = Vec::new();
    for envelope in message.strip_suffix(RS).unwrap_or(message).split(RS) {
        let (format, data) = envelope.split_once(GS)?;
        match format {
            "05" => fields.extend(gs1::fields(data)?),
            "06" => fields.extend(identified(data)?),
            _ => return None,
        }
    }
    Some(fields)
}

/// Fields with data identifiers, for an envelope whose header the scanner or the label has left out.
pub(super) fn fields_without_header(text: &str) -> Option<Vec<Field<'_>>> {
    identified(text.trim_matches([GS, RS, EOT]))
}

fn identified(data: &str) -> Option<Vec<Field<'_>>> {
    data.split(GS)
        .map(str::trim)
        .filter(|field| !field.is_empty())
        .map(identified_field)
        .collect()
}

/// One field with its ANSI MH10.8.2 data identifier: up to three digits and a letter.
fn identified_field(field: &str) -> Option<Field<'_>> {
    let digits = field.bytes().take_while(u8::is_ascii_digit).count();
    let (identifier, value) = field.split_at_checked(digits + 1)?;
    if digits > 3
        || !identifier.ends_with(|last: char| last.is_ascii_uppercase())
        || value.contains(|character: char| character.is_ascii_control())
    {
        return None;
    }
    Some(match identifier {
        "S" => Field::Serial(value),
        "1S" => Field::SecondSerial(value),
        "25S" => Field::SecondSerial(after_issuing_agency(value)),
        "P" | "1P" | "30P" => Field::Other(Reason::PartNumber),
        // License plates of transport units.
        "J" | "1J" | "2J" | "3J" | "4J" | "5J" | "6J" => Field::Other(Reason::Carton),
        _ => Field::Ignored,
    })
}

/// A `25S` value consists of issuing agency, company and serial number. Only in Dun & Bradstreet's form (`UN` and nine digits)
/// does the length say where the serial number begins.
fn after_issuing_agency(value: &str) -> &str {
    let serial = value
        .strip_prefix("UN")
        .and_then(|rest| rest.split_at_checked(9));
    serial
        .filter(|(company, serial)| {
            company.bytes().all(|byte| byte.is_ascii_digit()) && !serial.is_empty()
        })
        .map_or(value, |(_, serial)| serial)
}
