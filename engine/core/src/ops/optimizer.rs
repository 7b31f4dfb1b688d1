//! What the optimisers share: how their inputs lie, and their node in a graph.

use super::{Op, Reads};
use crate::graph::{Graph, ShapeError, Value};

/// How an optimiser's inputs lie.
pub(super) struct Flat {
    /// Parameters.
    pub(super) n: u32,
    /// Entry point for them.
    pub(super) entry: &'static str,
    /// Whether parameters and moments are bound twice: once to be read, and once as the buffers that are updated.
    pub(super) apart: bool,
}

/// Checks the shapes of the inputs of an optimiser with `moments` moments: parameters, gradients, moments, decays, then perhaps
/// parameters and moments again, then perhaps a factor or a verdict.
pub(super) fn flat(inputs: &[&[u32]], moments: usize) -> Option<Flat> {
    let (like, &[&[words], ref rest @ ..]) = inputs.split_at_checked(2 + moments)? else {
        return None;
    };
    let &[n] = like[0] else { return None };
    let again = rest.iter().take_while(|x| ***x == [n]).count();
    let entry = match (again, &rest[again..]) {
        (0, []) => "step",
        (0, [[1]]) => "step_clipped",
        (0, [[3]]) => "step_scaled",
        (k, []) if k == 1 + moments => "step_apart",
        (k, [[1]]) if k == 1 + moments => "step_clipped_apart",
        (k, [[3]]) if k == 1 + moments => "step_scaled_apart",
        _ => return None,
    };
    let fits = n.is_multiple_of(64) && words == n / 64 && like.iter().all(|x| **x == [n]);
    fits.then_some(Flat { n, entry, apart: again > 0 })
}

/// What an optimiser works on, in flat buffers.
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a> {
    /// Parameters.
    pub params: Value,
    /// Their gradients.
    pub grads: Value,
    /// Their moments: m, and v if the optimiser has it.
    pub moments: &'a [Value],
    /// For each 64 parameters a word: 0 where weight decay does not apply.
    pub decays: Value,
    /// What clipped gradients are multiplied by, or what loss scaling says of the step.
    pub factor: Option<Value>,
}

/// Adds an optimiser's node, which runs once `after` are written.
///
/// A software adapter reads the parameters and moments through mirrors, as it does all that it reads much of, so for it they are inputs by
/// themselves beside the buffers in which they are updated.
///
/// # Errors
/// If the shapes do not fit the op.
pub fn optimise(
    graph: &mut Graph,
    op: impl Op + 'static,
    tensors: Tensors<'_>,
    after: &[Value],
    reads: Reads,
) -> Result<(), ShapeError> {
    let Tensors { params, grads, moments, decays, factor } = tensors;
    let updated = [&[params], moments].concat();
    let mut before = updated.clone();
    if reads == Reads::Textures {
        for value in &mut before {
            let shape = graph.shape(*value).to_vec();
            *value = graph.view(*value, &shape).unwrap_or(*value);
        }
    }
    let apart = if before == updated { &[][..] } else { &updated };
    let inputs = [&[before[0], grads], &before[1..], &[decays], apart, factor.as_slice()].concat();
    graph.add_after(op, &inputs, after).map(drop)
}
