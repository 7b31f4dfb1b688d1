//! Whole training steps, by the way that production takes: ten losses against PyTorch, the same bits twice, two devices at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    thread,
    time::Instant,
};

use engine::{
    batch::Batch,
    config::{
        Activation, Discrepancy, Mlp, Model, Optimizer, Precision, Recipe, Resnet, Stem,
        Target as Follows, Widen, Win,
    },
    device::{Device, StepParameters},
    formats::safetensors::read,
    graph::Graph,
    models,
    nn::{Extent, FileLayout, Network, Tensor, Weights},
    ops::peak::Peak,
    plan::{Target, compile},
    ranks::shares,
    step::{ACCUMULATE, APPLY, Objective, Program, STEP, Saving, Task, Training, saving},
    train::{LossScale, Session, Sums},
    win::{
        algorithm::StageKind,
        networks::{Networks, objective},
        surgery,
    },
};
use serde_json::Value as Json;
use taper_tests::{
    Feature,
    close::{largest, pairs, rms},
    golden::{Golden, path},
    gpu, gpu_that_has, gpus,
    nets::recipe,
};

/// The device that the tests share, as compiling its kernels is most of the work.
static PLAIN: LazyLock<Option<Arc<dyn Device>>> = LazyLock::new(gpu);

/// The device of all that is in mixed precision.
static MIXED: LazyLock<Option<Arc<dyn Device>>> = LazyLock::new(|| gpu_that_has(Feature::F16));

/// The device for steps of a precision; `None`, said on stderr, where there is none.
fn device(precision: Precision) -> Option<&'static Arc<dyn Device>> {
    let device = match precision {
        Precision::F32 => PLAIN.as_ref(),
        Precision::Mixed => MIXED.as_ref(),
    };
    if device.is_none() {
        eprintln!("skipped: no adapter for {precision:?}");
    }
    device
}

/// A golden of `golden/train`, with the network that its weights say it is.
struct Lesson {
    network: Network,
    /// Who drives the steps, where it is not the labels alone.
    teacher: Option<(Network, Weights)>,
    objective: Objective,
    recipe: Recipe,
    start: Weights,
    end: Weights,
    batches: Vec<Batch>,
    losses: Vec<f32>,
    /// Parts of a step's batch that PyTorch ran one by one.
    micro_batches: u32,
    precision: Precision,
    /// What PyTorch itself is off by in f32: (relative, of a loss), (absolute, of a weight).
    rounding: (f32, f32),
}

fn lesson(case: &str) -> Lesson {
    let weights = |part: &str| {
        let file = path(&format!("train/{case}.{part}.safetensors"));
        read(&file).unwrap_or_else(|error| panic!("{error}")).0
    };
    let golden = Golden::read(&format!("train/{case}.run"));
    let start = weights("init");
    let images = &golden.tensors["images"];
    let [steps, batch] = [0, 1].map(|axis| images.shape[axis] as usize);
    let input = match images.shape[2..] {
        [h, w, c] => Extent::Map(h, w, c),
        ref flat => Extent::Flat(flat[0]),
    };
    let Lecture { network, teacher, objective } = if golden.about["task"].is_null() {
        let network = models::infer(&start, input, Activation::Relu).expect("a network");
        Lecture { network, teacher: None, objective: Objective::Labels }
    } else {
        lecture(&golden, input)
    };
    let [start, end] = [start, weights("final")].map(|file| network.from_file(file));
    for weights in [&start, &end] {
        models::check(&network, weights).expect("the same network");
    }

    let number = |key: &str| golden.about["optimizer"][key].as_f64();
    let adam = golden.about["optimizer"]["op"] == "adam";
    let recipe = Recipe {
        optimizer: if adam { Optimizer::Adam } else { Optimizer::Sgd },
        lr: number("lr").expect("a rate"),
        momentum: number("momentum").unwrap_or(0.0),
        nesterov: golden.about["optimizer"]["nesterov"] == Json::Bool(true),
        weight_decay: number("weight_decay").expect("a weight decay"),
        ..recipe(batch as u32)
    };
    let (pixels, labels) = (images.floats(), &golden.tensors["labels"].words);
    let batches = pixels.chunks_exact(pixels.len() / steps).zip(labels.chunks_exact(batch));
    let batches = batches
        .map(|(images, labels)| taper_tests::nets::pictures(images.to_vec(), labels.to_vec()));
    let rounding = |key: &str| golden.about[key].as_f64().expect("an error") as f32;
    Lesson {
        network,
        teacher,
        objective,
        recipe,
        start,
        end,
        batches: batches.collect(),
        losses: golden.floats("losses"),
        micro_batches: golden.about["micro_batches"].as_u64().unwrap_or(1) as u32,
        precision: Precision::F32,
        rounding: (rounding("f32_error"), rounding("f32_weight_error")),
    }
}

/// What a stage that a teacher drives trains, and what for.
struct Lecture {
    network: Network,
    teacher: Option<(Network, Weights)>,
    objective: Objective,
}

/// A golden of `golden/taught.py`, by the functions that a run asks for the network and the objective of its stages.
fn lecture(golden: &Golden, input: Extent) -> Lecture {
    let about = &golden.about;
    let number = |key: &str| about[key].as_f64().unwrap_or_else(|| panic!("no number {key}"));
    let mlp = Mlp { hidden: vec![6; 4], blocks: vec![2, 2], ..Mlp::default() };
    let resnet = Resnet { base: 3, stem: Stem::Cifar, blocks: vec![1, 2], ..Resnet::default() };
    let (student, factor) = match about["net"]["kind"].as_str() {
        Some("mlp") => (models::network(&Model::Mlp(mlp), input, 7), 3),
        _ => (models::network(&Model::Resnet(resnet), input, 10), 2),
    };
    let teacher = surgery::widen(&student, factor, Widen::Mid);
    let file = path(&format!("train/{}", about["teacher_file"].as_str().expect("a file")));
    let (weights, _) = read(&file).unwrap_or_else(|error| panic!("{error}"));
    let weights = teacher.from_file(weights);
    models::check(&teacher, &weights).expect("the student widened");

    let bridges = about["net"]["lifts"].as_array().is_some_and(|lifts| !lifts.is_empty());
    let bridged = surgery::bridge(&student, &teacher, false).expect("a bridge");
    let discrepancy = match about["discrepancy"].as_str() {
        Some("mse") => Discrepancy::Mse,
        Some("kl") => Discrepancy::Kl,
        Some("output") => Discrepancy::Output,
        Some("relative_mse+output") => Discrepancy::RelativeMseOutput,
        _ => Discrepancy::RelativeMse,
    };
    let freeze = about["freeze"] == Json::Bool(true);
    let output_weight = about["output_weight"].as_f64().unwrap_or(1.0);
    let win = Win { discrepancy, output_weight, freeze, ..Win::default() };
    let block = about["block"].as_u64().map(|block| block as usize);
    let (kind, scale) = match (about["task"].as_str(), block) {
        (Some("narrow"), Some(block)) => (StageKind::Narrow { block }, number("scale") as f32),
        (Some("hint"), Some(blocks)) => (StageKind::Hint { blocks }, number("scale") as f32),
        _ if bridges => {
            let (alpha, temperature) = (number("alpha"), number("temperature"));
            (StageKind::Tune { target: Follows::Teacher, alpha, temperature }, 1.0)
        }
        _ => {
            let (alpha, temperature) = (number("alpha"), number("temperature"));
            (StageKind::Distill { alpha, temperature }, 1.0)
        }
    };
    let bridged = bridges.then_some(&bridged);
    let networks = Networks { student: &student, teacher: Some(&teacher), bridged };
    let network = networks.trained(kind).expect("a network");
    Lecture { network, teacher: Some((teacher, weights)), objective: objective(kind, &win, scale) }
}

impl Lesson {
    fn program(&self, target: &Target) -> Program {
        self.saving(target, Saving { micro_batches: self.micro_batches, ..Saving::default() })
    }

    fn saving(&self, target: &Target, how: Saving) -> Program {
        let (student, recipe, objective) = (&self.network, &self.recipe, self.objective);
        let (precision, teacher) = (self.precision, self.teacher.as_ref().map(|(net, _)| net));
        let of = Training { student, teacher, task: Task::Classify, objective, recipe, precision };
        saving(&of, target, how).expect("a plan")
    }

    /// The losses of some steps, and the weights after them.
    fn run(&self, gpu: &Arc<dyn Device>, program: Program, steps: usize) -> (Vec<f32>, Weights) {
        let mut session = Session::new(gpu, program).expect("the device holds it");
        session.load_student(&self.start).expect("weights");
        if let Some((_, weights)) = &self.teacher {
            session.load_teacher(weights).expect("weights");
        }
        session.set_moments(None).expect("moments");
        session.set_loss_scale(None).expect("a scale");
        for (step, batch) in self.batches[..steps].iter().enumerate() {
            let live = StepParameters {
                step: step as u32,
                lr: self.recipe.lr as f32,
                t: (step + 1) as f32,
                ..StepParameters::rows(self.recipe.batch)
            };
            session.step(batch, &live, step as u64).expect("a step");
        }
        let losses = session.losses(true).expect("losses");
        assert!(losses.iter().map(|l| l.0).eq(0..steps as u64), "in their order");
        (losses.into_iter().map(|l| l.1).collect(), session.student().expect("weights"))
    }

    fn compare_losses(&self, losses: &[f32], allowed: f32, on: &str) {
        let off = largest(pairs(losses, &self.losses).map(|(a, b)| (a / b - 1.0).abs())) as f32;
        println!("{on}: losses off by {off:.1e} of {allowed:.1e}");
        assert!(off <= allowed, "{on}: {losses:?}, PyTorch has {:?}", self.losses);
    }

    fn compare(&self, (losses, weights): &(Vec<f32>, Weights), on: &str) {
        // Sums in another order than PyTorch's make other roundings of the same size.
        self.compare_losses(losses, 8.0 * self.rounding.0, on);
        let mut most = (0.0, "");
        for (name, wanted) in &self.end {
            let found = &weights[name];
            assert_eq!(found.shape, wanted.shape, "{name}");
            for (a, b) in found.data.iter().zip(&wanted.data) {
                let off = (a - b).abs();
                if off.is_nan() || off > most.0 {
                    most = (off, name);
                }
            }
        }
        let allowed = 8.0 * self.rounding.1;
        println!("{on}: weights off by {:.1e} of {allowed:.1e}", most.0);
        assert!(most.0 <= allowed, "{on}: {} is off by {:.1e}", most.1, most.0);
    }
}

/// Ten steps by both kinds of kernels.
fn ten_losses(case: &str) {
    let Some(gpu) = &*PLAIN else { return };
    let lesson = lesson(case);
    for kind in [engine::ops::AdapterKind::Cpu, engine::ops::AdapterKind::Gpu] {
        let program = lesson.program(&Target { kind, ..gpu.target() });
        let found = lesson.run(gpu, program, lesson.batches.len());
        lesson.compare(&found, &format!("{case}, {kind:?}"));
    }
}

#[test]
fn mlp_with_sgd() {
    ten_losses("mlp-sgd");
}

#[test]
fn mlp_with_adam() {
    ten_losses("mlp-adam");
}

/// The lift of block 2 and all that stands before it, by the squared error over the variance of the target.
#[test]
fn a_narrow_step_of_an_mlp() {
    ten_losses("mlp-narrow");
}

#[test]
fn a_narrow_step_that_leaves_the_earlier_blocks_as_they_are() {
    ten_losses("mlp-narrow-freeze");
    ten_losses("resnet-narrow-freeze");
}

#[test]
fn a_narrow_step_by_kullback_and_leibler() {
    ten_losses("mlp-narrow-kl");
}

/// Gradients pass through what of the teacher is behind the imitated block: a block and a head, a stage with batch norms, the head alone.
#[test]
fn a_narrow_step_by_what_the_rest_of_the_teacher_makes_of_it() {
    ten_losses("mlp-narrow-output");
    ten_losses("mlp-narrow-output-last");
    ten_losses("resnet-narrow-output");
}

#[test]
fn a_narrow_step_by_the_squared_error_and_the_outputs() {
    ten_losses("mlp-narrow-both");
}

/// Of a student that is imitated to its last block, the outputs are those of its teacher's head: the discrepancy is what distillation of the
/// whole network has, and that of a student which is its teacher is nothing.
#[test]
fn the_discrepancy_of_outputs_is_the_divergence_of_the_logits() {
    let Some(gpu) = &*PLAIN else { return };
    let lesson = lesson("mlp-narrow-output-last");
    let (teacher, weights) = lesson.teacher.as_ref().expect("a teacher");
    let recipe = Recipe { lr: 0.0, weight_decay: 0.0, momentum: 0.0, ..lesson.recipe.clone() };
    let one_step = |student: &Network, objective, of: &Weights| {
        let (task, precision, teacher) = (Task::Classify, Precision::F32, Some(teacher));
        let of_step = Training { student, teacher, task, objective, recipe: &recipe, precision };
        let program = saving(&of_step, &gpu.target(), Saving::default()).expect("a plan");
        let mut session = Session::new(gpu, program).expect("the device holds it");
        session.load_student(of).expect("weights");
        session.load_teacher(weights).expect("weights");
        session.set_moments(None).expect("moments");
        let live = StepParameters { t: 1.0, ..StepParameters::rows(recipe.batch) };
        session.step(&lesson.batches[0], &live, 0).expect("a step");
        session.losses(true).expect("losses")[0].1
    };
    // The student with the teacher's head on its lifted state.
    let mut whole = lesson.network.clone();
    whole.head = teacher.head.clone();
    let mut of_whole = lesson.start.clone();
    let head = weights.iter().filter(|(name, _)| !lesson.start.contains_key(*name));
    of_whole.extend(head.map(|(name, tensor)| (name.clone(), tensor.clone())));
    of_whole.retain(|name, _| {
        whole.shapes().expect("shapes").params.iter().any(|spec| spec.name == *name)
    });
    let distill = Objective::Distill { alpha: 1.0, temperature: 1.0 };
    let [by_blocks, by_logits] = [
        one_step(&lesson.network, lesson.objective, &lesson.start),
        one_step(&whole, distill, &of_whole),
    ];
    assert!(
        by_blocks > 0.01 && (by_blocks / by_logits - 1.0).abs() < 1e-5,
        "{by_blocks} {by_logits}"
    );
    let prefix = teacher.prefix(teacher.blocks.len());
    let same = one_step(&prefix, lesson.objective, weights);
    assert!(same.abs() < 1e-6, "{same}");
}

#[test]
fn a_narrow_step_of_a_resnet() {
    ten_losses("resnet-narrow");
}

/// FitNets' regressor is trained with the blocks before it.
#[test]
fn hints() {
    ten_losses("mlp-hint");
    ten_losses("resnet-hint");
}

#[test]
fn knowledge_distillation() {
    ten_losses("mlp-kd");
    ten_losses("resnet-kd");
}

/// S̄ with its pairs, on the teacher's logits alone.
#[test]
fn tuning_on_the_teachers_logits() {
    ten_losses("mlp-tune");
}

/// The same with a share of the labels, at another temperature.
#[test]
fn tuning_on_labels_and_the_teachers_logits() {
    ten_losses("mlp-tune-mixed");
}

/// What PyTorch's own mixed precision is off by, in a golden of `golden/mixed.py`: a loss in ten steps, and every tensor in the first one. Both
/// of us round at the same places, but for gradients of weights, which stay f32 here: twice as far is another order of the same roundings.
fn mixed(case: &str) {
    let Some(gpu) = device(Precision::Mixed) else { return };
    let golden = Golden::read(&format!("train/{case}.mixed"));
    let error = |key: &str| golden.about[key].as_f64().expect("an error") as f32;
    let of_tensor = golden.about["weight_error"].as_object().expect("an error a tensor");
    let of_tensor: BTreeMap<&String, f64> =
        of_tensor.iter().map(|(name, of)| (name, of.as_f64().expect("an error"))).collect();
    let mean = of_tensor.values().sum::<f64>() / of_tensor.len() as f64;
    let mut lesson = lesson(case);
    lesson.precision = Precision::Mixed;
    let of_losses = 2.0 * error("loss_error");
    assert!(of_losses < error("untrained") / 1.5, "{case}: untrained weights would pass");
    for kind in [engine::ops::AdapterKind::Cpu, engine::ops::AdapterKind::Gpu] {
        let on = format!("mixed {case}, {kind:?}");
        let target = Target { kind, ..gpu.target() };
        let (losses, _) = lesson.run(gpu, lesson.program(&target), lesson.batches.len());
        lesson.compare_losses(&losses, of_losses, &on);
        let (_, after) = lesson.run(gpu, lesson.program(&target), 1);
        let mut shares = Vec::new();
        for (name, before) in &lesson.start {
            let Some(&of_pytorch) = of_tensor.get(name) else {
                assert!(name.ends_with("num_batches_tracked"), "{case}: no golden of {name}");
                continue;
            };
            // As torch saves it.
            let layout = FileLayout::of_rank(before.shape.len());
            let shape = layout.there(&before.shape);
            let first = Tensor::new(shape, golden.floats(&format!("first.{name}")));
            let first = layout.read(first);
            let moved =
                |to: &[f32]| pairs(to, &before.data).map(|(a, b)| a - b).collect::<Vec<_>>();
            let (found, wanted) = (moved(&after[name].data), moved(&first.data));
            let off =
                rms(pairs(&found, &wanted).map(|(a, b)| a - b).collect::<Vec<_>>().into_iter());
            let off = off / rms(wanted.into_iter());
            // A tensor that rounds well by chance, or is of a few numbers, is as far off as the others.
            let allowed = 2.0 * of_pytorch.max(mean);
            assert!(allowed < 0.7, "{case}: an untrained {name} would nearly pass");
            assert!(
                off <= allowed,
                "{on}: the step of {name} is off by {off:.2}, {allowed:.2} allowed"
            );
            shares.push(off / allowed);
        }
        println!("{on}: steps off by {:.2} of what is allowed", largest(shares));
    }
}

#[test]
fn mixed_mlp_with_sgd() {
    mixed("mlp-sgd");
}

#[test]
fn mixed_mlp_with_adam() {
    mixed("mlp-adam");
}

#[test]
fn mixed_bottleneck_resnet_with_batch_norm() {
    mixed("resnet-sgd");
}

/// Batch norm's running statistics are among the weights.
#[test]
fn bottleneck_resnet_with_batch_norm() {
    ten_losses("resnet-sgd");
}

/// A network without batch norm does not know how its batch was cut, not even where the last part is shorter: PyTorch's losses are those
/// of the whole batch of nine.
#[test]
fn an_mlp_in_micro_batches() {
    let Some(gpu) = &*PLAIN else { return };
    for case in ["mlp-sgd", "mlp-adam"] {
        let lesson = lesson(case);
        for (parts, rows) in [(2, 5), (3, 3), (9, 1)] {
            let program =
                lesson.saving(&gpu.target(), Saving { micro_batches: parts, ..Saving::default() });
            assert_eq!((program.micro_batches, program.rows), (parts, rows));
            assert_eq!(program.plan.launches(STEP), 0);
            assert!(program.plan.launches(ACCUMULATE) > program.plan.launches(APPLY));
            let found = lesson.run(gpu, program, lesson.batches.len());
            lesson.compare(&found, &format!("{case} in {parts}"));
        }
    }
}

/// A step may end in a program of its own although its batch runs at once, and to the same bits: once its one part is added to nothing.
#[test]
fn a_step_apart_is_the_step() {
    let Some(gpu) = &*PLAIN else { return };
    for case in ["mlp-sgd", "mlp-adam", "resnet-sgd"] {
        let lesson = lesson(case);
        let apart = lesson.saving(&gpu.target(), Saving { apart: true, ..Saving::default() });
        assert_eq!((apart.micro_batches, apart.plan.launches(STEP)), (1, 0));
        let steps = lesson.batches.len();
        let one = lesson.run(gpu, lesson.program(&gpu.target()), steps);
        let (losses, weights) = lesson.run(gpu, apart, steps);
        assert_eq!(bits(&losses), bits(&one.0), "{case}");
        for (name, tensor) in weights {
            assert_eq!(bits(&tensor.data), bits(&one.1[&name].data), "{case}: {name}");
        }
    }
}

/// Two sessions have a slice of each batch, add up what the other one has, and are where one session is that has all of it.
#[test]
fn slices_of_a_batch_add_up_to_the_step() {
    let Some(gpu) = &*PLAIN else { return };
    for case in ["mlp-sgd", "mlp-adam"] {
        let lesson = lesson(case);
        let how = Saving { micro_batches: 3, apart: true, ..Saving::default() };
        let program = lesson.saving(&gpu.target(), how);
        let whole = lesson.run(gpu, program.clone(), lesson.batches.len());
        let mut ranks: Vec<Session> = (0..2)
            .map(|_| {
                let mut session = Session::new(gpu, program.clone()).expect("a session");
                session.load_student(&lesson.start).expect("weights");
                session.set_moments(None).expect("moments");
                session.set_loss_scale(None).expect("a scale");
                session
            })
            .collect();
        for (step, batch) in lesson.batches.iter().enumerate() {
            let live = StepParameters {
                step: step as u32,
                lr: lesson.recipe.lr as f32,
                t: (step + 1) as f32,
                ..StepParameters::rows(lesson.recipe.batch)
            };
            // Two thirds and one third of nine inputs.
            let mut sums: Option<Sums> = None;
            for (rank, (rows, first)) in ranks.iter_mut().zip([(0..6, 0), (6..9, 2)]) {
                let slice = batch.part(rows.start, rows.len());
                rank.accumulate(&slice, &live, first).expect("added up");
                let theirs = rank.sums().expect("sums");
                sums = Some(match sums {
                    None => theirs,
                    Some(mut sums) => {
                        let add = |a: &mut Vec<f32>, b: &[f32]| {
                            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                        };
                        add(&mut sums.gradients, &theirs.gradients);
                        add(&mut sums.metrics, &theirs.metrics);
                        sums
                    }
                });
            }
            let sums = sums.expect("two ranks");
            for rank in &mut ranks {
                rank.set_sums(&sums).expect("the same plan");
                rank.apply(&live, step as u64).expect("a step");
            }
        }
        let mut found = ranks.iter_mut().map(|rank| {
            let losses = rank.losses(true).expect("losses").into_iter().map(|(_, loss)| loss);
            (losses.collect::<Vec<f32>>(), rank.student().expect("weights"))
        });
        let (one, other) = (found.next().expect("one"), found.next().expect("another"));
        assert_eq!(one, other, "{case}: the ranks");
        lesson.compare(&one, &format!("{case} in two slices"));
        let off = pairs(&one.0, &whole.0).map(|(a, b)| (a / b - 1.0).abs());
        assert!(largest(off) <= 1e-6, "{case}: {:?} and {:?}", one.0, whole.0);
    }
}

/// Batch norm normalises by the micro-batch and moves its running statistics once for each, as PyTorch's does.
#[test]
fn batch_norm_in_micro_batches() {
    ten_losses("resnet-micro");
}

/// The same where each micro-batch is the share of another rank, which begins with the common running statistics: what the shares come to has PyTorch's losses,
/// weights and running statistics.
#[test]
fn batch_norm_in_shares() {
    let Some(gpu) = &*PLAIN else { return };
    let lesson = lesson("resnet-micro");
    let how = Saving { micro_batches: 2, apart: true, ..Saving::default() };
    let program = lesson.saving(&gpu.target(), how);
    let rows = program.rows as usize;
    let mut ranks = [(); 2].map(|()| Session::new(gpu, program.clone()).expect("a session"));
    for rank in &mut ranks {
        rank.set_moments(None).expect("moments");
        rank.set_loss_scale(None).expect("a scale");
    }
    let mut common = lesson.start.clone();
    for (step, batch) in lesson.batches.iter().enumerate() {
        let live = StepParameters {
            step: step as u32,
            lr: lesson.recipe.lr as f32,
            t: (step + 1) as f32,
            ..StepParameters::rows(lesson.recipe.batch)
        };
        let mut found = ranks.iter_mut().enumerate().map(|(k, rank)| {
            rank.load_student(&common).expect("weights");
            rank.accumulate(&batch.part(k * rows, rows), &live, k as u32).expect("added up");
            (rank.sums().expect("sums"), rank.student().expect("weights"))
        });
        let ((mut sums, mut left), (theirs, of_second)) =
            (found.next().expect("one"), found.next().expect("another"));
        shares::add(&mut sums.gradients, &theirs.gradients);
        shares::add(&mut sums.metrics, &theirs.metrics);
        for (name, tensor) in left.iter_mut().filter(|(name, _)| name.contains("running")) {
            let (began, theirs) = (&common[name].data, &of_second[name].data);
            shares::move_running(&mut tensor.data, began, theirs, 1);
        }
        let [first, _] = &mut ranks;
        first.load_student(&left).expect("weights");
        first.set_sums(&sums).expect("the same plan");
        first.apply(&live, step as u64).expect("a step");
        common = first.student().expect("weights");
    }
    let losses = ranks[0].losses(true).expect("losses").into_iter().map(|(_, loss)| loss);
    lesson.compare(&(losses.collect(), common), "resnet-micro in two shares");
}

fn bits(data: &[f32]) -> Vec<u32> {
    data.iter().map(|x| x.to_bits()).collect()
}

/// The bits of weights by name, and of the moments.
type Bits = (Vec<(String, Vec<u32>)>, [Vec<u32>; 2]);

fn bits_of(session: &Session) -> Bits {
    let weights = session.student().expect("weights").into_iter();
    let moments = session.moments().expect("moments");
    (weights.map(|(name, tensor)| (name, bits(&tensor.data))).collect(), moments.map(|m| bits(&m)))
}

impl Lesson {
    /// A session before its first step, its loss scaled by `scale`.
    fn session(&self, gpu: &Arc<dyn Device>, scale: LossScale) -> Session {
        let mut session = Session::new(gpu, self.program(&gpu.target())).expect("it fits");
        session.load_student(&self.start).expect("weights");
        session.set_moments(None).expect("moments");
        session.set_loss_scale(Some(scale)).expect("a scale");
        session
    }

    /// Step `t`, from 1, on the first batch; what loss scaling knows after it.
    fn step(&self, session: &mut Session, t: u32) -> LossScale {
        let lr = self.recipe.lr as f32;
        let live = StepParameters {
            step: t - 1,
            lr,
            t: t as f32,
            ..StepParameters::rows(self.recipe.batch)
        };
        session.step(&self.batches[0], &live, t.into()).expect("a step");
        let losses = session.losses(true).expect("losses");
        assert!(losses.iter().all(|(_, loss)| loss.is_finite()), "the scale is no part of it");
        let known = session.loss_scale().expect("the device").expect("a scale");
        let told = session.scaling().expect("metrics");
        assert_eq!((told.scale as f32, told.skipped), (known.scale, known.skipped.into()));
        known
    }
}

/// As GradScaler of PyTorch: a step whose gradients overflow is skipped and halves the scale, until they fit. Nothing but the scale has
/// changed then, not even Adam's count of steps; and a power of two more or less in the scale changes no bit of a step.
#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    let Some(gpu) = device(Precision::Mixed) else { return };
    for (case, micro_batches, clip_norm) in [
        ("mlp-sgd", 1, None),
        ("mlp-sgd", 3, Some(0.5)),
        ("mlp-adam", 1, Some(0.5)),
        ("mlp-adam", 3, None),
    ] {
        let mut lesson = lesson(case);
        (lesson.precision, lesson.micro_batches) = (Precision::Mixed, micro_batches);
        lesson.recipe.clip_norm = clip_norm;
        let first = LossScale { scale: 2f32.powi(24), taken: 7, skipped: 0 };
        let mut session = lesson.session(gpu, first);
        let (mut last, mut t) = (first, 0);
        let before = bits_of(&session);
        loop {
            t += 1;
            let now = lesson.step(&mut session, t);
            if now.skipped == last.skipped {
                assert_eq!(now, LossScale { taken: 1, ..last }, "it was taken");
                break;
            }
            let wanted = LossScale { scale: last.scale / 2.0, taken: 0, skipped: t };
            assert_eq!(now, wanted, "{case}: step {t} was skipped");
            assert!(bits_of(&session) == before, "{case}: a skipped step changed something");
            last = now;
        }
        assert!(t > 1, "{case}: nothing overflowed");
        println!("{case}: {} steps skipped, down to {}", t - 1, last.scale);
        for scale in [last.scale, last.scale / 4.0] {
            let mut other = lesson.session(gpu, LossScale { scale, taken: 0, skipped: 0 });
            lesson.step(&mut other, 1);
            assert!(bits_of(&other) == bits_of(&session), "{case}: other bits at {scale}");
        }
    }
}

/// After 2000 steps that were taken the scale doubles, unless it would be infinite.
#[test]
fn the_scale_grows_after_two_thousand_steps() {
    let Some(gpu) = device(Precision::Mixed) else { return };
    let mut lesson = lesson("mlp-sgd");
    lesson.precision = Precision::Mixed;
    for (taken, scale, wanted) in [(1998, 1024.0, (1999, 1024.0)), (1999, 1024.0, (0, 2048.0))] {
        let mut session = lesson.session(gpu, LossScale { scale, taken, skipped: 3 });
        let now = lesson.step(&mut session, 4);
        assert_eq!(now, LossScale { scale: wanted.1, taken: wanted.0, skipped: 3 });
    }
}

/// A browser without `shader-f16`, or a driver.
#[test]
fn mixed_precision_needs_f16() {
    if PLAIN.is_none() {
        return;
    }
    let gpu =
        taper_gpu::open("auto", taper_gpu::Options { web_limits: true, ..Default::default() })
            .expect("an adapter");
    let mut lesson = lesson("mlp-sgd");
    lesson.precision = Precision::Mixed;
    let error = Session::new(&gpu, lesson.program(&gpu.target())).expect_err("no f16").to_string();
    assert!(error.contains("has no shader-f16, which precision = \"mixed\" needs"), "{error}");
}

/// Activations that are made anew are those that were not kept, to the bit, and batch norm's running statistics move once.
#[test]
fn recomputed_activations_change_no_bit() {
    let mut lesson = lesson("resnet-sgd");
    for (micro_batches, precision) in
        [(1, Precision::F32), (2, Precision::F32), (2, Precision::Mixed)]
    {
        let Some(gpu) = device(precision) else { continue };
        lesson.precision = precision;
        let run = |recompute| {
            let how = Saving { micro_batches, recompute, apart: false };
            let program = lesson.saving(&gpu.target(), how);
            let (live, launches) = (
                program.plan.live_bytes(),
                program.plan.programs.values().map(Vec::len).sum::<usize>(),
            );
            (lesson.run(gpu, program, 5), live, launches)
        };
        let ((kept, most, few), (anew, less, more)) = (run(false), run(true));
        assert!(kept == anew, "in {micro_batches}: other bits");
        assert!(
            less < most && few < more,
            "{most} bytes, then {less}; {few} launches, then {more}"
        );
    }
}

#[test]
fn the_same_bits_twice() {
    for (case, precision) in [
        ("mlp-adam", Precision::F32),
        ("resnet-sgd", Precision::F32),
        ("resnet-sgd", Precision::Mixed),
    ] {
        let Some(gpu) = device(precision) else { continue };
        let lesson = Lesson { precision, ..lesson(case) };
        let run = || {
            let (losses, weights) = lesson.run(gpu, lesson.program(&gpu.target()), 5);
            let weights = weights.into_iter().map(|(name, t)| (name, bits(&t.data)));
            (bits(&losses), weights.collect::<Vec<_>>())
        };
        assert!(run() == run(), "{case} ends in other bits");
    }
}

/// Two adapters at once, lavapipe by Vulkan and by GL here; where there is one, two devices of it. An MLP, as software GL takes
/// minutes to compile the large tiles of a convolution.
#[test]
fn two_devices_at_once() {
    let mut pair = gpus();
    let Some(first) = pair.first().cloned() else { return };
    pair.truncate(2);
    if pair.len() < 2 {
        let index = first.adapter().index.to_string();
        pair.push(taper_gpu::open(&index, Default::default()).expect("it opened before"));
        println!("two devices of one adapter");
    } else {
        println!("two adapters");
    }
    let lesson = lesson("mlp-sgd");
    thread::scope(|scope| {
        for (k, gpu) in pair.iter().enumerate() {
            let lesson = &lesson;
            scope.spawn(move || {
                let on = format!("device {k}: {} ({})", gpu.adapter().name, gpu.adapter().backend);
                println!("{on}");
                let program = lesson.program(&gpu.target());
                let found = lesson.run(gpu, program, lesson.batches.len());
                lesson.compare(&found, &on);
            });
        }
    });
}

/// Who waits for a step has its loss, though other threads poll the same device and may fetch what it waits for.
#[test]
fn losses_are_there_though_others_poll_the_same_device() {
    let Some(gpu) = &*PLAIN else { return };
    let lesson = lesson("mlp-sgd");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut session =
                    Session::new(gpu, lesson.program(&gpu.target())).expect("it fits");
                session.load_student(&lesson.start).expect("weights");
                session.set_moments(None).expect("moments");
                for t in 1..=200 {
                    let live = StepParameters {
                        step: t - 1,
                        lr: 1e-3,
                        t: t as f32,
                        ..StepParameters::rows(lesson.recipe.batch)
                    };
                    session.step(&lesson.batches[0], &live, t.into()).expect("a step");
                    let losses = session.losses(true).expect("losses");
                    let tags: Vec<u64> = losses.iter().map(|(tag, _)| *tag).collect();
                    assert_eq!(tags, [u64::from(t)]);
                }
            });
        }
    });
}

/// A GL driver computes within the submit, and wgpu panics in a thread that has waited six seconds for the context: nobody waits there, and
/// those who wait their turn get it, however long it takes.
#[test]
fn threads_that_share_a_gl_device_wait_their_turn() {
    let Some(gpu) = gpus().into_iter().find(|gpu| gpu.adapter().is_gl()) else {
        eprintln!("skipped: there is no OpenGL driver");
        return;
    };
    let compute = |rounds: u32| {
        let mut graph = Graph::new();
        let y = graph.add(Peak { invocations: 4096, rounds }, &[]).expect("multiply-adds");
        graph.place(y, "y", 0);
        let plan = compile(&[("run", &graph)], &gpu.target()).expect("a plan");
        let mut executor = Arc::clone(&gpu).prepare(plan).expect("an executor");
        let begun = Instant::now();
        executor.run("run", &StepParameters::rows(0), 0).expect("run");
        let y = executor.read("y").expect("read");
        // v ← 0.75 v + 0.75 goes to 3; y is the sum of three.
        assert!(y.iter().all(|y| (y - 9.0).abs() < 1e-3));
        begun.elapsed()
    };
    compute(64);
    let second = 256.0 / compute(256).as_secs_f64();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| compute((1.5 * second) as u32));
        }
    });
    println!("six threads had their turns in {:?}", begun.elapsed());
}
