//! Every op, forward and backward, against PyTorch; by both kinds of kernels, with and without run-time checks, and inside
//! the limits that every browser grants.

mod bench;
mod f16;
mod optimizers;
mod rules;
mod tiles;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use bench::{Bench, too_wide, worst};
use engine::{
    device::Device,
    ops::AdapterKind,
    plan::{Limits, Target},
};
use taper_tests::{
    golden::{Case, Golden},
    gpu, gpu_with,
    table::{FAMILIES, ROWS},
};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// What a result may be off by, relative to 1 + |wanted|. The goldens are exact to one rounding; the rest is the order of sums.
const TOLERANCE: f32 = 4e-6;

/// The device that most tests share, as compiling its kernels is most of the work.
static PLAIN: LazyLock<Option<Arc<dyn Device>>> = LazyLock::new(gpu);

fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|family| Golden::read(&format!("ops/{family}")).cases()).collect()
}

#[test]
fn every_row_of_the_table_has_a_golden() {
    let cases = cases();
    for (op, _) in ROWS {
        assert!(cases.iter().any(|case| case.op() == op), "no golden of {op}");
    }
}

#[test]
fn forward_and_gradients_are_pytorchs() {
    let Some(gpu) = &*PLAIN else { return };
    let mut wrong = Vec::new();
    let mut worst_of: BTreeMap<String, f32> = BTreeMap::new();
    for kind in KINDS {
        let target = Target { kind, ..gpu.target() };
        for case in cases() {
            let results = Bench::new(gpu, &target, &case).golden();
            let wanted: Vec<_> = case.outputs.iter().chain(case.grads.values()).collect();
            assert_eq!(results.len(), wanted.len(), "{}", case.name);
            for ((label, found), wanted) in results.iter().zip(wanted) {
                let wanted = wanted.floats();
                let allowed: Vec<f64> = wanted
                    .iter()
                    .map(|w| f64::from(TOLERANCE) * (1.0 + f64::from(w.abs())))
                    .collect();
                wrong.extend(too_wide(&format!("{} {label}", case.name), &wanted, &allowed));
                let off = worst(found, &wanted);
                let most = worst_of.entry(case.op().to_owned()).or_default();
                *most = most.max(off);
                if off > TOLERANCE {
                    wrong.push(format!("{kind:?} {} {label}: off by {off:.1e}", case.name));
                }
            }
        }
    }
    println!("worst: {worst_of:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// ⟨t, vjp(u)⟩ = d/dε ⟨u, f(x + εt)⟩, by a central difference.
#[test]
fn gradients_are_slopes() {
    let Some(gpu) = &*PLAIN else { return };
    let mut wrong = Vec::new();
    // Where f saturates, or ε is lost in the rounding of x, a difference says nothing.
    for case in cases().iter().filter(|c| !c.grads.is_empty() && !c.name.ends_with("_large")) {
        let (slope, rule, noise) = Bench::new(gpu, &gpu.target(), case).slope();
        let close = (slope - rule).abs() <= 2e-2 * slope.abs().max(rule.abs()) + noise;
        if !close {
            wrong.push(format!("{}: the difference says {slope}, the rule {rule}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Shaders without run-time checks stay inside their bounds, and base kernels stay inside WebGPU's default limits.
#[test]
fn neither_checks_nor_limits_change_a_bit() {
    let Some(plain) = &*PLAIN else { return };
    let strict = taper_gpu::Options { checks: true, web_limits: true, ..Default::default() };
    let strict = gpu_with(strict).expect("it opened before");
    assert_eq!(strict.target().limits, Limits::default());
    for kind in KINDS {
        for case in cases() {
            let of = |gpu: &Arc<dyn Device>| {
                let results = Bench::new(gpu, &Target { kind, ..gpu.target() }, &case).golden();
                let bits = |(label, data): (String, Vec<f32>)| {
                    (label, data.into_iter().map(f32::to_bits).collect::<Vec<_>>())
                };
                results.into_iter().map(bits).collect::<Vec<_>>()
            };
            assert_eq!(of(&strict), of(plain), "{kind:?} {}", case.name);
        }
    }
}
