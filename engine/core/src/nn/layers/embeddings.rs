//! What BERT makes of tokens: token ids → sequence.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening, layer_norm, nothing, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{
        Extent, FileLayout, NetworkError, SEGMENTS, State, builder::Builder, onnx,
        shapes::Inventory,
    },
    ops::{elementwise::Add, embedding::Embedding, matmul, positions::First},
};

/// x = LayerNorm(word\[id\] + position\[place\] + type\[segment\]), and where the network is wider than its tables, P x + b.
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
    /// Probability of a zero behind the layer norm, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub dropout: f64,
}

/// Names of the tables behind the layer's own.
const TABLES: [&str; 3] = ["word_embeddings", "position_embeddings", "token_type_embeddings"];

impl Embeddings {
    fn path(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// Path of the table of words.
    pub fn words(&self) -> String {
        self.path(TABLES[0])
    }

    fn projection(&self) -> String {
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
        for (table, rows) in TABLES.into_iter().zip([vocabulary, positions, segments]) {
            let shape = vec![*rows as usize, *out as usize];
            to.weight(&self.path(table), shape, FileLayout::Same, to.filled(*out));
        }
        layer_norm::parameters(&self.path("LayerNorm"), *out, to);
        let Some(wide) = *project else { return Ok(Extent::Sequence(length, *out)) };
        to.linear(&self.projection(), wide, *out, true);
        to.work(&[length.into(), wide.into(), (*out).into()]);
        Ok(Extent::Sequence(length, wide))
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
        let y = layer_norm::normalised(&self.path("LayerNorm"), sum, Some(places), to)?;
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
        to.refuse(&self.name);
        x.h
    }

    /// The tables keep the student's width, so that the student can take them, and a linear map brings them to the teacher's.
    fn widened(&self, by: Widening) -> Layer {
        let project = Some(self.project.unwrap_or(self.out) * by.factor);
        Layer::Embeddings(Self { project, ..self.clone() })
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("the embeddings {}", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Embeddings(self.clone())
    }
}
