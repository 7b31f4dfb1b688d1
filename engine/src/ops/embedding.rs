//! Rows of a table by id: shader `shaders/embedding.wgsl`.

use super::{AdapterKind, Arcs, Launch, MAX_GROUPS, Op, WG, count, narrow, packs::Packs};
use crate::graph::{Graph, ShapeError, Value};

/// table (V, D), ids (…) of u32 → y (…, D); an id that is not below V reads zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding;

/// ids (…), dy (…, D) → dtable (V, D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grad {
    vocabulary: u32,
}

impl Op for Embedding {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[vocabulary, d], ids] = *inputs else { return None };
        let packs = Packs::of(d.into());
        let (rows, width) = (count(ids), packs.count(d.into()));
        Some(
            Launch::new(packs.kernel("embedding", "gather"))
                .output([ids, &[d]].concat())
                .dims([narrow(rows), width, vocabulary])
                .each((rows * u64::from(width)).div_ceil(4)),
        )
    }

    fn vjp(
        &self,
        graph: &mut Graph,
        node: Arcs<'_>,
        douts: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>, ShapeError> {
        let Some(dy) = douts[0] else { return Ok(vec![None; 2]) };
        let &[vocabulary, _] = graph.shape(node.inputs[0]) else {
            unreachable!("launch takes a table")
        };
        Ok(vec![Some(graph.add(Grad { vocabulary }, &[node.inputs[1], dy])?), None])
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [ids, dy] = *inputs else { return None };
        let (&d, rows) = dy.split_last()?;
        if rows != ids {
            return None;
        }
        let packs = Packs::of(d.into());
        let width = packs.count(d.into());
        let layers = self.vocabulary.div_ceil(MAX_GROUPS);
        Some(
            Launch::new(packs.kernel("embedding", "grad").constant("WG", WG.into()))
                .output([self.vocabulary, d])
                .dims([narrow(count(ids)), width, self.vocabulary])
                .grid([width.div_ceil(WG), self.vocabulary.div_ceil(layers), layers])
                .flops(count(dy)),
        )
    }
}
