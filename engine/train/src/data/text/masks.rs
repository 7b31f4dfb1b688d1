//! Examples of masked words: the segments of an example between their marks, and which words are to be found.
//!
//! Of the pieces, marks counted, 15 % are to be found (rounded to even, at least one, at most `max_predictions`). Marks
//! and `[UNK]` are never among them. A piece to be found is shown as `[MASK]` in eight cases of ten, as itself in one, and
//! as any piece of the whole vocabulary in one. With `whole_word`, pieces of a word are found together or not at all.
//!
//! Everything random is a function of (seed, epoch, index) of a draw, and without one, or with `fixed`, of the text's own seed and the index.

use std::ops::Range;
use std::sync::Arc;

use super::pairs::{Pair, Pairing, pairs};
use super::wordpiece::Specials;
use super::{TokenCache, Tokenizer};
use crate::data::DataError;
use crate::data::source::Draw;
use crate::random::Stream;

/// A key that keeps the random stream of masks apart from all others.
const MASKS: u64 = 0x006d_6173_6b73;
/// The share of the pieces that is to be found.
const SHARE: f64 = 0.15;

/// What is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masking {
    /// The most pieces of an example that are to be found.
    pub max_predictions: u32,
    /// Whole words.
    pub whole_word: bool,
    /// The same masks in each epoch: for held-out text, and with `dupe_factor`.
    pub fixed: bool,
    /// Only places that show `[MASK]` have a weight: what held-out loss and accuracy are taken over.
    pub only_masked: bool,
}

/// An example.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Example {
    /// Pieces as they are shown, filled up with `[PAD]` to the length of all examples.
    pub input_ids: Vec<u32>,
    /// 0 in the first segment and behind the end, 1 in the second.
    pub token_type_ids: Vec<u32>,
    /// Pieces before the end, marks among them: what attention sees.
    pub length: u32,
    /// Places of the pieces to be found, ascending, filled up with 0 to `max_predictions`.
    pub positions: Vec<u32>,
    /// What they are; 0 where it is filled up.
    pub labels: Vec<u32>,
    /// 1 for each that counts, 0 where it is filled up.
    pub weights: Vec<f32>,
    /// 1 where the second segment is from elsewhere, 0 where it follows.
    pub next: u32,
}

/// Examples of a corpus by number.
#[derive(Debug, Clone)]
pub struct MaskedText {
    cache: Arc<TokenCache>,
    pairs: Vec<Pair>,
    length: usize,
    nsp: bool,
    masking: Masking,
    seed: u64,
    specials: Specials,
    /// Whether each piece goes on with a word.
    continues: Arc<[bool]>,
}

impl MaskedText {
    /// The examples of `documents`, which are sentences of `cache`.
    ///
    /// # Errors
    /// As [`pairs()`]; `max_predictions` is 0 or more than fit, or there is no example.
    pub fn new(
        cache: Arc<TokenCache>,
        documents: &[Range<u64>],
        tokenizer: &Tokenizer,
        pairing: &Pairing,
        masking: Masking,
        seed: u64,
    ) -> Result<Self, DataError> {
        let pairs = pairs(&cache, documents, pairing, seed)?;
        if !(1..=pairing.length - 2).contains(&masking.max_predictions) {
            let most = pairing.length - 2;
            let problem = format!(
                "{} is not in 1 … {most} (text.length without its marks)",
                masking.max_predictions
            );
            return Err(DataError::setting("text.max_predictions", problem));
        }
        if pairs.is_empty() {
            return Err(DataError::setting("data.path", "the text has no words"));
        }
        let (specials, continues) = (tokenizer.specials(), tokenizer.continues().into());
        let (length, nsp) = (pairing.length as usize, pairing.nsp);
        Ok(Self { cache, pairs, length, nsp, masking, seed, specials, continues })
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Pieces of each example.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether examples are pairs of sentences.
    pub fn has_pairs(&self) -> bool {
        self.nsp
    }

    /// Places of each example, at most.
    pub fn places(&self) -> usize {
        self.masking.max_predictions as usize
    }

    /// Example number `index` as `draw` masks it; without one always alike.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn example(&self, index: usize, draw: Option<Draw>) -> Result<Example, DataError> {
        let Pair { a, b, random } = self.pairs[index];
        let mut ids = vec![self.specials.cls];
        let mut kinds = vec![0];
        for (kind, span) in [a, b].into_iter().enumerate().take(if self.nsp { 2 } else { 1 }) {
            ids.extend(self.cache.pieces(span.first..span.first + u64::from(span.count))?);
            ids.push(self.specials.sep);
            kinds.resize(ids.len(), kind as u32);
        }
        let length = ids.len() as u32;
        let always = Draw { seed: self.seed, epoch: 0 };
        let Draw { seed, epoch } = draw.filter(|_| !self.masking.fixed).unwrap_or(always);
        let mut stream = Stream::new(&[seed, MASKS, epoch, index as u64]);
        let mut found = self.chosen(&ids, &mut stream);
        let most = self.masking.max_predictions as usize;
        let (mut positions, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        found.sort_unstable_by_key(|(at, _)| *at);
        for (at, shown) in found {
            let counts = !self.masking.only_masked || shown == self.specials.mask;
            positions.push(at as u32);
            labels.push(std::mem::replace(&mut ids[at], shown));
            weights.push(f32::from(u8::from(counts)));
        }
        positions.resize(most, 0);
        labels.resize(most, 0);
        weights.resize(most, 0.0);
        ids.resize(self.length, self.specials.pad);
        kinds.resize(self.length, 0);
        let next = u32::from(random);
        Ok(Example {
            input_ids: ids,
            token_type_ids: kinds,
            length,
            positions,
            labels,
            weights,
            next,
        })
    }

    /// The places that are to be found, and what each of them shows.
    fn chosen(&self, ids: &[u32], stream: &mut Stream) -> Vec<(usize, u32)> {
        let share = (ids.len() as f64 * SHARE).round_ties_even() as usize;
        let wanted = share.max(1).min(self.masking.max_predictions as usize);
        let mut words = self.words(ids);
        for last in (1..words.len()).rev() {
            words.swap(last, stream.below(last + 1));
        }
        let mut chosen: Vec<(usize, u32)> = Vec::with_capacity(wanted);
        for word in words {
            if chosen.len() + word.len() > wanted {
                continue;
            }
            for at in word {
                let shown = match stream.unit() {
                    case if case < 0.8 => self.specials.mask,
                    case if case < 0.9 => ids[at],
                    _ => stream.below(self.continues.len()) as u32,
                };
                chosen.push((at, shown));
            }
            if chosen.len() == wanted {
                break;
            }
        }
        chosen
    }

    /// What is chosen together: single pieces, or the pieces of a word.
    fn words(&self, ids: &[u32]) -> Vec<Range<usize>> {
        let Specials { unk, cls, sep, .. } = self.specials;
        let mut words: Vec<Range<usize>> = Vec::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            if [unk, cls, sep].contains(id) {
                continue;
            }
            match words.last_mut() {
                Some(word)
                    if self.masking.whole_word
                        && word.end == at
                        && self.continues[*id as usize] =>
                {
                    word.end = at + 1;
                }
                _ => words.push(at..at + 1),
            }
        }
        words
    }
}
