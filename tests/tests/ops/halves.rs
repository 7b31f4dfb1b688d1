//! Every op with its tensors stored as f16, against PyTorch on inputs that f16 holds exactly.

use engine::plan::Target;
use taper_tests::{
    Feature,
    golden::{Case, Golden},
    gpu_that_has,
    table::FAMILIES,
};

use crate::{KINDS, TOLERANCE, bench::Bench};

/// Half of what lies between two neighbours among the f16 around 1: the relative error of a rounding.
const ROUNDING: f32 = 1.0 / 2048.0;
/// Half of the smallest f16 above 0: the error of a rounding near 0.
const NEAR_ZERO: f32 = 1.0 / 33_554_432.0;

/// How far off a gradient is because it is made from an output, or a sum, that was stored as f16: by so many roundings of 1. Each is the
/// derivative of the rule by that tensor, with the largest numbers of the case in place of its own.
fn through_what_is_stored(case: &Case) -> f32 {
    let largest = |floats: Vec<f32>| floats.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let Some(dy) = case.upstream.as_ref().map(|u| largest(u.floats())) else { return 0.0 };
    let x = || largest(case.inputs[0].floats());
    match case.op() {
        // dy (1 − y²), dy y (1 − y)
        "tanh" => 2.0 * dy,
        "sigmoid" => dy,
        // s y (dy − Σ dy y), and Σ y = 1
        "softmax" => 3.0 * case.number("scale").abs() as f32 * dy,
        // δ = Σ y dy over the d numbers of a head, then dq = Σ_j P (dP − δ) k / √d, and Σ P = 1; dk is Σ_i P δ q / √d over L rows
        "attention" => {
            let [.., length, width] = case.inputs[0].shape[..] else { unreachable!("(B, L, 3 C)") };
            let head = width as f32 / 3.0 / case.number("heads") as f32;
            length as f32 * head.sqrt() * x() * x() * dy
        }
        // s = x + skip; x̂ = (s − μ) ρ, whose ρ is below 2 for these inputs. dγ = Σ dy x̂ over the rows, dx = ρ (g − mean g − x̂ mean(g x̂))
        "layer_norm" if case.inputs.len() > 3 => {
            let s = x() + largest(case.inputs[3].floats());
            let rows = case.inputs[0].shape.iter().rev().skip(1).product::<u32>() as f32;
            let gamma = largest(case.inputs[1].floats());
            (2.0 * s * dy * rows).max(3.0 * 4.0 * s * gamma * dy)
        }
        _ => 0.0,
    }
}

fn cases() -> Vec<Case> {
    let all = FAMILIES.iter().flat_map(|family| Golden::read(&format!("half/{family}")).cases());
    // Vectors stay f32.
    all.filter(|case| case.inputs.iter().any(|input| input.shape.len() > 1)).collect()
}

#[test]
fn stored_as_f16_results_are_off_by_a_rounding() {
    let Some(gpu) = &gpu_that_has(Feature::F16) else { return };
    let mut wrong = Vec::new();
    for kind in KINDS {
        let target = Target { kind, ..gpu.target() };
        for case in cases() {
            let bench = Bench::halved(gpu, &target, &case);
            let halves = bench.plan().kernels.iter().filter(|spec| !spec.kernel.halves.is_empty());
            let kernels = halves.filter(|spec| spec.kernel.entry != "copy").count();
            assert!(kernels > 0, "{}: no kernel of it reads or writes f16", case.name);
            let results = bench.golden();
            let wanted = case.outputs.iter().chain(case.grads.values());
            for ((label, found), wanted) in results.iter().zip(wanted) {
                let of_output = label.starts_with("output");
                let more = if of_output { 0.0 } else { through_what_is_stored(&case) * ROUNDING };
                let wanted = wanted.floats();
                let allowed =
                    |w: f32| NEAR_ZERO + ROUNDING * w.abs() + TOLERANCE * (1.0 + w.abs()) + more;
                let share = found.iter().zip(&wanted).map(|(f, &w)| (f - w).abs() / allowed(w));
                let share = share.map(|e| if e.is_nan() { f32::INFINITY } else { e });
                let share = share.fold(0.0, f32::max);
                if share > 1.0 {
                    wrong.push(format!(
                        "{kind:?} {} {label}: {share:.2} times what is allowed",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
