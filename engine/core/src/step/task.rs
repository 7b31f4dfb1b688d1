//! What a network is asked for.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    batch::{Batch, NumberKind, Numbers},
    config::Discrepancy,
    graph::{Graph, ShapeError, Value},
    models::Output,
    nn::{Input, Inputs, LENGTHS},
    ops::{
        accuracy,
        cross_entropy::{CrossEntropy, cross_entropy},
        elementwise::{Add, Scale, Weigh},
        kl::{Kl, kl},
        mask::Mask,
        mse::Mse,
        spans,
    },
};

/// The name of the field with the class of each sample.
pub const LABELS: &str = "labels";
/// The name of the field that says of each sample how its second segment came there: 0, it follows the first; 1, it is any other.
pub const NEXT: &str = "next";
/// The name of the field with the first token of each sample's answer.
pub const STARTS: &str = "starts";
/// The name of the field with the last token of each sample's answer.
pub const ENDS: &str = "ends";

/// What a network is asked for. It says which targets the data have to give, which loss and metrics compare the output with them, what these
/// are means over, and how an output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Which one of the classes a sample is of: logits (N, classes), labels (N).
    Classify,
    /// Which words were masked: scores (N, M, vocabulary), labels (N, M). A label that is no word does not count.
    MaskedWords {
        /// Words that there are.
        vocabulary: u32,
        /// M.
        places: u32,
    },
    /// The same, and whether the second segment of a sample follows the first: scores (N, M, vocabulary) and (N, 2); labels (N, M), next (N). The
    /// loss is the sum of both means, the accuracy that of the words.
    Pretrain {
        /// Words that there are.
        vocabulary: u32,
        /// M.
        places: u32,
    },
    /// Which tokens of a sample an answer begins and ends with: scores (N, L, 2), starts (N), ends (N). The softmax is over the tokens that there are,
    /// the loss the mean of both. A sample does not count if one of the two is none of its tokens; a hit has both right.
    Spans,
}

/// What the losses and metrics of a program are means over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Samples.
    Rows,
    /// Labels that are words, which number so many.
    Words(u32),
    /// Tokens that are no padding.
    Tokens,
    /// Samples whose answer begins and ends with tokens of theirs.
    Spans,
}

impl Counts {
    /// How many there are in a batch.
    pub fn of(self, batch: &Batch) -> u64 {
        // Of valid samples only: padding of the batch is zeros, and 0 is a word.
        let numbers = |name: &str| match batch.field(name) {
            Some(Numbers::U32(numbers)) => {
                &numbers[..numbers.len() / batch.size.max(1) * batch.rows]
            }
            _ => &[],
        };
        match self {
            Self::Rows => batch.rows as u64,
            Self::Words(words) => {
                numbers(LABELS).iter().filter(|&&label| label < words).count() as u64
            }
            Self::Tokens => numbers(LENGTHS).iter().map(|&length| u64::from(length)).sum(),
            Self::Spans => {
                let ends = numbers(STARTS).iter().zip(numbers(ENDS)).zip(numbers(LENGTHS));
                ends.filter(|((start, end), length)| start.max(end) < length).count() as u64
            }
        }
    }
}

/// The label of a place at which nothing is asked for.
pub const NO_LABEL: u32 = u32::MAX;

/// What a test came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Mean loss.
    pub loss: f64,
    /// Hits in percent.
    pub accuracy: f64,
    /// What was counted: [`Task::counts`] of all batches.
    pub count: u64,
}

/// Sums over the batches of a test.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    parts: [Sum; PARTS],
    hits: f64,
}

/// The sum of a part of the loss over what counts for it.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    loss: f64,
    count: u64,
}

/// Most parts of a loss.
pub(super) const PARTS: usize = 2;

impl Tally {
    /// Adds a batch: of each part of its loss the mean over what counts, and how many these are; and how many are hits of what counts for the first
    /// part.
    pub fn add(&mut self, parts: impl IntoIterator<Item = (f32, u64)>, hits: f32) {
        for (of, (loss, count)) in self.parts.iter_mut().zip(parts) {
            of.loss += f64::from(loss) * count as f64;
            of.count += count;
        }
        self.hits += f64::from(hits);
    }

    /// What they come to.
    pub fn test(self) -> Test {
        let [first, ..] = self.parts;
        let loss = self.parts.iter().map(|part| part.loss / part.count.max(1) as f64).sum();
        let accuracy = 100.0 * self.hits / first.count.max(1) as f64;
        Test { loss, accuracy, count: first.count }
    }
}

impl Task {
    /// What a network is asked for that answers this.
    pub fn of(output: Output) -> Self {
        match output {
            Output::Classes(_) => Self::Classify,
            Output::Words { vocabulary, places, next: false } => {
                Self::MaskedWords { vocabulary, places }
            }
            Output::Words { vocabulary, places, next: true } => {
                Self::Pretrain { vocabulary, places }
            }
            Output::Spans { .. } => Self::Spans,
        }
    }

    /// What the data have to give beside what the network reads, of `rows` samples.
    pub fn targets(self, rows: u32) -> Vec<Input> {
        match self {
            Self::Classify => vec![Input::new(LABELS, vec![rows], NumberKind::U32)],
            Self::MaskedWords { places, .. } => {
                vec![Input::new(LABELS, vec![rows, places], NumberKind::U32)]
            }
            Self::Pretrain { places, .. } => vec![
                Input::new(LABELS, vec![rows, places], NumberKind::U32),
                Input::new(NEXT, vec![rows], NumberKind::U32),
            ],
            Self::Spans => {
                [STARTS, ENDS].map(|name| Input::new(name, vec![rows], NumberKind::U32)).into()
            }
        }
    }

    /// What the means of its metrics are over, and of the loss's first part.
    pub fn counts(self) -> Counts {
        match self {
            Self::Classify => Counts::Rows,
            Self::MaskedWords { vocabulary, .. } | Self::Pretrain { vocabulary, .. } => {
                Counts::Words(vocabulary)
            }
            Self::Spans => Counts::Spans,
        }
    }

    /// What the means of the parts of its loss are over; the loss is their sum.
    pub fn parts(self) -> Vec<Counts> {
        match self {
            Self::Classify | Self::MaskedWords { .. } | Self::Spans => vec![self.counts()],
            Self::Pretrain { .. } => vec![self.counts(), Counts::Rows],
        }
    }

    /// What the means of a distance between states are over.
    pub fn states(self) -> Counts {
        match self {
            Self::Classify => Counts::Rows,
            Self::MaskedWords { .. } | Self::Pretrain { .. } | Self::Spans => Counts::Tokens,
        }
    }

    /// How far a network's outputs are from another's where it counts, \[1\] for each part of the loss.
    pub(super) fn divergences(
        self,
        g: &mut Graph,
        [outputs, teacher]: [&[Value]; 2],
        inputs: &Inputs,
        of: Kl,
    ) -> Result<Vec<Value>, ShapeError> {
        let by_label = |g: &mut Graph, [s, t]: [Value; 2], labels: Value, of: Kl| {
            let [s, t] = [s, t].map(|x| g.add(Mask::ByLabel, &[x, labels]));
            kl(g, s?, t?, Kl { by_count: true, ..of })
        };
        Ok(match self {
            Self::Classify => vec![kl(g, outputs[0], teacher[0], of)?],
            Self::MaskedWords { .. } => {
                vec![by_label(g, [outputs[0], teacher[0]], inputs.get(LABELS), of)?]
            }
            Self::Pretrain { .. } => vec![
                by_label(g, [outputs[0], teacher[0]], inputs.get(LABELS), of)?,
                kl(g, outputs[1], teacher[1], of)?,
            ],
            Self::Spans => {
                let (s, labels) = span(g, outputs[0], inputs)?;
                let t = g.add(spans::Scores, &[teacher[0], inputs.get(LENGTHS)])?;
                // Both ends of each sample that counts.
                let of = Kl { factor: of.factor / 2.0, ..of };
                vec![by_label(g, [s, t], labels, of)?]
            }
        })
    }

    /// How far states are from their target where they count, \[1\].
    pub(super) fn apart(
        self,
        g: &mut Graph,
        [y, target]: [Value; 2],
        inputs: &Inputs,
        how: Discrepancy,
        scale: f32,
    ) -> Result<Value, ShapeError> {
        let by_count = self.states() != Counts::Rows;
        let (y, target) = match by_count {
            false => (y, target),
            true => {
                let lengths = inputs.get(LENGTHS);
                let [y, target] = [y, target].map(|x| g.add(Mask::ByLength, &[x, lengths]));
                (y?, target?)
            }
        };
        match how {
            Discrepancy::RelativeMse | Discrepancy::Mse => {
                Mse { scale, by_count }.mean(g, y, target)
            }
            Discrepancy::Kl => kl(g, y, target, Kl { temperature: 1.0, factor: 1.0, by_count }),
            Discrepancy::Output | Discrepancy::RelativeMseOutput => {
                unreachable!("outputs are compared by `divergences`")
            }
        }
    }

    /// The loss of a network's outputs, \[1\] for each part of it.
    pub(super) fn losses(
        self,
        g: &mut Graph,
        outputs: &[Value],
        inputs: &Inputs,
        smoothing: f32,
    ) -> Result<Vec<Value>, ShapeError> {
        let by_label = CrossEntropy { label_smoothing: smoothing, by_label: true };
        Ok(match self {
            Self::Classify => vec![cross_entropy(g, outputs[0], inputs.get(LABELS), smoothing)?],
            Self::MaskedWords { .. } => vec![by_label.mean(g, outputs[0], inputs.get(LABELS))?],
            Self::Pretrain { .. } => vec![
                by_label.mean(g, outputs[0], inputs.get(LABELS))?,
                cross_entropy(g, outputs[1], inputs.get(NEXT), smoothing)?,
            ],
            Self::Spans => {
                let (scores, labels) = span(g, outputs[0], inputs)?;
                // The sum of both ends' means, as it is over samples.
                let both = by_label.mean(g, scores, labels)?;
                vec![g.add(Scale(0.5), &[both])?]
            }
        })
    }

    /// The loss, of its parts. `batch`: samples of the batch, if what runs at once is a micro-batch of it; then the losses of all micro-batches are
    /// added up as [`super::Training`] says.
    pub(super) fn total(
        self,
        g: &mut Graph,
        mut parts: Vec<Value>,
        batch: Option<u32>,
    ) -> Result<Value, ShapeError> {
        if let Some(batch) = batch.filter(|_| parts.len() > 1) {
            for (part, counts) in parts.iter_mut().zip(self.parts()) {
                let weigh = match counts {
                    Counts::Rows => Weigh::Samples { batch },
                    Counts::Words(_) | Counts::Tokens | Counts::Spans => Weigh::Counted,
                };
                *part = g.add(weigh, &[*part])?;
            }
        }
        let mut parts = parts.into_iter();
        let first = parts.next().expect("a loss has a part");
        parts.try_fold(first, |sum, part| g.add(Add, &[sum, part]))
    }

    /// How many of what counts is right, \[1\].
    pub(super) fn hits(
        self,
        g: &mut Graph,
        outputs: &[Value],
        inputs: &Inputs,
    ) -> Result<Value, ShapeError> {
        g.scoped("accuracy", |g| match self {
            Self::Classify | Self::MaskedWords { .. } | Self::Pretrain { .. } => {
                accuracy::hits(g, outputs[0], inputs.get(LABELS))
            }
            Self::Spans => {
                let (scores, labels) = span(g, outputs[0], inputs)?;
                accuracy::whole_hits(g, scores, labels)
            }
        })
    }

    /// Which of the `outputs` numbers that a network gives for a sample of the batch the loss reads, those of further heads behind those of the
    /// first: of words the scores at places with a label, of answers the scores of tokens of samples that count.
    pub fn read_of(self, batch: &Batch, sample: usize, outputs: usize) -> Vec<Range<usize>> {
        // The numbers of this sample alone.
        let of = |name: &str| match batch.field(name) {
            Some(Numbers::U32(numbers)) => {
                let each = numbers.len() / batch.size.max(1);
                &numbers[sample * each..(sample + 1) * each]
            }
            _ => &[],
        };
        let words = |vocabulary: u32| {
            let wide = vocabulary as usize;
            let labelled =
                of(LABELS).iter().enumerate().filter(move |(_, label)| **label < vocabulary);
            labelled.map(move |(place, _)| place * wide..(place + 1) * wide)
        };
        match self {
            Self::Classify => std::iter::once(0..outputs).collect(),
            Self::MaskedWords { vocabulary, .. } => words(vocabulary).collect(),
            Self::Pretrain { vocabulary, places } => {
                let next = vocabulary as usize * places as usize..outputs;
                words(vocabulary).chain([next]).collect()
            }
            Self::Spans => {
                let ends = of(STARTS).iter().zip(of(ENDS)).zip(of(LENGTHS));
                let counts = ends.filter(|((start, end), length)| start.max(end) < length);
                counts.map(|(_, &length)| 0..2 * length as usize).collect()
            }
        }
    }

    /// What the outputs for a sample say, one behind the other: the probability of each class; of each word for each place, and behind these of
    /// each way in which the second segment came there; of each token, padding too, that the answer begins with it, and behind these that it ends
    /// with it.
    pub fn answer(self, output: &[f32]) -> Vec<f64> {
        match self {
            Self::Classify => softmax(output),
            Self::MaskedWords { vocabulary, .. } => {
                output.chunks(vocabulary.max(1) as usize).flat_map(softmax).collect()
            }
            Self::Pretrain { vocabulary, places } => {
                let (words, next) = output.split_at(vocabulary as usize * places as usize);
                let words = words.chunks(vocabulary.max(1) as usize).flat_map(softmax);
                words.chain(softmax(next)).collect()
            }
            Self::Spans => {
                let of = |end: usize| -> Vec<f32> {
                    output.iter().copied().skip(end).step_by(2).collect()
                };
                [softmax(&of(0)), softmax(&of(1))].concat()
            }
        }
    }
}

/// The scores (N, 2, L) of both ends of a span, and their labels (N, 2).
fn span(g: &mut Graph, output: Value, inputs: &Inputs) -> Result<(Value, Value), ShapeError> {
    let lengths = inputs.get(LENGTHS);
    let scores = g.add(spans::Scores, &[output, lengths])?;
    let length = g.shape(scores)[2];
    let ends = [inputs.get(STARTS), inputs.get(ENDS), lengths];
    Ok((scores, g.add(spans::Labels { length }, &ends)?))
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&x| f64::from(x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_a_mean_over_what_counts_and_not_over_batches() {
        let mut tally = Tally::default();
        tally.add([(1.0, 3)], 1.0);
        tally.add([(3.0, 1)], 0.0);
        assert_eq!(tally.test(), Test { loss: 1.5, accuracy: 25.0, count: 4 });
        assert_eq!(Tally::default().test().count, 0);
        tally.add([(f32::NAN, 1)], 0.0);
        assert!(tally.test().loss.is_nan());
    }

    #[test]
    fn each_part_of_a_loss_has_a_mean_of_its_own() {
        let mut tally = Tally::default();
        tally.add([(1.0, 3), (0.5, 2)], 1.0);
        tally.add([(3.0, 1), (1.5, 6)], 1.0);
        assert_eq!(tally.test(), Test { loss: 1.5 + 1.25, accuracy: 50.0, count: 4 });
    }

    #[test]
    fn an_answer_has_a_probability_for_each_token_and_end() {
        let found = Task::Spans.answer(&[0.0, 3.0, 1f32.exp().ln(), 3.0]);
        let e = 1f64.exp();
        let wanted = [1.0 / (1.0 + e), e / (1.0 + e), 0.5, 0.5];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        let task = Task::Pretrain { vocabulary: 2, places: 1 };
        assert_eq!(task.answer(&[1.0, 1.0, 2.0, 2.0]), [0.5; 4]);
    }

    #[test]
    fn outputs_are_read_where_something_is_asked_for() {
        let field = |name, numbers: &[u32]| crate::batch::Field::u32(name, numbers.to_vec());
        let of =
            |targets| Batch { inputs: vec![field(LENGTHS, &[3, 2])], targets, size: 2, rows: 2 };
        let read = |task: Task, batch: &Batch, sample, outputs| -> Vec<(usize, usize)> {
            let read = task.read_of(batch, sample, outputs);
            read.into_iter().map(|read| (read.start, read.end)).collect()
        };
        // Two samples of three places: the first has words at the first and the last, the second none.
        let words = of(vec![field(LABELS, &[0, NO_LABEL, 4, NO_LABEL, NO_LABEL, NO_LABEL])]);
        let task = Task::MaskedWords { vocabulary: 5, places: 3 };
        assert_eq!(read(task, &words, 0, 15), [(0, 5), (10, 15)]);
        assert_eq!(read(task, &words, 1, 15), []);
        let task = Task::Pretrain { vocabulary: 5, places: 3 };
        assert_eq!(read(task, &words, 1, 17), [(15, 17)]);
        // Of four tokens the first sample has three; the answer of the second ends behind its own.
        let spans = of(vec![field(STARTS, &[1, 0]), field(ENDS, &[2, 2])]);
        assert_eq!(read(Task::Spans, &spans, 0, 8), [(0, 6)]);
        assert_eq!(read(Task::Spans, &spans, 1, 8), []);
        assert_eq!(read(Task::Classify, &spans, 1, 10), [(0, 10)]);
    }

    #[test]
    fn a_span_counts_whose_ends_are_tokens() {
        let field = |name, numbers: &[u32]| crate::batch::Field::u32(name, numbers.to_vec());
        let batch = Batch {
            inputs: vec![field(LENGTHS, &[4, 4, 4, 4, 0])],
            targets: vec![field(STARTS, &[0, 1, NO_LABEL, 3, 0]), field(ENDS, &[0, 4, 2, 3, 0])],
            size: 5,
            rows: 4,
        };
        assert_eq!(Counts::Spans.of(&batch), 2);
    }
}
