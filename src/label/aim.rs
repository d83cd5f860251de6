//! AIM symbology identifiers: three characters (`]C0`) with which a scanner may say what type of barcode it read.

/// What the identifier says about the text that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbology {
    /// No identifier, or one for a barcode that may contain anything.
    Any,
    /// EAN or UPC: an article number, never a serial number.
    Ean,
    /// A code that is declared to contain a GS1 element string.
    Gs1,
}

/// Splits a known identifier off the front of `text`. An unknown one stays there and makes the code unreadable.
pub(super) fn split(text: &str) -> (Symbology, &str) {
    let mut characters = text.chars();
    let (Some(']'), Some(kind), Some(modifier)) =
        (characters.next(), characters.next(), characters.next())
    else {
        return (Symbology::Any, text);
    };
    if !modifier.is_ascii_alphanumeric() {
        return (Symbology::Any, text);
    }
    let symbology = match (kind, modifier) {
        ('E', _) => Symbology::Ean,
        // GS1-128, GS1 DataMatrix, GS1 QR, GS1 DataBar, GS1 DotCode. A second modifier means: with changes of the character set.
        ('C', '1') | ('d', '2' | '5') | ('Q', '3' | '4') | ('e', _) | ('J', '1' | '4') => {
            Symbology::Gs1
        }
        // Code 39, Code 128, DataMatrix, Codabar, Code 93, interleaved 2 of 5, DotCode, PDF417, QR, MaxiCode, Aztec, "other".
        ('A' | 'C' | 'd' | 'F' | 'G' | 'I' | 'J' | 'L' | 'Q' | 'U' | 'z' | 'X', _) => {
            Symbology::Any
        }
        _ => return (Symbology::Any, text),
    };
    (symbology, characters.as_str())
}
