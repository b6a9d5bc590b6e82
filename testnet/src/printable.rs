//! Text of other people's on its way to a terminal, a comment or a quoted YAML string.
//!
//! A title in a scenario file or a name in a log is anybody's. An escape sequence in it would act on
//! the terminal; a line or paragraph separator ends a comment for a reader of YAML 1.1, and what
//! follows would be read as part of the document.

use std::borrow::Cow;

use mainswarm::text::is_treacherous;

/// The text with `\u001b` and the like in place of what does not print. Line feeds and tabs stay.
/// The form is JSON's, so that a JSON text still says the same.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match acts(c) {
            // All of them are below U+10000.
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out.into()
}

/// [`escaped`], on one line.
pub fn line(text: &str) -> String {
    escaped(&text.replace(['\n', '\r'], " ")).into_owned()
}

/// What acts on the text around it, but for line feeds and tabs, and what YAML does not allow.
fn acts(c: char) -> bool {
    (is_treacherous(c) && !matches!(c, '\n' | '\t')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_prints_is_not() {
        for (text, shown) in [
            ("plain, \"quoted\" ünïcödé 漢字 🐝\tend\n", None),
            ("\u{1b}[31mred", Some("\\u001b[31mred")),
            (
                "a\u{2028}b\u{2029}c\u{85}d",
                Some("a\\u2028b\\u2029c\\u0085d"),
            ),
            ("\u{202e}txt\u{7f}\r", Some("\\u202etxt\\u007f\\u000d")),
            ("\u{feff}\u{ffff}", Some("\\ufeff\\uffff")),
        ] {
            assert_eq!(escaped(text), shown.unwrap_or(text));
        }
        assert_eq!(line("a\nb\r\u{1b}"), "a b \\u001b");
        let json = serde_json::Value::from("\u{85}\u{9b}31m").to_string();
        let back: String = serde_json::from_str(&escaped(&json)).unwrap();
        assert_eq!(back, "\u{85}\u{9b}31m");
    }
}
