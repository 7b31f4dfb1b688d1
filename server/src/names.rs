//! Names that people give to runs and data sets: what none may be, as some system or reader takes it for something else.

/// Devices of Windows: a file of such a name, with any ending, cannot be made there.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Why a name will not do, as the end of a sentence; none if it will.
pub(crate) fn trouble(name: &str) -> Option<&'static str> {
    if is_device(name) {
        return Some("must not be that of a device, as con, nul, aux or com1");
    }
    if name.ends_with(['.', ' ']) {
        return Some("must not end with a dot or a space");
    }
    if name.chars().any(turns) {
        return Some("must have no characters that are not seen or turn text around");
    }
    None
}

/// Most letters of a title.
const TITLE: usize = 200;

/// Why a text will not do as the title of a run, as the end of a sentence; none if it will. It is one line.
pub(crate) fn trouble_of_title(title: &str) -> Option<String> {
    match title.chars().count() > TITLE || title.chars().any(char::is_control) {
        true => Some(format!("must be one line of at most {TITLE} letters")),
        false => trouble(title).map(str::to_owned),
    }
}

/// What stands before the first dot counts: `nul.tar` is `nul`.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_lowercase();
    let numbered = ["com", "lpt"].iter().any(|port| {
        let rest = stem.strip_prefix(port).map(|rest| rest.chars().collect::<Vec<_>>());
        matches!(rest.as_deref(), Some(['0'..='9' | '¹' | '²' | '³']))
    });
    numbered || DEVICES.contains(&stem.as_str())
}

/// Whether a character makes lines, or changes the direction of those beside it, or is nothing that is seen.
fn turns(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_else_are_none() {
        for name in [
            "con",
            "CON",
            "nul",
            "nul.tar",
            "Aux.b.c",
            "com1",
            "lpt9.x",
            "com¹",
            "prn ",
            "a.",
            "a ",
            "..",
            "a\u{202e}b",
            "\u{2066}a",
            "a\u{200f}",
            "a\u{feff}",
            "a\nb",
            "a\u{2028}b",
            "a\u{7f}",
            "a\u{200b}",
        ] {
            assert!(trouble(name).is_some(), "{name:?}");
        }
        for name in [
            "a",
            "console",
            "com10",
            "com",
            "null",
            "my.nul",
            "flowers.v2",
            "WIN, 4×",
            "čaj 茶",
            "🧑\u{200d}🚀",
            "a b",
            "com1x",
            "lpt",
        ] {
            assert_eq!(trouble(name), None, "{name:?}");
        }
    }
}
