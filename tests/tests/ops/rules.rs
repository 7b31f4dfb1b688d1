//! What no golden holds: random draws, rows that are padding, and fused kernels against the ones they fuse.

use std::sync::Arc;

use engine::{
    device::{Device, Executor, StepParameters},
    graph::{Graph, Value},
    ops::{
        AdapterKind,
        accuracy::hits,
        attention::Attention,
        batch_norm::{BatchNorm, Tensors},
        conv2d::Conv2d,
        cross_entropy::{cross_entropy, cross_entropy_and_grad},
        dropout::Dropout,
        elementwise::{Add, AddRelu, Copy, Scale},
        kl::{Kl, kl},
        matmul::{Matmul, product},
        mse::mse,
        parts,
        reduce::sum_rows,
    },
    plan::{KernelSpec, Target, compile},
};
use taper_tests::{golden::Golden, table::Upstream};

use crate::{
    KINDS, PLAIN, TOLERANCE,
    bench::{Bench, noise, worst},
};

fn executor(gpu: &Arc<dyn Device>, graph: &Graph, kind: AdapterKind) -> Box<dyn Executor> {
    let target = Target { kind, ..gpu.target() };
    let plan = compile(&[("run", graph)], &target).expect("a plan");
    gpu.clone().prepare(plan).expect("an executor")
}

#[test]
fn dropout_keeps_its_share_and_draws_anew_each_step() {
    let Some(gpu) = &*PLAIN else { return };
    for shape in [[1000, 7], [1000, 8]] {
        let mut g = Graph::new();
        let (x, u) = (g.input("x", &shape), g.input("u", &shape));
        let y = g.add(Dropout { p: 0.3, stream: 5 }, &[x]).expect("dropout");
        let loss = g.add(Upstream(u), &[y]).expect("a loss");
        let dx = g.backward(loss, &[x]).expect("gradients")[0];
        g.place(y, "y", 0);
        g.place(dx, "dx", 0);
        let mut executor = executor(gpu, &g, AdapterKind::Cpu);
        let ones = vec![1f32; (shape[0] * shape[1]) as usize];
        executor.write("x", &ones).expect("room");
        executor.write("u", &ones).expect("room");
        let mut draw = |seed, step| {
            executor
                .run("run", &StepParameters { seed, step, ..StepParameters::rows(1000) }, 0)
                .expect("a run");
            let y = executor.read("y").expect("y");
            assert_eq!(y, executor.read("dx").expect("dx"), "the gradient has the same mask");
            y
        };
        let first = draw(3, 0);
        assert!(first.iter().all(|&y| y == 0.0 || (y - 1.0 / 0.7).abs() < 1e-6));
        let dropped = first.iter().filter(|y| **y == 0.0).count() as f64 / first.len() as f64;
        assert!((dropped - 0.3).abs() < 0.02, "{dropped}");
        assert_ne!(first, draw(3, 1), "another step");
        assert_ne!(first, draw(4, 0), "another seed");
        assert_eq!(first, draw(3, 0), "the same step again");
    }
}

/// Equal scores and values of 1: an output is the share of probabilities that is kept, divided by what is to be kept.
#[test]
fn attention_drops_its_share_and_draws_anew_each_step() {
    let Some(gpu) = &*PLAIN else { return };
    let (batch, length, heads, d) = (3u32, 64u32, 2u32, 4u32);
    let qkv: Vec<f32> = (0..batch * length)
        .flat_map(|_| [vec![0f32; 2 * (heads * d) as usize], vec![1f32; (heads * d) as usize]])
        .flatten()
        .collect();
    let of_kinds = KINDS.map(|kind| {
        let mut g = Graph::new();
        let x = g.input("qkv", &[batch, length, 3 * heads * d]);
        let lengths = g.input("lengths", &[batch]);
        let dropout = Some(Dropout { p: 0.3, stream: 5 });
        let y = g.add(Attention { heads, dropout }, &[x, lengths]).expect("attention");
        g.place(y, "y", 0);
        let mut executor = executor(gpu, &g, kind);
        executor.write("qkv", &qkv).expect("room");
        executor.write("lengths", &vec![length; batch as usize]).expect("room");
        let mut draw = |seed, step| {
            let live = StepParameters { seed, step, ..StepParameters::rows(batch) };
            executor.run("run", &live, 0).expect("a run");
            executor.read("y").expect("y")
        };
        let first = draw(3, 0);
        let mean = first.iter().map(|&y| f64::from(y)).sum::<f64>() / first.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{kind:?}: {mean}");
        // Whole numbers of probabilities.
        let kept = |y: f32| f64::from(y) * 0.7 * f64::from(length);
        assert!(first.iter().all(|&y| (kept(y) - kept(y).round()).abs() < 1e-3), "{kind:?}");
        assert!(first.iter().any(|y| *y != first[0]), "rows and heads have masks of their own");
        assert_ne!(first, draw(3, 1), "another step");
        assert_ne!(first, draw(4, 0), "another seed");
        assert_eq!(first, draw(3, 0), "the same step again");
        first
    });
    let [one, other] = of_kinds;
    assert!(worst(&one, &other) < 1e-6, "both kinds of kernels have the same masks");
}

/// The last batch of a test is padded: what lies behind `live.rows` must not count, whatever it holds.
#[test]
fn padding_does_not_count() {
    let Some(gpu) = &*PLAIN else { return };
    let (rows, valid, classes) = (4u32, 2u32, 3u32);
    let x = [0.1f32, 0.5, -0.3, 1.0, 1.5, 0.0, f32::INFINITY, f32::NAN, 9.0, 2.0, 2.0, 1.0];
    let target = [0.3f32, -0.2, 0.9, 0.0, 0.4, 0.8, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0];
    let labels = [1u32, 0, 7, 9];
    let measure = |rows: u32| {
        let mut g = Graph::new();
        let (y, t) = (g.input("x", &[rows, classes]), g.input("target", &[rows, classes]));
        let labels_in = g.input("labels", &[rows]);
        let teacher = Kl { temperature: 2.0, factor: 4.0, by_count: false };
        let losses = [
            cross_entropy(&mut g, y, labels_in, 0.1).expect("a loss"),
            kl(&mut g, y, t, teacher).expect("a loss"),
            mse(&mut g, y, t, 0.7).expect("a loss"),
        ];
        let right = hits(&mut g, y, labels_in).expect("hits");
        for (k, loss) in losses.into_iter().enumerate() {
            let grad = g.backward(loss, &[y]).expect("gradients")[0];
            g.place(grad, &format!("grad {k}"), 0);
            g.place(loss, &format!("loss {k}"), 0);
        }
        let (loss, grad) = cross_entropy_and_grad(&mut g, y, labels_in, 0.1).expect("a loss");
        g.place(loss, "loss 3", 0);
        g.place(grad, "grad 3", 0);
        g.place(right, "loss 4", 0);
        let mut executor = executor(gpu, &g, AdapterKind::Cpu);
        let (numbers, count) = ((rows * classes) as usize, rows as usize);
        executor.write("x", &x[..numbers]).expect("room");
        executor.write("target", &target[..numbers]).expect("room");
        executor.write("labels", &labels[..count]).expect("room");
        executor.run("run", &StepParameters::rows(valid), 0).expect("a run");
        let read = |what: &str, k: usize| executor.read(&format!("{what} {k}")).expect("a result");
        let losses: Vec<f32> = (0..5).map(|k| read("loss", k)[0]).collect();
        let grads: Vec<Vec<f32>> = (0..4).map(|k| read("grad", k)).collect();
        (losses, grads)
    };
    let ((padded, padded_grads), (short, short_grads)) = (measure(rows), measure(valid));
    assert!(worst(&padded, &short) < 1e-6, "{padded:?} {short:?}");
    assert_eq!(padded[4], 1.0, "the second row's best is at 1, its label is 0");
    for (padded, short) in padded_grads.iter().zip(&short_grads) {
        let (head, tail) = padded.split_at((valid * classes) as usize);
        assert!(worst(head, short) < 1e-6, "{padded:?} {short:?}");
        assert!(tail.iter().all(|&g| g == 0.0), "{tail:?}");
    }
}

/// A logit of −∞ says that a class cannot be. What that costs is PyTorch's answer: a number, ∞, or none where there is no class left.
#[test]
fn a_logit_of_minus_infinity_costs_what_pytorch_says() {
    let Some(gpu) = &*PLAIN else { return };
    let same = |found: f32, wanted: f32| {
        found == wanted
            || found.is_nan() && wanted.is_nan()
            || (found - wanted).abs() <= TOLERANCE * (1.0 + wanted.abs())
    };
    let cases = Golden::read("ops/infinite").cases();
    let infinite = cases.iter().filter(|case| case.outputs[0].floats()[0] == f32::INFINITY);
    assert!(infinite.count() > 20, "the golden has costs of infinity");
    for kind in KINDS {
        for case in &cases {
            let target = Target { kind, ..gpu.target() };
            let results = Bench::new(gpu, &target, case).golden();
            let wanted: Vec<_> = case.outputs.iter().chain(case.grads.values()).collect();
            assert_eq!(results.len(), wanted.len(), "{}", case.name);
            for ((label, found), wanted) in results.iter().zip(wanted) {
                let wanted = wanted.floats();
                assert_eq!(found.len(), wanted.len(), "{} {label}", case.name);
                let differ = found.iter().zip(&wanted).position(|(&f, &w)| !same(f, w));
                assert!(
                    differ.is_none(),
                    "{kind:?} {} {label}: {found:?}, PyTorch has {wanted:?}",
                    case.name
                );
            }
        }
    }
}

/// A loss whose own gradient is a constant makes both in one dispatch, with the bits of two; on odd and even widths, with padding.
#[test]
fn a_loss_and_its_gradient_are_one_dispatch() {
    let Some(gpu) = &*PLAIN else { return };
    type Loss = fn(&mut Graph, [Value; 3]) -> Value;
    let losses: [(&str, Loss); 3] = [
        ("cross_entropy", |g, [y, _, l]| cross_entropy(g, y, l, 0.1).expect("a loss")),
        ("kl", |g, [y, t, _]| {
            kl(g, y, t, Kl { temperature: 2.0, factor: 4.0, by_count: false }).expect("a loss")
        }),
        ("mse", |g, [y, t, _]| mse(g, y, t, 0.7).expect("a loss")),
    ];
    for (classes, kind) in [3u32, 40].into_iter().flat_map(|c| KINDS.map(|kind| (c, kind))) {
        for (name, loss) in losses {
            let (rows, valid, factor) = (5u32, 4u32, -0.3f32);
            let results = |together: bool| -> (Vec<String>, Vec<f32>) {
                let mut g = Graph::new();
                let [y, t] = ["y", "t"].map(|label| g.input(label, &[rows, classes]));
                let labels = g.input("labels", &[rows]);
                let of = loss(&mut g, [y, t, labels]);
                let whole = g.add(Scale(factor), &[of]).expect("a product");
                let dy = match together {
                    true => g.backward(whole, &[y]),
                    false => {
                        let d = g.input("d", &[1]);
                        g.backward_from(of, d, &[y])
                    }
                };
                g.place(dy.expect("a gradient")[0], "dy", 0);
                g.place(whole, "loss", 0);
                let mut executor = executor(gpu, &g, kind);
                let mut noise = noise();
                let mut draw =
                    || -> Vec<f32> { (0..rows * classes).map(|_| noise() as f32).collect() };
                executor.write("y", &draw()).expect("room");
                executor.write("t", &draw()).expect("room");
                executor.write("labels", &[0u32, 2, 1, 2, 0]).expect("room");
                if !together {
                    executor.write("d", &[factor]).expect("room");
                }
                executor.run("run", &StepParameters::rows(valid), 0).expect("a run");
                let of_this = |spec: &KernelSpec| spec.kernel.file == name;
                let kernels = executor.plan().kernels.iter().filter(|spec| of_this(spec));
                let entries = kernels.map(|spec| spec.kernel.entry.clone()).collect();
                let read = |label| executor.read(label).expect("a result");
                (entries, [read("loss"), read("dy")].concat())
            };
            let ((one, fused), (two, apart)) = (results(true), results(false));
            assert_eq!(one, ["forward_grad"], "{name}");
            assert_eq!(two, ["forward", "grad"], "{name}");
            assert_eq!(fused, apart, "{name} of {classes} on {kind:?}");
            assert!(apart.iter().all(|x| x.is_finite()) && apart[0] != 0.0);
        }
    }
}

/// Batch norm that has taken in the sum with a skip connection is batch norm, then the sum.
#[test]
fn a_fused_skip_is_the_sum() {
    let Some(gpu) = &*PLAIN else { return };
    let rows = 33u32;
    for (channels, relu, train, kind) in [7u32, 8]
        .into_iter()
        .flat_map(|c| [false, true].map(|relu| (c, relu)))
        .flat_map(|(c, relu)| [false, true].map(|train| (c, relu, train)))
        .flat_map(|(c, relu, train)| KINDS.map(|kind| (c, relu, train, kind)))
    {
        let results = |fused: bool| -> Vec<Vec<f32>> {
            let mut g = Graph::new();
            let whole = [rows, channels];
            let [x, skip, u] = ["x", "skip", "u"].map(|label| g.input(label, &whole));
            let [gamma, beta, running_mean, running_var] =
                ["gamma", "beta", "mean", "var"].map(|label| g.input(label, &[channels]));
            let layer = Tensors { gamma, beta, running_mean, running_var };
            let op = BatchNorm { eps: 1e-5, relu: false };
            let g = &mut g;
            let z: Value = match train {
                true => op.train(g, x, gamma, beta).expect("batch norm").y,
                false => op.eval(g, x, &layer).expect("batch norm"),
            };
            // What is placed stays a node of its own.
            if !fused {
                g.place(z, "z", 0);
            }
            let y = match relu {
                true => g.add(AddRelu, &[z, skip]).expect("a sum"),
                false => g.add(Add, &[z, skip]).expect("a sum"),
            };
            let loss = g.add(Upstream(u), &[y]).expect("a loss");
            let grads = g.backward(loss, &[x, gamma, beta, skip]).expect("gradients");
            for (k, value) in grads.into_iter().chain([y]).enumerate() {
                let copy = g.add(Copy, &[value]).expect("a copy");
                g.place(copy, &format!("result {k}"), 0);
            }
            let mut executor = executor(gpu, g, kind);
            let entries = executor.plan().kernels.iter().map(|spec| spec.kernel.entry.as_str());
            let took_in = entries.filter(|entry| entry.ends_with("apply_add")).count();
            assert_eq!(took_in, usize::from(fused), "fused {fused}");
            let mut state = 1u32;
            let mut noise = |count: u32| -> Vec<f32> {
                let mut next = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 23) as f32 - 1.0
                };
                (0..count).map(|_| next()).collect()
            };
            for label in ["x", "skip", "u"] {
                executor.write(label, &noise(rows * channels)).expect("room");
            }
            for label in ["gamma", "beta", "mean"] {
                executor.write(label, &noise(channels)).expect("room");
            }
            executor.write("var", &vec![0.7f32; channels as usize]).expect("room");
            executor.run("run", &StepParameters::rows(rows), 0).expect("a run");
            (0..5).map(|k| executor.read(&format!("result {k}")).expect("a result")).collect()
        };
        for (k, (fused, apart)) in results(true).iter().zip(results(false)).enumerate() {
            let off = worst(fused, &apart);
            assert!(
                off < 2e-6,
                "{channels} channels, relu {relu}, train {train}, {kind:?}, {k}: {off:.1e}"
            );
        }
    }
}

/// A convolution with a bias that has taken in the sum with a skip connection is the convolution, then the sum.
#[test]
fn a_convolution_takes_in_its_skip() {
    let Some(gpu) = &*PLAIN else { return };
    // Taps, stride, channels in and out, and the entry point.
    let cases = [
        (1u32, 1u32, 8u32, 12u32, "linear_skip"),
        (1, 1, 5, 12, "linear_skip_any"),
        (3, 1, 8, 12, "conv_skip"),
        (3, 2, 4, 6, "conv_skip_any"),
        (1, 2, 3, 8, "conv_skip_any"),
    ];
    for ((taps, stride, c_in, c_out, entry), kind) in
        cases.into_iter().flat_map(|case| KINDS.map(|kind| (case, kind)))
    {
        // More of an edge than the kernel needs, so that y can have more pixels than x.
        let pad = taps - 1;
        let out = (5 + 2 * pad - taps) / stride + 1;
        for relu in [false, true] {
            let results = |fused: bool| -> (Vec<String>, Vec<f32>) {
                let mut g = Graph::new();
                let whole = [2, out, out, c_out];
                let x = g.input("x", &[2, 5, 5, c_in]);
                let w = g.input("w", &[c_out, taps, taps, c_in]);
                let (b, skip) = (g.input("b", &[c_out]), g.input("skip", &whole));
                let (kernel, stride, pad) = ([taps; 2], [stride; 2], [pad; 2]);
                let op = Conv2d { kernel, stride, pad, bias: true, relu: false };
                let z = g.add(op, &[x, w, b]).expect("a convolution");
                // What is placed stays a node of its own.
                if !fused {
                    g.place(z, "z", 0);
                }
                let y = match relu {
                    true => g.add(AddRelu, &[z, skip]),
                    false => g.add(Add, &[skip, z]),
                };
                g.place(y.expect("a sum"), "y", 0);
                let mut executor = executor(gpu, &g, kind);
                let mut noise = noise();
                for label in ["x", "w", "b", "skip"] {
                    let buffers = &executor.plan().buffers;
                    let buffer = buffers.iter().find(|buffer| buffer.label == label);
                    let count = buffer.expect("a buffer").bytes / 4;
                    let numbers: Vec<f32> = (0..count).map(|_| noise() as f32).collect();
                    executor.write(label, &numbers).expect("room");
                }
                executor.run("run", &StepParameters::rows(2), 0).expect("a run");
                let kernels = executor.plan().kernels.iter();
                let entries = kernels.map(|spec| spec.kernel.entry.clone()).collect();
                (entries, executor.read("y").expect("y"))
            };
            let ((one, fused), (two, apart)) = (results(true), results(false));
            assert_eq!((one.as_slice(), two.len()), (&[entry.to_owned()][..], 2));
            let off = worst(&fused, &apart);
            assert!(off < 2e-6, "{entry} on {kind:?}, relu {relu}: {off:.1e}");
            assert_eq!(relu, fused.iter().all(|&y| y >= 0.0));
        }
    }
}

/// Sums of parts of many tensors, in as few dispatches as hold them, are the bits of each sum by itself.
#[test]
fn parts_of_many_tensors_are_added_up_together() {
    let Some(gpu) = &*PLAIN else { return };
    // Nine products in two parts each and nine sums over rows in four; one dispatch takes sixteen, or three if it may bind only
    // 300 floats.
    let (count, rows, width, slot) = (18usize, 1024u32, 5u32, 64u64);
    let results = |most: Option<u64>| -> (usize, Vec<f32>) {
        let mut g = Graph::new();
        let (a, b) = (g.input("a", &[rows, width]), g.input("b", &[rows, 7]));
        let mut grads = Vec::new();
        for k in 0..count {
            let scaled = g.add(Scale(k as f32), &[a]).expect("a product");
            let of = Matmul { ta: true, tb: false };
            let grad = match k % 2 {
                0 => product(&mut g, scaled, b, of).expect("a product"),
                _ => sum_rows(&mut g, scaled).expect("sums"),
            };
            grads.push((grad, k as u64 * slot));
        }
        match most {
            Some(most) => {
                let written = parts::place(&mut g, &grads, ["sums", "parts"], most).expect("sums");
                assert_eq!(written.len(), count);
            }
            None => grads.iter().for_each(|&(grad, at)| g.place(grad, "sums", at)),
        }
        let mut executor = executor(gpu, &g, AdapterKind::Cpu);
        let mut noise = noise();
        for (label, columns) in [("a", width), ("b", 7)] {
            let numbers: Vec<f32> = (0..rows * columns).map(|_| noise() as f32).collect();
            executor.write(label, &numbers).expect("room");
        }
        executor.run("run", &StepParameters::rows(rows), 0).expect("a run");
        (executor.plan().launches("run"), executor.read("sums").expect("sums"))
    };
    let (apart, sums) = results(None);
    assert_eq!(apart, 3 * count);
    // All but the first, which is 0 times something.
    assert_eq!(sums.iter().filter(|sum| **sum != 0.0).count(), 8 * 35 + 9 * 5);
    for (most, dispatches) in [(u64::MAX, 2), (300, 6)] {
        assert_eq!(results(Some(most)), (2 * count + dispatches, sums.clone()), "{most}");
    }
}
