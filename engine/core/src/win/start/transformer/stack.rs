//! The blocks of a network as starts see them: embeddings and layers; and which layers of a teacher each layer of a student starts from.

use crate::nn::{
    Layer, Network, NetworkError,
    layers::{Embeddings, Transformer},
};

/// Rows of a Gram matrix for each of its columns, at most.
pub(super) const ROWS_PER_COLUMN: usize = 4;

/// A block: the embeddings, where it begins with them, and layers.
pub(super) struct Stack<'n> {
    pub embeddings: Option<&'n Embeddings>,
    pub layers: Vec<&'n Transformer>,
}

/// The blocks of a network, of which the first begins with the embeddings.
pub(super) fn stacks<'n>(network: &'n Network) -> Result<Vec<Stack<'n>>, NetworkError> {
    let mut found = Vec::with_capacity(network.blocks.len());
    for (block, of) in network.blocks.iter().enumerate() {
        let (embeddings, layers) = match of.layers.split_first() {
            Some((Layer::Embeddings(embeddings), rest)) if block == 0 => (Some(embeddings), rest),
            _ => (None, of.layers.as_slice()),
        };
        if block == 0 && embeddings.is_none() {
            let problem =
                "block 1 does not begin with embeddings; a start of transformers begins there";
            return Err(NetworkError::Unsupported(problem.into()));
        }
        let transformer = |layer: &'n Layer| match layer {
            Layer::Transformer(of) => Ok(of),
            other => {
                let name = other.name().unwrap_or("a pool");
                Err(NetworkError::Unsupported(format!(
                    "block {} has {name}; a start of such a block knows embeddings and layers of transformers",
                    block + 1
                )))
            }
        };
        let layers = layers.iter().map(transformer).collect::<Result<_, _>>()?;
        found.push(Stack { embeddings, layers });
    }
    Ok(found)
}

pub(super) fn embeddings<'n>(stacks: &[Stack<'n>]) -> Result<&'n Embeddings, NetworkError> {
    let missing = || NetworkError::Unsupported("the network has no embeddings".into());
    stacks.first().and_then(|stack| stack.embeddings).ok_or_else(missing)
}

/// The teacher's layers (0-based in their block) that each of the student's in `block` starts from: the first gives its heads, the second its inner
/// units and all that is imitated.
///
/// `map` has one of the teacher's layers for each of the student's, or two, counted from 0 over the whole network; if it is empty, the teacher's
/// layers of a block are cut into as many runs as the student has there, and a layer takes the first and the last of its run.
pub(super) fn matched(
    thin: &[Stack<'_>],
    wide: &[Stack<'_>],
    block: usize,
    map: &[u32],
) -> Result<Vec<[usize; 2]>, NetworkError> {
    for (network, blocks) in [("student", thin), ("teacher", wide)] {
        if let Some(empty) = blocks.iter().position(|stack| stack.layers.is_empty()) {
            let block = empty + 1;
            let problem =
                format!("block {block} of the {network} has no layers; each has one at least");
            return Err(NetworkError::Mismatch(problem));
        }
    }
    if map.is_empty() {
        let (small, large) = (thin[block].layers.len(), wide[block].layers.len());
        return Ok((0..small).map(|k| run(k, small, large)).collect());
    }
    let total: usize = thin.iter().map(|stack| stack.layers.len()).sum();
    let each = match map.len() {
        n if n == total => 1,
        n if n == 2 * total => 2,
        n => {
            return Err(NetworkError::Mismatch(format!(
                "teacher.layer_map has {n} entries, the student has {total} layers; one for each, or a pair, is needed"
            )));
        }
    };
    // All blocks are checked, so that the start of the first block already finds what is wrong with the last.
    let (mut entries, mut first, mut found) = (map.chunks_exact(each).enumerate(), 0, Vec::new());
    for (k, (small, large)) in thin.iter().zip(wide).enumerate() {
        let end = first + large.layers.len() - 1;
        let mut of_block = Vec::with_capacity(small.layers.len());
        for (place, (layer, (at, entry))) in small.layers.iter().zip(&mut entries).enumerate() {
            let [from, to] = [entry[0], entry[each - 1]].map(|layer| layer as usize);
            let least = if place == 0 { first..=first } else { first..=end };
            if !least.contains(&from) || !(from..=end).contains(&to) {
                let why = if place == 0 { ", which reads the lifted state," } else { "" };
                let [entry, allowed] = match each {
                    1 => [format!("{from}"), range(&least)],
                    _ => [
                        format!("[{from}, {to}]"),
                        format!("{} and a layer from there to {end}", range(&least)),
                    ],
                };
                return Err(NetworkError::Mismatch(format!(
                    "teacher.layer_map[{at}] = {entry} for {} of block {}{why} is not allowed; allowed is {allowed}",
                    layer.name,
                    k + 1
                )));
            }
            of_block.push([from - first, to - first]);
        }
        first = end + 1;
        if k == block {
            found = of_block;
        }
    }
    Ok(found)
}

fn range(of: &std::ops::RangeInclusive<usize>) -> String {
    if of.start() == of.end() { of.start().to_string() } else { format!("{of:?}") }
}

/// The first and the last of the k-th of `small` runs of `large` layers.
fn run(k: usize, small: usize, large: usize) -> [usize; 2] {
    // round(k · large / small), halves up.
    let cut = |k: usize| (2 * k * large + small) / (2 * small);
    let first = cut(k).min(large - 1);
    [first, cut(k + 1).saturating_sub(1).clamp(first, large - 1)]
}

/// What stands before a layer and gives what it reads.
pub(super) fn input<'n>(
    stacks: &[Stack<'n>],
    block: usize,
    layer: usize,
) -> Result<&'n str, NetworkError> {
    let layers = |block: usize| &stacks[block].layers;
    match (layer.checked_sub(1), block.checked_sub(1)) {
        (Some(before), _) => Ok(&layers(block)[before].name),
        (None, Some(before)) => Ok(&layers(before)[layers(before).len() - 1].name),
        (None, None) => Ok(&embeddings(stacks)?.name),
    }
}

/// Columns of the widest Gram matrix of a block's start, where the teacher's stream has `stream` features.
pub(super) fn widest(stacks: [&Stack<'_>; 2], stream: usize) -> usize {
    let layers = stacks.into_iter().flat_map(|stack| &stack.layers);
    let inside = layers.map(|layer| layer.inner.max(layer.heads * layer.head) as usize);
    inside.fold(stream, usize::max)
}
