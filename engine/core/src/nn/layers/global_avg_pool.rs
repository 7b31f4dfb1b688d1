//! Mean over all positions: map → vector.

use super::{Facts, Fold, Kind, Layer, Widening, readers, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory},
    ops::pool,
};

/// Its name in errors and graphs, as the layer has none of its own.
const NAME: &str = "pool";

/// Mean over all positions: map → vector.
pub(super) struct GlobalAvgPool;

impl Kind for GlobalAvgPool {
    fn facts(&self) -> Facts<'_> {
        Facts::NAMELESS
    }

    fn shape(&self, at: State<Extent>, _to: &mut Inventory) -> Result<Extent, NetworkError> {
        let at = at.h;
        if at.is_map() { Ok(Extent::Flat(at.width())) } else { Err(refused(NAME, at)) }
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        to.add(NAME, pool::GlobalAvgPool, &[x.h])
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let mean = to.node("GlobalAveragePool", NAME, &[&x.h], Vec::new());
        let attributes = vec![("axis", onnx::Attribute::Int(1))];
        to.node("Flatten", "pool.flat", &[&mean], attributes)
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::GlobalAvgPool
    }

    /// A linear map of the channels commutes with a mean over positions.
    fn readers(&self, behind: &[Layer]) -> Result<Vec<String>, String> {
        readers(behind)
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::GlobalAvgPool
    }
}
