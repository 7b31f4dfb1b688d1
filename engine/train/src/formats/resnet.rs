//! Residual networks as others describe them: by their stem, and by the widths and strides of their units.

use serde::Serialize;

use crate::nn::{
    Layer, Network,
    layers::{self, Activation, Conv, Linear, MaxPool},
};
use crate::ops::activation::Activation as Function;

/// What is said of a network that is none.
pub(super) const NONE: &str =
    "it is no residual network of stem, stages of units, mean and linear layer";

/// A residual unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Serialize)]
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

    /// Whether the stem is ImageNet's, as others have it alone.
    ///
    /// # Errors
    /// It is not, as a sentence.
    pub(super) fn has_large_stem(&self, whose: &str) -> Result<(), String> {
        if self.large {
            return Ok(());
        }
        Err(format!(
            "block 1: its stem is CIFAR's, of 3 × 3, and {whose} has 7 × 7 with a pool; `model.stem = \"imagenet\"` trains one"
        ))
    }

    /// Channels out of each stage, for others whose units are alike within a stage: `inner` is what one has inside there, and each stage but the first
    /// halves the picture.
    ///
    /// # Errors
    /// A unit is otherwise, as a sentence that names its block.
    pub(super) fn outs(
        &self,
        whose: &str,
        inner: impl Fn(&Unit) -> u32,
    ) -> Result<Vec<u32>, String> {
        let (mut before, mut outs) = (self.stem, Vec::new());
        for (stage, units) in self.stages.iter().enumerate() {
            let out = units.first().map_or(0, |unit| unit.out);
            for (k, unit) in units.iter().enumerate() {
                let block = format!("block {}, unit {}", stage + 1, k + 1);
                let Unit { out: width, inner: found, .. } = *unit;
                if width != out {
                    return Err(format!("{block}: {width} channels follow on {out} in one stage"));
                }
                let inner = inner(unit);
                if found != inner {
                    return Err(format!(
                        "{block}: it has {found} channels inside and {out} outside, and {whose} would have {inner} inside"
                    ));
                }
                let stride = if k == 0 && stage > 0 { 2 } else { 1 };
                let projects = stride != 1 || before != out;
                if (unit.stride, unit.projects) != (stride, projects) {
                    return Err(format!("{block}: its stride or its shortcut is not {whose}"));
                }
                before = out;
            }
            outs.push(out);
        }
        Ok(outs)
    }
}
