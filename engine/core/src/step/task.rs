//! What a network is asked for.

use crate::{
    batch::{Batch, NumberKind, Numbers},
    config::Discrepancy,
    graph::{Graph, ShapeError, Value},
    models::Output,
    nn::{Input, Inputs, LENGTHS},
    ops::{
        accuracy,
        cross_entropy::{CrossEntropy, cross_entropy},
        kl::{Kl, kl},
        mask::Mask,
        mse::Mse,
    },
};

/// The name of the field with the class of each sample.
pub const LABELS: &str = "labels";

/// What a network is asked for. It says which targets the data have to give, which loss and metrics compare the output with them, what these
/// are means over, and how an output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    loss: f64,
    hits: f64,
    count: u64,
}

impl Tally {
    /// Adds a batch: the mean of its loss over what counts, how many of these are hits, and how many they are.
    pub fn add(&mut self, loss: f32, hits: f32, count: u64) {
        self.loss += f64::from(loss) * count as f64;
        self.hits += f64::from(hits);
        self.count += count;
    }

    /// What they come to.
    pub fn test(self) -> Test {
        let count = self.count.max(1) as f64;
        Test { loss: self.loss / count, accuracy: 100.0 * self.hits / count, count: self.count }
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
        }
    }

    /// What the means of its loss and metrics are over.
    pub fn counts(self) -> Counts {
        match self {
            Self::Classify => Counts::Rows,
            Self::MaskedWords { vocabulary, .. } => Counts::Words(vocabulary),
        }
    }

    /// What the means of a distance between states are over.
    pub fn states(self) -> Counts {
        match self {
            Self::Classify => Counts::Rows,
            Self::MaskedWords { .. } => Counts::Tokens,
        }
    }

    /// How far a network's output is from another's where it counts, \[1\].
    pub(super) fn divergence(
        self,
        g: &mut Graph,
        [output, teacher]: [Value; 2],
        inputs: &Inputs,
        of: Kl,
    ) -> Result<Value, ShapeError> {
        match self {
            Self::Classify => kl(g, output, teacher, of),
            Self::MaskedWords { .. } => {
                let labels = inputs.get(LABELS);
                let [s, t] = [output, teacher].map(|x| g.add(Mask::ByLabel, &[x, labels]));
                kl(g, s?, t?, Kl { by_count: true, ..of })
            }
        }
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
        }
    }

    /// The loss of a network's output, \[1\].
    pub(super) fn loss(
        self,
        g: &mut Graph,
        output: Value,
        inputs: &Inputs,
        smoothing: f32,
    ) -> Result<Value, ShapeError> {
        match self {
            Self::Classify => cross_entropy(g, output, inputs.get(LABELS), smoothing),
            Self::MaskedWords { .. } => {
                let of = CrossEntropy { label_smoothing: smoothing, by_label: true };
                of.mean(g, output, inputs.get(LABELS))
            }
        }
    }

    /// How many of what counts is right, \[1\].
    pub(super) fn hits(
        self,
        g: &mut Graph,
        output: Value,
        inputs: &Inputs,
    ) -> Result<Value, ShapeError> {
        match self {
            Self::Classify | Self::MaskedWords { .. } => {
                g.scoped("accuracy", |g| accuracy::hits(g, output, inputs.get(LABELS)))
            }
        }
    }

    /// What an output says: the probability of each class, or of each word for each place.
    pub fn answer(self, output: &[f32]) -> Vec<f64> {
        match self {
            Self::Classify => softmax(output),
            Self::MaskedWords { vocabulary, .. } => {
                output.chunks(vocabulary.max(1) as usize).flat_map(softmax).collect()
            }
        }
    }
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
        tally.add(1.0, 1.0, 3);
        tally.add(3.0, 0.0, 1);
        assert_eq!(tally.test(), Test { loss: 1.5, accuracy: 25.0, count: 4 });
        assert_eq!(Tally::default().test().count, 0);
        tally.add(f32::NAN, 0.0, 1);
        assert!(tally.test().loss.is_nan());
    }
}
