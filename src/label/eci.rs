//! Extended channel interpretations (ECI): `\000026` in a scanner's text announces the character set of what follows.
//!
//! By AIM's ECI protocol this is a backslash and six digits; a backslash of the text itself is sent twice.

use std::borrow::Cow;

/// Higher interpretations are not character sets: what follows may be compressed or encrypted.
const LAST_CHARACTER_SET: u32 = 899;

/// The text without its changes of the character set. If it has none, every backslash stays as it is.
///
/// Only ASCII matters in a code, and nearly all of these character sets contain it. Text in one that does not (UTF-16) has other
/// bytes in between, and so cannot be mistaken.
pub(super) fn dropped(text: &str) -> Cow<'_, str> {
    let (mut kept, mut rest, mut found) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once('\\') {
        kept.push_str(before);
        rest = if let Some(after) = after.strip_prefix('\\') {
            kept.push('\\');
            after
        } else if let Some(after) = after_character_set(after) {
            found = true;
            after
        } else {
            kept.push('\\');
            after
        };
    }
    kept.push_str(rest);
    if found {
        Cow::Owned(kept)
    } else {
        Cow::Borrowed(text)
    }
}

/// The text after the six digits of a character set.
fn after_character_set(text: &str) -> Option<&str> {
    let (digits, after) = text.split_at_checked(6)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && digits.parse::<u32>().ok()? <= LAST_CHARACTER_SET).then_some(after)
}
