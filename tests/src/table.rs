//! The golden table: one row an op, from a golden's attributes to nodes of a graph.

use engine::{
    graph::{Graph, Home, ShapeError, Value},
    ops::{
        AdapterKind, Gradients, Launch, Op, Operands,
        accuracy::{hits, whole_hits},
        activation::Activation,
        attention::Attention,
        batch_norm::{BatchNorm, Running, Tensors},
        conv2d::Conv2d,
        cross_entropy::{CrossEntropy, cross_entropy, cross_entropy_and_grad},
        dropout::Dropout,
        elementwise::{Add, AddBias, AddRelu, Copy, Mul, Scale},
        embedding::Embedding,
        kl::{Kl, kl},
        layer_norm::LayerNorm,
        mask::Mask,
        matmul::{Linear, Matmul, product},
        mse::{Mse, mse},
        pool::{GlobalAvgPool, MaxPool},
        positions::{Behind, Gather, Leading},
        reduce::SumParts,
        softmax::Softmax,
        spans::Scores,
    },
};

use crate::golden::Case;

/// Files of `golden/ops` whose cases are rows of [`ROWS`]; the optimisers have a test of their own.
pub const FAMILIES: [&str; 13] = [
    "attention",
    "conv2d",
    "dropout",
    "elementwise",
    "embedding",
    "linear",
    "loss",
    "matmul",
    "norm",
    "pool",
    "rows",
    "softmax",
    "spans",
];

/// Adds an op with a case's attributes to a graph; returns its outputs in the golden's order.
pub type Build = fn(&mut Graph, &Case, &[Value]) -> Result<Vec<Value>, ShapeError>;

/// The table, by the name that goldens give an op.
pub const ROWS: [(&str, Build); 38] = [
    ("accuracy", |g, _, x| {
        let rows = g.shape(x[0])[0];
        let hits = hits(g, x[0], x[1])?;
        one(g.add(Scale(1.0 / rows as f32), &[hits]))
    }),
    ("accuracy_of_samples", |g, _, x| {
        let samples = g.shape(x[0])[0];
        let hits = whole_hits(g, x[0], x[1])?;
        one(g.add(Scale(1.0 / samples as f32), &[hits]))
    }),
    ("add", |g, _, x| one(g.add(Add, x))),
    ("add_bias", |g, _, x| one(g.add(AddBias, x))),
    ("add_relu", |g, _, x| one(g.add(AddRelu, x))),
    ("attention", |g, case, x| {
        one(g.add(Attention { heads: case.number("heads") as u32, dropout: None }, x))
    }),
    ("attention_dropout", |g, case, x| {
        let (heads, dropout) = (case.number("heads") as u32, Some(dropout(case)));
        one(g.add(Attention { heads, dropout }, x))
    }),
    ("batch_norm_eval", |g, case, x| {
        let (op, layer) = batch_norm(case, x);
        one(op.eval(g, x[0], &layer))
    }),
    ("batch_norm_train", |g, case, x| {
        let (op, _) = batch_norm(case, x);
        let trained = op.train(g, x[0], x[1], x[2])?;
        // The running statistics as they lie in a flat buffer.
        let second = g.shape(trained.batch)[1];
        let mut state = Vec::new();
        for (from, offset) in [(x[3], 0), (x[4], second)] {
            let value = g.add(Copy, &[from])?;
            g.place(value, "state", offset.into());
            state.push(value);
        }
        g.place(trained.batch, "batch", 0);
        let flat = ["batch", "state"].map(|label| g.named(label, 0, &[2 * second], label));
        let after = [trained.batch, state[0], state[1]];
        let momentum = case.number("momentum") as f32;
        g.add_after(Running { momentum }, &flat, &after)?;
        Ok(vec![trained.y, g.add(Copy, &[state[0]])?, g.add(Copy, &[state[1]])?])
    }),
    ("behind", |g, case, x| one(g.add(Behind { rows: case.number("rows") as u32 }, x))),
    ("conv2d", |g, case, x| {
        let [_, kh, kw, _] = *g.shape(x[1]) else { unreachable!("a convolution's weight") };
        let (stride, pad) = (case.pair("stride"), case.pair("pad"));
        one(g.add(
            Conv2d {
                kernel: [kh, kw],
                stride,
                pad,
                bias: case.flag("bias"),
                relu: case.flag("relu"),
            },
            x,
        ))
    }),
    ("cross_entropy", |g, case, x| {
        one(cross_entropy(g, x[0], x[1], case.number("label_smoothing") as f32))
    }),
    ("cross_entropy_and_grad", |g, case, x| {
        let smoothing = case.number("label_smoothing") as f32;
        let (loss, dlogits) = cross_entropy_and_grad(g, x[0], x[1], smoothing)?;
        Ok(vec![loss, dlogits])
    }),
    ("cross_entropy_by_label", |g, case, x| {
        let label_smoothing = case.number("label_smoothing") as f32;
        one(CrossEntropy { label_smoothing, by_label: true }.mean(g, x[0], x[1]))
    }),
    ("dropout", |g, case, x| one(g.add(dropout(case), x))),
    ("embedding", |g, _, x| one(g.add(Embedding, x))),
    ("first_token", |g, _, x| one(g.add(Leading, x))),
    ("gelu", |g, _, x| one(g.add(Activation::Gelu, x))),
    ("gelu_tanh", |g, _, x| one(g.add(Activation::GeluTanh, x))),
    ("global_avg_pool", |g, _, x| one(g.add(GlobalAvgPool, x))),
    ("kl", |g, case, x| {
        let temperature = case.number("temperature") as f32;
        let factor = temperature * temperature;
        one(kl(g, x[0], x[1], Kl { temperature, factor, by_count: false }))
    }),
    ("kl_by_label", |g, case, x| {
        let temperature = case.number("temperature") as f32;
        let factor = temperature * temperature;
        let [s, t] = [x[0], x[1]].map(|logits| g.add(Mask::ByLabel, &[logits, x[2]]));
        one(kl(g, s?, t?, Kl { temperature, factor, by_count: true }))
    }),
    ("layer_norm", |g, case, x| one(g.add(LayerNorm { eps: case.number("eps") as f32 }, x))),
    ("linear", |g, case, x| {
        one(g.add(Linear { bias: case.flag("bias"), relu: case.flag("relu") }, x))
    }),
    ("matmul", |g, case, x| {
        let of = Matmul { ta: case.flag("trans_a"), tb: case.flag("trans_b") };
        one(product(g, x[0], x[1], of))
    }),
    ("mask_by_label", |g, _, x| one(g.add(Mask::ByLabel, x))),
    ("mask_by_length", |g, _, x| one(g.add(Mask::ByLength, x))),
    ("max_pool", |g, case, x| {
        let (kernel, stride, pad) = (case.pair("kernel"), case.pair("stride"), case.pair("pad"));
        one(g.add(MaxPool { kernel, stride, pad }, x))
    }),
    ("mse", |g, _, x| one(mse(g, x[0], x[1], 1.0))),
    ("mse_by_length", |g, _, x| {
        let [y, target] = [x[0], x[1]].map(|rows| g.add(Mask::ByLength, &[rows, x[2]]));
        one(Mse { scale: 1.0, by_count: true }.mean(g, y?, target?))
    }),
    ("mul", |g, _, x| one(g.add(Mul, x))),
    ("positions", |g, _, x| one(g.add(Gather, x))),
    ("relu", |g, _, x| one(g.add(Activation::Relu, x))),
    ("scale", |g, case, x| one(g.add(Scale(case.number("scale") as f32), x))),
    ("sigmoid", |g, _, x| one(g.add(Activation::Sigmoid, x))),
    ("softmax", |g, case, x| one(g.add(Softmax { scale: case.number("scale") as f32 }, x))),
    ("span_scores", |g, _, x| one(g.add(Scores, x))),
    ("tanh", |g, _, x| one(g.add(Activation::Tanh, x))),
];

fn dropout(case: &Case) -> Dropout {
    Dropout { p: case.number("p") as f32, stream: case.number("stream") as u32 }
}

fn one(value: Result<Value, ShapeError>) -> Result<Vec<Value>, ShapeError> {
    Ok(vec![value?])
}

fn batch_norm(case: &Case, x: &[Value]) -> (BatchNorm, Tensors) {
    let op = BatchNorm { eps: case.number("eps") as f32, relu: case.flag("relu") };
    let layer = Tensors { gamma: x[1], beta: x[2], running_mean: x[3], running_var: x[4] };
    (op, layer)
}

/// The row of an op.
///
/// # Panics
/// If the table has none: a golden without a row.
pub fn row(op: &str) -> Build {
    let (_, build) = ROWS.iter().find(|(name, _)| *name == op).expect("the op has a row");
    *build
}

/// A scalar whose gradient is a given tensor: what a golden's `upstream` is fed in by.
#[derive(Debug)]
pub struct Upstream(
    /// That tensor.
    pub Value,
);

impl Op for Upstream {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        SumParts.launch(inputs, on)
    }

    fn vjp(&self, _: &mut Graph, _: Operands<'_>, _: Value) -> Gradients {
        Ok(vec![Some(self.0)])
    }
}

/// A case as a graph, and where its results lie.
#[derive(Debug)]
pub struct Probe {
    /// Inputs in the buffers `input K` and `upstream`.
    pub graph: Graph,
    /// Buffer of each output; an input that the op updates in place stays where it is.
    pub outputs: Vec<String>,
    /// Buffer of each gradient, by the input that it belongs to.
    pub grads: Vec<(usize, String)>,
}

/// Builds a case with the gradients that its golden knows.
///
/// # Panics
/// If the op does not take the golden's shapes.
pub fn probe(case: &Case) -> Probe {
    build(case, false)
}

/// As [`probe`], with every tensor of two axes or more between copies that a plan may store as f16.
///
/// # Panics
/// As [`probe`].
pub fn probe_f16(case: &Case) -> Probe {
    build(case, true)
}

fn build(case: &Case, f16: bool) -> Probe {
    let mut graph = Graph::new();
    let g = &mut graph;
    let say = |error: ShapeError| -> ! { panic!("{}: {error}", case.name) };
    // Vectors are f32.
    let stored = |g: &mut Graph, value: Value| match f16 && g.shape(value).len() > 1 {
        true => g.add(Copy, &[value]).unwrap_or_else(|e| say(e)),
        false => value,
    };
    if f16 {
        g.store_f16();
    }
    let mut x = Vec::new();
    for (k, array) in case.inputs.iter().enumerate() {
        let value = g.input(&format!("input {k}"), &array.shape);
        x.push(if array.reals { stored(g, value) } else { value });
    }
    let y = g.scoped(&case.name, |g| row(case.op())(g, case, &x)).unwrap_or_else(|e| say(e));
    let mut grads = Vec::new();
    if let Some(upstream) = &case.upstream {
        let upstream = g.input("upstream", &upstream.shape);
        let upstream = stored(g, upstream);
        let loss = g.add(Upstream(upstream), &[y[0]]).unwrap_or_else(|e| say(e));
        let wrt: Vec<Value> = case.grads.keys().map(|&k| x[k]).collect();
        let found = g.backward(loss, &wrt).unwrap_or_else(|e| say(e));
        for (&k, grad) in case.grads.keys().zip(found) {
            // A gradient may be the upstream one itself, which has its place.
            let copy = g.add(Copy, &[grad]).unwrap_or_else(|e| say(e));
            g.place(copy, &format!("grad {k}"), 0);
            grads.push((k, format!("grad {k}")));
        }
    }
    let outputs = y.iter().enumerate().map(|(k, &value)| match &g.tensor_of(value).home {
        Home::Named { buffer, .. } => buffer.clone(),
        Home::Temporary => {
            let (value, label) = (stored(g, value), format!("output {k}"));
            g.place(value, &label, 0);
            label
        }
    });
    let outputs = outputs.collect();
    Probe { graph, outputs, grads }
}
