//! What ranks that share batches say to each other: a header as JSON, and floats behind it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    config::{Precision, Recipe},
    data::Account,
    nn::Network,
    plan::Choices,
    ranks::Channel,
    step::{Objective, Task, Training},
};

/// What the first rank tells the others.
pub(super) const ORDERS: Channel = Channel::new(0x1b00);
/// What they answer.
pub(super) const ANSWERS: Channel = Channel::new(0x1b01);

/// A stage as its followers have to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StageOrder {
    pub(super) student: Network,
    pub(super) teacher: Option<Network>,
    pub(super) task: Task,
    pub(super) objective: Objective,
    pub(super) recipe: Recipe,
    pub(super) precision: Precision,
    pub(super) recompute: bool,
    /// Parts of each batch.
    pub(super) parts: u32,
    /// Tiles that are not the table's.
    pub(super) choices: Choices,
}

impl StageOrder {
    pub(super) fn new(of: &Training<'_>, recompute: bool, parts: u32, choices: Choices) -> Self {
        Self {
            student: of.student.clone(),
            teacher: of.teacher.cloned(),
            task: of.task,
            objective: of.objective,
            recipe: of.recipe.clone(),
            precision: of.precision,
            recompute,
            parts,
            choices,
        }
    }

    pub(super) fn training(&self) -> Training<'_> {
        Training {
            student: &self.student,
            teacher: self.teacher.as_ref(),
            task: self.task,
            objective: self.objective,
            recipe: &self.recipe,
            precision: self.precision,
        }
    }
}

/// Some parts of each batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slice {
    /// Which share.
    pub(super) share: usize,
    /// Its first part.
    pub(super) first: u32,
    /// Its parts.
    pub(super) parts: u32,
}

/// The steps of a restart that are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Course {
    pub(super) order_seed: u64,
    /// The first step, which is also the first batch.
    pub(super) first: u64,
    /// Steps of the restart.
    pub(super) end: u64,
}

/// What the first rank has another one do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Say who you are; the first of all.
    Hello,
    /// Say how long a part takes.
    Time(Box<StageOrder>),
    /// Make a stage ready; the floats are the teacher's, as they lie in its buffers.
    Stage {
        order: Box<StageOrder>,
        /// How many are the parameters, and the running statistics; 0 without a teacher.
        teacher: [usize; 2],
    },
    /// Make a restart of the stage ready, of which these slices are yours.
    Course { course: Course, slices: Vec<Slice> },
    /// Run your shares of a step; the floats are what it begins with.
    Step {
        /// The words of [`crate::device::StepParameters`].
        live: [u32; 8],
        /// How many floats are the parameters, the running statistics, the state of loss scaling.
        floats: [usize; 3],
    },
    /// There is nothing left to do.
    End,
}

/// What a rank answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Here I am.
    Here {
        version: String,
        adapter: String,
        /// What it has read of the data.
        account: Box<Account>,
    },
    /// Seconds of a part; none if it does not fit the device.
    Timed(Option<f64>),
    /// The stage is ready: the fingerprint of its plan.
    Ready(u64),
    /// The restart is ready: what counts in its slices of the first batch.
    Counted(u64),
    /// Its shares, whose floats follow in the order of its slices: of each the gradients, the metrics, the running statistics.
    Summed {
        /// How many floats of each kind a share has.
        floats: [usize; 3],
        /// What counts in its slices of the next batch; 0 behind the last step.
        next: u64,
    },
    /// It cannot, and ends; why.
    Failed(String),
}

/// A message: an order or an answer, and the number of the order that it is or answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message<T> {
    pub(super) number: u64,
    pub(super) says: T,
}

impl<T: Serialize + DeserializeOwned> Message<T> {
    /// Its bytes, with these floats, which are in the order of this machine: no GPU that WebGPU reaches is on one of another order.
    pub(super) fn bytes(&self, floats: &[&[f32]]) -> Vec<u8> {
        let header = serde_json::to_vec(self).expect("plain data");
        let count: usize = floats.iter().map(|floats| floats.len()).sum();
        let mut bytes = Vec::with_capacity(8 + header.len() + 4 * count);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        for floats in floats {
            bytes.extend_from_slice(bytemuck::cast_slice(floats));
        }
        bytes
    }

    /// The message, and its floats; none if it is not one.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, Vec<f32>)> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (header, floats) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
        let message = serde_json::from_slice(header).ok()?;
        let whole = floats.len().is_multiple_of(size_of::<f32>());
        whole.then(|| (message, bytemuck::pod_collect_to_vec(floats)))
    }
}

/// Cuts floats into runs of these lengths; none if they are not as many.
pub(super) fn cut<const N: usize>(floats: &[f32], lengths: [usize; N]) -> Option<[&[f32]; N]> {
    let mut rest = floats;
    let runs = lengths.map(|length| {
        let (run, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        run
    });
    let whole = rest.is_empty() && runs.iter().map(|run| run.len()).eq(lengths);
    whole.then_some(runs)
}

/// The slices of shares that a rank runs.
pub(super) fn slices(parts: &[u32], by: &[usize], rank: usize) -> Vec<Slice> {
    let mut first = 0;
    let mut all = Vec::new();
    for (share, (&parts, &of)) in parts.iter().zip(by).enumerate() {
        if of == rank {
            all.push(Slice { share, first, parts });
        }
        first += parts;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_or_not_at_all() {
        let message = Message { number: 7, says: Answer::Counted(3) };
        let bytes = message.bytes(&[&[1.5, f32::NEG_INFINITY], &[], &[-0.0]]);
        let (read, floats) = Message::<Answer>::read(&bytes).expect("whole");
        assert_eq!((read.number, read.says), (7, Answer::Counted(3)));
        let bits = |floats: &[f32]| floats.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&floats), bits(&[1.5, f32::NEG_INFINITY, -0.0]));
        assert_eq!(cut(&floats, [2, 0, 1]).map(|runs| runs.map(<[f32]>::len)), Some([2, 0, 1]));
        assert_eq!(cut(&floats, [2, 2]), None);
        assert_eq!(cut(&floats, [2]), None);
        for end in [0, 4, 9, bytes.len() - 1] {
            assert!(Message::<Answer>::read(&bytes[..end]).is_none(), "{end}");
        }
        assert!(Message::<Order>::read(&bytes).is_none());
    }

    #[test]
    fn slices_cover_the_batch() {
        let [a, b] = [0, 1].map(|rank| slices(&[5, 2, 1], &[0, 1, 0], rank));
        let slice = |share, first, parts| Slice { share, first, parts };
        assert_eq!(a, [slice(0, 0, 5), slice(2, 7, 1)]);
        assert_eq!(b, [slice(1, 5, 2)]);
    }
}
