//! Multi-head self-attention without its matrix of probabilities: shader `shaders/attention.wgsl`.

use super::{
    AdapterKind, Gradients, Kernel, Launch, Op, Operands, WG, count, dropout::Dropout, grid, to_u32,
};
use crate::graph::{Graph, Value};

/// qkv (…, L, 3·heads·d), queries, keys and values side by side as one projection makes them, and lengths (…) of u32 → y (…, L, heads·d),
/// where each head's y = softmax(q kᵀ / √d) v over the first keys of a sample, as many as its length says, and (…, heads, L): log Σ exp of
/// the rows, for the gradient.
///
/// d is at most 128, or 32 where it is no multiple of 4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Number of heads, which divides the width.
    pub heads: u32,
    /// Dropout of the softmax's probabilities: a function of the run's seed, the step, the stream, and the sample, head, row and column.
    pub dropout: Option<Dropout>,
}

/// y, dy → δ (…, heads, L): Σ y dy of each row of each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradRows {
    heads: u32,
}

/// qkv, dy, log sums, δ, lengths → dqkv.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad(Attention);

/// The extents of an attention.
#[derive(Debug, Clone, Copy)]
struct Sizes<'a> {
    batch: &'a [u32],
    length: u32,
    heads: u32,
    head: u32,
}

/// Rows that an invocation owns in the forward pass (in the gradient half as many, as it holds twice as much of each), and floats
/// of a head that it has registers for, by variant file.
const VARIANTS: [(AdapterKind, &str, u32, u32); 6] = [
    (AdapterKind::Cpu, "r8q8", 8, 32),
    (AdapterKind::Cpu, "r4q16", 4, 64),
    (AdapterKind::Cpu, "r2q32", 2, 128),
    (AdapterKind::Gpu, "r1q8", 1, 32),
    (AdapterKind::Gpu, "r1q16", 1, 64),
    (AdapterKind::Gpu, "r1q32", 1, 128),
];

/// The variant for heads that are no whole quads: rows and most floats.
const ANY: (&str, u32, u32) = ("any", 2, 32);

impl<'a> Sizes<'a> {
    /// `parts` is 3 for qkv and 1 for y.
    fn of(shape: &'a [u32], parts: u32, heads: u32) -> Option<Self> {
        let [batch @ .., length, width] = shape else { return None };
        let each = parts.checked_mul(heads).filter(|&n| n > 0 && *width > 0)?;
        let fits = width.is_multiple_of(each) && count(shape) > 0;
        fits.then(|| Self { batch, length: *length, heads, head: width / each })
    }

    fn y(&self) -> Vec<u32> {
        [self.batch, &[self.length, self.heads * self.head]].concat()
    }

    fn qkv(&self) -> Vec<u32> {
        [self.batch, &[self.length, 3 * self.heads * self.head]].concat()
    }

    /// A number for each row of each head.
    fn rows(&self) -> Vec<u32> {
        [self.batch, &[self.heads, self.length]].concat()
    }

    /// Variant file and rows of a tile; `None` if a head is too wide.
    fn variant(&self, on: AdapterKind) -> Option<(&'static str, u32)> {
        if !self.head.is_multiple_of(4) {
            return (self.head <= ANY.2).then_some((ANY.0, ANY.1));
        }
        let fits =
            |&&(kind, _, _, room): &&(AdapterKind, _, _, u32)| kind == on && self.head <= room;
        VARIANTS.iter().find(fits).map(|&(_, name, rows, _)| (name, rows))
    }

    /// A launch with an invocation for `rows` rows of a head.
    fn launch(
        &self,
        entry: &str,
        variant: &str,
        rows: u32,
        dropout: Option<Dropout>,
        on: AdapterKind,
    ) -> Launch {
        let tiles = self.length.div_ceil(rows);
        let units = count(self.batch) * u64::from(self.heads) * u64::from(tiles);
        // On a software adapter a workgroup is one vector of lanes, so that there are workgroups for every core.
        let group = if on == AdapterKind::Cpu { 8 } else { WG };
        let mut dims = vec![
            self.length,
            self.heads,
            self.head,
            self.head.div_ceil(4),
            tiles,
            to_u32(units),
            (f64::from(self.head).sqrt().recip() as f32).to_bits(),
        ];
        let mut variant = variant.to_owned();
        if let Some(Dropout { p, stream }) = dropout {
            variant += ".dropout";
            // Below 2³², as p is below 1.
            let zeros = (f64::from(p) * 2f64.powi(32)) as u32;
            dims.extend([stream, zeros, (1.0 / (1.0 - p)).to_bits()]);
        }
        let kernel = Kernel::of("attention", entry).variant(&variant).constant("WG", group.into());
        Launch::new(kernel).dims(dims).grid(grid(units, group))
    }

    /// Floating-point operations of one product of (L, d) by (d, L) in all heads.
    fn product(&self) -> u64 {
        2 * count(&self.rows()) * u64::from(self.length) * u64::from(self.head)
    }
}

impl Attention {
    /// The extents, if the inputs fit each other and the dropout leaves something.
    fn sizes<'a>(&self, qkv: &'a [u32], lengths: &[u32]) -> Option<Sizes<'a>> {
        let leaves = self.dropout.is_none_or(|dropout| (0.0..1.0).contains(&dropout.p));
        Sizes::of(qkv, 3, self.heads).filter(|sizes| leaves && sizes.batch == lengths)
    }
}

impl Op for Attention {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [qkv, lengths] = *inputs else { return None };
        let sizes = self.sizes(qkv, lengths)?;
        let (variant, rows) = sizes.variant(on)?;
        let launch = sizes.launch("forward", variant, rows, self.dropout, on);
        let launch = launch.flops(2 * sizes.product());
        Some(launch.output(sizes.y()).output(sizes.rows()))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let (qkv, lengths) = (node.inputs[0], node.inputs[1]);
        let (y, log_sums) = (node.outputs[0], node.outputs[1]);
        let deltas = graph.add(GradRows { heads: self.heads }, &[y, dy])?;
        Ok(vec![Some(graph.add(Grad(*self), &[qkv, dy, log_sums, deltas, lengths])?), None])
    }
}

impl Op for GradRows {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [y, dy] = *inputs else { return None };
        let sizes = Sizes::of(y, 1, self.heads).filter(|_| y == dy)?;
        let (variant, _) = sizes.variant(on)?;
        let launch = sizes.launch("grad_rows", variant, 1, None, on).flops(2 * count(y));
        Some(launch.output(sizes.rows()))
    }
}

impl Op for Grad {
    /// Seven products: the scores and dP are made twice, once for dq and once for dk and dv.
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [qkv, dy, log_sums, deltas, lengths] = *inputs else { return None };
        let sizes = self.0.sizes(qkv, lengths)?;
        if *dy != sizes.y() || *log_sums != sizes.rows() || deltas != log_sums {
            return None;
        }
        let (variant, rows) = sizes.variant(on)?;
        let mut launch = sizes.launch("grad", variant, rows.div_ceil(2), self.0.dropout, on);
        launch.grid[2] = 2;
        Some(launch.output(sizes.qkv()).flops(7 * sizes.product()))
    }
}
