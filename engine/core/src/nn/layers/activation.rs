//! An element-wise non-linearity.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory},
    ops::activation::Activation as Function,
};

/// An element-wise non-linearity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// Name, for taps.
    pub name: String,
    /// Which.
    pub function: Function,
}

impl Kind for Activation {
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
            can_die: true,
        }
    }

    fn shape(&self, at: State<Extent>, _to: &mut Inventory) -> Result<Extent, NetworkError> {
        Ok(at.h)
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        to.add(&self.name, self.function, &[x.h])
    }

    /// The GELUs are spelled out: ONNX has them from opset 20 on.
    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let x = x.h;
        let (name, x) = (self.name.as_str(), x.as_str());
        match self.function {
            Function::Relu => to.node("Relu", name, &[x], Vec::new()),
            Function::Tanh => to.node("Tanh", name, &[x], Vec::new()),
            Function::Sigmoid => to.node("Sigmoid", name, &[x], Vec::new()),
            Function::Gelu => {
                // bell = erf(x / √2)
                let scale = to.number("gelu.scale", FRAC_1_SQRT_2);
                let scaled = to.part("Mul", name, "scaled", &[x, &scale]);
                let bell = to.part("Erf", name, "bell", &[&scaled]);
                gelu(name, x, &bell, to)
            }
            Function::GeluTanh => {
                // bell = tanh(√(2/π) (x + 0.044715 x³))
                let cubic = to.number("gelu_tanh.cubic", 0.044715);
                let scale = to.number("gelu_tanh.scale", FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
                let square = to.part("Mul", name, "square", &[x, x]);
                let cube = to.part("Mul", name, "cube", &[&square, x]);
                let bent = to.part("Mul", name, "bent", &[&cube, &cubic]);
                let sum = to.part("Add", name, "sum", &[x, &bent]);
                let scaled = to.part("Mul", name, "scaled", &[&sum, &scale]);
                let bell = to.part("Tanh", name, "bell", &[&scaled]);
                gelu(name, x, &bell, to)
            }
        }
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::Activation(self.clone())
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("activation {}", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Activation(self.clone())
    }
}

/// y = ½ x (1 + bell)
fn gelu(name: &str, x: &str, bell: &str, to: &mut onnx::Nodes) -> String {
    let (one, half) = (to.number("gelu.one", 1.0), to.number("gelu.half", 0.5));
    let risen = to.part("Add", name, "risen", &[bell, &one]);
    let twice = to.part("Mul", name, "twice", &[x, &risen]);
    to.node("Mul", name, &[&twice, &half], Vec::new())
}
