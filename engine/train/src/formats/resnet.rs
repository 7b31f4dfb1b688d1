//! Residual networks as others describe them: by their stem, and by the widths and strides of their units.

use crate::nn::{
    Layer, Network,
    layers::{self, Activation, Conv, Linear, MaxPool},
};
use crate::ops::activation::Activation as Function;

/// A residual unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) before: u32,
    /// Channels between its convolutions.
    pub(super) inner: u32,
    pub(super) out: u32,
    pub(super) stride: u32,
    /// Whether the shortcut is a projection.
    pub(super) projects: bool,
    pub(super) bottleneck: bool,
}

impl Unit {
    fn of(layer: &Layer, before: u32) -> Option<Self> {
        let Layer::Unit(layers::Unit { body, shortcut, .. }) = layer else { return None };
        let (inner, out, stride, bottleneck) = match convolutions(body)?[..] {
            [[inner, 1, 1], [again, 3, stride], [out, 1, 1]] if inner == again => {
                (inner, out, stride, true)
            }
            [[inner, 3, stride], [out, 3, 1]] => (inner, out, stride, false),
            _ => return None,
        };
        let projects = !shortcut.is_empty();
        if projects && convolutions(shortcut)? != [[out, 1, stride]] {
            return None;
        }
        Some(Self { before, inner, out, stride, projects, bottleneck })
    }
}

/// Channels out, kernel and stride of convolutions with batch norm and ReLUs between them; none where anything else is among the layers.
fn convolutions(layers: &[Layer]) -> Option<Vec<[u32; 3]>> {
    let one = |group: &[Layer]| match group {
        [Layer::Conv(Conv { out, kernel, stride, pad, bias: false, .. }), Layer::BatchNorm(_)]
            if *pad == kernel / 2 =>
        {
            Some([*out, *kernel, *stride])
        }
        _ => None,
    };
    layers.split(is_relu).map(one).collect()
}

fn is_relu(layer: &Layer) -> bool {
    matches!(layer, Layer::Activation(Activation { function: Function::Relu, .. }))
}

/// A residual network with torchvision's names.
#[derive(Debug)]
pub(super) struct Resnet {
    pub(super) channels: u32,
    pub(super) stem: u32,
    /// Stem of 7×7 and stride 2 with max pooling; else of 3×3 and stride 1 without.
    pub(super) large: bool,
    pub(super) stages: Vec<Vec<Unit>>,
    pub(super) classes: u32,
}

impl Resnet {
    pub(super) fn of(network: &Network) -> Option<Self> {
        let [Layer::GlobalAvgPool, Layer::Linear(Linear { out: classes, bias: true, .. })] =
            network.head[..]
        else {
            return None;
        };
        let first = &network.blocks.first()?.layers;
        let stem = first.iter().position(is_relu)?;
        let [[stem, kernel, stride]] = convolutions(&first[..stem])?[..] else { return None };
        let pool = MaxPool { name: "maxpool".into(), kernel: 3, stride: 2, pad: 1 };
        let large = first.get(3) == Some(&Layer::MaxPool(pool));
        if [kernel, stride] != (if large { [7, 2] } else { [3, 1] }) {
            return None;
        }
        let mut before = stem;
        let mut stages = Vec::new();
        for (place, block) in network.blocks.iter().enumerate() {
            let skipped = if place > 0 { 0 } else { 3 + usize::from(large) };
            let mut units = Vec::new();
            for layer in &block.layers[skipped..] {
                let unit = Unit::of(layer, before)?;
                before = unit.out;
                units.push(unit);
            }
            stages.push(units);
        }
        let kinds = || stages.iter().flatten().map(|unit| unit.bottleneck);
        let one_kind = kinds().all(|kind| Some(kind) == kinds().next());
        let channels = network.input.width();
        (one_kind && stages.iter().all(|units| !units.is_empty())).then_some(Self {
            channels,
            stem,
            large,
            stages,
            classes,
        })
    }

    /// Whether its units are bottlenecks.
    pub(super) fn bottleneck(&self) -> bool {
        self.stages.iter().flatten().any(|unit| unit.bottleneck)
    }
}
