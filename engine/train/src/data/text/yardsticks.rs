//! What counting alone reaches on masked words: the lines that a network has to pass before it has learnt anything.
//!
//! Counts are of the training text. The places are those of held-out examples that show `[MASK]`, as held-out loss and
//! accuracy are; but for `trivial`, which is over all places to be found, and shows where a network's *training* loss
//! stays at first: words by their frequency, and what is left as it is copied.
//!
//! Counts of neighbours are smoothed after Witten and Bell: a follower of w that was seen c times has
//! (c + T·u) / (N + T), where w had N followers of T kinds and u is the frequency of the follower, add-½. With
//! both neighbours, P(w | l, r) is P(w | l)·P(r | w) over the sum of it. A neighbour that is a mark tells nothing.

use std::collections::HashMap;
use std::ops::Range;

use super::wordpiece::Specials;
use super::{MaskedText, TokenCache, Tokenizer};
use crate::data::DataError;
pub use crate::data::account::{Yardstick, Yardsticks};

/// Pieces that are counted at a time.
const PART: u64 = 1 << 16;

/// How much is read, at most.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Pieces that are counted: of a longer text those of the first documents that have them, as counts of neighbours take memory.
    pub pieces: u64,
    /// Held-out examples.
    pub examples: usize,
}

impl Default for Most {
    /// What a run reads.
    fn default() -> Self {
        Self { pieces: 1 << 24, examples: 10_000 }
    }
}

/// The yardsticks of `held_out` by what is counted in `documents` of `cache`.
///
/// # Errors
/// A cache cannot be read.
pub fn yardsticks(
    cache: &TokenCache,
    documents: &[Range<u64>],
    tokenizer: &Tokenizer,
    held_out: &MaskedText,
    most: Most,
) -> Result<Yardsticks, DataError> {
    let counts =
        Counts::new(cache, documents, tokenizer.size(), tokenizer.specials(), most.pieces)?;
    let mut sums = [Sum::default(); 4];
    let mask = counts.specials.mask;
    for index in 0..held_out.len().min(most.examples) {
        let example = held_out.example(index, None)?;
        let places = example.positions.iter().zip(&example.labels);
        for (&at, &label) in places.take_while(|(at, _)| **at > 0) {
            let shown = |at: u32| example.input_ids[at as usize];
            let copied = Some(shown(at)).filter(|shown| *shown != mask);
            sums[1].add(&counts.copied(copied), label);
            if copied.is_none() {
                let left = counts.telling(shown(at - 1));
                let right = counts.telling(shown(at + 1));
                sums[0].add(&counts.unigram, label);
                sums[2].add(&counts.beside(left, None), label);
                sums[3].add(&counts.beside(left, right), label);
            }
        }
    }
    let [unigram, trivial, left, both] = sums.map(Sum::mean);
    Ok(Yardsticks { unigram, trivial, left, both, counted: counts.counted })
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    loss: f64,
    hits: u64,
    places: u64,
}

impl Sum {
    /// Adds a place whose pieces have probabilities in proportion to `likely`.
    fn add(&mut self, likely: &[f64], label: u32) {
        let (mut total, mut best) = (0.0, 0);
        for (id, value) in likely.iter().enumerate() {
            total += value;
            if *value > likely[best] {
                best = id;
            }
        }
        self.loss -= (likely[label as usize] / total).ln();
        self.hits += u64::from(best == label as usize);
        self.places += 1;
    }

    fn mean(self) -> Yardstick {
        let count = self.places.max(1) as f64;
        Yardstick {
            loss: self.loss / count,
            accuracy: self.hits as f64 / count,
            places: self.places,
        }
    }
}

/// Neighbours of a piece, and how often each is there.
type Neighbours = HashMap<u32, u64>;

struct Counts {
    specials: Specials,
    /// Frequency of each piece that can be a label.
    unigram: Vec<f64>,
    followers: Vec<Neighbours>,
    leaders: Vec<Neighbours>,
    /// Followers of each piece: how many, and of how many kinds.
    all: Vec<(f64, f64)>,
    /// How many pieces were counted, if not all.
    counted: Option<u64>,
}

impl Counts {
    fn new(
        cache: &TokenCache,
        documents: &[Range<u64>],
        size: usize,
        specials: Specials,
        most: u64,
    ) -> Result<Self, DataError> {
        let mut seen = vec![0u64; size];
        let (mut followers, mut leaders) =
            (vec![Neighbours::new(); size], vec![Neighbours::new(); size]);
        let (mut counted, mut all) = (0, true);
        for sentences in documents {
            if counted >= most {
                all = false;
                break;
            }
            let bounds = cache.bounds(sentences.clone())?;
            let end = bounds[bounds.len() - 1];
            counted += end - bounds[0];
            let mut before = None;
            for first in (bounds[0]..end).step_by(PART as usize) {
                for id in cache.pieces(first..end.min(first + PART))? {
                    seen[id as usize] += 1;
                    if let Some(before) = before.replace(id) {
                        *followers[before as usize].entry(id).or_default() += 1;
                        *leaders[id as usize].entry(before).or_default() += 1;
                    }
                }
            }
        }
        let Specials { pad, unk, cls, sep, mask } = specials;
        for mark in [pad, unk, cls, sep, mask] {
            seen[mark as usize] = 0;
        }
        let total = seen.iter().sum::<u64>() as f64 + size as f64 / 2.0;
        let unigram = seen.iter().map(|count| (*count as f64 + 0.5) / total).collect();
        let counted = (!all).then_some(counted);
        let all = followers.iter().map(|all| (all.values().sum::<u64>() as f64, all.len() as f64));
        Ok(Self { specials, unigram, all: all.collect(), followers, leaders, counted })
    }

    /// `id`, unless it is a mark.
    fn telling(&self, id: u32) -> Option<u32> {
        let Specials { pad, cls, sep, mask, .. } = self.specials;
        (![pad, cls, sep, mask].contains(&id)).then_some(id)
    }

    /// How likely each piece is where `shown` is shown instead of `[MASK]`: a piece stays in one case of ten and
    /// becomes any other in one.
    fn copied(&self, shown: Option<u32>) -> Vec<f64> {
        let mut likely = self.unigram.clone();
        if let Some(shown) = shown {
            likely.iter_mut().for_each(|value| *value /= self.unigram.len() as f64);
            likely[shown as usize] += self.unigram[shown as usize];
        }
        likely
    }

    /// How likely each piece is between two others, up to a factor.
    fn beside(&self, left: Option<u32>, right: Option<u32>) -> Vec<f64> {
        let mut likely = self.unigram.clone();
        if let Some(left) = left {
            let (count, kinds) = self.all[left as usize];
            if count > 0.0 {
                likely.iter_mut().for_each(|value| *value *= kinds / (count + kinds));
                for (id, often) in &self.followers[left as usize] {
                    likely[*id as usize] += *often as f64 / (count + kinds);
                }
            }
        }
        if let Some(right) = right {
            let usual = self.unigram[right as usize];
            let leaders = &self.leaders[right as usize];
            for (id, (value, (count, kinds))) in likely.iter_mut().zip(&self.all).enumerate() {
                let often = leaders.get(&(id as u32)).map_or(0.0, |often| *often as f64);
                if *count > 0.0 {
                    *value *= (often + kinds * usual) / (count + kinds);
                } else {
                    *value *= usual;
                }
            }
        }
        likely
    }
}
