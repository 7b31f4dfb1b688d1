//! Where a network's tensors lie in its flat buffers.

use std::{collections::BTreeMap, ops::Range};

use super::{FileLayout, NetworkError, Role, Shapes, Tensor, Weights, parameter};

/// Floats that a tensor's range is padded to, so that ranges start at 256 bytes.
const PAD: u64 = 64;
/// The same where a copy of the parameters is stored as f16.
const HALF_PAD: u64 = 128;

/// A tensor's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// First float.
    pub offset: u64,
    /// Extents.
    pub shape: Vec<u32>,
    /// Index of its block; `blocks.len()` is the head.
    pub block: usize,
    /// How it lies in files.
    pub file: FileLayout,
    /// Whether weight decay acts on it.
    pub decays: bool,
    /// Its first rows that training leaves as they began.
    pub held: u32,
}

impl Slot {
    /// Its numbers.
    fn floats(&self) -> u64 {
        self.shape.iter().map(|&n| u64::from(n)).product()
    }

    /// Those of its rows that training leaves as they began.
    fn held_floats(&self) -> u64 {
        self.shape[1..].iter().fold(self.held.into(), |floats, &n| floats * u64::from(n))
    }
}

/// The layout that `params`, `grads`, `m` and `v` share, and that of `state`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Trained tensors by name.
    pub params: BTreeMap<String, Slot>,
    /// Floats of `params`, padding included.
    pub param_floats: u64,
    /// Running statistics by name.
    pub state: BTreeMap<String, Slot>,
    /// Floats of `state`.
    pub state_floats: u64,
    /// First float of each block in `params`, the head's, and the end.
    pub blocks: Vec<u64>,
    /// First float of `params` behind the embeddings, with which it begins; 0 where there are none.
    pub behind_embeddings: u64,
}

impl Layout {
    /// Blocks in order, tensors padded to 64 floats.
    pub fn of(shapes: &Shapes) -> Self {
        Self::padded(shapes, PAD)
    }

    /// The same with parameters padded to 128, so that the ranges of a copy in 16 bits start at 256 bytes too.
    pub fn with_f16(shapes: &Shapes) -> Self {
        Self::padded(shapes, HALF_PAD)
    }

    fn padded(shapes: &Shapes, pad: u64) -> Self {
        let mut layout = Self { blocks: vec![0], ..Self::default() };
        for spec in &shapes.params {
            let (slots, end, pad) = match spec.role {
                Role::Param => (&mut layout.params, &mut layout.param_floats, pad),
                Role::State => (&mut layout.state, &mut layout.state_floats, PAD),
            };
            if spec.role == Role::Param {
                while layout.blocks.len() <= spec.block {
                    layout.blocks.push(*end);
                }
            }
            let shape: Vec<u32> = spec.shape.iter().map(|&n| n as u32).collect();
            let floats: u64 = shape.iter().map(|&n| u64::from(n)).product();
            slots.insert(
                spec.name.clone(),
                Slot {
                    offset: *end,
                    shape,
                    block: spec.block,
                    file: spec.file,
                    decays: spec.decays,
                    held: spec.held,
                },
            );
            *end += floats.next_multiple_of(pad);
            if spec.embeds {
                layout.behind_embeddings = layout.param_floats;
            }
        }
        while layout.blocks.len() <= shapes.blocks.len() + 1 {
            layout.blocks.push(layout.param_floats);
        }
        layout
    }

    /// A word for each 64 floats of a range of the parameters that begins and ends with tensors: whether weight decay acts on them. It acts on
    /// none of them where training leaves one as it began.
    pub fn decay_words(&self, range: Range<u64>) -> Vec<u32> {
        let mut words = vec![1; ((range.end - range.start) / PAD) as usize];
        for slot in self.params.values().filter(|slot| range.contains(&slot.offset)) {
            let first = ((slot.offset - range.start) / PAD) as usize;
            let [held, rows] =
                [slot.held_floats(), slot.floats()].map(|n| n.div_ceil(PAD) as usize);
            words[first..first + held].fill(0);
            words[first + held..first + rows].fill(slot.decays.into());
        }
        words
    }

    /// The flat buffers `params` and `state` of these weights.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn pack(&self, weights: &Weights) -> Result<(Vec<f32>, Vec<f32>), NetworkError> {
        let pack = |slots: &BTreeMap<String, Slot>,
                    floats: u64|
         -> Result<Vec<f32>, NetworkError> {
            let mut flat = vec![0.0; floats as usize];
            for (name, slot) in slots {
                let tensor = parameter(weights, name)?;
                let same = tensor.shape.iter().map(|&n| n as u32).eq(slot.shape.iter().copied());
                if !same {
                    let (got, want) = (&tensor.shape, &slot.shape);
                    return Err(NetworkError::Weights(format!(
                        "parameter {name} has shape {got:?}, not {want:?}"
                    )));
                }
                let first = slot.offset as usize;
                flat[first..first + tensor.data.len()].copy_from_slice(&tensor.data);
            }
            Ok(flat)
        };
        Ok((pack(&self.params, self.param_floats)?, pack(&self.state, self.state_floats)?))
    }

    /// The weights in flat buffers: the reverse of [`Self::pack`].
    pub fn unpack(&self, params: &[f32], state: &[f32]) -> Weights {
        let tensor = |flat: &[f32], slot: &Slot| {
            let shape: Vec<usize> = slot.shape.iter().map(|&n| n as usize).collect();
            let (first, count) = (slot.offset as usize, shape.iter().product::<usize>());
            Tensor { shape, data: flat[first..first + count].to_vec() }
        };
        let params = self.params.iter().map(|(name, slot)| (name.clone(), tensor(params, slot)));
        let state = self.state.iter().map(|(name, slot)| (name.clone(), tensor(state, slot)));
        params.chain(state).collect()
    }
}
