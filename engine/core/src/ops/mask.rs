//! Rows that count: shader `shaders/mask.wgsl`.

use super::{AdapterKind, Gradients, Launch, Op, Operands, count, packs::Packs};
use crate::graph::{Graph, Value};

/// x with zeros in the place of rows that do not count, which then lose nothing: their errors are 0, and so are their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// x (…, C), labels (…) of u32: those count whose label is below C.
    ByLabel,
    /// x (B, L, C), lengths (B) of u32: of each sample so many rows count.
    ByLength,
}

impl Op for Mask {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, numbers] = *inputs else { return None };
        let (&c, rows) = x.split_last()?;
        let (entry, length) = match *self {
            Self::ByLabel if rows == numbers => ("by_label", 1),
            Self::ByLength if x.len() == 3 && rows[..1] == *numbers => ("by_length", rows[1]),
            Self::ByLabel | Self::ByLength => return None,
        };
        let packs = Packs::of(c.into());
        let n = packs.count(count(x));
        (n > 0).then(|| {
            Launch::new(packs.kernel("mask", entry))
                .output(x)
                .dims([n, packs.count(c.into()), length])
                .each(u64::from(n).div_ceil(4))
        })
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(*self, &[dy, node.inputs[1]])?), None])
    }
}
