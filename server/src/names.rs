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

/// A title as the name of a file, without its ending: what is no letter, digit, dot or sign between words becomes one. A title that leaves
/// nothing, or what some system takes for something else, is `otherwise`.
pub(crate) fn file_stem(title: &str, otherwise: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || "._".contains(c) { c } else { '-' };
    let mapped: String = title.chars().map(kept).collect();
    let words = mapped.split('-').filter(|word| word.contains(char::is_alphanumeric));
    let stem = words.collect::<Vec<_>>().join("-").trim_matches('.').to_owned();
    if stem.is_empty() || trouble(&stem).is_some() { otherwise.into() } else { stem }
}

/// Most letters of a tag, and most tags of a run.
const TAG: usize = 40;
const TAGS: usize = 12;
/// Most letters of what somebody notes of a run.
const NOTES: usize = 4000;

/// Why these will not do as the tags of a run, as the end of a sentence; none if they will. A tag is a word or a few.
pub(crate) fn trouble_of_tags(tags: &[String]) -> Option<String> {
    if tags.len() > TAGS {
        return Some(format!("must be at most {TAGS}"));
    }
    let bad = |tag: &&String| {
        tag.trim() != tag.as_str()
            || tag.is_empty()
            || tag.chars().count() > TAG
            || tag.chars().any(|c| c == ',' || turns(c))
    };
    let bad = tags.iter().find(bad)?;
    let shown = bad.escape_debug();
    Some(format!("must each have 1 to {TAG} letters without a comma, which `{shown}` has not"))
}

/// Why a text will not do as what is noted of a run, as the end of a sentence; none if it will. It may have lines.
pub(crate) fn trouble_of_notes(notes: &str) -> Option<String> {
    let bad = |c: char| turns(c) && !matches!(c, '\n' | '\t');
    (notes.chars().count() > NOTES || notes.chars().any(bad)).then(|| {
        format!("must have at most {NOTES} letters, and no characters that turn text around")
    })
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
    fn a_title_is_the_name_of_a_file() {
        for (title, stem) in [
            ("demo", "demo"),
            ("resnet on flowers (copy)", "resnet-on-flowers-copy"),
            ("../../etc/passwd", "etc-passwd"),
            ("Blümchen 2.1", "Blümchen-2.1"),
            ("???", "id"),
            ("nul", "id"),
            ("..", "id"),
        ] {
            assert_eq!(file_stem(title, "id"), stem);
        }
    }

    #[test]
    fn tags_and_notes_have_an_end() {
        let tags =
            |of: &[&str]| trouble_of_tags(&of.iter().map(|&tag| tag.into()).collect::<Vec<_>>());
        assert_eq!(tags(&["thin", "second try", "ü"]), None);
        for bad in ["", " a", "a,b", "a\nb", "a\u{202e}b", &"x".repeat(41)] {
            assert!(tags(&[bad]).is_some(), "{bad:?}");
        }
        assert!(tags(&["a"; 13]).is_some());
        assert_eq!(trouble_of_notes("two\nlines"), None);
        assert!(trouble_of_notes("a\u{202e}b").is_some());
        assert!(trouble_of_notes(&"x".repeat(4001)).is_some());
    }

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
