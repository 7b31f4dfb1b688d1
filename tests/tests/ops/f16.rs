//! Every op with its tensors stored as f16, against PyTorch on inputs that f16 holds exactly.

use std::collections::BTreeMap;

use engine::plan::Target;
use taper_tests::{
    Feature,
    close::{largest, pairs},
    golden::{Case, Golden},
    gpu_that_has,
    table::FAMILIES,
};

use crate::{
    KINDS, TOLERANCE,
    bench::{Bench, too_wide},
};

/// Half of what lies between two neighbours among the f16 around 1: the relative error of a rounding.
const ROUNDING: f32 = 1.0 / 2048.0;
/// Half of the smallest f16 above 0: the error of a rounding near 0.
const NEAR_ZERO: f32 = 1.0 / 33_554_432.0;

/// What storing a number as f16 may change it by.
fn rounding(x: f64) -> f64 {
    f64::from(ROUNDING) * x.abs() + f64::from(NEAR_ZERO)
}

/// How far off each number of a case's gradients may be, by input, because the rule reads an output or a sum that was stored as f16: the
/// derivative of the rule by what is stored, in absolute values, times the rounding of that. Gradients that are not among them read
/// inputs alone, which f16 holds exactly.
fn through_what_is_stored(case: &Case) -> BTreeMap<usize, Vec<f64>> {
    let wide = |floats: Vec<f32>| -> Vec<f64> { floats.into_iter().map(f64::from).collect() };
    let Some(dy) = case.upstream.as_ref().map(|u| wide(u.floats())) else { return BTreeMap::new() };
    let y = wide(case.outputs[0].floats());
    let columns = *case.inputs[0].shape.last().expect("an axis") as usize;
    match case.op() {
        // dy (1 − y²)
        "tanh" => of_first(dy.iter().zip(&y).map(|(dy, y)| 2.0 * (dy * y).abs() * rounding(*y))),
        // dy y (1 − y)
        "sigmoid" => {
            of_first(dy.iter().zip(&y).map(|(dy, y)| (dy * (1.0 - 2.0 * y)).abs() * rounding(*y)))
        }
        // s y (dy − D), D = Σ dy y
        "softmax" => {
            let s = case.number("scale").abs();
            of_first(dy.chunks(columns).zip(y.chunks(columns)).flat_map(|(dy, y)| {
                let d: f64 = dy.iter().zip(y).map(|(dy, y)| dy * y).sum();
                let of_d: f64 = dy.iter().zip(y).map(|(dy, y)| dy.abs() * rounding(*y)).sum();
                let off = move |(dy, y): (&f64, &f64)| {
                    s * (rounding(*y) * (dy - d).abs() + y.abs() * of_d)
                };
                dy.iter().zip(y).map(off).collect::<Vec<_>>()
            }))
        }
        "attention" | "attention_dropout" => attention(case, &dy, &y),
        "layer_norm" if case.inputs.len() > 3 => layer_norm(case, &dy),
        _ => BTreeMap::new(),
    }
}

fn of_first(off: impl Iterator<Item = f64>) -> BTreeMap<usize, Vec<f64>> {
    BTreeMap::from([(0, off.collect())])
}

/// δ = Σ y dy over the d numbers of a head, dS = P (dP − δ), dq = dS k / √d, dk = dSᵀ q / √d; the rule for v does not read y.
fn attention(case: &Case, dy: &[f64], y: &[f64]) -> BTreeMap<usize, Vec<f64>> {
    let [batch, length, width] = case.inputs[0].shape[..] else { unreachable!("(B, L, 3 C)") };
    let [batch, length, width] = [batch, length, width].map(|n| n as usize);
    let (heads, x) = (case.number("heads") as usize, case.inputs[0].floats());
    let lengths = &case.inputs[1].words;
    let d = width / 3 / heads;
    let root = (d as f64).sqrt();
    let mut off = vec![0.0; x.len()];
    for (n, head) in (0..batch).flat_map(|n| (0..heads).map(move |head| (n, head))) {
        // Where query, key and value of a row begin.
        let at = |part: usize, row: usize| (n * length + row) * width + part * width / 3 + head * d;
        let row_of =
            |part: usize, row: usize| x[at(part, row)..][..d].iter().map(|&x| f64::from(x));
        for row in 0..length {
            let dot = |key| row_of(0, row).zip(row_of(1, key)).map(|(q, k)| q * k).sum::<f64>();
            let keys = lengths[n] as usize;
            let scores: Vec<f64> = (0..keys).map(|key| dot(key) / root).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let from = (n * length + row) * width / 3 + head * d;
            let of_delta: f64 = (from..from + d).map(|at| dy[at].abs() * rounding(y[at])).sum();
            for (key, power) in powers.iter().enumerate() {
                let of_score = power / sum * of_delta / root;
                for j in 0..d {
                    off[at(0, row) + j] += of_score * f64::from(x[at(1, key) + j]).abs();
                    off[at(1, key) + j] += of_score * f64::from(x[at(0, row) + j]).abs();
                }
            }
        }
    }
    BTreeMap::from([(0, off)])
}

/// s = x + skip is stored; x̂ = (s − μ) ρ, dγ = Σ dy x̂ over the rows, dx = ρ (g − mean g − x̂ mean(g x̂)) with g = dy γ.
fn layer_norm(case: &Case, dy: &[f64]) -> BTreeMap<usize, Vec<f64>> {
    let [x, gamma, skip] = [0, 1, 3].map(|k| case.inputs[k].floats());
    let (columns, eps) = (gamma.len(), case.number("eps"));
    let mean =
        |numbers: &dyn Fn(usize) -> f64| (0..columns).map(numbers).sum::<f64>() / columns as f64;
    let (mut of_x, mut of_gamma) = (Vec::new(), vec![0.0; columns]);
    for (row, dy) in dy.chunks(columns).enumerate() {
        let s = |j: usize| {
            let at = row * columns + j;
            f64::from(x[at]) + f64::from(skip[at % skip.len()])
        };
        let mu = mean(&s);
        let rho = (mean(&|j| (s(j) - mu).powi(2)) + eps).sqrt().recip();
        let hat = |j: usize| (s(j) - mu) * rho;
        // Of ρ as a share of it, and of x̂.
        let of_rho = rho * mean(&|j| (hat(j) * rounding(s(j))).abs());
        let of_mean = mean(&|j| rounding(s(j)));
        let of_hat = |j: usize| rho * (rounding(s(j)) + of_mean) + hat(j).abs() * of_rho;
        let g = |j: usize| dy[j] * f64::from(gamma[j]);
        let (mean_g, mean_gx) = (mean(&g), mean(&|j| g(j) * hat(j)));
        let of_mean_gx = mean(&|j| g(j).abs() * of_hat(j));
        for j in 0..columns {
            let dx = rho * (g(j) - mean_g - hat(j) * mean_gx);
            of_x.push(
                dx.abs() * of_rho + rho * (of_hat(j) * mean_gx.abs() + hat(j).abs() * of_mean_gx),
            );
            of_gamma[j] += dy[j].abs() * of_hat(j);
        }
    }
    // A skip connection that lacks the leading axes has the sum over them.
    let mut of_skip = vec![0.0; skip.len()];
    for (at, off) in of_x.iter().enumerate() {
        of_skip[at % skip.len()] += off;
    }
    BTreeMap::from([(0, of_x), (1, of_gamma), (3, of_skip)])
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
            let bench = Bench::f16(gpu, &target, &case);
            let f16 = bench.plan().kernels.iter().filter(|spec| !spec.kernel.f16.is_empty());
            let kernels = f16.filter(|spec| spec.kernel.entry != "copy").count();
            assert!(kernels > 0, "{}: no kernel of it reads or writes f16", case.name);
            let results = bench.golden();
            let through = through_what_is_stored(&case);
            let nothing = Vec::new();
            let outputs = case.outputs.iter().map(|output| (output, &nothing));
            let grads = case.grads.iter();
            let grads = grads.map(|(k, grad)| (grad, through.get(k).unwrap_or(&nothing)));
            let wanted: Vec<_> = outputs.chain(grads).collect();
            assert_eq!(results.len(), wanted.len(), "{}", case.name);
            for ((label, found), (wanted, more)) in results.iter().zip(wanted) {
                let wanted = wanted.floats();
                assert!(more.is_empty() || more.len() == wanted.len(), "{} {label}", case.name);
                let allowed: Vec<f64> = (0..wanted.len())
                    .map(|at| {
                        let (w, more) = (f64::from(wanted[at]), more.get(at).unwrap_or(&0.0));
                        rounding(w) + f64::from(TOLERANCE) * (1.0 + w.abs()) + more
                    })
                    .collect();
                wrong.extend(too_wide(&format!("{} {label}", case.name), &wanted, &allowed));
                let off = pairs(found, &wanted).map(|(f, w)| (f - w).abs());
                let share = largest(off.zip(&allowed).map(|(off, allowed)| off / allowed));
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
