//! Walking over plain text: lines, sentences, documents, and what wikitext did to them. [`corpus`](super::corpus) has
//! the rules.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use unicode_categories::UnicodeCategories;

use crate::data::DataError;
use crate::data::stored::Stored;

/// The longest line that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 24;
/// What wikitext has for a word that it does not know.
const UNKNOWN: &str = "<unk>";
/// Sentences that are worked on at a time, by all threads together.
pub(super) const AT_A_TIME: usize = 1 << 14;
/// Sentences of one piece of work.
pub(super) const PIECE: usize = 256;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// What stands between blank lines.
    Blank,
    /// A file.
    File,
}

/// A part of a corpus: files in the order of their names.
#[derive(Debug)]
pub struct Text {
    pub(super) files: Vec<Stored>,
    pub(super) documents: Documents,
    /// Where it lies, for errors.
    pub place: String,
}

impl Text {
    /// Shows every sentence to `each`, in order, and answers how many headings there are; `hash` takes all bytes.
    ///
    /// # Errors
    /// A file that cannot be read, is no UTF-8, or has a line that is too long; what `each` says.
    pub(super) fn read(
        &self,
        mut hash: Option<&mut Sha256>,
        each: &mut dyn FnMut(Sentence<'_>) -> Result<(), DataError>,
    ) -> Result<u64, DataError> {
        let mut reading = Reading { document: 0, started: false, blank: true, headings: 0, each };
        for (number, file) in self.files.iter().enumerate() {
            if self.documents == Documents::File {
                reading.end_document();
            }
            reading.blank = true;
            let mut wikitext = None;
            lines(file, hash.as_deref_mut(), |line| {
                reading.line(line, number, self.documents, &mut wikitext)
            })?;
        }
        Ok(reading.headings)
    }
}

/// A sentence of a text.
pub(super) struct Sentence<'a> {
    pub(super) text: Cow<'a, str>,
    /// Number of its document and of its file.
    pub(super) document: u64,
    pub(super) file: usize,
}

/// What a walk over a text knows.
struct Reading<'a> {
    document: u64,
    /// Whether the document has a sentence.
    started: bool,
    /// Whether the line before was blank; only behind such a line is a heading one.
    blank: bool,
    headings: u64,
    each: &'a mut dyn FnMut(Sentence<'_>) -> Result<(), DataError>,
}

impl Reading<'_> {
    fn end_document(&mut self) {
        self.document += u64::from(std::mem::take(&mut self.started));
    }

    fn line(
        &mut self,
        line: &str,
        file: usize,
        documents: Documents,
        wikitext: &mut Option<bool>,
    ) -> Result<(), DataError> {
        let behind_blank = std::mem::replace(&mut self.blank, !has_words(line));
        if self.blank {
            if documents == Documents::Blank && *wikitext != Some(true) {
                self.end_document();
            }
            return Ok(());
        }
        let level = heading(line).filter(|_| behind_blank);
        if !*wikitext.get_or_insert(level == Some(1)) {
            return self.sentence(line, file);
        }
        match level {
            Some(level) => {
                self.headings += 1;
                if level == 1 {
                    self.end_document();
                }
                Ok(())
            }
            None => sentences(line)
                .filter(|part| has_words(part))
                .try_for_each(|part| self.sentence(part, file)),
        }
    }

    fn sentence(&mut self, text: &str, file: usize) -> Result<(), DataError> {
        self.started = true;
        (self.each)(Sentence { text: undone(text), document: self.document, file })
    }
}

/// Shows each line of a file to `each`, without its end.
fn lines(
    file: &Stored,
    mut hash: Option<&mut Sha256>,
    mut each: impl FnMut(&str) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let name = file.name();
    let path = Path::new(name.as_ref());
    let mut reader = BufReader::with_capacity(1 << 16, file.open()?);
    let (mut at, mut number, mut line) = (0u64, 0u64, Vec::new());
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LONGEST_LINE + 1);
        let bytes = limited.read_until(b'\n', &mut line).map_err(DataError::read(path))? as u64;
        if bytes == 0 {
            break;
        }
        number += 1;
        if bytes > LONGEST_LINE {
            let problem =
                format!("line {number} has more than the {LONGEST_LINE} bytes that are read");
            return Err(DataError::malformed(path, problem));
        }
        if let Some(hash) = hash.as_deref_mut() {
            hash.update(&line);
        }
        let text = std::str::from_utf8(&line).map_err(|error| {
            let bad = at + error.valid_up_to() as u64;
            DataError::malformed(path, format!("is no UTF-8 at byte {bad} (line {number})"))
        })?;
        let text = if at == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        each(text.trim_end_matches(['\n', '\r']))?;
        at += bytes;
    }
    if let Some(hash) = hash {
        // Where one file ends and another begins is part of it.
        hash.update(at.to_le_bytes());
    }
    Ok(())
}

/// Whether a line has anything that becomes a piece, under any [`Normalizer`].
fn has_words(line: &str) -> bool {
    let is_word = |c: char| {
        !c.is_whitespace()
            && !c.is_other()
            && !c.is_mark_nonspacing()
            && c != char::REPLACEMENT_CHARACTER
    };
    line.contains(is_word)
}

/// The level of a heading of wikitext, ` = Title = ` being 1.
fn heading(line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let level = words.iter().take_while(|word| **word == "=").count();
    let after = words.iter().rev().take_while(|word| **word == "=").count();
    (level > 0 && level == after && words.len() > 2 * level).then_some(level)
}

/// The sentences of a paragraph of wikitext.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = [" . ", " ? ", " ! "].iter().filter_map(|end| rest.find(end)).min();
        let (sentence, after) = rest.split_at(ends.map_or(rest.len(), |at| at + 3));
        rest = after;
        Some(sentence)
    })
}

/// A sentence with the signs that wikitext wrote apart.
fn undone(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if !text.contains(" @") {
        return text.into();
    }
    let signs = [(" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")];
    signs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)).into()
}

/// The parts of a sentence between words that are unknown already.
pub(super) fn known_parts(sentence: &str) -> impl Iterator<Item = &str> {
    sentence.split(UNKNOWN)
}
