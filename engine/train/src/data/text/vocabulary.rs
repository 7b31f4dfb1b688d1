//! A WordPiece vocabulary trained on a corpus: the same pieces from any number of threads, in every process.
//!
//! It begins with the five marks. Then come the characters of the words, those that begin a word and, with `##`, those
//! inside of one, the frequent ones first; they take at most half of the vocabulary, and words with a rarer one are
//! unknown. Then the most frequent pair of neighbouring pieces becomes a piece, again and again, as in byte-pair
//! encoding (which is what the public trainers of WordPiece do); of pairs that are as frequent, the one of the
//! earlier pieces comes first. A pair that is there once is never joined, so a small corpus gives fewer pieces than
//! were asked for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::wordpiece::{INNER, LONGEST, SPECIALS};
use super::words::words;
use super::{Normalizer, Tokenizer};
use crate::data::DataError;

/// The fewest and the most pieces that can be asked for.
pub const SIZES: std::ops::RangeInclusive<usize> = 16..=1 << 20;
/// How often a pair must be there to become a piece.
const OFTEN: u64 = 2;

/// How often each word of a corpus is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordCounts(BTreeMap<String, u64>);

impl WordCounts {
    /// Counts the words of `text`; those too long to be looked up are none.
    pub fn add(&mut self, text: &str, normalizer: Normalizer) {
        words(normalizer, text, 0, |word| {
            if word.len() <= LONGEST {
                let word = word.iter().map(|c| c.value).collect();
                *self.0.entry(word).or_default() += 1;
            }
        });
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        for (word, count) in other.0 {
            *self.0.entry(word).or_default() += count;
        }
    }

    /// How many different words there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A vocabulary of at most `size` pieces for words counted under `normalizer`.
///
/// # Errors
/// `size` is outside of [`SIZES`], or there are no words.
pub fn train(
    counts: &WordCounts,
    size: usize,
    normalizer: Normalizer,
) -> Result<Tokenizer, DataError> {
    if !SIZES.contains(&size) {
        let problem = format!("{size} is not in {} … {}", SIZES.start(), SIZES.end());
        return Err(DataError::setting("text.vocab", problem));
    }
    if counts.is_empty() {
        return Err(DataError::setting("text.vocab", "the text has no words to train it on"));
    }
    let mut pieces: Vec<String> = SPECIALS.map(String::from).to_vec();
    pieces.extend(alphabet(counts, (size - pieces.len()) / 2));
    let mut joining = Joining::new(pieces, counts);
    while joining.pieces.len() < size && joining.join_next() {}
    Tokenizer::new(joining.pieces, normalizer)
        .map_err(|problem| DataError::setting("text.vocab", format!("its training {problem}")))
}

/// The characters of a word as pieces.
fn letters(word: &str) -> impl Iterator<Item = String> {
    word.chars().enumerate().map(|(at, c)| match at {
        0 => c.to_string(),
        _ => format!("{INNER}{c}"),
    })
}

/// The `most` most frequent letters, the frequent ones first.
fn alphabet(counts: &WordCounts, most: usize) -> Vec<String> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for (word, count) in &counts.0 {
        letters(word).for_each(|letter| *seen.entry(letter).or_default() += count);
    }
    let mut letters: Vec<(String, u64)> = seen.into_iter().collect();
    letters.sort_by_key(|(_, count)| Reverse(*count));
    letters.into_iter().take(most).map(|(letter, _)| letter).collect()
}

type Pair = (u32, u32);

/// Pieces that grow by joining pairs.
struct Joining {
    pieces: Vec<String>,
    ids: HashMap<String, u32>,
    /// Pieces of each word, and how often it is there.
    words: Vec<(Vec<u32>, u64)>,
    /// How often each pair is there, and words that have it, or had it.
    pairs: HashMap<Pair, (u64, Vec<u32>)>,
    /// Pairs with a count that may be out of date: the most frequent first, then the earliest.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Joining {
    fn new(pieces: Vec<String>, counts: &WordCounts) -> Self {
        let ids: HashMap<String, u32> = pieces.iter().cloned().zip(0..).collect();
        let known = |(word, count): (&String, &u64)| {
            let word: Option<Vec<u32>> =
                letters(word).map(|letter| ids.get(&letter).copied()).collect();
            Some((word?, *count))
        };
        let words = counts.0.iter().filter_map(known).collect();
        let (pairs, queue) = (HashMap::new(), BinaryHeap::new());
        let mut joining = Self { pieces, ids, words, pairs, queue };
        for at in 0..joining.words.len() {
            joining.count(at);
        }
        joining.queue =
            joining.pairs.iter().map(|(pair, (count, _))| (*count, Reverse(*pair))).collect();
        joining
    }

    /// Adds the pairs of word number `at`, and answers which they are.
    fn count(&mut self, at: usize) -> Vec<Pair> {
        let (word, often) = &self.words[at];
        let new: Vec<Pair> = word.windows(2).map(|two| (two[0], two[1])).collect();
        for pair in &new {
            let (count, words) = self.pairs.entry(*pair).or_default();
            *count += often;
            if words.last() != Some(&(at as u32)) {
                words.push(at as u32);
            }
        }
        new
    }

    /// Makes a piece of the most frequent pair; false once there is none that is frequent enough.
    fn join_next(&mut self) -> bool {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.pairs.get(&pair).map_or(0, |(count, _)| *count);
            if now == count && count >= OFTEN {
                self.join(pair);
                return true;
            }
            if now >= OFTEN && now != count {
                self.queue.push((now, Reverse(pair)));
            }
        }
        false
    }

    fn join(&mut self, pair: Pair) {
        let (left, right) = (&self.pieces[pair.0 as usize], &self.pieces[pair.1 as usize]);
        let piece = format!("{left}{}", right.strip_prefix(INNER).unwrap_or(right));
        // Two ways may lead to one piece.
        let id = *self.ids.entry(piece.clone()).or_insert_with(|| {
            self.pieces.push(piece);
            self.pieces.len() as u32 - 1
        });
        let mut words = self.pairs.get(&pair).map(|(_, words)| words.clone()).unwrap_or_default();
        words.sort_unstable();
        words.dedup();
        let mut changed = Vec::new();
        for at in words {
            self.uncount(at as usize);
            let word = &mut self.words[at as usize].0;
            *word = joined(word, pair, id);
            changed.extend(self.count(at as usize));
        }
        changed.sort_unstable();
        changed.dedup();
        for pair in changed {
            self.queue.push((self.pairs[&pair].0, Reverse(pair)));
        }
    }

    /// Takes the pairs of word number `at` away.
    fn uncount(&mut self, at: usize) {
        let (word, often) = &self.words[at];
        for two in word.windows(2) {
            if let Some((count, _)) = self.pairs.get_mut(&(two[0], two[1])) {
                *count -= often;
            }
        }
    }
}

/// `word` with `id` wherever `pair` was, from the left.
fn joined(word: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut new = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let is_pair = at + 1 < word.len() && (word[at], word[at + 1]) == pair;
        new.push(if is_pair { id } else { word[at] });
        at += if is_pair { 2 } else { 1 };
    }
    new
}
