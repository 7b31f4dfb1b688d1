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
        Facts::NAMELESS
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
        let place = to.whole(&format!("{NAME}.place"), &[0]);
        let axis = vec![("axis", onnx::Attribute::Int(1))];
        let one = to.node("Gather", &format!("{NAME}.one"), &[&x.h, &place], axis);
        let axes = to.whole(&format!("{NAME}.axes"), &[1]);
        to.node("Squeeze", NAME, &[&one, &axes], Vec::new())
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
