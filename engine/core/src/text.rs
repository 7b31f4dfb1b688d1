//! Text that others wrote, class names and names of files among it, made safe to show.
//!
//! A terminal obeys control characters, and turns text around at bidirectional ones. Names go through [`escape`] where
//! they become part of a sentence; whatever goes to a terminal goes through [`printable`] as well, and JSON through
//! [`printable_json`].

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal would do something else with `c` than show it: control characters (C0, DEL, C1), the
/// bidirectional ones, the separators of lines and paragraphs, and a byte order mark.
fn commands(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
}

fn replaced(
    text: &str,
    is_bad: impl Fn(char) -> bool,
    write: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_bad(c) { write(&mut safe, c) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// `name` in one line: what a terminal would obey becomes `\n`, `\t`, `\r` or `\u{1b}`. Everything else stays, quotes
/// and backslashes too.
pub fn escape(name: &str) -> Cow<'_, str> {
    replaced(name, commands, |safe, c| safe.extend(c.escape_default()))
}

/// As [`escape`], for a text of several lines.
pub fn printable(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| c != '\n' && commands(c),
        |safe, c| {
            safe.extend(c.escape_default());
        },
    )
}

/// JSON that says the same without a character that a terminal would obey; line feeds between values stay.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    replaced(
        json,
        |c| c != '\n' && commands(c),
        |safe, c| {
            // JSON's strings hold no raw C0, and all others are of one UTF-16 unit.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        },
    )
}

/// Bytes as hexadecimal digits, two each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelt_out() {
        let name = "a\u{1b}[31m\r\n\u{9b}2J\u{7f}\u{202e}gpj\u{2066}\u{200f}\u{2028}z";
        let shown = r"a\u{1b}[31m\r\n\u{9b}2J\u{7f}\u{202e}gpj\u{2066}\u{200f}\u{2028}z";
        assert_eq!(escape(name), shown);
        assert_eq!(printable("a\nb\u{1b}c"), "a\nb\\u{1b}c");
        for plain in ["", "čaj 茶 🧑‍🚀 \"a\\b\"", "Ωmega’s"] {
            assert!(matches!(escape(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn json_says_the_same() {
        let value =
            serde_json::json!({ "label": "a\u{1b}\u{9b}\u{202e}\n\u{7f}b", "n": [1.5, null] });
        let json = serde_json::to_string(&value).unwrap();
        let safe = printable_json(&json);
        assert!(!safe.contains(commands), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
