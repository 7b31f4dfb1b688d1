//! BERT's encoder with the head for masked words, as `BertForMaskedLM` of transformers has it, or `ElectraForMaskedLM` where the tables are
//! narrower than the hidden state.

use super::Output;
use crate::config;
use crate::nn::{
    Block, Extent, Layer, Network,
    layers::{Activation, Decoder, Embeddings, LayerNorm, Linear, Places, Transformer},
};
use crate::ops::activation;

/// The sizes of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Bert {
    /// Token ids that there are.
    pub vocabulary: u32,
    /// Features of the hidden state.
    pub hidden: u32,
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
    /// Masked words of a sequence that are asked for, at most.
    pub places: u32,
    /// Standard deviation with which matrices and tables begin.
    pub init_std: f64,
    /// ε of all layer norms; BERT's is 1e-12.
    pub eps: f64,
}

impl Bert {
    /// The teacher that [`surgery::widen`](crate::win::surgery::widen) makes of it: more heads of the same size behind the same tables.
    #[must_use]
    pub fn widened(&self, factor: u32) -> Self {
        let [hidden, heads, inner] = [self.hidden, self.heads, self.inner].map(|n| n * factor);
        Self { hidden, embedding: Some(self.tables()), heads, inner, ..self.clone() }
    }

    /// Features of the tables.
    fn tables(&self) -> u32 {
        self.embedding.unwrap_or(self.hidden)
    }
}

impl Bert {
    /// The sizes that a `[model]` section stands for, on inputs of this extent, which are to be answered so.
    pub fn of(model: &config::Bert, input: Extent, output: Output) -> Self {
        let config::Bert { hidden, layers, heads, inner, init_std, .. } = *model;
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
            layers,
            heads,
            inner,
            length,
            positions: model.positions.unwrap_or(length),
            places,
            init_std,
            dropout: model.dropout,
            attention_dropout: model.attention_dropout,
            head,
            ..Self::default()
        }
    }
}

/// The network that a `[model]` section stands for.
pub(super) fn network(model: &config::Bert, input: Extent, output: Output) -> Network {
    Network { input, ..bert(&Bert::of(model, input, output)) }
}

/// The network that answers (N, places, vocabulary) scores; the first block has the embeddings as well.
pub fn bert(of: &Bert) -> Network {
    let embeddings = Embeddings {
        name: "bert.embeddings".into(),
        vocabulary: of.vocabulary,
        positions: of.positions,
        segments: 2,
        out: of.tables(),
        project: of.embedding.map(|_| of.hidden),
        std: of.init_std,
        eps: of.eps,
    };
    let table = embeddings.words();
    let mut first = Some(Layer::Embeddings(embeddings));
    let layer = |k: u32| {
        Layer::Transformer(Transformer {
            name: format!("bert.encoder.layer.{k}"),
            heads: of.heads,
            head: of.hidden / of.heads.max(1),
            inner: of.inner,
            eps: of.eps,
        })
    };
    let block = |k: u32| {
        let layers = first.take().into_iter().chain([layer(k)]).collect();
        Block { layers, ..Block::default() }
    };
    let (transform, gelu) = ("cls.predictions.transform", activation::Activation::Gelu);
    let dense = format!("{transform}.dense");
    let head = vec![
        Layer::Places(Places { count: of.places }),
        Layer::Linear(Linear { name: dense.clone(), out: of.tables(), bias: true }),
        Layer::Activation(Activation { name: format!("{dense}.act"), function: gelu }),
        Layer::LayerNorm(LayerNorm { name: format!("{transform}.LayerNorm"), eps: of.eps }),
        Layer::Decoder(Decoder {
            name: "cls.predictions".into(),
            table,
            vocabulary: of.vocabulary,
            width: of.tables(),
        }),
    ];
    Network { input: Extent::Tokens(of.length), blocks: (0..of.layers).map(block).collect(), head }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Widen, nn, win::surgery};

    fn base(hidden: u32, heads: u32) -> Bert {
        Bert {
            vocabulary: 30_522,
            hidden,
            embedding: None,
            layers: 12,
            heads,
            inner: 4 * hidden,
            length: 128,
            positions: 512,
            places: 20,
            init_std: 0.02,
            eps: 1e-12,
        }
    }

    /// Of the encoder without pooler: 109,482,240 less the pooler's 768² + 768; the half likewise.
    #[test]
    fn the_papers_sizes_are_berts() {
        for (hidden, heads, encoder) in [(768, 12, 109_482_240u64), (384, 6, 33_360_000)] {
            let hidden64 = u64::from(hidden);
            let network = bert(&base(hidden, heads));
            let shapes = network.shapes().expect("a network");
            // The head: a dense map, a layer norm, the decoder's bias.
            let head = hidden64 * hidden64 + hidden64 + 2 * hidden64 + 30_522;
            let pooler = hidden64 * hidden64 + hidden64;
            assert_eq!(shapes.param_count() - head, encoder - pooler);
            assert_eq!(shapes.output, Extent::Sequence(20, 30_522));
        }
    }

    #[test]
    fn a_bridged_encoder_is_merged_to_the_students_own_shapes() {
        let small =
            Bert { vocabulary: 11, layers: 3, length: 5, positions: 7, places: 2, ..base(8, 2) };
        let student = bert(&small);
        let teacher = surgery::widen(&student, 2, Widen::Mid);
        assert_eq!(bert(&small.widened(2)), teacher);
        assert_eq!(bert(&small.widened(2).widened(3)), surgery::widen(&teacher, 3, Widen::Mid));
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
        assert_eq!(of(&bridged, "cls.predictions.transform.dense.weight"), [8, 16]);
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

    #[test]
    fn more_tokens_than_positions_are_refused_by_name() {
        let error = bert(&Bert { length: 513, ..base(8, 2) }).shapes().expect_err("too long");
        let said = error.to_string();
        assert!(said.contains("bert.embeddings") && said.contains("512 positions"), "{said}");
    }
}
