//! The words of a text, as BERT's own tokenizer sees them before it looks into a vocabulary: cleaned, without accents,
//! in lower case, and cut at blanks and around punctuation.
//!
//! Categories and decompositions come from the two crates of tables that Hugging Face's `tokenizers` uses, so ids and
//! offsets are the same as there, at every code point; `tests/golden/text.py` holds it. (All of `tokenizers` would be
//! 46 crates more and several minutes of a build, and on `wasm32` it wants imports that a page has to provide.)

use serde::{Deserialize, Serialize};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

/// What is done to a text before it is cut into words; the keys are those of a `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalizer {
    /// Control characters vanish, and every blank becomes a space.
    pub clean_text: bool,
    /// Each CJK ideograph is a word.
    pub handle_chinese_chars: bool,
    /// Accents are taken off letters; `None` does it with `lowercase`.
    pub strip_accents: Option<bool>,
    /// Capitals become small.
    pub lowercase: bool,
}

impl Normalizer {
    /// BERT's, with capitals made small or kept.
    pub fn bert(lowercase: bool) -> Self {
        Self { clean_text: true, handle_chinese_chars: true, strip_accents: None, lowercase }
    }
}

/// A character of a normalised text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Char {
    pub(super) value: char,
    /// The code point of the text that it comes from.
    pub(super) at: u32,
}

/// Shows each word of `text` to `each`, in order; `first` is the number of the text's first code point.
pub(super) fn words(how: Normalizer, text: &str, first: u32, mut each: impl FnMut(&[Char])) {
    let chars = normalized(how, text, first);
    for mut rest in chars.split(|c| c.value.is_whitespace()) {
        while !rest.is_empty() {
            let letters = rest.iter().take_while(|c| !is_punctuation(c.value)).count();
            let (word, after) = rest.split_at(letters.max(1));
            each(word);
            rest = after;
        }
    }
}

fn normalized(how: Normalizer, text: &str, first: u32) -> Vec<Char> {
    let mut chars = Vec::with_capacity(text.len());
    for (at, value) in (first..).zip(text.chars()) {
        if how.clean_text && vanishes(value) {
            continue;
        }
        let value = if how.clean_text && value.is_whitespace() { ' ' } else { value };
        let ideograph = how.handle_chinese_chars && is_ideograph(value);
        let space = ideograph.then_some(' ');
        chars.extend(
            [space, Some(value), space].into_iter().flatten().map(|value| Char { value, at }),
        );
    }
    if how.strip_accents.unwrap_or(how.lowercase) && !text.is_ascii() {
        chars = without_accents(&chars);
    }
    if how.lowercase {
        let small = |c: Char| c.value.to_lowercase().map(move |value| Char { value, at: c.at });
        chars = chars.into_iter().flat_map(small).collect();
    }
    chars
}

fn without_accents(chars: &[Char]) -> Vec<Char> {
    let mut sources = chars.iter().map(|c| c.at);
    let mut at = 0;
    let decomposed = chars.iter().map(|c| c.value).nfd().map(|(value, more)| {
        // The first part of a decomposition stands for its source, the others are more of the same.
        if more == 0 {
            at = sources.next().unwrap_or(at);
        }
        Char { value, at }
    });
    decomposed.filter(|c| !c.value.is_mark_nonspacing()).collect()
}

fn vanishes(c: char) -> bool {
    let blank = matches!(c, '\t' | '\n' | '\r');
    c == '\0' || c == char::REPLACEMENT_CHARACTER || (c.is_other() && !blank)
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_punctuation()
}

/// The blocks of CJK ideographs that BERT counts; kana and hangul are letters as others.
fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c),
        0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f
        | 0x2b740..=0x2b81f | 0x2b920..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

    use super::*;

    /// All code points for which `of` says something, as runs that say the same: how far behind the run before, how many, and what.
    fn runs<T: Copy + PartialEq>(of: impl Fn(char) -> Option<T>) -> Vec<(u32, u32, T)> {
        let (mut runs, mut end): (Vec<(u32, u32, T)>, u32) = (Vec::new(), 0);
        for c in '\0'..=char::MAX {
            let Some(says) = of(c) else { continue };
            match runs.last_mut() {
                Some((_, count, last)) if end == u32::from(c) && *last == says => *count += 1,
                _ => runs.push((u32::from(c) - end, 1, says)),
            }
            end = u32::from(c) + 1;
        }
        runs
    }

    fn set(of: impl Fn(char) -> bool) -> Vec<u32> {
        let runs = runs(|c| of(c).then_some(()));
        runs.into_iter().flat_map(|(gap, count, ())| [gap, count]).collect()
    }

    fn decomposes(c: char) -> bool {
        let mut same = true;
        decompose_canonical(c, |part| same &= part == c);
        !same
    }

    /// Small letters of capitals, each capital's behind it; U+0130 alone has two.
    fn small() -> String {
        let pair = |c: char| {
            let small: String = c.to_lowercase().collect();
            (!small.chars().eq([c])).then(|| format!("{c}{small}"))
        };
        ('\0'..=char::MAX).filter_map(pair).collect::<Vec<_>>().join(" ")
    }

    /// What a browser knows of characters is as old or new as itself. The page goes by tables of what is known here, which
    /// `TAPER_CHARACTERS=write` writes anew.
    #[test]
    fn the_page_knows_of_characters_what_is_known_here() {
        let class = |c: char| Some(canonical_combining_class(c)).filter(|class| *class > 0);
        let classes: Vec<u32> =
            runs(class).into_iter().flat_map(|(gap, n, class)| [gap, n, class.into()]).collect();
        let tables = [
            ("vanishing", set(vanishes)),
            ("blank", set(char::is_whitespace)),
            ("punctuation", set(is_punctuation)),
            ("accents", set(|c| c.is_mark_nonspacing())),
            ("ideographs", set(is_ideograph)),
            ("decomposing", set(decomposes)),
            ("classes", classes),
        ];
        let mut json = String::from("{\n");
        for (name, numbers) in tables {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            writeln!(json, "\"{name}\":[{}],", numbers.join(",")).expect("text");
        }
        writeln!(json, "\"small\":\"{}\"\n}}", small()).expect("text");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/src/generated/characters.json");
        if std::env::var_os("TAPER_CHARACTERS").is_some_and(|how| how == "write") {
            std::fs::write(path, &json).expect("written");
        }
        let has = std::fs::read_to_string(path).expect("the page's tables");
        assert!(has == json, "{path} is old: TAPER_CHARACTERS=write has this test write it anew");
    }
}
