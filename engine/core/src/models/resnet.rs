//! Residual networks (He et al. 2015) with torchvision's parameter names and shapes.
//!
//! A block is a whole stage, split where the resolution changes: S1 = stem + `layer1`, then `layer2` … (`win/DERIVATION.md`, *The merge*).

use crate::{
    config::{Resnet, Stem, Unit},
    nn::{
        Block, Extent, Layer, Network,
        layers::{self, Activation, BatchNorm, Conv, Linear, MaxPool},
    },
    ops::activation::Activation as Function,
};

/// Channels that leave a bottleneck per channel of its 3×3 convolution.
const EXPANSION: u32 = 4;

/// A convolution that keeps the resolution but for its stride.
pub(super) fn conv(name: String, out: u32, kernel: u32, stride: u32) -> Layer {
    Layer::Conv(Conv { name, out, kernel, stride, pad: kernel / 2, bias: false })
}

pub(super) fn norm(name: String) -> Layer {
    Layer::BatchNorm(BatchNorm { name })
}

pub(super) fn relu(name: String) -> Layer {
    Layer::Activation(Activation { name, function: Function::Relu })
}

/// The pool of ImageNet's stem.
pub(super) fn max_pool() -> Layer {
    Layer::MaxPool(MaxPool { name: "maxpool".into(), kernel: 3, stride: 2, pad: 1 })
}

pub(super) fn head(classes: u32) -> Vec<Layer> {
    let linear = Linear { name: "fc".into(), out: classes, bias: true };
    vec![Layer::GlobalAvgPool, Layer::Linear(linear)]
}

/// A unit of `width` channels inside and `out` channels out; torchvision puts the stride on the 3×3.
fn unit(name: &str, kind: Unit, width: u32, out: u32, stride: u32, projection: bool) -> Layer {
    let bn = |k: u32| norm(format!("{name}.bn{k}"));
    let conv = |k: u32, out, kernel, stride| conv(format!("{name}.conv{k}"), out, kernel, stride);
    let relu = |k: u32| relu(format!("{name}.relu{k}"));
    let body = match kind {
        Unit::Bottleneck => vec![
            conv(1, width, 1, 1),
            bn(1),
            relu(1),
            conv(2, width, 3, stride),
            bn(2),
            relu(2),
            conv(3, out, 1, 1),
            bn(3),
        ],
        Unit::Basic => vec![conv(1, width, 3, stride), bn(1), relu(1), conv(2, out, 3, 1), bn(2)],
    };
    let shortcut = if projection {
        let name = format!("{name}.downsample");
        vec![self::conv(format!("{name}.0"), out, 1, stride), norm(format!("{name}.1"))]
    } else {
        Vec::new()
    };
    Layer::Unit(layers::Unit { name: name.into(), body, shortcut })
}

/// Widths are multiplied by `config.width` and rounded, at least 1.
pub(super) fn network(config: &Resnet, input: Extent, classes: u32) -> Network {
    let scaled = |channels: u32| ((f64::from(channels) * config.width).round() as u32).max(1);
    let stem_width = scaled(config.base);
    let (kernel, stride) = match config.stem {
        Stem::Imagenet => (7, 2),
        Stem::Cifar => (3, 1),
    };
    let mut stem = vec![
        conv("conv1".into(), stem_width, kernel, stride),
        norm("bn1".into()),
        relu("relu".into()),
    ];
    if config.stem == Stem::Imagenet {
        stem.push(max_pool());
    }

    let mut before = stem_width;
    let mut blocks = Vec::with_capacity(config.blocks.len());
    for (stage, &units) in config.blocks.iter().enumerate() {
        let width = scaled(config.base << stage);
        let out = match config.unit {
            Unit::Bottleneck => EXPANSION * width,
            Unit::Basic => width,
        };
        let mut layers = if stage == 0 { std::mem::take(&mut stem) } else { Vec::new() };
        for k in 0..units {
            let stride = if k == 0 && stage > 0 { 2 } else { 1 };
            // A stage after the first opens with a projection even where the width stays: the pair before it folds there.
            let projection = stride != 1 || before != out;
            layers.push(unit(
                &format!("layer{}.{k}", stage + 1),
                config.unit,
                width,
                out,
                stride,
                projection,
            ));
            before = out;
        }
        blocks.push(Block { layers, ..Block::default() });
    }
    Network { input, blocks, head: head(classes), further: Vec::new() }
}
