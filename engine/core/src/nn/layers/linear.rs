//! y = x Wᵀ + b

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Stands, Widening, refused};
use crate::{
    config::Widen,
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory},
    ops::matmul,
};

/// y = x Wᵀ + b
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    /// Path of its parameters.
    pub name: String,
    /// Features out.
    pub out: u32,
    /// Whether it has a bias.
    pub bias: bool,
}

impl Kind for Linear {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: Some(self.out),
            inside: [&[], &[]],
            takes_relu: true,
            takes_norm: false,
            reads_lifted: true,
            is_norm: false,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let at = at.h;
        let Self { name, out, bias } = self;
        let (Extent::Flat(fan) | Extent::Sequence(_, fan)) = at else {
            return Err(refused(name, at));
        };
        to.linear(name, *out, fan, *bias);
        to.work(&[at.positions(), (*out).into(), fan.into()]);
        Ok(at.with_width(*out))
    }

    fn nodes(
        &self,
        x: State<Value>,
        relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        to.affine(&self.name, matmul::Linear { bias: self.bias, relu }, x.h, self.bias)
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        to.linear(&self.name, &x.h, self.bias)
    }

    /// `mid` keeps the width of a layer at a residual unit's end; every other one is widened.
    fn widened(&self, by: Widening) -> Layer {
        let keeps = by.how == Widen::Mid && by.stands == Stands::AtEnd;
        let out = if keeps { self.out } else { self.out * by.factor };
        Layer::Linear(Self { out, ..self.clone() })
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Ok(vec![self.name.clone()])
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Linear(self.clone())
    }
}
