//! Rows of a table by id: shader `shaders/embedding.wgsl`.

use super::{
    AdapterKind, Gradients, Launch, Op, Operands, count,
    matmul::AddParts,
    packs::{self, Packs},
    to_u32,
};
use crate::graph::{Graph, Value};

/// table (V, D), ids (…) of u32 → y (…, D); an id that is not below V reads zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding;

/// ids (…) → a linked list of rows for each id, in u32: the first row of each id (V), and for each row the next one with the same id (rows). A
/// list ends with a number that is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Link {
    vocabulary: u32,
}

/// The lists of [`Link`], dy (…, D) → dtable (V, D).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grad;

/// ids (…), dy (…, D) → (parts, V, D): dtable of each part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradParts {
    vocabulary: u32,
}

/// Most rows of a table whose gradient is summed in parts. Each of its rows looks at all ids; lists would be walked one row after the other, and two
/// segments have two of them.
const FEW: u32 = 8;

/// Invocations that share the ids out among them: each walks over all rows.
fn linkers(on: AdapterKind) -> u32 {
    match on {
        AdapterKind::Cpu => 32,
        AdapterKind::Gpu => 1024,
    }
}

impl Op for Embedding {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[vocabulary, d], ids] = *inputs else { return None };
        let packs = Packs::of(d.into());
        let (rows, width) = (count(ids), packs.count(d.into()));
        Some(
            Launch::new(packs.kernel("embedding", "gather"))
                .output([ids, &[d]].concat())
                .dims([to_u32(rows), width, vocabulary, 0])
                .each((rows * u64::from(width)).div_ceil(4)),
        )
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[vocabulary, _] = graph.shape(node.inputs[0]) else {
            unreachable!("launch takes a table")
        };
        if vocabulary <= FEW {
            let parts = graph.add(GradParts { vocabulary }, &[node.inputs[1], dy])?;
            return Ok(vec![Some(graph.add(AddParts, &[parts])?), None]);
        }
        let lists = graph.add_all(Link { vocabulary }, &[node.inputs[1]])?;
        Ok(vec![Some(graph.add(Grad, &[lists[0], lists[1], dy])?), None])
    }
}

impl Op for Link {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [ids] = *inputs else { return None };
        let rows = to_u32(count(ids));
        let span = self.vocabulary.div_ceil(linkers(on));
        Some(
            Launch::new(Packs::of(1).kernel("embedding", "link"))
                .output([self.vocabulary])
                .output([rows])
                .dims([rows, 1, self.vocabulary, span])
                .each(self.vocabulary.div_ceil(span).into()),
        )
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[vocabulary], &[rows], dy] = *inputs else { return None };
        let (dy_rows, d) = packs::matrix(dy)?;
        let packs = Packs::of(d.into());
        let width = packs.count(d.into());
        (rows == dy_rows).then(|| {
            Launch::new(packs.kernel("embedding", "grad"))
                .output([vocabulary, d])
                .dims([rows, width, vocabulary, 0])
                .each((u64::from(vocabulary) * u64::from(width)).div_ceil(4))
                .flops(count(dy))
        })
    }
}

impl Op for GradParts {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [ids, dy] = *inputs else { return None };
        let (rows, d) = packs::matrix(dy)?;
        let packs = Packs::of(d.into());
        let (vocabulary, width) = (self.vocabulary, packs.count(d.into()));
        let (chunk, parts) = packs::parts(rows, vocabulary * width, 32);
        (*ids == dy[..dy.len() - 1]).then(|| {
            Launch::new(packs.kernel("embedding", "grad_parts"))
                .output([parts, vocabulary, d])
                .dims([rows, width, vocabulary, chunk])
                .each(u64::from(parts) * u64::from(vocabulary) * u64::from(width))
                .flops(count(dy))
                .exact()
        })
    }
}
