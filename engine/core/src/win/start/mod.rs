//! How a block of the bridged student S̄ starts (`win/DERIVATION.md`, *The starts*): from the teacher's own neurons, or afresh.
//!
//! Which of the method's cases applies is read off the two networks. The decisions that the method leaves open are listed at the head of
//! `tests/golden/starts.py`, a plain NumPy version that this one is tested against.

mod block;
mod mlp;
mod probe;
mod resnet;

use super::linalg::semi_orthogonal;
use crate::{
    nn::{Layer, Network, NetworkError, Weights, fresh_tensor, parameter},
    random,
};
use block::{BlockStart, ends};

pub use block::{Choice, Started};
pub use probe::{Probe, Rows, Tap};

/// Sets the weights of block `block` (0-based) of the bridged student, its lift included, from the teacher.
///
/// The blocks before it must be set; `seed` decides samples and fresh units. `layer_map` names the teacher's layer (MLP) or unit (ResNet), counted from 0 over
/// the whole network, for each layer or unit of the student; if it is empty they correspond in proportion.
///
/// # Errors
/// What `probe` fails with, and [`NetworkError`]: networks that do not correspond, an entry of `layer_map` outside of its block, missing
/// weights of the teacher, activations that are not finite.
#[expect(clippy::too_many_arguments, reason = "a start is about two networks with their weights")]
pub fn start_block<P: Probe>(
    probe: &mut P,
    bridged: &Network,
    teacher: &Network,
    teacher_weights: &Weights,
    weights: &mut Weights,
    block: usize,
    choice: Choice<'_>,
    seed: u64,
    layer_map: &[u32],
) -> Result<Started, P::Error> {
    let mut start =
        BlockStart::new(probe, bridged, teacher, teacher_weights, weights, block, choice, seed)?;
    match residual(bridged, teacher)? {
        false => mlp::start(&mut start, layer_map)?,
        true => resnet::start(&mut start, layer_map)?,
    }
    Ok(start.started)
}

/// Whether both networks have residual units.
fn residual(student: &Network, teacher: &Network) -> Result<bool, NetworkError> {
    let resnet =
        |n: &Network| n.blocks.iter().any(|b| b.layers.iter().any(|l| matches!(l, Layer::Unit(_))));
    match (resnet(student), resnet(teacher)) {
        (own, theirs) if own == theirs => Ok(own),
        (own, _) => {
            let (student, teacher) = if own { ("has", "has not") } else { ("has not", "has") };
            Err(NetworkError::Mismatch(format!(
                "the student {student} residual units, the teacher {teacher}"
            )))
        }
    }
}

/// Refuses, before anything is trained, networks of which [`start_block`] would refuse a block for any reason but the numbers in the weights. Both
/// must have as many blocks, with the same resolutions.
///
/// # Errors
/// [`NetworkError`] that names the block.
pub fn fits(student: &Network, teacher: &Network, layer_map: &[u32]) -> Result<(), NetworkError> {
    match residual(student, teacher)? {
        false => mlp::fits(student, teacher, layer_map),
        true => resnet::fits(student, teacher, layer_map),
    }
}

/// Sets the head of the bridged student: the teacher's, on the lifted state.
///
/// # Errors
/// If the heads differ or the teacher's weights lack one.
pub fn start_head(
    bridged: &Network,
    teacher: &Network,
    teacher_weights: &Weights,
    weights: &mut Weights,
) -> Result<(), NetworkError> {
    let (own, theirs) = (bridged.shapes()?, teacher.shapes()?);
    let head = |params: Vec<_>, blocks: usize| -> Vec<crate::nn::ParamSpec> {
        params.into_iter().filter(|p: &crate::nn::ParamSpec| p.block == blocks).collect()
    };
    let own = head(own.params, bridged.blocks.len());
    let theirs = head(theirs.params, teacher.blocks.len());
    if own.len() != theirs.len() {
        return Err(NetworkError::Mismatch(format!(
            "the student's head has {} parameters, the teacher's {}",
            own.len(),
            theirs.len()
        )));
    }
    for (to, from) in own.iter().zip(&theirs) {
        if to.shape != from.shape {
            return Err(NetworkError::Mismatch(format!(
                "{} of the student's head has shape {:?}, {} of the teacher's {:?}",
                to.name, to.shape, from.name, from.shape
            )));
        }
        weights.insert(to.name.clone(), block::source(teacher_weights, from)?.clone());
    }
    Ok(())
}

/// `start = random`: fresh weights for block `block` (0-based; `blocks.len()` is the head) of the bridged student with its pairs.
///
/// `lift` is random and semi-orthogonal; `lower` is the transpose of the lift before it, as that one is now.
///
/// # Errors
/// If the network is not consistent, or the lift before a `lower` is missing in `weights`.
pub fn start_block_random(
    bridged: &Network,
    weights: &mut Weights,
    block: usize,
    seed: u64,
) -> Result<(), NetworkError> {
    for spec in bridged.shapes()?.params.iter().filter(|spec| spec.block == block) {
        weights.insert(spec.name.clone(), fresh_tensor(spec, seed));
    }
    let Some(current) = bridged.blocks.get(block) else { return Ok(()) };
    if let Some(lift) = &current.lift {
        let name = format!("{}.weight", lift.name);
        if let Some(weight) = weights.get_mut(&name) {
            let (out, width) = ends(weight);
            let map = semi_orthogonal(out, width, random::key(&[seed, random::name(&name)]));
            weight.data = map.to_f32();
        }
    }
    if let Some(lower) = &current.lower {
        let lift = block.checked_sub(1).and_then(|before| bridged.blocks[before].lift.as_ref());
        let lift = lift.ok_or_else(|| {
            NetworkError::Mismatch(format!("{} has no lift before it", lower.name))
        })?;
        let up = parameter(weights, &format!("{}.weight", lift.name))?;
        let (out, width) = ends(up);
        let data = (0..width).flat_map(|i| (0..out).map(move |o| (o, i)));
        let data: Vec<f32> = data.map(|(o, i)| up.data[o * width + i]).collect();
        let name = format!("{}.weight", lower.name);
        if let Some(down) = weights.get_mut(&name) {
            if ends(down) != (width, out) {
                return Err(NetworkError::Mismatch(format!(
                    "{} has shape {:?}, {} before it {:?}",
                    lower.name,
                    down.shape,
                    lift.name,
                    [out, width]
                )));
            }
            down.data = data;
        }
    }
    Ok(())
}
