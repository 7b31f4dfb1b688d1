//! An encoder as BERT has it, built from the engine's ops: learned positions, layer norm behind the embeddings, each sublayer
//! and the sum with its input, an untied head with a bias over the vocabulary. No segments, no dropout.

use anyhow::Result;
use engine::{
    graph::{Graph, ShapeError, Value},
    nn::{Bound, FileLayout, Layout, Slot},
    ops::{
        Reads,
        activation::Activation,
        adam::Adam,
        attention::Attention,
        count,
        cross_entropy::cross_entropy_and_grad,
        embedding::Embedding,
        layer_norm::LayerNorm,
        matmul::Linear,
        optimizer::{Tensors, optimise},
        to_u32,
    },
    plan::{Plan, Target, compile},
    step::{LOSS, STEP},
};

/// ε of every layer norm.
const EPS: f32 = 1e-12;

/// The sizes of an encoder and of its batch.
#[derive(Debug, Clone, Copy)]
pub struct Bert {
    /// Ids that there are.
    pub vocabulary: u32,
    /// Width of the hidden state.
    pub hidden: u32,
    /// Layers.
    pub layers: u32,
    /// Attention heads of a layer.
    pub heads: u32,
    /// Width between the two linear maps of a feed-forward layer.
    pub inner: u32,
    /// Tokens of a sequence.
    pub length: u32,
    /// Sequences of a batch.
    pub batch: u32,
}

impl Bert {
    /// Names and shapes of the parameters, in the order of the forward pass; a layer's are those of PyTorch's
    /// `TransformerEncoderLayer`.
    pub fn parameters(&self) -> Vec<(String, Vec<u32>)> {
        let Self { vocabulary, hidden, inner, length, .. } = *self;
        let mut all = Vec::new();
        let mut add = |name: &str, shape: &[u32]| all.push((name.to_owned(), shape.to_vec()));
        add("word_embeddings.weight", &[vocabulary, hidden]);
        add("position_embeddings.weight", &[length, hidden]);
        add("norm.weight", &[hidden]);
        add("norm.bias", &[hidden]);
        for k in 0..self.layers {
            let mut linear = |part: &str, joint: &str, out: u32, width: u32| {
                add(&format!("layers.{k}.{part}{joint}weight"), &[out, width]);
                add(&format!("layers.{k}.{part}{joint}bias"), &[out]);
            };
            linear("self_attn.in_proj", "_", 3 * hidden, hidden);
            linear("self_attn.out_proj", ".", hidden, hidden);
            linear("linear1", ".", inner, hidden);
            linear("linear2", ".", hidden, inner);
            for norm in ["norm1", "norm2"] {
                add(&format!("layers.{k}.{norm}.weight"), &[hidden]);
                add(&format!("layers.{k}.{norm}.bias"), &[hidden]);
            }
        }
        add("head.weight", &[vocabulary, hidden]);
        add("head.bias", &[vocabulary]);
        all
    }

    /// Where the parameters lie in the flat buffers.
    pub fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        for (name, shape) in self.parameters() {
            let offset = layout.param_floats;
            layout.param_floats += count(&shape).next_multiple_of(64);
            layout.params.insert(
                name,
                Slot { offset, shape, block: 0, file: FileLayout::Same, decays: true },
            );
        }
        layout
    }

    /// Multiply-adds of a forward pass: each weight of a linear layer for each token, and scores and sums of the attention.
    pub fn macs(&self) -> u64 {
        let tokens = u64::from(self.batch) * u64::from(self.length);
        let weights = self.parameters().into_iter().filter_map(|(name, shape)| {
            (shape.len() == 2 && !name.contains("embeddings")).then(|| count(&shape))
        });
        let attention = 2 * u64::from(self.layers) * u64::from(self.length * self.hidden);
        tokens * (weights.sum::<u64>() + attention)
    }

    /// A step of Adam as the program `step`. Buffers: `ids` and `labels` (batch, length), `lengths` (batch), `student.params`, `.grads`, `.m`,
    /// `.v` of [`Self::layout`], `student.decay0`, and the mean cross entropy over all positions in `metrics`.
    ///
    /// # Errors
    /// If the plan does not fit the target.
    pub fn step(&self, adam: Adam, target: &Target) -> Result<Plan> {
        let layout = self.layout();
        let mut graph = Graph::new();
        let g = &mut graph;
        let tokens = [self.batch, self.length];
        let (ids, labels) = (g.input("ids", &tokens), g.input("labels", &tokens));
        let lengths = g.input("lengths", &[self.batch]);
        let bound = Bound::new(g, "student", &layout);

        let logits = self.logits(g, &bound, ids, lengths)?;
        let (loss, dlogits) =
            g.scoped("loss", |g| cross_entropy_and_grad(g, logits, labels, 0.0))?;
        let wrt: Vec<Value> = layout.params.keys().map(|name| bound.get(name)).collect();
        let grads = g.backward_from(logits, dlogits, &wrt)?;
        for (slot, grad) in layout.params.values().zip(&grads) {
            g.place(*grad, "student.grads", slot.offset);
        }
        g.buffer("metrics", 64);
        g.place(loss, "metrics", LOSS as u64 * 64);

        let floats = to_u32(layout.param_floats);
        let [params, dparams, m, v] = ["params", "grads", "m", "v"]
            .map(|part| g.input(&format!("student.{part}"), &[floats]));
        let decays = g.input("student.decay0", &[floats / 64]);
        let tensors = Tensors { params, grads: dparams, moments: &[m, v], decays, factor: None };
        let reads = Reads::on(target.kind);
        g.scoped("optimizer", |g| optimise(g, adam, tensors, &grads, reads))?;
        Ok(compile(&[(STEP, g)], target)?)
    }

    /// ids (batch, length) → logits (batch, length, vocabulary).
    fn logits(
        &self,
        g: &mut Graph,
        bound: &Bound,
        ids: Value,
        lengths: Value,
    ) -> Result<Value, ShapeError> {
        let get = |name: &str| bound.get(name);
        let mut x = g.scoped("embeddings", |g| {
            let tokens = g.add(Embedding, &[get("word_embeddings.weight"), ids])?;
            normalized(g, bound, "norm", tokens, get("position_embeddings.weight"))
        })?;
        for k in 0..self.layers {
            x = g.scoped(&format!("layers.{k}"), |g| self.layer(g, bound, k, x, lengths))?;
        }
        g.scoped("head", |g| linear(g, bound, "head.", x))
    }

    fn layer(
        &self,
        g: &mut Graph,
        bound: &Bound,
        k: u32,
        x: Value,
        lengths: Value,
    ) -> Result<Value, ShapeError> {
        let at = |part: &str| format!("layers.{k}.{part}");
        let qkv = g.scoped("in_proj", |g| linear(g, bound, &at("self_attn.in_proj_"), x))?;
        let mixed = g.add(Attention { heads: self.heads, dropout: None }, &[qkv, lengths])?;
        let out = g.scoped("out_proj", |g| linear(g, bound, &at("self_attn.out_proj."), mixed))?;
        let x = normalized(g, bound, &at("norm1"), out, x)?;
        let inner = g.scoped("linear1", |g| linear(g, bound, &at("linear1."), x))?;
        let inner = g.add(Activation::Gelu, &[inner])?;
        let out = g.scoped("linear2", |g| linear(g, bound, &at("linear2."), inner))?;
        normalized(g, bound, &at("norm2"), out, x)
    }
}

/// x Wᵀ + b with the parameters `<prefix>weight` and `<prefix>bias`.
fn linear(g: &mut Graph, bound: &Bound, prefix: &str, x: Value) -> Result<Value, ShapeError> {
    let [w, b] = ["weight", "bias"].map(|part| bound.get(&format!("{prefix}{part}")));
    g.add(Linear { bias: true, relu: false }, &[x, w, b])
}

/// Layer norm of x + skip.
fn normalized(
    g: &mut Graph,
    bound: &Bound,
    name: &str,
    x: Value,
    skip: Value,
) -> Result<Value, ShapeError> {
    let [gamma, beta] = ["weight", "bias"].map(|part| bound.get(&format!("{name}.{part}")));
    g.add(LayerNorm { eps: EPS }, &[x, gamma, beta, skip])
}
