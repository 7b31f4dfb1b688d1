//! Sums of parts of several tensors in one dispatch: shader `shaders/parts.wgsl`.

use super::{
    AdapterKind, Kernel, Launch, Op, WG, count, known, matmul::AddParts, reduce::SumRows, to_u32,
};
use crate::graph::{Graph, Home, Node, ShapeError, Value};

/// Tensors that one dispatch adds up: what its `Dims` holds.
const PIECES: usize = 16;

/// The sums of up to 16 tensors that lie in parts in the first input, into their places in the second, which is updated in place; both are
/// ranges of flat buffers, and there is no output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddPieces {
    pieces: Vec<Piece>,
}

/// One tensor; its places count from the beginning of the ranges, in floats, and are multiples of 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    from: u64,
    to: u64,
    floats: u32,
    parts: u32,
}

impl Piece {
    /// Where its parts end.
    fn end(&self) -> u64 {
        self.from + u64::from(self.floats) * u64::from(self.parts)
    }
}

/// Places gradients in the flat buffer `to`, each from its float on. Those that are sums of parts are added up together, at the end, from the
/// buffer `parts`; no range that a dispatch binds is longer than `most` floats. Returns what must be written before `to` is read.
///
/// # Errors
/// If a range cannot be bound: a bug of ours.
///
/// # Panics
/// If a gradient has a place already.
pub fn place(
    graph: &mut Graph,
    grads: &[(Value, u64)],
    [to, parts]: [&str; 2],
    most: u64,
) -> Result<Vec<Value>, ShapeError> {
    let (mut written, mut split) = (Vec::with_capacity(grads.len()), Vec::new());
    for &(grad, offset) in grads {
        let parts_of = parts_of(graph, grad);
        match parts_of {
            Some(value) => split.push((value, offset)),
            None => graph.place(grad, to, offset),
        }
        written.push(parts_of.unwrap_or(grad));
    }
    split.sort_unstable_by_key(|&(_, offset)| offset);

    let mut end = 0;
    let mut placed = Vec::with_capacity(split.len());
    for (value, offset) in split {
        let shape = graph.shape(value);
        let (number, floats) = (shape[0], to_u32(count(&shape[1..])));
        let piece = Piece { from: end, to: offset, floats, parts: number };
        graph.place(value, parts, end);
        end = piece.end().next_multiple_of(64);
        placed.push((piece, value));
    }
    let fits = |first: &Piece, last: &Piece| {
        last.end() - first.from <= most && last.to + u64::from(last.floats) - first.to <= most
    };
    let mut rest = placed.as_slice();
    while let [(first, _), ..] = rest {
        let within = rest.iter().take(PIECES).take_while(|(piece, _)| fits(first, piece)).count();
        let (now, later) = rest.split_at(within.max(1));
        rest = later;
        let (last, _) = now[now.len() - 1];
        let (from, floats) = (first.from, last.end() - first.from);
        let inputs = [
            graph.named(parts, from, &[to_u32(floats)], parts),
            graph.named(to, first.to, &[to_u32(last.to + u64::from(last.floats) - first.to)], to),
        ];
        let moved =
            |piece: &Piece| Piece { from: piece.from - from, to: piece.to - first.to, ..*piece };
        let pieces = now.iter().map(|(piece, _)| moved(piece)).collect();
        let after: Vec<Value> = now.iter().map(|&(_, value)| value).collect();
        graph.scoped("d", |g| g.add_after(AddPieces { pieces }, &inputs, &after))?;
    }
    Ok(written)
}

/// The parts of which `value` is the sum, if they are nothing else and have no place in a named buffer yet. What a node reads that makes parts too
/// may not lie beside them: a dispatch would read and write one buffer.
fn parts_of(graph: &Graph, value: Value) -> Option<Value> {
    let writer = |value| graph.nodes().iter().rfind(|node| node.outputs.contains(&value));
    let node = writer(value)?;
    let &[parts] = &node.inputs[..] else { return None };
    // `sum_rows` works in two steps where there are many rows; the second one adds up parts.
    let sums_rows = |node: &Node| known::<SumRows>(&*node.op).is_some();
    let in_two_steps = || sums_rows(node) && writer(parts).is_some_and(sums_rows);
    if known::<AddParts>(&*node.op).is_none() && !in_two_steps() {
        return None;
    }
    let readers = graph.nodes().iter().filter(|node| node.inputs.contains(&parts)).count();
    (graph.tensor_of(parts).home == Home::Temporary && readers == 1).then_some(parts)
}

impl Op for AddPieces {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[parts], &[sums]] = *inputs else { return None };
        let inside = |piece: &Piece| {
            piece.end() <= parts.into() && piece.to + u64::from(piece.floats) <= sums.into()
        };
        let longest = self.pieces.iter().map(|piece| piece.floats).max()?;
        if self.pieces.len() > PIECES || !self.pieces.iter().all(inside) {
            return None;
        }
        let words = self.pieces.iter().flat_map(|piece| {
            [to_u32(piece.from / 64), to_u32(piece.to / 64), piece.floats, piece.parts]
        });
        let flops = self.pieces.iter().map(|p| u64::from(p.floats) * u64::from(p.parts)).sum();
        let rows = to_u32(self.pieces.len() as u64);
        Some(
            Launch::new(Kernel::of("parts", "add_pieces").constant("WG", WG.into()))
                .dims(words.chain(std::iter::repeat(0)).take(4 * PIECES))
                .grid([longest.div_ceil(WG), rows, 1])
                .flops(flops)
                .updates(&[1]),
        )
    }
}
