//! A stem of 16 channels and four stages of two bottlenecks on 32×32 images.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

/// Channels that leave a bottleneck per channel of its 3×3 convolution.
const EXPANSION: usize = 4;

/// A convolution without bias and its batch norm.
#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, on: &Device) -> Self {
        let pad = kernel / 2;
        let conv = Conv2dConfig::new(channels, [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(false)
            .init(on);
        Self { conv, norm: BatchNormConfig::new(channels[1]).init(on) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// 1×1, 3×3 with the stride, 1×1; a projection where the shape changes.
#[derive(Module, Debug)]
struct Bottleneck {
    body: [ConvNorm; 3],
    projection: Option<ConvNorm>,
}

impl Bottleneck {
    fn new(before: usize, width: usize, stride: usize, on: &Device) -> Self {
        let out = EXPANSION * width;
        let body = [
            ConvNorm::new([before, width], 1, 1, on),
            ConvNorm::new([width, width], 3, stride, on),
            ConvNorm::new([width, out], 1, 1, on),
        ];
        let projection =
            (stride != 1 || before != out).then(|| ConvNorm::new([before, out], 1, stride, on));
        Self { body, projection }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [reduce, middle, expand] = &self.body;
        let y = relu(reduce.forward(x.clone()));
        let y = expand.forward(relu(middle.forward(y)));
        let shortcut = match &self.projection {
            Some(projection) => projection.forward(x),
            None => x,
        };
        relu(y + shortcut)
    }
}

/// (N, 3, 32, 32) → (N, 10).
#[derive(Module, Debug)]
pub(crate) struct Resnet {
    stem: ConvNorm,
    blocks: Vec<Bottleneck>,
    pool: AdaptiveAvgPool2d,
    head: Linear,
}

impl Resnet {
    pub(crate) fn new(on: &Device) -> Self {
        let mut before = 16;
        let stem = ConvNorm::new([3, before], 3, 1, on);
        let mut blocks = Vec::new();
        for (width, stride) in [(8, 1), (16, 2), (32, 2), (64, 2)] {
            for stride in [stride, 1] {
                blocks.push(Bottleneck::new(before, width, stride, on));
                before = EXPANSION * width;
            }
        }
        let pool = AdaptiveAvgPool2dConfig::new([1, 1]).init();
        Self { stem, blocks, pool, head: LinearConfig::new(before, 10).init(on) }
    }

    pub(crate) fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(images));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head.forward(self.pool.forward(x).flatten(1, 3))
    }
}
