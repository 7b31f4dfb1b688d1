//! Small models on text, and what they are asked.

use std::{path::Path, sync::Arc};

use engine::{
    batch::{Batch, Field},
    data::text::{Normalizer, Tokenizer, wordpiece::SPECIALS},
    device::Device,
    formats::{ModelConfig, ModelFolder, TextModel},
    models::{Bert, BertHead},
    nn::{Extent, LENGTHS, Network, PLACES, SEGMENTS, TOKENS, Weights},
    random::Stream,
    step::Task,
    train::Session,
};
use serde_json::json;

use crate::nets;

/// A tokenizer of the letters and a few words.
pub fn tokenizer() -> Tokenizer {
    let letters = ('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]);
    let words = ["the", "of", "on", "##ing"].map(String::from);
    let pieces = SPECIALS.map(String::from).into_iter().chain(words).chain(letters).collect();
    Tokenizer::new(pieces, Normalizer::bert(true)).expect("a vocabulary")
}

/// The sizes of a small student that is asked this.
fn student(head: BertHead) -> Bert {
    Bert {
        vocabulary: tokenizer().size() as u32,
        hidden: 12,
        embedding: None,
        layers: 2,
        heads: 3,
        inner: 20,
        length: 9,
        positions: 11,
        places: if head == BertHead::Spans { 0 } else { 9 },
        init_std: 0.3,
        head,
        ..Bert::default()
    }
}

/// A model folder with weights as [`nets::weights`] draws them: a student's, or that of a teacher so many times as wide; for masked words.
pub fn model(factor: Option<u32>) -> ModelFolder {
    model_for(factor, BertHead::MaskedWords)
}

/// The same for what it is asked.
pub fn model_for(factor: Option<u32>, head: BertHead) -> ModelFolder {
    let student = student(head);
    folder(factor.map_or(student.clone(), |factor| student.widened(factor)))
}

/// The same of a student whose layers are bottlenecks.
pub fn bottlenecks(head: BertHead) -> ModelFolder {
    folder(Bert { bottleneck: Some(20), eps: Bert::BOTTLENECK_EPS, ..student(head) })
}

fn folder(sizes: Bert) -> ModelFolder {
    let tokenizer = tokenizer();
    let config = ModelConfig::Text(TextModel { sizes, tokenizer, unanswerable: false });
    let weights = nets::weights(&config.network(), 5);
    ModelFolder { weights, config, merge: None, card: String::new() }
}

/// Sequences of several lengths with two segments each.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Tokens of a sequence, padding included.
    pub length: usize,
    /// Ids, row after row.
    pub ids: Vec<u32>,
    /// Segments, likewise.
    pub segments: Vec<u32>,
    /// How many tokens of each row are no padding.
    pub lengths: Vec<u32>,
}

impl Asked {
    /// Random ones, of which the first has no padding.
    pub fn of(vocabulary: u32, length: u32, rows: u32) -> Self {
        let mut stream = Stream::new(&[19]);
        let mut below = |n: u32| (stream.between(0.0, f64::from(n)) as u32).min(n - 1);
        let ids = (0..rows * length).map(|_| below(vocabulary)).collect();
        let lengths: Vec<u32> =
            (0..rows).map(|row| if row == 0 { length } else { 1 + below(length) }).collect();
        let segments = lengths
            .iter()
            .flat_map(|&tokens| (0..length).map(move |at| u32::from(at >= tokens / 2)))
            .collect();
        Self { length: length as usize, ids, segments, lengths }
    }

    /// As a network reads them, which is asked for all places.
    fn batch(&self) -> Batch {
        let (length, size) = (self.length as u32, self.lengths.len());
        let places = (0..size).flat_map(|_| 0..length).collect();
        let inputs = vec![
            Field::u32(TOKENS, self.ids.clone()),
            Field::u32(SEGMENTS, self.segments.clone()),
            Field::u32(LENGTHS, self.lengths.clone()),
            Field::u32(PLACES, places),
        ];
        Batch { inputs, targets: Vec::new(), size, rows: size }
    }

    /// Scores of words of a network on a device, row after row; it has to have as many places as tokens.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn scores(&self, gpu: &Arc<dyn Device>, network: &Network, weights: &Weights) -> Vec<f32> {
        let vocabulary = network.shapes().expect("a network").output.width();
        let task = Task::MaskedWords { vocabulary, places: self.length as u32 };
        self.answers(gpu, network, task, weights)
    }

    /// What a network answers that is asked for this: of its first head row after row, then of the next one.
    ///
    /// # Panics
    /// If the device refuses.
    pub fn answers(
        &self,
        gpu: &Arc<dyn Device>,
        network: &Network,
        task: Task,
        weights: &Weights,
    ) -> Vec<f32> {
        let rows = self.lengths.len() as u32;
        let session = Session::evaluating(gpu, network, task, weights, rows);
        let mut session = session.unwrap_or_else(|error| panic!("{error}"));
        let answers = session.logits([Ok(self.batch())].into_iter()).expect("answers");
        let shapes = network.shapes().expect("a network");
        let mut first = 0;
        let mut of_head = |extent: Extent| {
            let count = (u64::from(extent.width()) * extent.positions()) as usize;
            first += count;
            answers.iter().flat_map(|row| row[first - count..first].to_vec()).collect::<Vec<f32>>()
        };
        [shapes.output].into_iter().chain(shapes.further).flat_map(&mut of_head).collect()
    }

    /// Writes them into a folder as the scripts of `golden/` read them: `asked.json`, as transformers calls its inputs, and the answers as
    /// `logits.f32`.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn write(&self, folder: &Path, scores: &[f32]) {
        let rows = |numbers: &[u32]| -> Vec<Vec<u32>> {
            numbers.chunks(self.length).map(<[u32]>::to_vec).collect()
        };
        let mask: Vec<u32> = self
            .lengths
            .iter()
            .flat_map(|&tokens| (0..self.length as u32).map(move |at| u32::from(at < tokens)))
            .collect();
        let asked = json!({
            "input_ids": rows(&self.ids),
            "attention_mask": rows(&mask),
            "token_type_ids": rows(&self.segments),
        });
        std::fs::write(folder.join("asked.json"), asked.to_string()).expect("written");
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        std::fs::write(folder.join("logits.f32"), bytes).expect("written");
    }
}
