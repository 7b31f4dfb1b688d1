//! One golden case on a device.

use std::{collections::BTreeSet, sync::Arc};

use engine::{
    device::{Device, Executor, StepParameters},
    ops::{Kernel, variants::Tile},
    plan::{Choice, Choices, Plan, Target, compile},
};
use taper_tests::{
    close::{largest, pairs, rms},
    golden::Case,
    table::{Probe, probe, probe_f16},
};

/// Half of a central difference's width.
const EPSILON: f64 = 1e-2;

/// The largest error relative to 1 + |wanted|; infinite for a NaN.
pub(crate) fn worst(found: &[f32], wanted: &[f32]) -> f32 {
    largest(pairs(found, wanted).map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))) as f32
}

/// Gradients that are next to nothing themselves: of a softmax that is 1 in one place and 0 in all others.
const NOTHING: [&str; 2] = ["softmax_4x3 grad", "softmax_large grad"];

/// A tolerance has to be a few times smaller than what it is a tolerance of: else zeros, or another tensor, would pass. What is wrong with it.
pub(crate) fn too_wide(what: &str, wanted: &[f32], allowed: &[f64]) -> Option<String> {
    let signal = rms(wanted.iter().map(|&w| f64::from(w)));
    let slack = rms(allowed.iter().copied());
    let fine = 4.0 * slack <= signal || NOTHING.iter().any(|name| what.starts_with(name));
    (!fine).then(|| format!("{what}: {slack:.1e} is allowed of {signal:.1e} that is there"))
}

/// A case made ready.
pub(crate) struct Bench<'a> {
    case: &'a Case,
    probe: Probe,
    executor: Box<dyn Executor>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(gpu: &Arc<dyn Device>, target: &Target, case: &'a Case) -> Self {
        Self::of(gpu, target, case, probe(case), None)
    }

    /// The case with every product by this tile, or by the table's.
    pub(crate) fn by(
        gpu: &Arc<dyn Device>,
        target: &Target,
        case: &'a Case,
        tile: Option<Tile>,
    ) -> Self {
        Self::of(gpu, target, case, probe(case), tile)
    }

    /// With tensors that are stored as f16.
    pub(crate) fn f16(gpu: &Arc<dyn Device>, target: &Target, case: &'a Case) -> Self {
        Self::of(gpu, target, case, probe_f16(case), None)
    }

    fn of(
        gpu: &Arc<dyn Device>,
        target: &Target,
        case: &'a Case,
        probe: Probe,
        tile: Option<Tile>,
    ) -> Self {
        let say = |error: &dyn std::fmt::Display| -> ! { panic!("{}: {error}", case.name) };
        let plan = compile(&[("run", &probe.graph)], target).unwrap_or_else(|e| say(&e));
        let choice = |tile: Tile| {
            let classes = plan.classes().into_iter();
            classes.map(move |(of, _, _)| Choice { of, tile: tile.variant.into() })
        };
        let choices = Choices(tile.into_iter().flat_map(choice).collect());
        let executor = gpu.clone().prepare(plan.choose(&choices)).unwrap_or_else(|e| say(&e));
        Self { case, probe, executor }
    }

    /// Outputs, then gradients, with their labels.
    pub(crate) fn golden(mut self) -> Vec<(String, Vec<f32>)> {
        let upstream = self.case.upstream.as_ref().map(|u| u.floats()).unwrap_or_default();
        self.run(&self.inputs(), &upstream);
        let grads = self.probe.grads.iter().map(|(_, label)| label);
        let labels = self.probe.outputs.iter().chain(grads);
        labels.map(|label| (label.clone(), self.read(label))).collect()
    }

    /// Variant (or shader) and entry point of each kernel.
    pub(crate) fn kernels(&self) -> BTreeSet<(String, String)> {
        let kernels = self.executor.plan().kernels.iter().map(|spec| &spec.kernel);
        let name = |k: &Kernel| k.variant.clone().unwrap_or_else(|| k.file.clone());
        kernels.map(|kernel| (name(kernel), kernel.entry.clone())).collect()
    }

    /// The plan.
    pub(crate) fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    fn inputs(&self) -> Vec<Vec<u32>> {
        self.case.inputs.iter().map(|array| array.words.clone()).collect()
    }

    fn run(&mut self, inputs: &[Vec<u32>], upstream: &[f32]) {
        for (k, words) in inputs.iter().enumerate() {
            self.executor.write(&format!("input {k}"), words).expect("room");
        }
        // An op whose gradient the upstream one does not reach has no such buffer.
        if self.executor.has("upstream") {
            self.executor.write("upstream", upstream).expect("room");
        }
        // As many rows as any case has: none is padding.
        let mut live = StepParameters::rows(1 << 20);
        if let Some(counted) = self.case.attributes["counted"].as_f64() {
            live.counted = counted as f32;
        }
        let word = |key: &str| self.case.attributes[key].as_u64().unwrap_or(0) as u32;
        (live.seed, live.step) = (word("seed"), word("step"));
        self.executor.run("run", &live, 0).expect("a run");
    }

    fn read(&self, label: &str) -> Vec<f32> {
        self.executor.read(label).expect("a result")
    }

    fn grads(&self) -> Vec<(usize, Vec<f32>)> {
        self.probe.grads.iter().map(|(k, label)| (*k, self.read(label))).collect()
    }

    /// The slope of ⟨u, f⟩ along a direction t, by a central difference and by the gradient rule, and what rounding f may
    /// add to the former.
    pub(crate) fn slope(mut self) -> (f64, f64, f64) {
        let mut upstream = self.case.upstream.as_ref().expect("it has gradients").floats();
        let inputs = self.inputs();
        self.run(&inputs, &upstream);
        let (middle, grads) = (self.read(&self.probe.outputs[0]), self.grads());

        // Random, and uphill, so that the slope is not the small rest of large terms.
        let steep = self.case.attributes["scale"].as_f64().unwrap_or(1.0).abs().max(1.0);
        let mut noise = noise();
        let mut sides = [inputs.clone(), inputs.clone()];
        for (k, grad) in &grads {
            let square: f64 = grad.iter().map(|&g| f64::from(g).powi(2)).sum();
            let size = (square / grad.len() as f64).sqrt().max(1e-30);
            for (n, &g) in grad.iter().enumerate() {
                let step = EPSILON / steep * (noise() + (f64::from(g) / size).clamp(-2.0, 2.0));
                for (side, sign) in sides.iter_mut().zip([1.0, -1.0]) {
                    let x = f64::from(f32::from_bits(inputs[*k][n]));
                    side[*k][n] = ((x + sign * step) as f32).to_bits();
                }
            }
        }
        let [up, down] = [0, 1].map(|side| {
            self.run(&sides[side], &upstream);
            self.read(&self.probe.outputs[0])
        });

        // An output that has a kink between the two sides does not count: the line through them is no tangent.
        if self.case.op() == "max_pool" || self.case.op().contains("relu") || self.case.flag("relu")
        {
            for (n, u) in upstream.iter_mut().enumerate() {
                let bend = (up[n] - 2.0 * middle[n] + down[n]).abs();
                if bend > 5e-4 * (1.0 + middle[n].abs()) {
                    *u = 0.0;
                }
            }
            let kept = upstream.iter().filter(|u| **u != 0.0).count();
            assert!(2 * kept > upstream.len(), "{}: {kept} outputs are left", self.case.name);
        }
        self.run(&inputs, &upstream);
        let grads = self.grads();
        let width = 2.0 * EPSILON;
        let slope = upstream.iter().zip(up.iter().zip(&down));
        let slope: f64 =
            slope.map(|(u, (a, b))| f64::from(*u) * (f64::from(*a) - f64::from(*b)) / width).sum();
        let mut rule = 0.0;
        for (k, grad) in &grads {
            for (n, &g) in grad.iter().enumerate() {
                // The step as it was rounded.
                let [a, b] = [0, 1].map(|side| f64::from(f32::from_bits(sides[side][*k][n])));
                rule += f64::from(g) * (a - b) / width;
            }
        }
        let size = upstream.iter().zip(&middle).map(|(u, y)| f64::from(u * y).abs());
        (slope, rule, f64::from(f32::EPSILON) * size.sum::<f64>() / width)
    }
}

/// Numbers between −1 and 1.
pub(crate) fn noise() -> impl FnMut() -> f64 {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1u32 << 23) - 1.0
    }
}
