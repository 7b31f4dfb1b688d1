//! Scores of all words by the table that made the tokens: sequence → scores.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, Fill, NetworkError, Role, State, builder::Builder, onnx, shapes::Inventory},
    ops::matmul,
};

/// y = x Eᵀ + b, where E is the table of another layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decoder {
    /// Path of its bias.
    pub name: String,
    /// Path of E.
    pub table: String,
    /// Rows of E.
    pub vocabulary: u32,
    /// Columns of E.
    pub width: u32,
}

impl Kind for Decoder {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: Some(self.vocabulary),
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
        let length = match at.h {
            Extent::Sequence(length, width) if width == self.width => length,
            other => return Err(refused(&self.name, other)),
        };
        to.vector(&self.name, "bias", self.vocabulary, Role::Param, Fill::Constant(0.0));
        to.work(&[length.into(), self.width.into(), self.vocabulary.into()]);
        Ok(Extent::Sequence(length, self.vocabulary))
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let [table, bias] = [to.tensor(&self.table, "weight"), to.tensor(&self.name, "bias")];
        to.add(&self.name, matmul::Linear { bias: true, relu: false }, &[x.h, table, bias])
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let product = to.product(&format!("{}.product", self.name), &x.h, &self.table);
        to.with_parameters("Add", &self.name, &product, &["bias"], Vec::new())
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::Decoder(self.clone())
    }

    /// The table is another layer's as well, so nothing can be folded into it.
    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("the decoder {}, whose table is that of the embeddings", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Decoder(self.clone())
    }
}
