//! Matrix products: shaders `shaders/matmul.wgsl` (register tiles, for CPU adapters) and `shaders/matmul_tiled.wgsl` (workgroup tiles, for
//! GPUs), tiles by [`variants`].

use std::rc::Rc;

use super::{
    AdapterKind, Fused, Gradients, Kernel, Launch, Op, Operands,
    activation::{Activation, Grad},
    count,
    elementwise::{Add, AddReluGrad},
    known, to_u32,
    variants::{self, Product},
};
use crate::graph::{Graph, Node, ShapeError, Value};

/// C = op(A)·op(B): (M, K)·(K, N) → (M, N), or (…, M, K)·(…, K, N) → (…, M, N) with equal leading extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matmul {
    /// A is given transposed, as (…, K, M).
    pub ta: bool,
    /// B is given transposed, as (…, N, K).
    pub tb: bool,
}

/// [`Matmul`] of two matrices with the sum over K cut into `parts` runs: → (parts, M, N), to be added by [`AddParts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulParts {
    /// The product.
    pub of: Matmul,
    /// Number of runs, at most ⌈K / 4⌉.
    pub parts: u32,
}

/// The sum of `parts` arrays, in their order: (parts, …) → (…).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddParts;

/// y = act(x·Wᵀ + b): x (…, C), W (K, C), b (K) → (…, K); PyTorch's `Linear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// There is a third input b.
    pub bias: bool,
    /// Whether act is ReLU, else there is none.
    pub relu: bool,
}

/// What is done to a gradient of an input on its way out of the product that makes it; each has an input of the gradient's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epilogue {
    /// + D: another gradient of the same tensor.
    pub plus: bool,
    /// ⊙ (Y > 0), after the sum: the gradient of the ReLU that made the tensor Y.
    pub masked: bool,
}

impl Epilogue {
    /// The entry point of a kernel with this epilogue: `dx`, `dx_plus`, `dx_masked`, `dx_plus_masked`.
    pub(super) fn entry(self, stem: &str) -> String {
        let [plus, masked] = [(self.plus, "_plus"), (self.masked, "_masked")]
            .map(|(there, name)| if there { name } else { "" });
        format!("{stem}{plus}{masked}")
    }

    /// This epilogue with what `reader` does to the product's output `dx`, and the input that it takes more.
    ///
    /// A sum with another gradient comes first, then a ReLU's mask.
    pub(super) fn and(self, dx: Value, reader: &Node) -> Option<(Self, Vec<Value>)> {
        let other = |a: Value, b: Value| match (a == dx, b == dx) {
            (true, false) => Some(b),
            (false, true) => Some(a),
            _ => None,
        };
        match reader.inputs[..] {
            [a, b] if known(&*reader.op) == Some(&Add) && self == Self::default() => {
                Some((Self { plus: true, ..self }, vec![other(a, b)?]))
            }
            [a, b, y] if known(&*reader.op) == Some(&AddReluGrad) && self == Self::default() => {
                Some((Self { plus: true, masked: true }, vec![other(a, b)?, y])).filter(|_| y != dx)
            }
            [y, dy] if known(&*reader.op) == Some(&Grad(Activation::Relu)) && !self.masked => {
                (dy == dx && y != dx).then(|| (Self { masked: true, ..self }, vec![y]))
            }
            _ => None,
        }
    }

    /// Whether `inputs`, those after the product's own, are one of the output's shape for each part.
    pub(super) fn takes(self, inputs: &[&[u32]], output: &[u32]) -> bool {
        let count = usize::from(self.plus) + usize::from(self.masked);
        inputs.len() == count && inputs.iter().all(|input| *input == output)
    }
}

/// The gradients of a product x·Wᵀ over the last axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearGrad {
    /// dx = dy·W: dy (…, K), W (K, C), then what the epilogue takes → (…, C).
    Input(Epilogue),
    /// dW = dyᵀ·x: dy (…, K), x (…, C) → (K, C), or, for more than one part, (parts, K, C), to be added by [`AddParts`].
    Weight {
        /// Number of runs that the sum over rows is cut into.
        parts: u32,
        /// There is a second output, db = Σ dy over the rows: (K) or (parts, K).
        bias: bool,
    },
}

/// dW = dyᵀ·x over all rows, and db if there is a bias: dy (…, K), x (…, C) → (K, C), (K), in parts and their sums where that is faster.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn weight_grad(
    graph: &mut Graph,
    dy: Value,
    x: Value,
    bias: bool,
) -> Result<Vec<Value>, ShapeError> {
    let parts = match (graph.shape(dy), graph.shape(x)) {
        ([outer @ .., k], [.., c]) => variants::parts(*k, *c, to_u32(count(outer)), 1),
        _ => 1,
    };
    let sums = graph.add_all(LinearGrad::Weight { parts, bias }, &[dy, x])?;
    if parts == 1 {
        return Ok(sums);
    }
    sums.into_iter().map(|sum| graph.add(AddParts, &[sum])).collect()
}

/// op(A)·op(B) of two matrices, in parts and their sum where that is faster.
///
/// # Errors
/// If the shapes do not fit.
pub fn product(graph: &mut Graph, a: Value, b: Value, of: Matmul) -> Result<Value, ShapeError> {
    let parts = Sizes::of(graph.shape(a), graph.shape(b), of)
        .map_or(1, |s| variants::parts(s.m, s.n, s.k, s.batches));
    if parts == 1 || graph.shape(a).len() != 2 {
        return graph.add(of, &[a, b]);
    }
    let sums = graph.add(MatmulParts { of, parts }, &[a, b])?;
    graph.add(AddParts, &[sums])
}

/// The sizes of a batch of products.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    batches: u64,
    m: u32,
    n: u32,
    k: u32,
    of: Matmul,
}

impl Sizes {
    fn of(a: &[u32], b: &[u32], of: Matmul) -> Option<Self> {
        let ([batch @ .., a0, a1], [batch_b @ .., b0, b1]) = (a, b) else { return None };
        let (m, k) = if of.ta { (*a1, *a0) } else { (*a0, *a1) };
        let (n, k_b) = if of.tb { (*b0, *b1) } else { (*b1, *b0) };
        (batch == batch_b && k == k_b && count(a) > 0 && n > 0).then(|| Self {
            batches: count(batch),
            m,
            n,
            k,
            of,
        })
    }

    /// Matrices of given sizes.
    pub(super) fn matrices(m: u32, n: u32, k: u32, of: Matmul) -> Self {
        Self { batches: 1, m, n, k, of }
    }

    /// A matrix product of given sizes, B transposed: what a linear layer and a 1×1 convolution are.
    pub(super) fn linear(m: u32, n: u32, k: u32) -> Self {
        Self::matrices(m, n, k, Matmul { ta: false, tb: true })
    }

    /// The launch of an entry point, whose kind it chooses; its outputs are the caller's to say.
    pub(super) fn launch(self, on: AdapterKind, entry: &str, parts: u32, relu: bool) -> Launch {
        let Self { batches, m, n, k, of: Matmul { ta, tb } } = self;
        let k_part = k.div_ceil(parts).next_multiple_of(4);
        let slabs = batches * u64::from(parts);
        let whole = |n: u32| n.is_multiple_of(4);
        let quads = whole(if ta { m } else { k }) && whole(if tb { k } else { n });
        let kind = match quads {
            true if whole(n) => "",
            // The other entry points read or write further tensors with C's rows.
            true if matches!(entry, "matmul" | "linear") => "_out1",
            _ => "_any",
        };
        let batched = |elements: u64| if batches == 1 { 0 } else { to_u32(elements) };
        let (a_row, a_k) = if ta { (1, m) } else { (k, 1) };
        let (b_k, b_col) = if tb { (1, k) } else { (n, 1) };
        let [m64, n64, k64] = [m, n, k].map(u64::from);
        let batch = [batched(m64 * k64), batched(k64 * n64)];
        let sizes = [m, n, k, 0, 0, 0, parts, k_part];
        let dims = [&sizes[..], &batch, &[a_row, a_k, b_k, b_col, relu.into()]].concat();
        let product = Product { m, n, k, slabs, words: 3 };
        let mut launch = variants::launch(on, ["matmul", &format!("{entry}{kind}")], product, dims);
        launch.kernel = launch.kernel.flag("TA", ta).flag("TB", tb);
        if entry == "weight" {
            launch.kernel = launch.kernel.flag("SUMS", true);
        }
        launch.flops(2 * batches * m64 * n64 * k64)
    }
}

impl Op for Matmul {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [a, b] = *inputs else { return None };
        let sizes = Sizes::of(a, b, *self)?;
        let mut shape = a[..a.len() - 2].to_vec();
        shape.extend([sizes.m, sizes.n]);
        Some(sizes.launch(on, "matmul", 1, false).output(shape))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[a, b] = node.inputs else { unreachable!("launch takes two inputs") };
        let Self { ta, tb } = *self;
        // d op(A) = dC·op(B)ᵀ, transposed where A was; likewise B.
        let da = match ta {
            false => product(graph, dy, b, Self { ta: false, tb: !tb })?,
            true => product(graph, b, dy, Self { ta: tb, tb: true })?,
        };
        let db = match tb {
            false => product(graph, a, dy, Self { ta: !ta, tb: false })?,
            true => product(graph, dy, a, Self { ta: true, tb: ta })?,
        };
        Ok(vec![Some(da), Some(db)])
    }
}

impl Op for MatmulParts {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [a, b] = *inputs else { return None };
        let sizes =
            Sizes::of(a, b, self.of).filter(|s| a.len() == 2 && self.parts <= s.k.div_ceil(4))?;
        (self.parts > 0).then(|| {
            let output = [self.parts, sizes.m, sizes.n];
            sizes.launch(on, "matmul", self.parts, false).output(output).exact()
        })
    }
}

impl Op for AddParts {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [[parts, shape @ ..]] = *inputs else { return None };
        let each = count(shape);
        let kernel = Kernel::of("matmul", "sum_parts").variant("r4x4");
        let mut dims = [0; 15];
        (dims[0], dims[1], dims[6]) = (to_u32(each), 1, *parts);
        (!shape.is_empty()).then(|| {
            Launch::new(kernel).output(shape).dims(dims).each(each).flops(count(inputs[0]))
        })
    }
}

impl Op for LinearGrad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [dy, other, more @ ..] = inputs else { return None };
        let [outer @ .., k] = dy else { return None };
        let rows = to_u32(count(outer));
        match *self {
            Self::Input(epilogue) => {
                let [k_w, c] = **other else { return None };
                let output = [outer, &[c]].concat();
                let of = Matmul { ta: false, tb: false };
                let sizes = Sizes { batches: 1, m: rows, n: c, k: *k, of };
                (*k == k_w && epilogue.takes(more, &output))
                    .then(|| sizes.launch(on, &epilogue.entry("matmul"), 1, false).output(output))
            }
            Self::Weight { parts, bias } => {
                let [outer_x @ .., c] = other else { return None };
                if outer != outer_x || parts == 0 || parts > rows.div_ceil(4) || !more.is_empty() {
                    return None;
                }
                let of = Matmul { ta: true, tb: false };
                let sizes = Sizes { batches: 1, m: *k, n: *c, k: rows, of };
                let cut = if parts == 1 { vec![] } else { vec![parts] };
                let entry = if bias { "weight" } else { "matmul" };
                let launch = sizes
                    .launch(on, entry, parts, false)
                    .output([&cut[..], &[*k, *c]].concat())
                    .exact();
                Some(if bias { launch.output([&cut[..], &[*k]].concat()) } else { launch })
            }
        }
    }

    /// Takes in what `reader` does to dx, where [`Epilogue`] has it.
    fn absorb(&self, _: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let Self::Input(epilogue) = *self else { return None };
        let (epilogue, more) = epilogue.and(this.outputs[0], reader)?;
        Some(Fused {
            op: Rc::new(Self::Input(epilogue)),
            inputs: [this.inputs, &more].concat(),
            outputs: reader.outputs.clone(),
        })
    }
}

impl Op for Linear {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let (&[x, w], bias) = inputs.split_first_chunk()?;
        let ([outer @ .., c], [k, c_w]) = (x, w) else { return None };
        let fits = c == c_w && if self.bias { bias == [&[*k][..]] } else { bias.is_empty() };
        if !fits || outer.is_empty() {
            return None;
        }
        let stem = if self.bias { "linear" } else { "matmul" };
        let sizes = Sizes::linear(to_u32(count(outer)), *k, *c);
        Some(sizes.launch(on, stem, 1, self.relu).output([outer, &[*k]].concat()))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let dz =
            if self.relu { graph.add(Grad(Activation::Relu), &[node.outputs[0], dy])? } else { dy };
        let dx = graph.add(LinearGrad::Input(Epilogue::default()), &[dz, w])?;
        let weight = weight_grad(graph, dz, x, self.bias)?;
        Ok([dx].into_iter().chain(weight).map(Some).collect())
    }
}
