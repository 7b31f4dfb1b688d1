//! What a network is asked for.

use crate::{
    batch::{Batch, NumberKind},
    config::{Config, Data},
    graph::{Graph, ShapeError, Value},
    nn::{Input, Inputs},
    ops::{accuracy, cross_entropy::cross_entropy},
};

/// The name of the field with the class of each sample.
pub const LABELS: &str = "labels";

/// What a network is asked for. It says which targets the data have to give, which loss and metrics compare the output with them, what these
/// are means over, and how an output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Which one of the classes a sample is of: logits (N, classes), labels (N).
    Classify,
}

/// What a test came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Mean loss.
    pub loss: f64,
    /// Hits in percent.
    pub accuracy: f64,
    /// What was counted: [`Task::counted`] of all batches.
    pub count: u64,
}

/// Tally over the batches of a test.
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
    /// What a run's networks are asked for: its data say it.
    pub fn of(config: &Config) -> Self {
        match config.data {
            Data::Images(_) => Self::Classify,
        }
    }

    /// What the data have to give beside what the network reads, of `rows` samples.
    pub fn targets(self, rows: u32) -> Vec<Input> {
        match self {
            Self::Classify => vec![Input::new(LABELS, vec![rows], NumberKind::U32)],
        }
    }

    /// What the means of a batch's loss and metrics are over.
    pub fn counted(self, batch: &Batch) -> u64 {
        match self {
            Self::Classify => batch.rows as u64,
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
            Self::Classify => {
                g.scoped("accuracy", |g| accuracy::hits(g, output, inputs.get(LABELS)))
            }
        }
    }

    /// What an output says: the probability of each class.
    pub fn answer(self, output: &[f32]) -> Vec<f64> {
        match self {
            Self::Classify => softmax(output),
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
