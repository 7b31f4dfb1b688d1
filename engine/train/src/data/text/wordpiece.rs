//! WordPiece: words as the longest pieces that a vocabulary has, from the left.

use std::collections::HashMap;

use super::Normalizer;
use super::words::{Char, words};

/// The marks that every vocabulary has, in the order in which a vocabulary of ours begins.
pub const SPECIALS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// What stands before a piece that goes on with a word.
pub const INNER: &str = "##";
/// The most characters of a word that is looked up; a longer one is unknown.
pub(super) const LONGEST: usize = 100;

/// Where the marks of [`SPECIALS`] stand in a vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Specials {
    /// Fills a sequence up.
    pub pad: u32,
    /// A word that no pieces make.
    pub unk: u32,
    /// Begins a sequence.
    pub cls: u32,
    /// Ends a segment.
    pub sep: u32,
    /// Stands for a word that is to be found.
    pub mask: u32,
}

/// Pieces of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Numbers of the pieces.
    pub ids: Vec<u32>,
    /// First code point of each in the text, and the one behind its last.
    pub offsets: Vec<(u32, u32)>,
}

/// A vocabulary and how texts are read with it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pieces: Vec<String>,
    /// Pieces that begin a word, and those that go on with one, without [`INNER`].
    begins: HashMap<String, u32>,
    inner: HashMap<String, u32>,
    specials: Specials,
    /// What [`Tokenizer::encode_marked`] reads as it stands.
    marks: Vec<(String, u32)>,
    normalizer: Normalizer,
    longest: usize,
}

impl PartialEq for Tokenizer {
    /// The same ids for every text.
    fn eq(&self, other: &Self) -> bool {
        (&self.pieces, &self.marks, self.normalizer, self.longest)
            == (&other.pieces, &other.marks, other.normalizer, other.longest)
    }
}

impl Tokenizer {
    /// A tokenizer with these pieces, whose places are their ids.
    ///
    /// # Errors
    /// What is wrong with the pieces, as the end of a sentence: an empty one, one that is there twice, a missing mark.
    pub fn new(pieces: Vec<String>, normalizer: Normalizer) -> Result<Self, String> {
        let (mut begins, mut inner) = (HashMap::new(), HashMap::new());
        let mut ids: HashMap<&str, u32> = HashMap::with_capacity(pieces.len());
        for (id, piece) in (0..).zip(&pieces) {
            if piece.is_empty() {
                return Err(format!("has an empty piece with the id {id}"));
            }
            if let Some(first) = ids.insert(piece, id) {
                let piece = crate::text::escape(piece);
                return Err(format!("has the piece \"{piece}\" twice, as {first} and as {id}"));
            }
            match piece.strip_prefix(INNER) {
                Some(rest) if !rest.is_empty() => inner.insert(rest.to_owned(), id),
                _ => begins.insert(piece.clone(), id),
            };
        }
        let mark = |at: usize| {
            let found = ids.get(SPECIALS[at]).copied();
            found.ok_or_else(|| {
                format!("lacks {}; BERT needs {}", SPECIALS[at], SPECIALS.join(", "))
            })
        };
        let specials =
            Specials { pad: mark(0)?, unk: mark(1)?, cls: mark(2)?, sep: mark(3)?, mask: mark(4)? };
        let marks = SPECIALS.iter().map(|mark| ((*mark).to_owned(), ids[mark])).collect();
        Ok(Self { begins, inner, specials, marks, normalizer, longest: LONGEST, pieces })
    }

    /// The same with another bound on the characters of a word, and more marks that are read as they stand.
    pub(super) fn with(mut self, longest: usize, marks: impl IntoIterator<Item = u32>) -> Self {
        self.longest = longest;
        for id in marks {
            let mark = (self.pieces[id as usize].clone(), id);
            if !self.marks.contains(&mark) {
                self.marks.push(mark);
            }
        }
        self
    }

    /// How many pieces there are.
    pub fn size(&self) -> usize {
        self.pieces.len()
    }

    /// All pieces; a place is an id.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// Where the marks stand.
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// What is done to a text first.
    pub fn normalizer(&self) -> Normalizer {
        self.normalizer
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn marks(&self) -> &[(String, u32)] {
        &self.marks
    }

    /// Whether each piece goes on with a word that another one began.
    pub fn continues(&self) -> Vec<bool> {
        self.pieces.iter().map(|piece| piece.starts_with(INNER)).collect()
    }

    /// The pieces of `text`, without marks around them. A mark that stands in the text is text, so nobody can write one
    /// into a corpus.
    pub fn encode(&self, text: &str) -> Encoding {
        let mut encoding = Encoding::default();
        self.add(text, 0, &mut encoding);
        encoding
    }

    /// As [`Self::encode`], but marks in the text (`[MASK]`) are read as such, as transformers does.
    pub fn encode_marked(&self, text: &str) -> Encoding {
        let mut encoding = Encoding::default();
        let (mut rest, mut first) = (text, 0);
        let count = |text: &str| text.chars().count() as u32;
        let next = |text: &str| {
            let found =
                self.marks.iter().filter_map(|(mark, id)| Some((text.find(mark)?, mark, *id)));
            // The leftmost, and of several there the longest.
            found.min_by_key(|(at, mark, _)| (*at, std::cmp::Reverse(mark.len())))
        };
        while let Some((at, mark, id)) = next(rest) {
            self.add(&rest[..at], first, &mut encoding);
            first += count(&rest[..at]);
            encoding.ids.push(id);
            encoding.offsets.push((first, first + count(mark)));
            first += count(mark);
            rest = &rest[at + mark.len()..];
        }
        self.add(rest, first, &mut encoding);
        encoding
    }

    fn add(&self, text: &str, first: u32, to: &mut Encoding) {
        words(self.normalizer, text, first, |word| self.add_word(word, to));
    }

    /// The pieces of one word; `[UNK]` for all of it where some of it is in no piece.
    fn add_word(&self, word: &[Char], to: &mut Encoding) {
        let whole = (word[0].at, word[word.len() - 1].at + 1);
        let before = to.ids.len();
        if word.len() <= self.longest && self.add_pieces(word, to) {
            return;
        }
        to.ids.truncate(before);
        to.offsets.truncate(before);
        to.ids.push(self.specials.unk);
        to.offsets.push(whole);
    }

    fn add_pieces(&self, word: &[Char], to: &mut Encoding) -> bool {
        let text: String = word.iter().map(|c| c.value).collect();
        let bytes = |chars: &[Char]| chars.iter().map(|c| c.value.len_utf8()).sum::<usize>();
        let (mut start, mut from) = (0, 0);
        while start < word.len() {
            let known = if start == 0 { &self.begins } else { &self.inner };
            let (mut end, mut until) = (word.len(), text.len());
            let id = loop {
                match known.get(&text[from..until]) {
                    Some(id) => break *id,
                    None if end - start == 1 => return false,
                    None => {
                        end -= 1;
                        until -= bytes(&word[end..=end]);
                    }
                }
            };
            to.ids.push(id);
            to.offsets.push((word[start].at, word[end - 1].at + 1));
            (start, from) = (end, until);
        }
        true
    }

    /// The text of pieces: those that go on with a word are joined to it, and a space stands between words.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        for id in ids {
            let piece = self.pieces.get(*id as usize).map_or(SPECIALS[1], String::as_str);
            match piece.strip_prefix(INNER) {
                Some(rest) => text += rest,
                None if text.is_empty() => text += piece,
                None => {
                    text.push(' ');
                    text += piece;
                }
            }
        }
        text
    }
}
