//! The works: the same names, shapes and counts of operations as in `benches/src/lib.rs`.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig, momentum::MomentumConfig},
    tensor::{
        Device, Distribution, Int, Tensor, TensorData, activation::relu, module::conv2d,
        ops::ConvOptions,
    },
};

use crate::{
    bert::{self, Bert},
    resnet::Resnet,
};

/// A step, with its loss read back where there is one. Its work may still be under way when it returns.
pub(crate) type Step = Box<dyn FnMut()>;

/// A work: its name, its floating-point operations, and what makes its step.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) gflop: f64,
    pub(crate) make: fn(&Device) -> Step,
}

/// Every work, small ones first.
pub(crate) const WORKS: &[Work] = &[
    Work { name: "matmul_256", gflop: 0.033_554, make: |on| matmul(256, on) },
    Work { name: "matmul_512", gflop: 0.268_435, make: |on| matmul(512, on) },
    Work { name: "matmul_1024", gflop: 2.147_484, make: |on| matmul(1024, on) },
    Work { name: "conv_n32_c16_hw32_k3_fb", gflop: 0.453, make: |on| conv(16, 32, on) },
    Work { name: "conv_n32_c64_hw16_k3_fb", gflop: 1.812, make: |on| conv(64, 16, on) },
    Work { name: "mlp_784_32x16_10_b256_sgdm", gflop: 0.0626, make: mlp },
    Work { name: "resnet_bottleneck_b64_sgdm", gflop: 4.650, make: resnet },
    Work { name: "bert_h128_l4_s128_b16_adam", gflop: 24.16, make: bert },
];

/// So small a learning rate that no number of steps leaves the finite numbers.
const LR: f64 = 1e-6;

/// Numbers around 0.
fn noise<const D: usize>(shape: [usize; D], on: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), on)
}

/// `count` whole numbers below `classes`.
pub(crate) fn labels(count: usize, classes: usize, on: &Device) -> Tensor<1, Int> {
    let labels: Vec<i32> = (0..count).map(|n| (n * 7919 % classes) as i32).collect();
    Tensor::from_data(TensorData::new(labels, [count]), on)
}

/// C = A B, n × n.
fn matmul(n: usize, on: &Device) -> Step {
    let on = on.clone().inner();
    let (a, b) = (noise([n, n], &on), noise([n, n], &on));
    // A result that nobody holds could be left out.
    let mut held: Option<Tensor<2>> = None;
    Box::new(move || drop(held.replace(a.clone().matmul(b.clone()))))
}

/// y = x ∗ w with 3×3 kernels over 32 images of `size` × `size` and `c` channels, and dx, dw from dy = 1, Burn's own seed.
fn conv(c: usize, size: usize, on: &Device) -> Step {
    let x = noise([32, c, size, size], on).require_grad();
    let w = noise([c, c, 3, 3], on).require_grad();
    let mut held = None;
    Box::new(move || {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let y = conv2d(x.clone(), w.clone(), None, options);
        let mut grads = y.backward();
        let dx = x.grad_remove(&mut grads).expect("it requires one");
        let dw = w.grad_remove(&mut grads).expect("it requires one");
        held.replace([y.inner(), dx, dw]);
    })
}

/// A step of training: forward, loss, backward, optimiser, the loss read back.
fn training<M: Module + 'static>(
    model: M,
    mut optimizer: ModuleOptimizer,
    loss: impl Fn(&M) -> Tensor<1> + 'static,
) -> Step {
    let mut model = Some(model);
    Box::new(move || {
        let before = model.take().expect("each step puts one back");
        let loss = loss(&before);
        let grads = GradientsParams::from_grads(loss.backward(), &before);
        model = Some(optimizer.step(LR, before, grads));
        let loss: f32 = loss.into_scalar();
        assert!(loss.is_finite(), "the loss is {loss}");
    })
}

/// SGD with PyTorch's momentum: Burn dampens by default.
fn sgd_with_momentum() -> ModuleOptimizer {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    SgdConfig::new().with_momentum(Some(momentum)).init()
}

/// 784 → 16 × 32 → 10.
#[derive(Module, Debug)]
struct Mlp {
    hidden: Vec<Linear>,
    head: Linear,
}

fn mlp(on: &Device) -> Step {
    let widths = [784].into_iter().chain([32; 15]);
    let hidden = widths.map(|width| LinearConfig::new(width, 32).init(on)).collect();
    let model = Mlp { hidden, head: LinearConfig::new(32, 10).init(on) };
    assert_eq!(model.num_params(), 41_290);
    let (images, labels) = (noise([256, 784], on), labels(256, 10, on));
    let cross_entropy = CrossEntropyLossConfig::new().init(on);
    training(model, sgd_with_momentum(), move |model| {
        let hidden = &model.hidden;
        let x = hidden.iter().fold(images.clone(), |x, layer| relu(layer.forward(x)));
        cross_entropy.forward(model.head.forward(x), labels.clone())
    })
}

fn resnet(on: &Device) -> Step {
    let model = Resnet::new(on);
    // Burn counts the running means and variances as well.
    assert_eq!(model.num_params(), 224_474 + 3_872);
    let (images, labels) = (noise([64, 3, 32, 32], on), labels(64, 10, on));
    let cross_entropy = CrossEntropyLossConfig::new().init(on);
    training(model, sgd_with_momentum(), move |model| {
        cross_entropy.forward(model.forward(images.clone()), labels.clone())
    })
}

fn bert(on: &Device) -> Step {
    const ROWS: usize = bert::BATCH * bert::LENGTH;
    let model = Bert::new(on);
    assert_eq!(model.num_params(), 2_915_072);
    let tokens = labels(ROWS, bert::VOCABULARY, on);
    let targets = tokens.clone().flip([0]);
    let tokens = tokens.reshape([bert::BATCH, bert::LENGTH]);
    let cross_entropy = CrossEntropyLossConfig::new().init(on);
    training(model, AdamConfig::new().with_epsilon(1e-8).init(), move |model| {
        let logits = model.forward(tokens.clone()).reshape([ROWS, bert::VOCABULARY]);
        cross_entropy.forward(logits, targets.clone())
    })
}
