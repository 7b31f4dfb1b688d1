//! Dynamic loss scaling: shader `shaders/scaler.wgsl`.

use super::{
    AdapterKind, Kernel, Launch, Op, count,
    elementwise::Add,
    reduce::{Squares, SumParts, TOTAL_WG, partial_sums},
};
use crate::graph::{Graph, ShapeError, Value};

/// The scale that a loss begins with, as in PyTorch.
pub const FIRST_SCALE: f32 = 65_536.0;

/// Words of the state that a scaler keeps: scale, steps taken since it changed, steps skipped, and one that is unused.
pub const STATE: u32 = 4;

/// What they begin as.
pub const FIRST_STATE: [f32; STATE as usize] = [FIRST_SCALE, 0.0, 0.0, 0.0];

/// Gradients (n) → flags (parts), 1 where one is not finite. n is a multiple of 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Check;

/// flags (n), the state (4), which is updated in place, and, to clip, partial sums of the gradients' squares → (3) what an optimiser takes
/// as its last input, then the scale and the steps skipped so far, a number each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Decide {
    max_norm: Option<f32>,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    /// The last input of an optimiser: factor of the gradients, whether the step is taken, steps skipped so far (3).
    pub step: Value,
    /// The scale of the next loss (1).
    pub scale: Value,
    /// Steps skipped so far (1).
    pub skipped: Value,
}

/// Whether a step is taken, from the flat gradients `ranges` of a loss that was scaled by the first number of `state`; they are read after
/// the values `after` were written. Without the scale their norm is clipped at `max_norm`.
///
/// # Errors
/// If there is no range, or its length is no multiple of 4.
pub fn decide(
    graph: &mut Graph,
    ranges: &[Value],
    after: &[Value],
    state: Value,
    max_norm: Option<f32>,
) -> Result<Verdict, ShapeError> {
    let (mut flags, mut squares) = (Vec::new(), Vec::new());
    for &range in ranges {
        flags.push(graph.add_after(Check, &[range], after)?[0]);
        if max_norm.is_some() {
            squares.push(graph.add_after(Squares, &[range], after)?[0]);
        }
    }
    let mut inputs = vec![together(graph, &flags)?, state];
    if max_norm.is_some() {
        inputs.push(together(graph, &squares)?);
    }
    let outputs = graph.add_all(Decide { max_norm }, &inputs)?;
    Ok(Verdict { step: outputs[0], scale: outputs[1], skipped: outputs[2] })
}

/// Partial sums of all ranges as one tensor, which the reader adds up: those of a single range as they are, of several ranges their total.
pub(super) fn together(graph: &mut Graph, parts: &[Value]) -> Result<Value, ShapeError> {
    let (&first, rest) = parts.split_first().expect("there is a range");
    if rest.is_empty() {
        return Ok(first);
    }
    let mut sum = graph.add(SumParts, &[first])?;
    for &more in rest {
        let more = graph.add(SumParts, &[more])?;
        sum = graph.add(Add, &[sum, more])?;
    }
    Ok(sum)
}

impl Op for Check {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[n]] = *inputs else { return None };
        let parts = partial_sums(n / 4);
        (n > 0 && n.is_multiple_of(4)).then(|| {
            Launch::new(Kernel::of("scaler", "check"))
                .output([parts])
                .dims([n / 4, parts, 0])
                .each(parts.into())
                .flops(count(inputs[0]))
        })
    }
}

impl Op for Decide {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let (&[&[n], &[STATE]], squares) = inputs.split_first_chunk()? else { return None };
        let (entry, parts) = match (squares, self.max_norm) {
            ([], None) => ("decide", 0),
            (&[&[parts]], Some(_)) => ("decide_clipped", parts),
            _ => return None,
        };
        let kernel = Kernel::of("scaler", entry).constant("WG", TOTAL_WG.into());
        Some(
            Launch::new(kernel.constant("LANES", TOTAL_WG.into()))
                .output([3])
                .output([1])
                .output([1])
                .dims([n, parts, self.max_norm.unwrap_or_default().to_bits()])
                .flops((n + parts).into())
                .updates(&[1]),
        )
    }
}
