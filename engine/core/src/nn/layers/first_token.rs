//! The first token of each sample: sequence → vector.

use super::{Facts, Fold, Kind, Layer, Widening, readers, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory},
    ops::positions::Leading,
};

/// Its name in errors and graphs, as the layer has none of its own.
const NAME: &str = "first token";

/// The first token of each sample, which BERT has stand for all of them: sequence → vector.
pub(super) struct FirstToken;

impl Kind for FirstToken {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: None,
            width: None,
            inside: [&[], &[]],
            takes_relu: false,
            takes_norm: false,
            reads_lifted: true,
            is_norm: false,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, _to: &mut Inventory) -> Result<Extent, NetworkError> {
        match at.h {
            Extent::Sequence(_, width) => Ok(Extent::Flat(width)),
            other => Err(refused(NAME, other)),
        }
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        to.add(NAME, Leading, &[x.h])
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        to.refuse(NAME);
        x.h
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::FirstToken
    }

    /// A linear map of the features commutes with a choice of positions.
    fn readers(&self, behind: &[Layer]) -> Result<Vec<String>, String> {
        readers(behind)
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::FirstToken
    }
}
