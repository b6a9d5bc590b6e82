//! Text from strangers, made safe to print: names, comments, client versions, error messages.
//!
//! A terminal obeys what it is sent. Escape sequences rewrite lines and set titles, line breaks
//! forge log records, and direction marks make `exe.mp3` of `3pm.exe`. Everything foreign that a
//! person reads, on a screen or in a log, goes through [`printable`].

use std::fmt::Write;

/// The text with control and direction characters as `\u{…}` and bytes that are not UTF-8 as
/// `\x…`; all else unchanged.
pub fn printable(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_treacherous(char) {
                out.extend(char.escape_unicode());
            } else {
                out.push(char);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Whether a character acts on the text around it instead of standing for itself. Zero-width
/// joiners are not among them: Persian words and emoji need them.
pub fn is_treacherous(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            // Direction marks, embeddings, overrides and isolates.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators, byte order mark, interlinear annotation.
            | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_acts_is_escaped() {
        for (text, shown) in [
            (&b"A b+c \xc3\xa9 \xe2\x80\x8d"[..], "A b+c é \u{200d}"),
            (b"\x1b]0;pwn\x07\n", "\\u{1b}]0;pwn\\u{7}\\u{a}"),
            (b"\xff\xfea", "\\xff\\xfea"),
            (
                "\u{202e}3pm.exe\u{9b}".as_bytes(),
                "\\u{202e}3pm.exe\\u{9b}",
            ),
            (b"", ""),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
