//! A whole step of an encoder with attention: its gradients, and ten losses with Adam, against PyTorch.

use std::collections::BTreeMap;

use benches::bert::Bert;
use engine::{
    device::StepParameters,
    formats::safetensors::read,
    nn::{Layout, Weights},
    ops::{AdapterKind, adam::Adam},
    plan::Target,
    step::STEP,
};
use taper_tests::{
    close::{largest, pairs},
    golden::{Golden, path},
    gpu,
};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// The golden's tensors of one step.
fn piece<'a>(golden: &'a Golden, name: &str, step: usize) -> &'a [u32] {
    let array = &golden.tensors[name];
    let each = array.words.len() / array.shape[0] as usize;
    &array.words[step * each..(step + 1) * each]
}

/// The largest error of a tensor against the golden's, and its name. `size` is what an error is relative to.
fn worst<'a>(
    layout: &'a Layout,
    found: &[f32],
    wanted: &Weights,
    counts: impl Fn(&str, usize) -> bool,
    size: impl Fn(f32) -> f32,
) -> (f32, &'a str) {
    let mut most = (0.0, "");
    for (name, tensor) in &layout.unpack(found, &[]) {
        let (name, _) = layout.params.get_key_value(name).expect("a parameter");
        assert_eq!(tensor.shape, wanted[name].shape, "{name}");
        for (k, (a, b)) in tensor.data.iter().zip(&wanted[name].data).enumerate() {
            let off = (a - b).abs() / size(*b);
            if counts(name, k) && (off.is_nan() || off > most.0) {
                most = (off, name.as_str());
            }
        }
    }
    most
}

#[test]
fn gradients_and_ten_losses_are_pytorchs() {
    let Some(gpu) = gpu() else { return };
    let golden = Golden::read("train/bert-adam.run");
    let weights = |part: &str| {
        let file = path(&format!("train/bert-adam.{part}.safetensors"));
        read(&file).unwrap_or_else(|error| panic!("{error}")).0
    };
    let (start, end) = (weights("init"), weights("final"));
    let size = |key: &str| golden.about[key].as_u64().expect("a size") as u32;
    let bert = Bert {
        vocabulary: size("vocabulary"),
        hidden: size("hidden"),
        layers: size("layers"),
        heads: size("heads"),
        inner: size("inner"),
        length: size("length"),
        batch: size("batch"),
    };
    let number = |key: &str| golden.about["optimizer"][key].as_f64().expect("a number");
    let adam = Adam {
        beta1: number("beta1"),
        beta2: number("beta2"),
        eps: number("eps") as f32,
        weight_decay: number("weight_decay") as f32,
        decoupled: false,
    };
    let lr = number("lr") as f32;
    let layout = bert.layout();
    let (params, _) = layout.pack(&start).expect("the same parameters");
    let grads: Weights = start
        .iter()
        .map(|(name, tensor)| {
            let data = golden.floats(&format!("grad.{name}"));
            (name.clone(), engine::nn::Tensor { shape: tensor.shape.clone(), data })
        })
        .collect::<BTreeMap<_, _>>();
    let wanted = golden.floats("losses");
    // Sums in another order than PyTorch's make other roundings of the same size.
    let allowed = |key: &str| 8.0 * golden.about[key].as_f64().expect("an error") as f32;
    // Softmax does not feel the keys' bias: its gradient is rounding, which Adam makes steps of.
    let hidden = bert.hidden as usize;
    let felt = |name: &str, k: usize| {
        !name.ends_with("in_proj_bias") || !(hidden..2 * hidden).contains(&k)
    };

    for kind in KINDS {
        let plan = bert.step(adam, &Target { kind, ..gpu.target() }).expect("a plan");
        let mut executor = gpu.clone().prepare(plan).expect("an executor");
        executor.write("student.params", &params).expect("room");
        let mut losses = Vec::new();
        for step in 0..wanted.len() {
            executor.write("ids", piece(&golden, "ids", step)).expect("room");
            executor.write("labels", piece(&golden, "labels", step)).expect("room");
            executor.write("lengths", &vec![bert.length; bert.batch as usize]).expect("room");
            let t = (step + 1) as f32;
            executor
                .run(STEP, &StepParameters { lr, t, ..StepParameters::rows(bert.batch) }, 0)
                .expect("a step");
            losses.push(executor.finish().expect("a loss")[0].values[0]);
            if step == 0 {
                let found = executor.read("student.grads").expect("gradients");
                let (off, name) = worst(&layout, &found, &grads, |_, _| true, |g| 1.0 + g.abs());
                println!("{kind:?}: gradients off by {off:.1e}");
                assert!(off <= allowed("f32_grad_error"), "{kind:?}: {name} is off by {off:.1e}");
            }
        }
        let off = largest(pairs(&losses, &wanted).map(|(a, b)| (a / b - 1.0).abs())) as f32;
        println!("{kind:?}: losses off by {off:.1e}");
        assert!(off <= allowed("f32_error"), "{kind:?}: {losses:?}, PyTorch has {wanted:?}");
        let found = executor.read("student.params").expect("parameters");
        let (off, name) = worst(&layout, &found, &end, felt, |_| 1.0);
        println!("{kind:?}: weights off by {off:.1e}");
        assert!(off <= allowed("f32_weight_error"), "{kind:?}: {name} is off by {off:.1e}");
    }
}
