//! A residual unit, y = relu(body(x) + shortcut(x)).

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Stands, Widening, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, layers, onnx, shapes::Inventory},
    ops::elementwise::AddRelu,
};

/// A residual unit, y = relu(body(x) + shortcut(x)); an empty shortcut is the identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Path, `layer1.0`.
    pub name: String,
    /// The residual branch.
    pub body: Vec<Layer>,
    /// The skip connection: empty for the identity, or a projection with its batch norm.
    pub shortcut: Vec<Layer>,
}

impl Kind for Unit {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: self.body.iter().rev().find_map(|layer| layer.facts().width),
            inside: [&self.body, &self.shortcut],
            takes_relu: false,
            takes_norm: false,
            reads_lifted: false,
            is_norm: false,
            places: None,
            can_die: true,
        }
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let Self { name, body, shortcut } = self;
        if !at.h.is_map() {
            return Err(refused(name, at.h));
        }
        let (long, short) = (layers::shape(body, at, to)?, layers::shape(shortcut, at, to)?);
        match long == short {
            true => Ok(long),
            false => {
                let got = format!("{}: its body ends in {long}, its shortcut in {short}", at.h);
                Err(refused(name, got))
            }
        }
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let long = layers::nodes(&self.body, x, to)?;
        let short = layers::nodes(&self.shortcut, x, to)?;
        to.add(&self.name, AddRelu, &[long, short])
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let long = layers::onnx(&self.body, x.clone(), to);
        let short = layers::onnx(&self.shortcut, x, to);
        let sum = to.part("Add", &self.name, "sum", &[&long, &short]);
        to.node("Relu", &self.name, &[&sum], Vec::new())
    }

    fn widened(&self, by: Widening) -> Layer {
        let Self { name, body, shortcut } = self;
        let widened = |layer: &Layer, stands| layer.kind().widened(Widening { stands, ..by });
        // What leaves the unit keeps its width under `mid`: the last layer that sets one, and the shortcut.
        let last = body.iter().rposition(|layer| layer.facts().width.is_some());
        let stands = |k| if Some(k) == last { Stands::AtEnd } else { Stands::InUnit };
        Layer::Unit(Self {
            name: name.clone(),
            body: body.iter().enumerate().map(|(k, layer)| widened(layer, stands(k))).collect(),
            shortcut: shortcut.iter().map(|layer| widened(layer, Stands::AtEnd)).collect(),
        })
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        if self.shortcut.is_empty() {
            return Err(format!("the identity shortcut of {}", self.name));
        }
        Ok([layers::readers(&self.body)?, layers::readers(&self.shortcut)?].concat())
    }

    fn folded(&self, _norm: bool, folds: &mut Vec<Fold>) -> Layer {
        let body = layers::folded(&self.body, folds);
        let shortcut = layers::folded(&self.shortcut, folds);
        Layer::Unit(Self { name: self.name.clone(), body, shortcut })
    }
}
