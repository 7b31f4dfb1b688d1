//! BERT's encoder with the heads of transformers: `BertForMaskedLM`, `BertForPreTraining`, `BertForQuestionAnswering`; `ElectraForMaskedLM` where
//! the tables are narrower than the hidden state; `MobileBertForMaskedLM` and so on where the layers are bottlenecks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Output;
use crate::config;
use crate::nn::{
    Block, Extent, Layer, Network,
    layers::{Activation, Bottleneck, Decoder, Embeddings, LayerNorm, Linear, Places, Transformer},
};
use crate::ops::activation;

/// What stands on an encoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BertHead {
    /// Scores of all words for some places: (N, places, vocabulary).
    #[default]
    MaskedWords,
    /// The same, and the pooler with two scores, that the second segment follows the first and that it does not: (N, 2).
    Pretrain,
    /// Two scores of each token, that an answer begins with it and that it ends with it: (N, length, 2).
    Spans,
}

/// The sizes of an encoder, and what stands on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bert {
    /// Token ids that there are.
    pub vocabulary: u32,
    /// Features of the hidden state; of layers that are bottlenecks, of the one inside of them.
    pub hidden: u32,
    /// Features of the state between layers that are bottlenecks, as MobileBERT has them; none: they are BERT's own.
    pub bottleneck: Option<u32>,
    /// Features of the tables, and of what the head compares with that of the words, where a linear map brings them to the hidden state's.
    pub embedding: Option<u32>,
    /// Layers; each is a block.
    pub layers: u32,
    /// Attention heads of a layer, which divide the hidden state.
    pub heads: u32,
    /// Features inside of a layer's feed-forward part.
    pub inner: u32,
    /// Tokens of a sequence.
    pub length: u32,
    /// Places that the table of positions has, at least `length`.
    pub positions: u32,
    /// Masked words of a sequence that are asked for, at most; of no use to spans.
    pub places: u32,
    /// Standard deviation with which matrices and tables begin.
    pub init_std: f64,
    /// ε of all layer norms; BERT's is 1e-12.
    pub eps: f64,
    /// Probability of a zero behind the embeddings and in what is added to a sum, in training; below 1.
    pub dropout: f64,
    /// Probability of a zero among the attention's probabilities, in training; below 1.
    pub attention_dropout: f64,
    /// What it is asked for.
    pub head: BertHead,
}

impl Default for Bert {
    /// BERT_BASE for masked words, without dropout.
    fn default() -> Self {
        Self {
            vocabulary: 30_522,
            hidden: 768,
            bottleneck: None,
            embedding: None,
            layers: 12,
            heads: 12,
            inner: 3072,
            length: 128,
            positions: 512,
            places: 20,
            init_std: 0.02,
            eps: 1e-12,
            dropout: 0.0,
            attention_dropout: 0.0,
            head: BertHead::MaskedWords,
        }
    }
}

impl Bert {
    /// ε of all layer norms where layers are bottlenecks: transformers has no other for some of MobileBERT's.
    pub const BOTTLENECK_EPS: f64 = 1e-5;

    /// The teacher that [`surgery::widen`](crate::win::surgery::widen) makes of it: more heads of the same size behind the same tables; no wider, it
    /// is the same. That of bottlenecks is a BERT of the width between them, if this is `factor` times that inside.
    #[must_use]
    pub fn widened(&self, factor: u32) -> Self {
        if factor == 1 {
            return self.clone();
        }
        let [hidden, heads, inner] = [self.hidden, self.heads, self.inner].map(|n| n * factor);
        let embedding = match self.bottleneck {
            Some(_) => self.embedding,
            None => Some(self.tables()),
        };
        Self { hidden, bottleneck: None, embedding, heads, inner, ..self.clone() }
    }

    /// Features of what flows between layers.
    pub fn state(&self) -> u32 {
        self.bottleneck.unwrap_or(self.hidden)
    }

    /// Features of the tables.
    fn tables(&self) -> u32 {
        self.embedding.unwrap_or(self.state())
    }

    /// The sizes that a `[model]` section stands for, on inputs of this extent, which are to be answered so.
    pub fn of(model: &config::Bert, input: Extent, output: Output) -> Self {
        let config::Bert { hidden, bottleneck, layers, heads, inner, init_std, .. } = *model;
        let plain = Self::default();
        let length = match input {
            Extent::Tokens(length) => length,
            other => other.width(),
        };
        let (places, head) = match output {
            Output::Words { places, next: false, .. } => (places, BertHead::MaskedWords),
            Output::Words { places, next: true, .. } => (places, BertHead::Pretrain),
            Output::Spans { .. } => (0, BertHead::Spans),
            Output::Classes(_) => (1, BertHead::MaskedWords),
        };
        Self {
            vocabulary: output.width(),
            hidden,
            bottleneck,
            layers,
            heads,
            inner,
            length,
            positions: model.positions.unwrap_or(length),
            places,
            init_std,
            eps: bottleneck.map_or(plain.eps, |_| Self::BOTTLENECK_EPS),
            dropout: model.dropout,
            attention_dropout: model.attention_dropout,
            head,
            ..plain
        }
    }
}

/// The network that a `[model]` section stands for.
pub(super) fn network(model: &config::Bert, input: Extent, output: Output) -> Network {
    Network { input, ..bert(&Bert::of(model, input, output)) }
}

/// The network; the first block has the embeddings as well.
pub fn bert(of: &Bert) -> Network {
    let embeddings = Embeddings {
        name: "bert.embeddings".into(),
        vocabulary: of.vocabulary,
        positions: of.positions,
        segments: 2,
        out: of.tables(),
        project: of.embedding.map(|_| of.state()),
        std: of.init_std,
        eps: of.eps,
        dropout: of.dropout,
    };
    let table = embeddings.words();
    let mut first = Some(Layer::Embeddings(embeddings));
    let layer = |k: u32| {
        let plain = Transformer {
            name: format!("bert.encoder.layer.{k}"),
            heads: of.heads,
            head: of.hidden / of.heads.max(1),
            inner: of.inner,
            eps: of.eps,
            dropout: of.dropout,
            attention_dropout: of.attention_dropout,
        };
        match of.bottleneck {
            None => Layer::Transformer(plain),
            // MobileBERT drops nothing of the sums inside.
            Some(_) => Layer::Bottleneck(Bottleneck {
                hidden: of.hidden,
                inside: Transformer { dropout: 0.0, ..plain },
                dropout: of.dropout,
            }),
        }
    };
    let block = |k: u32| {
        let layers = first.take().into_iter().chain([layer(k)]).collect();
        Block { layers, ..Block::default() }
    };
    let blocks = (0..of.layers).map(block).collect();
    let (head, further) = match of.head {
        BertHead::MaskedWords => (words(of, table), Vec::new()),
        BertHead::Pretrain => (words(of, table), vec![next(of)]),
        BertHead::Spans => (vec![linear("qa_outputs", 2)], Vec::new()),
    };
    Network { input: Extent::Tokens(of.length), blocks, head, further }
}

fn linear(name: &str, out: u32) -> Layer {
    Layer::Linear(Linear { name: name.into(), out, bias: true })
}

/// A linear map with the activation behind it.
fn dense(name: &str, out: u32, function: activation::Activation) -> [Layer; 2] {
    let act = Activation { name: format!("{name}.act"), function };
    [linear(name, out), Layer::Activation(act)]
}

/// The head for masked words, with the table of this path.
fn words(of: &Bert, table: String) -> Vec<Layer> {
    let transform = "cls.predictions.transform";
    let mut head = vec![Layer::Places(Places { count: of.places })];
    head.extend(dense(&format!("{transform}.dense"), of.tables(), activation::Activation::Gelu));
    head.push(Layer::LayerNorm(LayerNorm { name: format!("{transform}.LayerNorm"), eps: of.eps }));
    head.push(Layer::Decoder(Decoder {
        name: "cls.predictions".into(),
        table,
        vocabulary: of.vocabulary,
        width: of.tables(),
    }));
    head
}

/// The pooler, and the head that says whether the second segment follows the first.
fn next(of: &Bert) -> Vec<Layer> {
    let mut head = vec![Layer::FirstToken];
    head.extend(dense("bert.pooler.dense", of.tables(), activation::Activation::Tanh));
    head.push(linear("cls.seq_relationship", 2));
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Widen, nn, win::surgery};

    fn base(hidden: u32, heads: u32) -> Bert {
        Bert { hidden, heads, inner: 4 * hidden, ..Bert::default() }
    }

    /// Of the encoder without pooler: 109,482,240 less the pooler's 768² + 768; the half likewise. And with the heads of pre-training.
    #[test]
    fn the_papers_sizes_are_berts() {
        for (hidden, heads, encoder, whole) in
            [(768, 12, 109_482_240u64, 110_106_428u64), (384, 6, 33_360_000, 33_539_900)]
        {
            let hidden64 = u64::from(hidden);
            let network = bert(&base(hidden, heads));
            let shapes = network.shapes().expect("a network");
            // The head: a dense map, a layer norm, the decoder's bias.
            let head = hidden64 * hidden64 + hidden64 + 2 * hidden64 + 30_522;
            let pooler = hidden64 * hidden64 + hidden64;
            assert_eq!(shapes.param_count() - head, encoder - pooler);
            assert_eq!(shapes.output, Extent::Sequence(20, 30_522));
            let of = |head: BertHead| {
                let shapes =
                    bert(&Bert { head, ..base(hidden, heads) }).shapes().expect("a network");
                (shapes.param_count(), shapes.output, shapes.further)
            };
            let (pretraining, _, further) = of(BertHead::Pretrain);
            assert_eq!((pretraining, further), (whole, vec![Extent::Flat(2)]));
            let spans = (encoder - pooler + 2 * hidden64 + 2, Extent::Sequence(128, 2), Vec::new());
            assert_eq!(of(BertHead::Spans), spans);
        }
    }

    #[test]
    fn a_bridged_encoder_is_merged_to_the_students_own_shapes() {
        let (layers, length, head) = (3, 5, BertHead::Pretrain);
        let small =
            Bert { vocabulary: 11, layers, length, positions: 7, places: 2, head, ..base(8, 2) };
        let student = bert(&small);
        let teacher = surgery::widen(&student, 2, Widen::Mid);
        assert_eq!(bert(&small.widened(2)), teacher);
        assert_eq!(bert(&small.widened(2).widened(3)), surgery::widen(&teacher, 3, Widen::Mid));
        // As wide as the student a teacher is another student, without a map behind its tables.
        for network in [&student, &teacher] {
            assert_eq!(surgery::widen(network, 1, Widen::Mid), *network);
        }
        assert_eq!(bert(&small.widened(1)), student);
        let widths = |network: &Network| -> Vec<u32> {
            network.shapes().expect("a network").blocks.iter().map(|at| at.width()).collect()
        };
        assert_eq!((widths(&student), widths(&teacher)), (vec![8; 3], vec![16; 3]));
        let bridged = surgery::bridge(&student, &teacher, false).expect("a bridge");
        let of = |network: &Network, name: &str| {
            let shapes = network.shapes().expect("a network");
            shapes.params.into_iter().find(|spec| spec.name == name).expect(name).shape
        };
        let qkv = "bert.encoder.layer.1.attention.self.qkv.weight";
        assert_eq!((of(&student, qkv), of(&bridged, qkv)), (vec![24, 8], vec![24, 16]));
        assert_eq!(of(&bridged, "lift.3.weight"), [16, 8]);
        // Each head reads what the last pair gives.
        for name in ["cls.predictions.transform.dense.weight", "bert.pooler.dense.weight"] {
            assert_eq!((of(&student, name), of(&bridged, name)), (vec![8, 8], vec![8, 16]));
        }
        let weights = nn::fresh(&bridged, 3).expect("weights");
        let (merged, folded) = surgery::merge(&bridged, &weights).expect("a merge");
        assert_eq!(merged, student);
        let shapes = student.shapes().expect("a network");
        assert!(shapes.params.iter().all(|spec| folded[&spec.name].shape == spec.shape));
        // Files have queries, keys and values apart.
        let file = student.to_file(&folded);
        assert_eq!(file["bert.encoder.layer.2.attention.self.key.bias"].shape, [8]);
        assert!(!file.keys().any(|name| name.contains("qkv")));
        assert_eq!(student.from_file(file), folded);
    }

    /// MobileBERT's layer with the lighter attention: 512 features outside, 128 inside. transformers counts 2,561,002 with a map behind the tables, of
    /// 512 · 513 parameters, that nothing reads.
    #[test]
    fn bottlenecks_are_between_layers_of_the_teachers_width() {
        let thin = Bert {
            bottleneck: Some(512),
            layers: 3,
            vocabulary: 1000,
            eps: Bert::BOTTLENECK_EPS,
            dropout: 0.1,
            attention_dropout: 0.2,
            head: BertHead::Pretrain,
            ..base(128, 4)
        };
        let student = bert(&thin);
        let shapes = student.shapes().expect("a network");
        let widths: Vec<u32> = shapes.blocks.iter().map(|extent| extent.width()).collect();
        assert_eq!(widths, [512; 3]);
        // Two maps with their norms, and a layer of BERT's inside.
        let inside = 4 * (128 * 128 + 128) + 2 * 128 * 512 + 512 + 128 + 2 * 2 * 128;
        let layer = (512 * 128 + 3 * 128) + inside + (128 * 512 + 3 * 512);
        assert_eq!(
            (shapes.block_params()[1], shapes.param_count()),
            (layer, 2_561_002 - 512 * 513)
        );
        let length = u64::from(thin.length);
        let inside_macs = length * (4 * 128 * 128 + 2 * 128 * 512 + 2 * length * 128);
        assert_eq!(shapes.macs[1], inside_macs + length * 2 * 512 * 128);
        let teacher = surgery::widen(&student, 4, Widen::Mid);
        assert_eq!(bert(&thin.widened(4)), teacher);
        let wide = Bert { bottleneck: None, hidden: 512, heads: 16, inner: 2048, ..thin.clone() };
        assert_eq!(thin.widened(4), wide);
        // Tables and heads are the same.
        let wide = teacher.shapes().expect("a network");
        let shared = |shapes: &nn::Shapes| -> Vec<_> {
            let kept = |spec: &&nn::ParamSpec| !spec.name.contains(".layer.");
            let kept = shapes.params.iter().filter(kept);
            kept.map(|spec| (spec.name.clone(), spec.shape.clone())).collect()
        };
        assert_eq!(shared(&shapes), shared(&wide));
        assert_eq!(surgery::bridge(&student, &teacher, false).expect("as wide"), student);
        assert!(student.has_bottlenecks() && !teacher.has_bottlenecks());
    }

    #[test]
    fn more_tokens_than_positions_are_refused_by_name() {
        let error = bert(&Bert { length: 513, ..base(8, 2) }).shapes().expect_err("too long");
        let said = error.to_string();
        assert!(said.contains("bert.embeddings") && said.contains("512 positions"), "{said}");
    }
}
