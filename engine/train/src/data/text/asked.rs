//! Questions about texts: what is known of them, and their windows as a source of samples.

use std::collections::HashMap;
use std::sync::Arc;

use super::Tokenizer;
use super::answers::{Answered, Choosing, answer};
use super::metrics::{Scored, score};
use super::squad::{Questions, Window};
use crate::batch::{Batch, Field};
use crate::data::DataError;
use crate::data::account::TextPart;
use crate::data::source::{Draw, Source};
use crate::nn::{LENGTHS, SEGMENTS, TOKENS};
use crate::step::{ENDS, STARTS};
use crate::threads::cores;

/// What questions are, for who trains on them.
#[derive(Debug, Clone)]
pub struct QuestionSet {
    /// Makes tokens of text.
    pub tokenizer: Arc<Tokenizer>,
    /// Tokens of a window.
    pub length: u32,
    /// What is tested on.
    pub test: Arc<Asked>,
}

/// Questions, and their contexts in windows.
#[derive(Debug)]
pub struct Asked {
    /// The questions.
    pub questions: Questions,
    /// The windows of all of them, in order.
    pub windows: Vec<Window>,
    /// How answers are chosen.
    pub choosing: Choosing,
    /// Those windows that are used; none: all.
    pub(super) picks: Option<Vec<usize>>,
}

impl Asked {
    /// Questions with the windows of all of them.
    pub fn new(questions: Questions, windows: Vec<Window>, choosing: Choosing) -> Self {
        Self { questions, windows, choosing, picks: None }
    }

    pub(super) fn account(&self) -> TextPart {
        let of = |window: &Window| window.offsets.len() as u64;
        TextPart {
            name: String::new(),
            documents: self.questions.contexts.len() as u64,
            sentences: self.questions.questions.len() as u64,
            tokens: self.windows.iter().map(of).sum(),
            examples: self.picks.as_ref().map_or(self.windows.len(), Vec::len) as u64,
            sha256: String::new(),
        }
    }

    /// The answer to each question by scores of each window's places as a start and as an end.
    ///
    /// # Panics
    /// There are not as many scores as windows.
    pub fn answers(&self, scores: &[(Vec<f32>, Vec<f32>)]) -> Vec<Answered> {
        assert_eq!(scores.len(), self.windows.len(), "scores of each window");
        let mut first = 0;
        let mut of_question = |(number, question)| {
            let count =
                self.windows[first..].iter().take_while(|window| window.question == number).count();
            let of = self.windows[first..first + count].iter().zip(&scores[first..first + count]);
            let windows: Vec<_> =
                of.map(|(window, (starts, ends))| (window, &starts[..], &ends[..])).collect();
            first += count;
            answer(&self.questions, question, &windows, &self.choosing)
        };
        self.questions.questions.iter().enumerate().map(&mut of_question).collect()
    }

    /// What answers score.
    pub fn score(&self, answers: &[Answered]) -> Scored {
        let ids = self.questions.questions.iter().map(|question| question.id.clone());
        let texts = answers.iter().map(|answer| answer.text.clone());
        let predictions: HashMap<String, String> = ids.zip(texts).collect();
        score(&self.questions, &predictions, None)
    }
}

impl Source for Arc<Asked> {
    fn len(&self) -> usize {
        self.picks.as_ref().map_or(self.windows.len(), Vec::len)
    }

    fn classes(&self) -> &[u32] {
        &[]
    }

    /// One copies windows faster than any device trains on them.
    fn threads(&self) -> usize {
        cores().min(1)
    }

    /// `tokens` and `segments` (N, T), `lengths`, `starts` and `ends` (N); both are 0, the first mark, where a window has no answer.
    fn gather(&self, picks: &[usize], size: usize, _: Option<Draw>) -> Result<Batch, DataError> {
        let length = self.windows.first().map_or(0, |window| window.input_ids.len());
        let widths = [length, length, 1, 1, 1];
        let mut numbers = widths.map(|width| Vec::with_capacity(size * width));
        for &pick in picks {
            let window = &self.windows[self.picks.as_ref().map_or(pick, |picks| picks[pick])];
            numbers[0].extend(&window.input_ids);
            numbers[1].extend(&window.token_type_ids);
            numbers[2].push(window.length);
            numbers[3].push(window.answer.0);
            numbers[4].push(window.answer.1);
        }
        for (numbers, width) in numbers.iter_mut().zip(widths) {
            numbers.resize(size * width, 0);
        }
        let [tokens, segments, lengths, starts, ends] = numbers;
        let inputs = [(TOKENS, tokens), (SEGMENTS, segments), (LENGTHS, lengths)];
        let inputs = inputs.map(|(name, numbers)| Field::u32(name, numbers)).into();
        let targets = [(STARTS, starts), (ENDS, ends)];
        let targets = targets.map(|(name, numbers)| Field::u32(name, numbers)).into();
        Ok(Batch { inputs, targets, size, rows: picks.len() })
    }
}
