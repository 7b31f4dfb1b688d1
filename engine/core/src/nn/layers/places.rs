//! Some positions of each sample: sequence → sequence.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening, readers, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, PLACES, State, builder::Builder, onnx, shapes::Inventory},
    ops::positions::Gather,
};

/// Its name in errors and graphs, as the layer has none of its own.
const NAME: &str = "places";

/// The positions of each sample that the input `places` names, so that what stands behind works on no others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Places {
    /// Places of a sample.
    pub count: u32,
}

impl Kind for Places {
    fn facts(&self) -> Facts<'_> {
        Facts { places: Some(self.count), ..Facts::NAMELESS }
    }

    fn shape(&self, at: State<Extent>, _to: &mut Inventory) -> Result<Extent, NetworkError> {
        match at.h {
            Extent::Sequence(_, width) => Ok(Extent::Sequence(self.count, width)),
            other => Err(refused(NAME, other)),
        }
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let places = to.input(PLACES);
        to.add(NAME, Gather, &[x.h, places])
    }

    /// An exported network answers for all positions.
    fn onnx(&self, x: State<String>, _to: &mut onnx::Nodes) -> String {
        x.h
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::Places(self.clone())
    }

    /// A linear map of the features commutes with a choice of positions.
    fn readers(&self, behind: &[Layer]) -> Result<Vec<String>, String> {
        readers(behind)
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Places(self.clone())
    }
}
