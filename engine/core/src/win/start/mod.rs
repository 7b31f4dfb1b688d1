//! How a block of the bridged student S̄ starts (`win/DERIVATION.md`, *The starts*): from the teacher's own neurons, or afresh.
//!
//! Which of the method's cases applies is read off the two networks. The decisions that the method leaves open are listed at the head of
//! `tests/golden/starts.py`, a plain NumPy version that this one is tested against.

mod block;
mod mlp;
mod probe;
mod resnet;
mod transformer;

use super::linalg::semi_orthogonal;
use crate::{
    nn::{Layer, Network, NetworkError, ParamSpec, Weights, fresh_tensor, parameter},
    random,
};
use block::{BlockStart, ends};

pub use block::{Choice, Started};
pub use probe::{MOST_ROWS, Probe, Rows, Tap};

/// Sets the weights of block `block` (0-based) of the bridged student, its lift included, from the teacher.
///
/// The blocks before it must be set; `seed` decides samples and fresh units. `layer_map` names the teacher's layer (MLP) or unit (ResNet), counted from 0 over
/// the whole network, for each layer or unit of the student; if it is empty they correspond in proportion. For a transformer it may name two: the
/// layer whose heads a layer of the student takes, and that whose inner units it takes and whose outputs it imitates.
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
    match architecture(bridged, teacher)? {
        Architecture::Layers => mlp::start(&mut start, layer_map)?,
        Architecture::Units => resnet::start(&mut start, layer_map)?,
        Architecture::Transformers => transformer::start(&mut start, layer_map)?,
    }
    Ok(start.started)
}

/// What the blocks of networks are made of, as far as their starts differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    /// Linear layers with their activations.
    Layers,
    /// Residual units.
    Units,
    /// Layers of transformers.
    Transformers,
}

/// What the blocks of both networks are made of.
fn architecture(student: &Network, teacher: &Network) -> Result<Architecture, NetworkError> {
    let of = |network: &Network| {
        let mut layers = network.blocks.iter().flat_map(|block| &block.layers);
        let kind = layers.find_map(|layer| match layer {
            Layer::Unit(_) => Some(Architecture::Units),
            Layer::Transformer(_) => Some(Architecture::Transformers),
            _ => None,
        });
        kind.unwrap_or(Architecture::Layers)
    };
    let (own, theirs) = (of(student), of(teacher));
    let (kind, name) = match [own, theirs].contains(&Architecture::Transformers) {
        true => (Architecture::Transformers, "layers of transformers"),
        false => (Architecture::Units, "residual units"),
    };
    if own == theirs {
        return Ok(own);
    }
    let [student, teacher] = if own == kind { ["has", "has not"] } else { ["has not", "has"] };
    Err(NetworkError::Mismatch(format!("the student {student} {name}, the teacher {teacher}")))
}

/// Refuses, before anything is trained, networks of which [`start_block`] would refuse a block for any reason but the numbers in the weights. Both
/// must have as many blocks, with the same resolutions.
///
/// # Errors
/// [`NetworkError`] that names the block.
pub fn fits(student: &Network, teacher: &Network, layer_map: &[u32]) -> Result<(), NetworkError> {
    match architecture(student, teacher)? {
        Architecture::Layers => mlp::fits(student, teacher, layer_map),
        Architecture::Units => resnet::fits(student, teacher, layer_map),
        Architecture::Transformers => transformer::fits(student, teacher, layer_map),
    }
}

/// Sets the head of the bridged student: the teacher's, on the lifted state. Where the student has columns of the teacher's tables, and narrower heads
/// for it, the norm of its words is fitted on what `probe` sees, and its pooler takes some units of the teacher's, as `choice` says of inner layers.
///
/// # Errors
/// What `probe` fails with, and [`NetworkError`]: the heads differ otherwise, or the teacher's weights lack one.
pub fn start_head<P: Probe>(
    probe: &mut P,
    bridged: &Network,
    teacher: &Network,
    teacher_weights: &Weights,
    weights: &mut Weights,
    choice: Choice<'_>,
    seed: u64,
) -> Result<(), P::Error> {
    let pairs = heads(bridged, teacher)?;
    let apart = pairs.iter().find(|(to, from)| to.shape != from.shape);
    if let Some((to, from)) = apart {
        let known = architecture(bridged, teacher)? == Architecture::Transformers
            && transformer::start_head(
                probe,
                bridged,
                teacher,
                teacher_weights,
                weights,
                choice,
                seed,
            )?;
        return if known { Ok(()) } else { Err(differ(to, from).into()) };
    }
    for (to, from) in pairs {
        weights.insert(to.name, block::source(teacher_weights, &from)?.clone());
    }
    Ok(())
}

/// Sets the head of a student without pairs to the teacher's. Its first map reads the student's own state in the place of the teacher's, of which that
/// has some coordinates; the embeddings must be the teacher's already, see [`start_embeddings`].
///
/// # Errors
/// If the heads differ otherwise, or the teacher's weights lack one.
pub fn take_head(
    student: &Network,
    teacher: &Network,
    teacher_weights: &Weights,
    weights: &mut Weights,
) -> Result<(), NetworkError> {
    transformer::take_head(student, teacher, teacher_weights, weights)
}

/// The parameters of both heads side by side.
fn heads(
    student: &Network,
    teacher: &Network,
) -> Result<Vec<(ParamSpec, ParamSpec)>, NetworkError> {
    let head = |network: &Network| -> Result<Vec<ParamSpec>, NetworkError> {
        let (params, blocks) = (network.shapes()?.params, network.blocks.len());
        Ok(params.into_iter().filter(|spec| spec.block == blocks).collect())
    };
    let (own, theirs) = (head(student)?, head(teacher)?);
    if own.len() != theirs.len() {
        return Err(NetworkError::Mismatch(format!(
            "the student's head has {} parameters, the teacher's {}",
            own.len(),
            theirs.len()
        )));
    }
    Ok(own.into_iter().zip(theirs).collect())
}

/// The error that a parameter of both heads differs.
fn differ(to: &ParamSpec, from: &ParamSpec) -> NetworkError {
    NetworkError::Mismatch(format!(
        "{} of the student's head has shape {:?}, {} of the teacher's {:?}",
        to.name, to.shape, from.name, from.shape
    ))
}

/// Refuses, before anything is trained, a teacher for which [`start_embeddings`] would refuse; that is all that `start = random` asks of one.
///
/// # Errors
/// [`NetworkError`] that says what differs.
pub fn fits_embeddings(student: &Network, teacher: &Network) -> Result<(), NetworkError> {
    transformer::fits_tables(student, teacher)
}

/// Sets the embeddings of a student, bridged or not, to the teacher's: its tables of tokens, positions and segments and their layer norm. Of wider
/// tables the student has columns that `seed` draws. Networks without embeddings stay as they are.
///
/// # Errors
/// If the student cannot take the teacher's tables, or its weights lack one.
pub fn start_embeddings(
    student: &Network,
    teacher: &Network,
    teacher_weights: &Weights,
    weights: &mut Weights,
    seed: u64,
) -> Result<(), NetworkError> {
    transformer::random_tables(student, teacher, teacher_weights, weights, seed)
}

/// Refuses, before anything is trained, a teacher whose embeddings and head a student without pairs cannot take.
///
/// # Errors
/// [`NetworkError`]: one has no embeddings, or theirs differ in more than their width, or the heads have other parts.
pub fn takes_embeddings(student: &Network, teacher: &Network) -> Result<(), NetworkError> {
    transformer::takes_embeddings(student, teacher)?;
    heads(student, teacher).map(drop)
}

/// `start = random`, and all that bottlenecks have: fresh weights for block `block` (0-based; `blocks.len()` is the head) of the bridged student
/// with its pairs.
///
/// Embeddings are the teacher's, see [`start_embeddings`]. `lift` is random and semi-orthogonal; `lower` is the transpose of the lift before it, as
/// that one is now.
///
/// # Errors
/// If the network is not consistent, the lift before a `lower` is missing in `weights`, or the student cannot take the teacher's embeddings.
pub fn start_block_random(
    bridged: &Network,
    teacher: &Network,
    teacher_weights: &Weights,
    weights: &mut Weights,
    block: usize,
    seed: u64,
) -> Result<(), NetworkError> {
    for spec in bridged.shapes()?.params.iter().filter(|spec| spec.block == block) {
        weights.insert(spec.name.clone(), fresh_tensor(spec, seed));
    }
    if block == 0 {
        start_embeddings(bridged, teacher, teacher_weights, weights, seed)?;
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
