//! Matrix products and convolutions in every tile, on sizes that vectors divide and on sizes that they do not, with sums in one
//! part and in several: the goldens are too small to reach them. Whole numbers are added up without rounding in any order, so
//! the device must agree with a plain loop to the bit.

use std::collections::{BTreeMap, BTreeSet};

use engine::{
    ops::{
        AdapterKind,
        variants::{Tile, tiles},
    },
    plan::Target,
};
use serde_json::json;
use taper_tests::golden::{Array, Case};

use crate::{
    PLAIN,
    bench::{Bench, noise},
};

fn array(shape: &[usize], data: Vec<f32>) -> Array {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    let shape = shape.iter().map(|&n| n as u32).collect();
    Array { shape, words: data.into_iter().map(f32::to_bits).collect(), reals: true }
}

/// Whole numbers from −3 to 3, so that no sum here leaves the 24 bits of a float.
fn whole(count: usize, noise: &mut impl FnMut() -> f64) -> Vec<f32> {
    (0..count).map(|_| (noise() * 3.0).round() as f32).collect()
}

/// A · B with strides: `a` of (row, k), `b` of (k, column).
fn product(
    (m, n, k): (usize, usize, usize),
    (a, a_row, a_k): (&[f32], usize, usize),
    (b, b_k, b_col): (&[f32], usize, usize),
) -> Vec<f32> {
    let mut c = vec![0.0; m * n];
    for row in 0..m {
        for at in 0..k {
            let factor = a[row * a_row + at * a_k];
            for column in 0..n {
                c[row * n + column] += factor * b[at * b_k + column * b_col];
            }
        }
    }
    c
}

/// y = relu(x·Wᵀ + b) with its gradients: products of all three transpositions.
fn linear(m: usize, n: usize, k: usize) -> Case {
    let mut noise = noise();
    let (x, w) = (whole(m * k, &mut noise), whole(n * k, &mut noise));
    let (b, u) = (whole(n, &mut noise), whole(m * n, &mut noise));
    let mut y = product((m, n, k), (&x, k, 1), (&w, 1, k));
    y.iter_mut().enumerate().for_each(|(at, y)| *y = (*y + b[at % n]).max(0.0));
    let dy: Vec<f32> = u.iter().zip(&y).map(|(u, y)| if *y > 0.0 { *u } else { 0.0 }).collect();
    let dx = product((m, k, n), (&dy, n, 1), (&w, k, 1));
    let dw = product((n, k, m), (&dy, 1, n), (&x, k, 1));
    let db = product((1, n, m), (&vec![1.0; m], 0, 1), (&dy, n, 1));
    Case {
        name: format!("linear {m}×{n}×{k}"),
        attributes: json!({"op": "linear", "bias": true, "relu": true}),
        inputs: vec![array(&[m, k], x), array(&[n, k], w), array(&[n], b)],
        outputs: vec![array(&[m, n], y)],
        upstream: Some(array(&[m, n], u)),
        grads: BTreeMap::from([
            (0, array(&[m, k], dx)),
            (1, array(&[n, k], dw)),
            (2, array(&[n], db)),
        ]),
    }
}

/// A 3×3 convolution with padding 1 of two square images, and its gradients.
fn conv(size: usize, stride: usize, c_in: usize, c_out: usize, bias: bool) -> Case {
    const IMAGES: usize = 2;
    let out = (size - 1) / stride + 1;
    let mut noise = noise();
    let x = whole(IMAGES * size * size * c_in, &mut noise);
    let w = whole(c_out * 9 * c_in, &mut noise);
    let b = whole(c_out, &mut noise);
    let u = whole(IMAGES * out * out * c_out, &mut noise);
    let mut y: Vec<f32> = (0..u.len()).map(|at| if bias { b[at % c_out] } else { 0.0 }).collect();
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    let mut db = vec![0.0; c_out];
    u.iter().enumerate().for_each(|(at, u)| db[at % c_out] += u);
    for place in 0..IMAGES * out * out {
        let (image, oy, ox) = (place / (out * out), place / out % out, place % out);
        for tap in 0..9 {
            let (iy, ix) = (oy * stride + tap / 3, ox * stride + tap % 3);
            if !(1..=size).contains(&iy) || !(1..=size).contains(&ix) {
                continue;
            }
            let from = ((image * size + iy - 1) * size + ix - 1) * c_in;
            for o in 0..c_out {
                for i in 0..c_in {
                    let (at, weight) = (place * c_out + o, (o * 9 + tap) * c_in + i);
                    y[at] += x[from + i] * w[weight];
                    dx[from + i] += u[at] * w[weight];
                    dw[weight] += u[at] * x[from + i];
                }
            }
        }
    }
    let (images, maps) = ([IMAGES, size, size, c_in], [IMAGES, out, out, c_out]);
    let weights = [c_out, 3, 3, c_in];
    let mut inputs = vec![array(&images, x), array(&weights, w)];
    let mut grads = BTreeMap::from([(0, array(&images, dx)), (1, array(&weights, dw))]);
    if bias {
        inputs.push(array(&[c_out], b));
        grads.insert(2, array(&[c_out], db));
    }
    Case {
        name: format!("conv {size}×{size} by {stride}, {c_in} to {c_out}"),
        attributes: json!({"op": "conv2d", "stride": [stride, stride], "pad": [1, 1], "bias": bias}),
        inputs,
        outputs: vec![array(&maps, y)],
        upstream: Some(array(&maps, u)),
        grads,
    }
}

/// Runs a case and returns the kernels that it ran.
fn exact(case: &Case, kind: AdapterKind) -> BTreeSet<(String, String)> {
    exact_by(case, kind, None)
}

/// [`exact`] with every product by this tile, or by the table's.
fn exact_by(case: &Case, kind: AdapterKind, tile: Option<Tile>) -> BTreeSet<(String, String)> {
    let Some(gpu) = &*PLAIN else { return BTreeSet::new() };
    let bench = Bench::by(gpu, &Target { kind, ..gpu.target() }, case, tile);
    let kernels = bench.kernels();
    let wanted: Vec<_> = case.outputs.iter().chain(case.grads.values()).collect();
    let results = bench.golden();
    assert_eq!(results.len(), wanted.len(), "{}", case.name);
    for ((label, found), wanted) in results.into_iter().zip(wanted) {
        let wanted = wanted.floats();
        assert_eq!(found.len(), wanted.len(), "{} {label}", case.name);
        let differ = found.iter().zip(&wanted).position(|(a, b)| a != b);
        if let Some(at) = differ {
            let (found, wanted) = (found[at], wanted[at]);
            panic!("{kind:?} {} {label}: {found} at {at}, not {wanted}", case.name);
        }
    }
    kernels
}

#[test]
fn products_are_exact_in_every_tile() {
    if PLAIN.is_none() {
        return;
    }
    let mut seen = BTreeSet::new();
    for (m, n, k) in [
        (4, 4, 8),
        (4, 64, 12),
        (8, 20, 20),
        (16, 20, 4),
        (12, 64, 8),
        (4, 512, 8),
        (608, 16, 8),
        (64, 4, 16),
        (12, 10, 8),
        (5, 1, 7),
        (3, 61, 5),
        (8, 17, 1),
        (11, 61, 9),
        (601, 15, 3),
        (65, 3, 11),
        // Rows and strips of tiles, the last strip a narrow one.
        (40, 172, 20),
        (41, 165, 21),
        (200, 204, 92),
        // The sum of the weight's gradient in several parts.
        (1100, 8, 12),
        (1101, 7, 13),
    ] {
        seen.extend(exact(&linear(m, n, k), AdapterKind::Cpu));
    }
    for (m, n, k) in [(1024, 1024, 4), (1025, 1021, 3), (1100, 8, 12)] {
        exact(&linear(m, n, k), AdapterKind::Gpu);
    }
    let ran = |entry: &str| seen.iter().any(|(_, e)| e == entry);
    assert!(
        ["linear", "linear_out1", "linear_any", "matmul", "weight", "weight_any", "sum_parts"]
            .into_iter()
            .all(ran)
    );
    let tiles: BTreeSet<&str> = seen.iter().map(|(variant, _)| variant.as_str()).collect();
    for tile in ["r8x8", "r8x4", "r4x8", "r4x4"] {
        assert!(tiles.contains(format!("matmul.{tile}").as_str()), "{tile} is not in {tiles:?}");
    }
}

#[test]
fn convolutions_are_exact_in_large_tiles_and_in_parts() {
    for (case, kind) in [
        (conv(20, 1, 8, 64, true), AdapterKind::Cpu),
        (conv(24, 1, 3, 13, true), AdapterKind::Cpu),
        (conv(33, 2, 4, 12, false), AdapterKind::Cpu),
        (conv(9, 1, 4, 84, true), AdapterKind::Cpu),
        (conv(24, 1, 8, 12, true), AdapterKind::Gpu),
        (conv(47, 2, 5, 9, false), AdapterKind::Gpu),
    ] {
        let kernels = exact(&case, kind);
        let large = case.name.starts_with("conv 24") || case.name.starts_with("conv 47");
        let parts = kernels.iter().any(|(_, entry)| entry == "sum_parts");
        assert!(!large || parts || PLAIN.is_none(), "{} runs in one part", case.name);
    }
}

/// The tiles that the table never takes, but the autotuner might.
#[test]
fn tiles_that_only_a_timing_finds_are_exact() {
    for tile in tiles(AdapterKind::Gpu).filter(|tile| tile.timed) {
        for case in [
            // Several tiles, slices and parts; odd sizes.
            linear(136, 132, 40),
            linear(131, 67, 21),
            linear(1101, 8, 12),
            conv(13, 1, 8, 68, true),
            conv(12, 2, 5, 7, false),
        ] {
            let kernels = exact_by(&case, AdapterKind::Gpu, Some(tile));
            let names: BTreeSet<_> = kernels.iter().map(|(name, _)| name.as_str()).collect();
            let all = |name: &&str| !name.contains("_tiled") || name.ends_with(tile.variant);
            assert!(names.iter().all(all), "{names:?}");
            assert!(
                names.iter().any(|n| n.ends_with(tile.variant)) || PLAIN.is_none(),
                "{names:?}"
            );
        }
    }
}
