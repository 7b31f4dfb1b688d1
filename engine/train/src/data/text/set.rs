//! Text of which words are masked: what is known of it, and its examples as a source of samples.

use std::ops::Range;
use std::sync::Arc;

use super::cache::TokenCache;
use super::masks::MaskedText;
use super::{Tokenizer, yardsticks};
use crate::batch::{Batch, Field};
use crate::data::DataError;
use crate::data::account::{TextPart, Yardsticks};
use crate::data::source::{Draw, Source, subset};
use crate::nn::{LENGTHS, PLACES, SEGMENTS, TOKENS};
use crate::step::{LABELS, NEXT, NO_LABEL};
use crate::threads::cores;

/// What a text is, for who trains on it.
#[derive(Debug, Clone)]
pub struct TextSet {
    /// Makes tokens of text.
    pub tokenizer: Arc<Tokenizer>,
    /// Tokens of an example.
    pub length: u32,
    /// Words of an example that are masked, at most.
    pub places: u32,
    /// Whether examples are pairs of sentences, of which the second may not follow the first.
    pub next: bool,
    pub(super) train: Arc<Part>,
    pub(super) test: Arc<Masked>,
}

impl TextSet {
    /// What counting alone reaches on the held-out text.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub fn yardsticks(&self) -> Result<Yardsticks, DataError> {
        let Part { cache, documents, .. } = &*self.train;
        let most = yardsticks::Most::default();
        yardsticks(cache, documents, &self.tokenizer, &self.test.text, most)
    }
}

/// The documents of a part among the sentences of a cache.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) cache: Arc<TokenCache>,
    pub(super) documents: Vec<Range<u64>>,
    pub(super) name: String,
    /// SHA-256 of the text that the cache is of, in hexadecimal digits; empty where it is built in.
    pub(super) sha256: String,
}

impl Part {
    pub(super) fn account(&self, examples: usize) -> Result<TextPart, DataError> {
        let sentences = self.documents.iter().map(|range| range.end - range.start).sum();
        let mut tokens = 0;
        for document in &self.documents {
            let bounds = self.cache.bounds(document.clone())?;
            tokens += bounds.last().zip(bounds.first()).map_or(0, |(end, start)| end - start);
        }
        Ok(TextPart {
            name: self.name.clone(),
            documents: self.documents.len() as u64,
            sentences,
            tokens,
            examples: examples as u64,
            sha256: self.sha256.clone(),
        })
    }
}

/// Examples of masked words as a source of samples.
#[derive(Debug)]
pub(super) struct Masked {
    pub(super) text: MaskedText,
    /// Those that are used; none: all.
    pub(super) picks: Option<Vec<usize>>,
}

impl Masked {
    /// As many examples of a text as `key` asks for.
    pub(super) fn new(
        text: MaskedText,
        key: &'static str,
        asked: Option<u64>,
        seed: u64,
    ) -> Result<Self, DataError> {
        let Some(asked) = asked.filter(|&asked| asked != text.len() as u64) else {
            return Ok(Self { text, picks: None });
        };
        if asked > text.len() as u64 {
            let problem = format!("{asked} is more than the {} examples of the text", text.len());
            return Err(DataError::setting(key, problem));
        }
        let picks = Some(subset(text.len(), seed, asked as usize));
        Ok(Self { text, picks })
    }
}

impl Source for Arc<Masked> {
    fn len(&self) -> usize {
        self.picks.as_ref().map_or(self.text.len(), Vec::len)
    }

    fn classes(&self) -> &[u32] {
        &[]
    }

    /// One makes examples faster than any device trains on them.
    fn threads(&self) -> usize {
        cores().min(1)
    }

    /// `tokens` and `segments` (N, T), `lengths` (N), `places` (N, M); `labels` (N, M), of which those that do not count are no word, and with
    /// sentence pairs `next` (N).
    fn gather(&self, picks: &[usize], size: usize, draw: Option<Draw>) -> Result<Batch, DataError> {
        let (length, places) = (self.text.length(), self.text.places());
        let fields = [length, length, 1, places, places, 1];
        let mut numbers = fields.map(|width| Vec::with_capacity(size * width));
        for &pick in picks {
            let index = self.picks.as_ref().map_or(pick, |picks| picks[pick]);
            let example = self.text.example(index, draw)?;
            let label = |(label, weight): (u32, f32)| if weight > 0.0 { label } else { NO_LABEL };
            let labels = example.labels.into_iter().zip(example.weights).map(label);
            numbers[0].extend(example.input_ids);
            numbers[1].extend(example.token_type_ids);
            numbers[2].push(example.length);
            numbers[3].extend(example.positions);
            numbers[4].extend(labels);
            numbers[5].push(example.next);
        }
        for (numbers, width) in numbers.iter_mut().zip(fields) {
            numbers.resize(size * width, 0);
        }
        let [tokens, segments, lengths, places, labels, next] = numbers;
        let inputs = [(TOKENS, tokens), (SEGMENTS, segments), (LENGTHS, lengths), (PLACES, places)];
        let inputs = inputs.map(|(name, numbers)| Field::u32(name, numbers)).into();
        let mut targets = vec![Field::u32(LABELS, labels)];
        if self.text.has_pairs() {
            targets.push(Field::u32(NEXT, next));
        }
        Ok(Batch { inputs, targets, size, rows: picks.len() })
    }
}
