//! Masked words: ten losses of an encoder with AdamW, in one batch and in micro-batches, against transformers; and what padding does.

use std::sync::Arc;

use engine::{
    batch::{Batch, Field},
    config::{Discrepancy, Optimizer, Precision, Recipe, Widen},
    device::{Device, StepParameters},
    formats::safetensors::read,
    models::{Bert, bert},
    nn::{self, LENGTHS, Network, PLACES, SEGMENTS, TOKENS, Weights},
    ops::AdapterKind,
    plan::Target,
    step::{LABELS, NO_LABEL, Objective, Program, Saving, Task, Trained, Training, saving},
    train::Session,
    win::surgery,
};
use taper_tests::{
    close::{largest, pairs},
    golden::{Golden, path},
    gpu, nets,
};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// The golden's network, its recipe and its batches.
struct Lesson {
    golden: Golden,
    network: Network,
    task: Task,
    recipe: Recipe,
    batches: Vec<Batch>,
}

impl Lesson {
    fn new() -> Self {
        let golden = Golden::read("train/masked-adamw.run");
        let size = |key: &str| golden.about[key].as_u64().expect("a size") as u32;
        let of = Bert {
            vocabulary: size("vocabulary"),
            hidden: size("hidden"),
            layers: size("layers"),
            heads: size("heads"),
            inner: size("inner"),
            length: size("length"),
            positions: size("positions"),
            places: size("places"),
            init_std: 0.02,
        };
        let number = |key: &str| golden.about["optimizer"][key].as_f64().expect("a number");
        let rows = size("batch") as usize;
        let recipe = Recipe {
            optimizer: Optimizer::AdamW,
            lr: number("lr"),
            beta1: number("beta1"),
            beta2: number("beta2"),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
            ..nets::recipe(rows as u32)
        };
        let batch = |step: usize| {
            let field = |name: &'static str| {
                let array = &golden.tensors[name];
                let each = array.words.len() / array.shape[0] as usize;
                Field::u32(name, array.words[step * each..(step + 1) * each].to_vec())
            };
            let inputs = [TOKENS, SEGMENTS, LENGTHS, PLACES].map(field).into();
            Batch { inputs, targets: vec![field(LABELS)], size: rows, rows }
        };
        let batches = (0..golden.floats("losses").len()).map(batch).collect();
        let task = Task::MaskedWords { vocabulary: of.vocabulary, places: of.places };
        Self { network: bert(&of), golden, task, recipe, batches }
    }

    /// The golden's weights, by our names.
    fn weights(&self, part: &str) -> Weights {
        let file = path(&format!("train/masked-adamw.{part}.safetensors"));
        let (weights, _) = read(&file).unwrap_or_else(|error| panic!("{error}"));
        self.network.from_file(weights)
    }

    fn of<'a>(&'a self, student: &'a Network, objective: Objective) -> Training<'a> {
        let (task, recipe, precision) = (self.task, &self.recipe, Precision::F32);
        Training { student, teacher: None, task, objective, recipe, precision }
    }

    fn program(&self, target: &Target, micro_batches: u32) -> Program {
        let of = self.of(&self.network, Objective::Labels);
        saving(&of, target, Saving { micro_batches, ..Saving::default() }).expect("a plan")
    }

    fn live(&self, step: usize) -> StepParameters {
        let (lr, t) = (self.recipe.lr as f32, (step + 1) as f32);
        StepParameters { step: step as u32, lr, t, ..StepParameters::rows(self.recipe.batch) }
    }
}

#[test]
fn ten_losses_are_transformers() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let (start, end) = (lesson.weights("init"), lesson.weights("final"));
    let wanted = lesson.golden.floats("losses");
    // Sums in another order than PyTorch's make other roundings of the same size.
    let allowed = |key: &str| 8.0 * lesson.golden.about[key].as_f64().expect("an error") as f32;
    for (kind, micro_batches) in KINDS.into_iter().flat_map(|kind| [1, 2, 5].map(|n| (kind, n))) {
        let what = format!("{kind:?} in {micro_batches}");
        let target = Target { kind, ..gpu.target() };
        let mut session =
            Session::new(&gpu, lesson.program(&target, micro_batches)).expect("a session");
        session.load_student(&start).expect("weights");
        session.set_moments(None).expect("moments");
        let mut losses = Vec::new();
        for (step, batch) in lesson.batches.iter().enumerate() {
            session.step(batch, &lesson.live(step), step as u64).expect("a step");
            losses.extend(session.losses(true).expect("losses").into_iter().map(|(_, loss)| loss));
        }
        let off = largest(pairs(&losses, &wanted).map(|(a, b)| (a / b - 1.0).abs())) as f32;
        println!("{what}: losses off by {off:.1e}");
        assert!(off <= allowed("f32_error"), "{what}: {losses:?}, transformers has {wanted:?}");
        let found = session.student().expect("weights");
        for (name, tensor) in &found {
            // Softmax does not feel the keys' bias: its gradient is rounding, which Adam makes steps of.
            let hidden = tensor.data.len() / 3;
            let felt = |k: usize| !name.ends_with("qkv.bias") || !(hidden..2 * hidden).contains(&k);
            let each = tensor.data.iter().zip(&end[name].data).enumerate();
            let off = each.filter(|(k, _)| felt(*k)).map(|(_, (a, b))| f64::from((a - b).abs()));
            let off = largest(off) as f32;
            assert!(off <= allowed("f32_weight_error"), "{what}: {name} is off by {off:.1e}");
        }
    }
}

#[test]
fn scores_are_transformers_and_padding_changes_none() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let weights = lesson.weights("init");
    let batch = &lesson.batches[0];
    let rows = lesson.recipe.batch;
    let scores = |network: &Network, batch: Batch| -> Vec<Vec<f32>> {
        let rows = batch.size as u32;
        let mut session =
            Session::evaluating(&gpu, network, lesson.task, &weights, rows).expect("a session");
        session.logits([Ok(batch)].into_iter()).expect("scores")
    };
    let together = scores(&lesson.network, batch.clone());
    let wanted = lesson.golden.floats("scores");
    let found: Vec<f32> = together.concat();
    let off = largest(pairs(&found, &wanted).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())));
    let allowed = 8.0 * lesson.golden.about["f32_score_error"].as_f64().expect("an error");
    assert!(off <= allowed, "scores off by {off:.1e}");
    for row in 0..rows as usize {
        // By itself, and with other tokens behind its end.
        let mut alone = batch.part(row, 1);
        let length = match batch.field(LENGTHS) {
            Some(engine::batch::Numbers::U32(lengths)) => lengths[row] as usize,
            other => panic!("{other:?}"),
        };
        if let engine::batch::Numbers::U32(tokens) = &mut alone.inputs[0].numbers {
            tokens[length..].fill(1);
        }
        let asked = batch.part(row, 1);
        let Some(engine::batch::Numbers::U32(places)) = asked.field(PLACES) else { panic!() };
        let alone = scores(&lesson.network, alone);
        let words = together[row].len() / places.len();
        for (k, &place) in
            places.iter().enumerate().filter(|(_, place)| (**place as usize) < length)
        {
            let range = k * words..(k + 1) * words;
            let pairs = pairs(&alone[0][range.clone()], &together[row][range]);
            let off = largest(pairs.map(|(a, b)| (a - b).abs()));
            assert!(off <= 1e-5, "row {row}, place {place}: off by {off:.1e}");
        }
    }
}

/// The bridged student, which reads the lifted state in its queries, keys and values and its own on the skip path, answers as the merged one.
#[test]
fn a_merge_of_bridged_encoders_changes_no_score() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let teacher = surgery::widen(&lesson.network, 3, Widen::Mid);
    let bridged = surgery::bridge(&lesson.network, &teacher, false).expect("a bridge");
    let mut weights = nn::fresh(&bridged, 5).expect("weights");
    weights.extend(
        lesson
            .weights("init")
            .into_iter()
            .filter(|(name, tensor)| {
                weights.get(name).is_some_and(|bridged| bridged.shape == tensor.shape)
            })
            .collect::<Vec<_>>(),
    );
    let scale =
        |name: &String| name.contains("qkv.weight") || name.contains("transform.dense.weight");
    for (_, tensor) in weights.iter_mut().filter(|(name, _)| scale(name)) {
        tensor.data.iter_mut().for_each(|w| *w *= 10.0);
    }
    let (merged, folded) = surgery::merge(&bridged, &weights).expect("a merge");
    assert_eq!(merged, lesson.network);
    let scores = |network: &Network, weights: &Weights| -> Vec<f32> {
        let rows = lesson.recipe.batch;
        let mut session =
            Session::evaluating(&gpu, network, lesson.task, weights, rows).expect("a session");
        session.logits(lesson.batches[..1].iter().cloned().map(Ok)).expect("scores").concat()
    };
    let (before, after) = (scores(&bridged, &weights), scores(&merged, &folded));
    let norm: f32 = before.iter().map(|x| x * x).sum();
    let apart: f32 = before.iter().zip(&after).map(|(a, b)| (a - b) * (a - b)).sum();
    assert!((apart / norm).sqrt() <= 1e-5, "{:.1e}", (apart / norm).sqrt());
    let student = scores(&lesson.network, &lesson.weights("init"));
    assert!(
        before.iter().zip(&student).any(|(a, b)| (a - b).abs() > 0.1),
        "the pairs do something"
    );
}

/// A narrow step looks at tokens that are no padding, and at no others.
#[test]
fn an_imitation_counts_tokens() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let teacher = surgery::widen(&lesson.network, 2, Widen::Mid);
    let bridged = surgery::bridge(&lesson.network, &teacher, false).expect("a bridge").prefix(1);
    let objective =
        Objective::Imitate { discrepancy: Discrepancy::Mse, scale: 1.0, trained: Trained::All };
    let of = Training { teacher: Some(&teacher), ..lesson.of(&bridged, objective) };
    let losses = |micro_batches: u32, behind: u32| -> Vec<f32> {
        let saved = Saving { micro_batches, ..Saving::default() };
        let program = saving(&of, &gpu.target(), saved).expect("a plan");
        let mut session = Session::new(&gpu, program).expect("a session");
        session.load_student(&nn::fresh(&bridged, 2).expect("weights")).expect("weights");
        session.load_teacher(&nn::fresh(&teacher, 3).expect("weights")).expect("weights");
        session.set_moments(None).expect("moments");
        for (step, batch) in lesson.batches.iter().take(3).enumerate() {
            let mut batch = batch.clone();
            let lengths = batch.field(LENGTHS).cloned();
            let Some(engine::batch::Numbers::U32(lengths)) = lengths else { panic!() };
            if let engine::batch::Numbers::U32(tokens) = &mut batch.inputs[0].numbers {
                let each = tokens.len() / lengths.len();
                for (row, length) in tokens.chunks_mut(each).zip(lengths) {
                    row[length as usize..].fill(behind);
                }
            }
            session.step(&batch, &lesson.live(step), step as u64).expect("a step");
        }
        session.losses(true).expect("losses").into_iter().map(|(_, loss)| loss).collect()
    };
    let whole = losses(1, 1);
    assert!(whole.iter().all(|loss| loss.is_finite() && *loss > 0.0), "{whole:?}");
    for (parts, behind) in [(1, 2), (5, 1)] {
        let found = losses(parts, behind);
        let off = largest(pairs(&found, &whole).map(|(a, b)| (a / b - 1.0).abs()));
        assert!(off <= 1e-5, "{parts} parts: {found:?} and {whole:?}");
    }
}

#[test]
fn a_batch_without_a_label_loses_nothing() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let mut session = Session::new(&gpu, lesson.program(&gpu.target(), 1)).expect("a session");
    session.load_student(&lesson.weights("init")).expect("weights");
    session.set_moments(None).expect("moments");
    let mut batch = lesson.batches[0].clone();
    if let engine::batch::Numbers::U32(labels) = &mut batch.targets[0].numbers {
        labels.fill(NO_LABEL);
    }
    session.step(&batch, &lesson.live(0), 0).expect("a step");
    assert_eq!(session.losses(true).expect("losses"), [(0, 0.0)]);
}

/// Three steps of a network from these weights; its weights behind them.
fn stepped(gpu: &Arc<dyn Device>, lesson: &Lesson, of: &Training<'_>, parts: u32) -> [Weights; 2] {
    let saved = Saving { micro_batches: parts, ..Saving::default() };
    let program = saving(of, &gpu.target(), saved).expect("a plan");
    let mut session = Session::new(gpu, program).expect("a session");
    let before = nn::fresh(of.student, 2).expect("weights");
    session.load_student(&before).expect("weights");
    if let Some(teacher) = of.teacher {
        session.load_teacher(&nn::fresh(teacher, 3).expect("weights")).expect("weights");
    }
    session.set_moments(None).expect("moments");
    for (step, batch) in lesson.batches.iter().take(3).enumerate() {
        session.step(batch, &lesson.live(step), step as u64).expect("a step");
    }
    [before, session.student().expect("weights")]
}

/// Bit for bit, with weight decay, and all else of its blocks is trained.
#[test]
fn a_narrow_step_trains_no_embeddings() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let teacher = surgery::widen(&lesson.network, 2, Widen::Mid);
    let whole = surgery::bridge(&lesson.network, &teacher, false).expect("a bridge");
    let first = |name: &str| name.contains("layer.0.") || name.starts_with("lift.1.");
    for (blocks, trained, parts) in [
        (1, Trained::Layers, 1),
        (2, Trained::Layers, 2),
        (1, Trained::LastBlock, 1),
        (2, Trained::LastBlock, 1),
        (1, Trained::All, 1),
    ] {
        let student = whole.prefix(blocks);
        let objective = Objective::Imitate { discrepancy: Discrepancy::Mse, scale: 1.0, trained };
        let of = Training { teacher: Some(&teacher), ..lesson.of(&student, objective) };
        let [before, after] = stepped(&gpu, &lesson, &of, parts);
        for (name, tensor) in &before {
            let rests = match trained {
                Trained::All => false,
                Trained::Layers => name.contains("embeddings"),
                Trained::LastBlock => name.contains("embeddings") || blocks == 2 && first(name),
            };
            assert_eq!(tensor.data == after[name].data, rests, "{name} of {blocks}, {trained:?}");
        }
    }
}

/// A teacher is trained with weight decay, and its embeddings stay the first features of what stands behind its projection.
#[test]
fn a_projection_keeps_the_identity_with_which_it_begins() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::new();
    let teacher = surgery::widen(&lesson.network, 2, Widen::Mid);
    for parts in [1, 2] {
        let of = lesson.of(&teacher, Objective::Labels);
        let [before, after] = stepped(&gpu, &lesson, &of, parts);
        for (name, held) in
            [("bert.embeddings_project.weight", 16 * 16), ("bert.embeddings_project.bias", 16)]
        {
            let (old, new) = (&before[name].data, &after[name].data);
            assert_eq!(old.len(), 2 * held);
            assert_eq!(old[..held], new[..held], "{name}");
            let moved = old[held..].iter().zip(&new[held..]).filter(|(a, b)| a != b).count();
            assert_eq!(moved, held, "{name}");
        }
    }
}
