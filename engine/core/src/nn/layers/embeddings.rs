//! What BERT makes of tokens: token ids → sequence.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Stands, Widening, layer_norm, nothing, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{
        Extent, FileLayout, Fill, NetworkError, SEGMENTS, State, builder::Builder, onnx,
        shapes::Inventory,
    },
    ops::{elementwise::Add, embedding::Embedding, matmul, positions::First},
};

/// x = LayerNorm(word\[id\] + position\[place\] + type\[segment\]), and where the network is wider than its tables, P x + b.
///
/// P begins with the identity and b with zeros, which training leaves as they are: the first features behind P are x itself, for a narrow student
/// to take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embeddings {
    /// Path of its parameters, `bert.embeddings`; those of P are `bert.embeddings_project`.
    pub name: String,
    /// Token ids that there are.
    pub vocabulary: u32,
    /// Places that there are, at least as many as a sequence has.
    pub positions: u32,
    /// Segments that there are.
    pub segments: u32,
    /// Features of the tables.
    pub out: u32,
    /// Features behind P; none: there is no P.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<u32>,
    /// Standard deviation with which the network's matrices and tables begin; its biases are 0 then, and have no weight decay.
    pub std: f64,
    /// ε of the layer norm.
    pub eps: f64,
    /// Probability of a zero behind the layer norm, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub dropout: f64,
}

/// Names of the tables and of the norm behind the layer's own.
const TABLES: [&str; 3] = ["word_embeddings", "position_embeddings", "token_type_embeddings"];
const NORM: &str = "LayerNorm";

impl Embeddings {
    fn path(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// Path of the table of words.
    pub fn words(&self) -> String {
        self.path(TABLES[0])
    }

    /// Paths of the tables of words, positions and segments.
    pub fn tables(&self) -> [String; 3] {
        TABLES.map(|table| self.path(table))
    }

    /// Path of the norm.
    pub fn norm(&self) -> String {
        self.path(NORM)
    }

    /// Path of P.
    pub fn projection(&self) -> String {
        format!("{}_project", self.name)
    }
}

impl Kind for Embeddings {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: Some(self.project.unwrap_or(self.out)),
            inside: [&[], &[]],
            takes_relu: false,
            takes_norm: false,
            reads_lifted: false,
            is_norm: false,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let Self { vocabulary, positions, segments, out, project, std, .. } = self;
        let length = match at.h {
            Extent::Tokens(length) if length <= *positions => length,
            Extent::Tokens(length) => {
                let got = format!("{length} tokens, and it has {positions} positions");
                return Err(refused(&self.name, got));
            }
            other => return Err(refused(&self.name, other)),
        };
        to.normal = Some(*std);
        let first = to.params.len();
        for (table, rows) in TABLES.into_iter().zip([vocabulary, positions, segments]) {
            let shape = vec![*rows as usize, *out as usize];
            to.weight(&self.path(table), shape, FileLayout::Same, to.filled(*out));
        }
        layer_norm::parameters(&self.norm(), *out, to);
        if let Some(wide) = *project {
            let p = to.params.len();
            to.linear(&self.projection(), wide, *out, true);
            to.params[p].fill = Fill::BelowIdentity { std: *std };
            to.params[p..].iter_mut().for_each(|spec| spec.held = wide.min(*out));
            to.work(&[length.into(), wide.into(), (*out).into()]);
        }
        to.params[first..].iter_mut().for_each(|spec| spec.embeds = true);
        Ok(Extent::Sequence(length, project.unwrap_or(*out)))
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let [words, places, segments] = TABLES.map(|table| to.tensor(&self.path(table), "weight"));
        let length = to.graph.shape(x.h)[1];
        let tokens = to.add(&self.words(), Embedding, &[words, x.h])?;
        let of_segment = to.input(SEGMENTS);
        let of_segment = to.add(&self.path(TABLES[2]), Embedding, &[segments, of_segment])?;
        let sum = to.add(&self.name, Add, &[tokens, of_segment])?;
        let places = match to.graph.shape(places)[0] == length {
            true => places,
            false => to.add(&self.path(TABLES[1]), First { count: length }, &[places])?,
        };
        let [y, _] = layer_norm::of_sum(&self.norm(), sum, places, self.eps, to)?;
        let y = to.dropped(&self.path("dropout"), self.dropout, y)?;
        match self.project {
            None => Ok(y),
            Some(_) => {
                let op = matmul::Linear { bias: true, relu: false };
                to.affine(&self.projection(), op, y, true)
            }
        }
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let ids = x.h;
        let [words, places, segments] = TABLES.map(|table| format!("{}.weight", self.path(table)));
        let [words, places, segments] = [words, places, segments].map(|table| to.parameter(&table));
        let words = to.node("Gather", &self.words(), &[&words, &ids], Vec::new());
        let of = self.path(TABLES[2]);
        let segments = to.node("Gather", &of, &[&segments, onnx::TOKEN_TYPE_IDS], Vec::new());
        // The first L places.
        let second = vec![("start", onnx::Attribute::Int(1)), ("end", onnx::Attribute::Int(2))];
        let length = to.node("Shape", &self.path("length"), &[&ids], second);
        let zero = to.whole("zero", &[0]);
        let of = self.path(TABLES[1]);
        let places = to.node("Slice", &of, &[&places, &zero, &length, &zero], Vec::new());
        let sum = to.part("Add", &self.name, "words_of_segments", &[&words, &segments]);
        let sum = to.part("Add", &self.name, "sum", &[&sum, &places]);
        let y = layer_norm::onnx_nodes(&self.path("LayerNorm"), &sum, self.eps, to);
        match self.project {
            None => y,
            Some(_) => to.linear(&self.projection(), &y, true),
        }
    }

    /// The tables keep the student's width, so that the student can take them, and a linear map brings them to the teacher's, if that is another.
    fn widened(&self, by: Widening) -> Layer {
        // No wider, it stays what it is.
        let project = match (by.stands, by.factor) {
            (Stands::BeforeBottleneck, _) | (_, 1) => self.project,
            (_, factor) => Some(self.project.unwrap_or(self.out) * factor),
        };
        Layer::Embeddings(Self { project, ..self.clone() })
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("the embeddings {}", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Embeddings(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Block, Layout, Network, fresh};

    /// Tables of 6 features and 12 behind P, in front of a norm.
    fn network(project: Option<u32>) -> Network {
        let embeddings = Embeddings {
            name: "e".into(),
            vocabulary: 5,
            positions: 4,
            segments: 2,
            out: 6,
            project,
            std: 0.5,
            eps: 1e-12,
            dropout: 0.0,
        };
        let norm = layer_norm::LayerNorm { name: "norm".into(), eps: 1e-12 };
        let layers = vec![Layer::Embeddings(embeddings), Layer::LayerNorm(norm)];
        let blocks = vec![Block { layers, ..Block::default() }];
        Network { input: Extent::Tokens(3), blocks, head: Vec::new(), further: Vec::new() }
    }

    #[test]
    fn a_projection_begins_with_the_identity_which_is_held_and_does_not_decay() {
        let network = network(Some(12));
        let weights = fresh(&network, 1).expect("weights");
        let p = &weights["e_project.weight"];
        assert_eq!(p.shape, [12, 6]);
        let identity: Vec<f32> = (0..36).map(|at| f32::from(at / 6 == at % 6)).collect();
        assert_eq!(p.data[..36], identity);
        assert!(p.data[36..].iter().all(|&x| x != 0.0 && x.abs() < 2.5));
        assert_eq!(weights["e_project.bias"].data, [0.0; 12]);

        let layout = Layout::of(&network.shapes().expect("a network"));
        let p = &layout.params["e_project.weight"];
        assert_eq!((p.held, layout.params["e_project.bias"].held), (6, 6));
        // 36 of 72 numbers are held: the first 64 have one word, and it is 0.
        assert_eq!(layout.decay_words(p.offset..p.offset + 128), [0, 1]);
        assert_eq!(layout.params["e.LayerNorm.weight"].held, 0);
    }

    #[test]
    fn a_layout_knows_where_the_embeddings_end() {
        for project in [None, Some(12)] {
            let network = network(project);
            let layout = Layout::of(&network.shapes().expect("a network"));
            let inside = |name: &str| layout.params[name].offset < layout.behind_embeddings;
            assert!(layout.params.keys().all(|name| inside(name) == name.starts_with('e')));
            assert_eq!(layout.behind_embeddings, layout.params["norm.weight"].offset);
        }
        let blocks = vec![Block::default()];
        let none =
            Network { input: Extent::Flat(3), blocks, head: Vec::new(), further: Vec::new() };
        assert_eq!(Layout::of(&none.shapes().expect("a network")).behind_embeddings, 0);
    }
}
