//! The update rules over three steps, and clipping, against PyTorch.

use engine::{
    device::StepParameters,
    graph::Graph,
    ops::{
        AdapterKind, Reads,
        adam::Adam,
        clip::clip,
        optimizer::{Tensors, optimise},
        sgd::Sgd,
    },
    plan::{Target, compile},
};
use taper_tests::golden::Golden;

use crate::{KINDS, PLAIN, bench::worst};

/// As for the ops; three steps long.
const TOLERANCE: f32 = 4e-6;
/// Floats that a weight-decay word speaks for.
const ROW: usize = 64;

/// The parameters of a golden, which decay up to `cut`, in two rows.
struct Rows {
    cut: usize,
    len: usize,
}

impl Rows {
    fn pad(&self, flat: &[f32]) -> Vec<f32> {
        let mut rows = vec![0.0; 2 * ROW];
        rows[..self.cut].copy_from_slice(&flat[..self.cut]);
        rows[ROW..ROW + self.len - self.cut].copy_from_slice(&flat[self.cut..]);
        rows
    }

    fn flat(&self, rows: &[f32]) -> Vec<f32> {
        [&rows[..self.cut], &rows[ROW..ROW + self.len - self.cut]].concat()
    }
}

#[test]
fn three_steps_are_pytorchs() {
    let Some(gpu) = &*PLAIN else { return };
    let golden = Golden::read("ops/optimizer");
    for case in golden.cases().iter().filter(|c| c.op() != "clip_grad_norm") {
        let begun = case.inputs[0].floats();
        let cut = case.inputs[1].floats().iter().filter(|&&decays| decays > 0.0).count();
        let rows = Rows { cut, len: begun.len() };
        // Gradients that clipping halves are the same gradients if they were doubled before.
        for (clipped, kind) in [false, true].into_iter().flat_map(|c| KINDS.map(|kind| (c, kind))) {
            let mut g = Graph::new();
            let adam = case.op() != "sgd";
            let [params, grads, m] = ["p", "g", "m"].map(|n| g.input(n, &[2 * ROW as u32]));
            let mut moments = vec![m];
            if adam {
                moments.push(g.input("v", &[2 * ROW as u32]));
            }
            let decays = g.input("decay", &[2]);
            let factor = clipped.then(|| g.input("factor", &[1]));
            let tensors = Tensors { params, grads, moments: &moments, decays, factor };
            let (g, reads) = (&mut g, Reads::on(kind));
            let weight_decay = case.number("weight_decay") as f32;
            let added = if adam {
                let (beta1, beta2) = (case.number("beta1"), case.number("beta2"));
                let eps = case.number("eps") as f32;
                let decoupled = case.op() == "adamw";
                let op = Adam { beta1, beta2, eps, weight_decay, decoupled };
                optimise(g, op, tensors, &[], reads)
            } else {
                let (momentum, nesterov) = (case.number("momentum") as f32, case.flag("nesterov"));
                optimise(g, Sgd { momentum, nesterov, weight_decay }, tensors, &[], reads)
            };
            added.expect("an optimiser");
            let target = Target { kind, ..gpu.target() };
            let plan = compile(&[("run", g)], &target).expect("a plan");
            let apart = plan.kernels[0].kernel.entry.ends_with("_apart");
            assert_eq!(apart, kind == AdapterKind::Cpu);
            let mut executor = gpu.clone().prepare(plan).expect("an executor");
            executor.write("p", &rows.pad(&begun)).expect("room");
            executor.write("decay", &[1u32, 0]).expect("room");
            if clipped {
                executor.write("factor", &[0.5f32]).expect("room");
            }
            for step in 0..3 {
                let mut grads = rows.pad(&case.inputs[2 + step].floats());
                grads.iter_mut().for_each(|g| *g *= if clipped { 2.0 } else { 1.0 });
                executor.write("g", &grads).expect("room");
                let lr = case.attributes["lr"][step].as_f64().expect("a rate") as f32;
                let live = StepParameters { lr, t: (step + 1) as f32, ..StepParameters::rows(1) };
                executor.run("run", &live, 0).expect("a step");
                let found = rows.flat(&executor.read("p").expect("parameters"));
                let off = worst(&found, &case.outputs[step].floats());
                assert!(
                    off <= TOLERANCE,
                    "{} step {step}, clipped {clipped}, {kind:?}: {off:.1e}",
                    case.name
                );
            }
            for (label, wanted) in ["m", "v"].iter().zip(&case.outputs[3..]) {
                let found = rows.flat(&executor.read(label).expect("moments"));
                let off = worst(&found, &wanted.floats());
                assert!(off <= TOLERANCE, "{} {label}, clipped {clipped}: {off:.1e}", case.name);
            }
        }
    }
}

#[test]
fn clipping_is_pytorchs() {
    let Some(gpu) = &*PLAIN else { return };
    let golden = Golden::read("ops/optimizer");
    for case in golden.cases().iter().filter(|c| c.op() == "clip_grad_norm") {
        let grads = case.inputs[0].floats();
        let len = grads.len().next_multiple_of(ROW);
        // In one range, and in two: a network above the binding limit is updated in pieces.
        for split in [len, ROW] {
            let mut g = Graph::new();
            let mut ranges = vec![g.named("grads", 0, &[split as u32], "first")];
            if split < len {
                ranges.push(g.named("grads", split as u64, &[(len - split) as u32], "second"));
            }
            let (factor, norm) =
                clip(&mut g, &ranges, &[], case.number("max_norm") as f32).expect("a clip");
            g.place(factor, "factor", 0);
            g.place(norm, "norm", 0);
            let plan = compile(&[("run", &g)], &gpu.target()).expect("a plan");
            let mut executor = gpu.clone().prepare(plan).expect("an executor");
            executor.write("grads", &grads).expect("room");
            executor.run("run", &StepParameters::rows(1), 0).expect("a run");
            let factor = executor.read("factor").expect("a factor")[0];
            let found: Vec<f32> = grads.iter().map(|g| g * factor).collect();
            for (found, wanted) in [
                (found, &case.outputs[0]),
                (executor.read("norm").expect("a norm"), &case.outputs[1]),
            ] {
                let off = worst(&found, &wanted.floats());
                assert!(off <= TOLERANCE, "{} split at {split}: off by {off:.1e}", case.name);
            }
        }
    }
}
