//! Extended channel interpretations: `\000026` in what a scanner sends says in which character set the code goes on.
//!
//! After AIM's ECI protocol: a backslash and six digits, and a backslash of the text itself is sent twice.

use std::borrow::Cow;

/// Above this an interpretation is no character set: what follows may be compressed or encrypted.
const LAST_CHARACTER_SET: u32 = 899;

/// The text without its changes of the character set. Where there is none, every backslash stays as it is.
///
/// What is looked for in a code is ASCII, which all these character sets share; in one that does not (UTF-16) other characters
/// stand in between.
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

/// What follows the six digits of a character set.
fn after_character_set(text: &str) -> Option<&str> {
    let (digits, after) = text.split_at_checked(6)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && digits.parse::<u32>().ok()? <= LAST_CHARACTER_SET).then_some(after)
}
