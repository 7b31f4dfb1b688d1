//! The largest value under a window.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory},
    ops::pool,
};

/// The largest value under a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaxPool {
    /// Name, for taps.
    pub name: String,
    /// Height and width of the window.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Padding with −∞ on each side.
    pub pad: u32,
}

impl Kind for MaxPool {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: None,
            inside: [&[], &[]],
            takes_relu: false,
            takes_norm: false,
            reads_lifted: false,
            is_norm: false,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, _to: &mut Inventory) -> Result<Extent, NetworkError> {
        let at = at.h;
        let map = at.windows(self.kernel, self.stride, self.pad);
        map.ok_or_else(|| refused(&self.name, at))
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let (kernel, stride, pad) = ([self.kernel; 2], [self.stride; 2], [self.pad; 2]);
        to.add(&self.name, pool::MaxPool { kernel, stride, pad }, &[x.h])
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let windows = onnx::windows(self.kernel, self.stride, self.pad);
        to.node("MaxPool", &self.name, &[&x.h], windows)
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::MaxPool(self.clone())
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("max pool {}", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::MaxPool(self.clone())
    }
}
