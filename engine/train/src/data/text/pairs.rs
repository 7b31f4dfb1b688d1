//! Which pieces of a corpus stand in an example: two segments for next-sentence prediction, or one packed block.
//!
//! **Pairs** follow BERT's own pipeline. Sentences of a document are gathered until they fill the target length, which
//! is all the room but with probability `short_probability` a length drawn for the document. Segment A is 1 … n − 1 of
//! the n gathered sentences (or the only one). B is what follows with probability ½, and otherwise, or if nothing
//! follows, sentences from a random place of another document, which ten tries look for; the sentences that B would have
//! been are then put back. Of a pair that is too long, the longer segment loses a piece at its front or back by a coin,
//! until it fits.
//!
//! **Blocks** (`nsp = false`) are what RoBERTa calls DOC-SENTENCES, without a regard for sentences: a document's pieces
//! are cut into runs that fill an example; the last one of a document may be shorter, and none crosses its end.
//!
//! The segments are the same in each epoch, as in the official pipeline, which writes them to files: they follow from
//! (seed, copy, document), and masks alone are drawn anew.

use std::ops::Range;

use super::TokenCache;
use crate::data::DataError;
use crate::random::Stream;
use crate::threads::parallel;

/// A key that keeps the random stream of pairs apart from all others.
const PAIRS: u64 = 0x0070_6169_7273;
/// How often another document is looked for.
const TRIES: usize = 10;
/// The shortest and the longest example that can be asked for, in pieces with marks.
pub const LENGTHS: std::ops::RangeInclusive<u32> = 8..=1 << 15;

/// How segments are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pairing {
    /// Pieces of an example, its marks among them.
    pub length: u32,
    /// How likely a pair is shorter than there is room.
    pub short_probability: f64,
    /// Pairs, else blocks.
    pub nsp: bool,
    /// How often a corpus is walked through.
    pub copies: u32,
}

/// A run of pieces of a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first piece.
    pub first: u64,
    /// How many.
    pub count: u32,
}

/// What stands in an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The first segment, or the block.
    pub a: Span,
    /// The second; none in a block.
    pub b: Span,
    /// Whether `b` is from elsewhere: the label of next-sentence prediction.
    pub random: bool,
}

/// All examples of `documents` (their sentences), in order: a function of the corpus, `how` and `seed`.
///
/// # Errors
/// Settings that cannot be followed, one document alone with `nsp`, a cache that cannot be read.
pub fn pairs(
    cache: &TokenCache,
    documents: &[Range<u64>],
    how: &Pairing,
    seed: u64,
) -> Result<Vec<Pair>, DataError> {
    check(how, documents.len())?;
    let walks = documents.len() * if how.nsp { how.copies as usize } else { 1 };
    let made = parallel(walks, |walk| {
        let (copy, document) = (walk / documents.len(), walk % documents.len());
        if !how.nsp {
            return blocks(cache, &documents[document], how).map(Some);
        }
        let stream = Stream::new(&[seed, PAIRS, copy as u64, document as u64]);
        let mut walk = Walk { cache, documents, document, stream, room: how.length - 3 };
        walk.pairs(how.short_probability).map(Some)
    })?;
    let once: Vec<Pair> = made.into_iter().flatten().flatten().collect();
    Ok(if how.nsp { once } else { once.repeat(how.copies as usize) })
}

fn check(how: &Pairing, documents: usize) -> Result<(), DataError> {
    if !LENGTHS.contains(&how.length) {
        let problem = format!("{} is not in {} … {}", how.length, LENGTHS.start(), LENGTHS.end());
        return Err(DataError::setting("text.length", problem));
    }
    if !(0.0..=1.0).contains(&how.short_probability) {
        let problem = format!("{} is not between 0 and 1", how.short_probability);
        return Err(DataError::setting("text.short_probability", problem));
    }
    if how.copies == 0 {
        return Err(DataError::setting("text.dupe_factor", "0 is not 1 or more"));
    }
    if how.nsp && documents < 2 {
        let problem = "true needs two documents, and the text has one, where a random next sentence may be \
                       the true one; part it by blank lines, or set text.nsp = false";
        return Err(DataError::setting("text.nsp", problem));
    }
    Ok(())
}

fn blocks(
    cache: &TokenCache,
    sentences: &Range<u64>,
    how: &Pairing,
) -> Result<Vec<Pair>, DataError> {
    let bound = |at: u64| Ok::<u64, DataError>(cache.bounds(at..at)?.first().copied().unwrap_or(0));
    let (start, end) = (bound(sentences.start)?, bound(sentences.end)?);
    let room = u64::from(how.length - 2);
    let block = |first: u64| Pair {
        a: Span { first, count: room.min(end - first) as u32 },
        b: Span::default(),
        random: false,
    };
    Ok((start..end).step_by(room as usize).map(block).collect())
}

/// A walk through one document.
struct Walk<'a> {
    cache: &'a TokenCache,
    documents: &'a [Range<u64>],
    document: usize,
    stream: Stream,
    /// Pieces of a pair without its marks.
    room: u32,
}

impl Walk<'_> {
    fn pairs(&mut self, short_probability: f64) -> Result<Vec<Pair>, DataError> {
        let target = match self.stream.unit() < short_probability {
            true => 2 + self.stream.below(self.room as usize - 1) as u64,
            false => self.room.into(),
        };
        let bounds = self.cache.bounds(self.documents[self.document].clone())?;
        let count = bounds.len() - 1;
        let (mut pairs, mut first, mut at) = (Vec::new(), 0, 0);
        while at < count {
            at += 1;
            if at < count && bounds[at] - bounds[first] < target {
                continue;
            }
            let gathered = at - first;
            let cut = first + if gathered > 1 { 1 + self.stream.below(gathered - 1) } else { 1 };
            let random = gathered == 1 || self.stream.unit() < 0.5;
            let a = bounds[first]..bounds[cut];
            let b = match random {
                false => bounds[cut]..bounds[at],
                true => {
                    // What A did not take is put back.
                    at = cut;
                    self.elsewhere(target.saturating_sub(a.end - a.start))?
                }
            };
            let (a, b) = self.shortened(a, b);
            pairs.push(Pair { a, b, random });
            first = at;
        }
        Ok(pairs)
    }

    /// Sentences from a random place of another document that have `target` pieces, or all until its end.
    fn elsewhere(&mut self, target: u64) -> Result<Range<u64>, DataError> {
        let mut other = self.document;
        for _ in 0..TRIES {
            other = self.stream.below(self.documents.len());
            if other != self.document {
                break;
            }
        }
        let bounds = self.cache.bounds(self.documents[other].clone())?;
        let first = self.stream.below(bounds.len() - 1);
        let enough = bounds[first + 1..].iter().find(|end| **end - bounds[first] >= target);
        Ok(bounds[first]..*enough.unwrap_or(&bounds[bounds.len() - 1]))
    }

    /// Both segments, cut until they fit.
    fn shortened(&mut self, mut a: Range<u64>, mut b: Range<u64>) -> (Span, Span) {
        let count = |range: &Range<u64>| range.end - range.start;
        while count(&a) + count(&b) > self.room.into() {
            let longer = if count(&a) > count(&b) { &mut a } else { &mut b };
            match self.stream.unit() < 0.5 {
                true => longer.start += 1,
                false => longer.end -= 1,
            }
        }
        let span = |range: Range<u64>| Span { first: range.start, count: count(&range) as u32 };
        (span(a), span(b))
    }
}
