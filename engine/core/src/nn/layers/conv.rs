//! A square convolution, symmetric padding.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Stands, Widening, refused};
use crate::{
    config::Widen,
    graph::{ShapeError, Value},
    nn::{
        Extent, FileLayout, Fill, NetworkError, Role, State, builder::Builder, onnx,
        shapes::Inventory,
    },
    ops::conv2d::Conv2d,
};

/// A square convolution, symmetric padding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conv {
    /// Path of its parameters.
    pub name: String,
    /// Channels out.
    pub out: u32,
    /// Height and width of the kernel.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Zeros on each side.
    pub pad: u32,
    /// Whether it has a bias: where it has taken in a batch norm, and nowhere else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
}

impl Kind for Conv {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: Some(self.out),
            inside: [&[], &[]],
            takes_relu: false,
            takes_norm: !self.bias,
            reads_lifted: true,
            is_norm: false,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let at = at.h;
        let Self { name, out, kernel, stride, pad, bias } = self;
        let Some(map) = at.windows(*kernel, *stride, *pad) else { return Err(refused(name, at)) };
        let (o, k, i) = (*out as usize, *kernel as usize, at.width() as usize);
        let area = kernel.saturating_mul(*kernel);
        let fill = match to.uniform {
            true => Fill::Uniform { fan: at.width().saturating_mul(area) },
            false => Fill::He { fan: out.saturating_mul(area) },
        };
        to.weight(name, vec![o, k, k, i], FileLayout::Kernel, fill);
        if *bias {
            to.vector(name, "bias", *out, Role::Param, Fill::Constant(0.0));
        }
        to.work(&[map.positions(), (*out).into(), area.into(), at.width().into()]);
        Ok(map.with_width(*out))
    }

    fn nodes(
        &self,
        x: State<Value>,
        relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let Self { kernel, stride, pad, bias, .. } = *self;
        let op = Conv2d { kernel: [kernel; 2], stride: [stride; 2], pad: [pad; 2], bias, relu };
        to.affine(&self.name, op, x.h, bias)
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let windows = onnx::windows(self.kernel, self.stride, self.pad);
        to.affine("Conv", &self.name, &x.h, self.bias, windows)
    }

    /// `mid` widens only convolutions inside residual units, and not those at a unit's end.
    fn widened(&self, by: Widening) -> Layer {
        let widens = by.how == Widen::All || by.stands == Stands::InUnit;
        let out = if widens { self.out * by.factor } else { self.out };
        Layer::Conv(Self { out, ..self.clone() })
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Ok(vec![self.name.clone()])
    }

    fn folded(&self, norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Conv(Self { bias: self.bias || norm, ..self.clone() })
    }
}
