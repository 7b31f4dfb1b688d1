//! Map → vector, in the order (H, W, C); only as a network's first layer.

use super::{Facts, Fold, Kind, Layer, Widening, readers};
use crate::{
    graph::{ShapeError, Value},
    nn::{
        Extent, NetworkError, State,
        builder::Builder,
        onnx,
        shapes::{Inventory, product},
    },
    ops::{count, to_u32},
};

/// Map → vector, in the order (H, W, C); only as a network's first layer.
pub(super) struct Flatten;

impl Kind for Flatten {
    fn facts(&self) -> Facts<'_> {
        Facts::NAMELESS
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let at = at.h;
        let Extent::Map(h, w, c) = at else { return Ok(at) };
        to.image = Some([h, w, c]);
        let count = product(&[h.into(), w.into(), c.into()]);
        match u32::try_from(count) {
            Ok(features) => Ok(Extent::Flat(features)),
            Err(_) => {
                let (what, most) = ("features in one layer", u32::MAX.into());
                Err(NetworkError::TooLarge { what, count, most })
            }
        }
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let x = x.h;
        let shape = to.graph.shape(x).to_vec();
        let flat = [shape[0], to_u32(count(&shape[1..]))];
        to.graph.view(x, &flat).ok_or_else(|| ShapeError::Inputs {
            op: "flatten, which only a network's input may pass through,".into(),
            path: "flatten".into(),
            shapes: format!("{shape:?}"),
        })
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        to.node("Flatten", "flatten", &[&x.h], vec![("axis", onnx::Attribute::Int(1))])
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::Flatten
    }

    /// A linear map of the channels commutes with laying positions side by side.
    fn readers(&self, behind: &[Layer]) -> Result<Vec<String>, String> {
        readers(behind)
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Flatten
    }
}
