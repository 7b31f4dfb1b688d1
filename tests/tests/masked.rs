//! Encoders on text: ten losses with AdamW, in one batch and in micro-batches, against transformers, of masked words, pre-training and spans, by
//! labels, by a teacher, and with dropout; and what padding does.

use std::{ops::Range, sync::Arc};

use engine::{
    batch::{Batch, Field, Numbers},
    config::{Discrepancy, Optimizer, Precision, Recipe, Widen},
    device::{Device, StepParameters},
    formats::safetensors::read,
    graph::Graph,
    models::{Bert, BertHead, bert},
    nn::{self, LENGTHS, Network, PLACES, SEGMENTS, TOKENS, Weights},
    ops::{AdapterKind, embedding::Embedding},
    plan::{Target, compile},
    profile::{Job, Peaks, Profile},
    random::Stream,
    step::{
        ENDS, EVALUATE, HITS, LABELS, LOSSES, NEXT, NO_LABEL, Objective, Program, STARTS, Saving,
        Task, Trained, Training, evaluation, saving,
    },
    train::{LossScale, Session},
    win::surgery,
};
use taper_tests::{
    Feature,
    close::{largest, pairs},
    golden::{Golden, path},
    gpu, gpu_that_has, nets,
};

const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// A golden's networks, what the student is trained for, its recipe and its batches.
struct Lesson {
    name: &'static str,
    golden: Golden,
    network: Network,
    teacher: Option<Network>,
    task: Task,
    objective: Objective,
    recipe: Recipe,
    seed: u32,
    batches: Vec<Batch>,
}

/// The encoder of these sizes.
fn encoder(sizes: &serde_json::Value, head: BertHead) -> Bert {
    let size = |key: &str| sizes[key].as_u64().expect("a size") as u32;
    let share = |key: &str| sizes[key].as_f64().unwrap_or(0.0);
    Bert {
        vocabulary: size("vocabulary"),
        hidden: size("hidden"),
        bottleneck: sizes["bottleneck"].as_u64().map(|width| width as u32),
        eps: sizes["eps"].as_f64().unwrap_or(Bert::default().eps),
        layers: size("layers"),
        heads: size("heads"),
        inner: size("inner"),
        length: size("length"),
        positions: size("positions"),
        places: size("places"),
        dropout: share("dropout"),
        attention_dropout: share("attention_dropout"),
        head,
        ..Bert::default()
    }
}

impl Lesson {
    fn of(name: &'static str) -> Self {
        let golden = Golden::read(&format!("train/{name}.run"));
        let about = &golden.about;
        let (head, kind) = match about["kind"].as_str() {
            Some("pretrain") => (BertHead::Pretrain, "pretrain"),
            Some("spans") => (BertHead::Spans, "spans"),
            _ => (BertHead::MaskedWords, "words"),
        };
        let of = encoder(about, head);
        let (vocabulary, places) = (of.vocabulary, of.places);
        let task = match kind {
            "pretrain" => Task::Pretrain { vocabulary, places },
            "spans" => Task::Spans,
            _ => Task::MaskedWords { vocabulary, places },
        };
        let teacher = &about["teacher"];
        let teacher = (!teacher.is_null()).then(|| bert(&encoder(teacher, head)));
        let number = |key: &str| about[key].as_f64();
        let objective = match (number("alpha"), number("temperature"), number("blocks")) {
            (Some(alpha), Some(temperature), _) => Objective::Distill { alpha, temperature },
            (_, _, Some(_)) => {
                let (discrepancy, scale) = (Discrepancy::Mse, 1.0);
                Objective::Imitate { discrepancy, scale, output: 0.0, trained: Trained::All }
            }
            _ => Objective::Labels,
        };
        let mut network = bert(&of);
        if let Some(teacher) = teacher.as_ref().filter(|_| about["bridged"] == true) {
            network = surgery::bridge(&network, teacher, false).expect("a bridge");
        }
        if let Some(blocks) = about["blocks"].as_u64() {
            network = network.prefix(blocks as usize);
        }
        let number = |key: &str| about["optimizer"][key].as_f64().expect("a number");
        let rows = about["batch"].as_u64().expect("a size") as usize;
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
                let array = golden.tensors.get(name)?;
                let each = array.words.len() / array.shape[0] as usize;
                Some(Field::u32(name, array.words[step * each..(step + 1) * each].to_vec()))
            };
            let inputs = [TOKENS, SEGMENTS, LENGTHS, PLACES].into_iter().filter_map(field);
            let targets = [LABELS, NEXT, STARTS, ENDS].into_iter().filter_map(field).collect();
            Batch { inputs: inputs.collect(), targets, size: rows, rows }
        };
        let batches = (0..golden.floats("losses").len()).map(batch).collect();
        let seed = about["seed"].as_u64().unwrap_or(0) as u32;
        Self { name, network, teacher, task, objective, recipe, seed, batches, golden }
    }

    fn new() -> Self {
        Self::of("masked-adamw")
    }

    /// The golden's weights, by our names.
    fn weights(&self, part: &str) -> Weights {
        let file = path(&format!("train/{}.{part}.safetensors", self.name));
        let (weights, _) = read(&file).unwrap_or_else(|error| panic!("{error}"));
        match (part, &self.teacher) {
            ("teacher", Some(teacher)) => teacher.from_file(weights),
            _ => self.network.from_file(weights),
        }
    }

    fn training<'a>(&'a self, student: &'a Network, objective: Objective) -> Training<'a> {
        let (task, recipe, precision) = (self.task, &self.recipe, Precision::F32);
        Training { student, teacher: self.teacher.as_ref(), task, objective, recipe, precision }
    }

    fn program(&self, target: &Target, micro_batches: u32) -> Program {
        let of = self.training(&self.network, self.objective);
        saving(&of, target, Saving { micro_batches, ..Saving::default() }).expect("a plan")
    }

    /// A session with the golden's weights.
    fn session(&self, gpu: &Arc<dyn Device>, program: Program) -> Session {
        let session = Session::new(gpu, program).expect("a session");
        session.load_student(&self.weights("init")).expect("weights");
        if self.teacher.is_some() {
            session.load_teacher(&self.weights("teacher")).expect("weights");
        }
        session.set_moments(None).expect("moments");
        session
    }

    fn live(&self, step: usize) -> StepParameters {
        let (lr, t, seed) = (self.recipe.lr as f32, (step + 1) as f32, self.seed);
        StepParameters { step: step as u32, lr, t, seed, ..StepParameters::rows(self.recipe.batch) }
    }

    /// Takes these steps; their losses.
    fn steps(&self, session: &mut Session, steps: Range<usize>) -> Vec<f32> {
        for step in steps {
            session.step(&self.batches[step], &self.live(step), step as u64).expect("a step");
        }
        session.losses(true).expect("losses").into_iter().map(|(_, loss)| loss).collect()
    }

    /// Whether the loss feels a number of a tensor. Softmax does not feel what is the same for all keys, or for all tokens: its gradient is rounding,
    /// which Adam makes steps of.
    fn feels(&self, name: &str, at: usize, len: usize) -> bool {
        let last = format!("layer.{}.output.LayerNorm.bias", self.network.blocks.len() - 1);
        let of_spans = name == "qa_outputs.bias" || name.ends_with(&last);
        let keys = name.ends_with("qkv.bias") && (len / 3..2 * len / 3).contains(&at);
        !(keys || self.task == Task::Spans && of_spans)
    }
}

/// Ten steps of a golden, cut into micro-batches as often as it says, by all kernels.
fn ten_losses(name: &'static str, cuts: &[u32]) {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::of(name);
    let (end, wanted) = (lesson.weights("final"), lesson.golden.floats("losses"));
    // Sums in another order than PyTorch's make other roundings of the same size.
    let allowed = |key: &str| 8.0 * lesson.golden.about[key].as_f64().expect("an error") as f32;
    for (kind, &micro_batches) in
        KINDS.into_iter().flat_map(|kind| cuts.iter().map(move |n| (kind, n)))
    {
        let what = format!("{name}, {kind:?} in {micro_batches}");
        let target = Target { kind, ..gpu.target() };
        let mut session = lesson.session(&gpu, lesson.program(&target, micro_batches));
        let losses = lesson.steps(&mut session, 0..wanted.len());
        let off = largest(pairs(&losses, &wanted).map(|(a, b)| (a / b - 1.0).abs())) as f32;
        println!("{what}: losses off by {off:.1e}");
        assert!(off <= allowed("f32_error"), "{what}: {losses:?}, transformers has {wanted:?}");
        let found = session.student().expect("weights");
        assert_eq!(found.len(), end.len(), "{what}");
        for (name, tensor) in &found {
            let each = tensor.data.iter().zip(&end[name].data).enumerate();
            let off = each
                .filter(|(k, _)| lesson.feels(name, *k, tensor.data.len()))
                .map(|(_, (a, b))| f64::from((a - b).abs()));
            let off = largest(off) as f32;
            assert!(off <= allowed("f32_weight_error"), "{what}: {name} is off by {off:.1e}");
        }
    }
}

#[test]
fn ten_losses_are_transformers() {
    ten_losses("masked-adamw", &[1, 2, 5]);
}

/// The parts of their loss are means over words and over samples, or over samples that count.
#[test]
fn ten_losses_of_pre_training_and_of_spans_are_transformers() {
    ten_losses("pretrain-adamw", &[1, 2, 5]);
    ten_losses("spans-adamw", &[1, 2, 5]);
}

#[test]
fn what_a_teacher_drives_is_as_with_transformers() {
    for name in ["pretrain-kd", "pretrain-tune", "pretrain-narrow1", "pretrain-narrow2", "spans-kd"]
    {
        ten_losses(name, &[1, 2]);
    }
}

/// Of MobileBERT's layers, by labels, with dropout, by a teacher, and narrow without any pair.
#[test]
fn bottlenecks_train_as_with_transformers() {
    for name in ["mobile-adamw", "mobile-kd", "mobile-narrow1", "mobile-narrow2"] {
        ten_losses(name, &[1, 2]);
    }
    ten_losses("mobile-dropout", &[1]);
}

/// S̄ is S: what narrow steps train is the network that is wanted, and its teacher has what flows between blocks as wide.
#[test]
fn a_bottleneck_needs_no_pair() {
    let lesson = Lesson::of("mobile-adamw");
    let narrow = Bert { bottleneck: None, ..encoder(&lesson.golden.about, BertHead::Pretrain) };
    for lower in [false, true] {
        let error = surgery::bridge(&lesson.network, &bert(&narrow), lower).expect_err("24, 16");
        let said = "block 1 of the student ends in 24 features, of the teacher in 16";
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains("set model.bottleneck=16"), "{error}");
    }
    let Some(teacher) = Lesson::of("mobile-narrow1").teacher else { panic!("it has a teacher") };
    for lower in [false, true] {
        let bridged = surgery::bridge(&lesson.network, &teacher, lower).expect("as wide");
        assert_eq!(bridged, lesson.network);
    }
}

/// With the same masks, drawn by counters there as here.
#[test]
fn ten_losses_with_dropout_are_transformers() {
    ten_losses("dropout-adamw", &[1]);
}

/// What is dropped is a function of seed and step, in a resumed run and where activations are made anew; a test drops nothing.
#[test]
fn dropout_is_drawn_again_and_not_in_tests() {
    let Some(gpu) = gpu() else { return };
    let lesson = Lesson::of("dropout-adamw");
    let of = lesson.training(&lesson.network, lesson.objective);
    let mut of_cut = Vec::new();
    for (micro_batches, recompute) in [(1, false), (1, true), (2, false)] {
        let saved = Saving { micro_batches, recompute, ..Saving::default() };
        let program = saving(&of, &gpu.target(), saved).expect("a plan");
        let mut session = lesson.session(&gpu, program.clone());
        let mut losses = lesson.steps(&mut session, 0..2);
        let (weights, moments) = (session.student().expect("weights"), session.moments());
        losses.extend(lesson.steps(&mut session, 2..4));
        let mut resumed = Session::new(&gpu, program).expect("a session");
        resumed.load_student(&weights).expect("weights");
        resumed.set_moments(Some(&moments.expect("moments"))).expect("moments");
        assert_eq!(lesson.steps(&mut resumed, 2..4), losses[2..]);
        assert_eq!(resumed.student().expect("weights"), session.student().expect("weights"));
        let other = StepParameters { seed: 1, ..lesson.live(4) };
        resumed.step(&lesson.batches[4], &other, 4).expect("a step");
        let drawn = resumed.losses(true).expect("losses")[0].1;
        assert_ne!(lesson.steps(&mut session, 4..5), [drawn], "another seed");
        of_cut.push(losses);
    }
    assert_eq!(of_cut[0], of_cut[1]);
    let plain = bert(&Bert {
        dropout: 0.0,
        attention_dropout: 0.0,
        ..encoder(&lesson.golden.about, BertHead::MaskedWords)
    });
    assert_ne!(plain, lesson.network);
    let scores = |network: &Network| {
        let (weights, rows) = (lesson.weights("init"), lesson.recipe.batch);
        let session = Session::evaluating(&gpu, network, lesson.task, &weights, rows);
        session
            .expect("a session")
            .logits([Ok(lesson.batches[0].clone())].into_iter())
            .expect("scores")
    };
    assert_eq!(scores(&lesson.network), scores(&plain));
}

/// A test has the means of each part of the loss apart, and the hits.
#[test]
fn a_test_has_the_loss_in_parts() {
    let Some(gpu) = gpu() else { return };
    for name in ["pretrain-adamw", "spans-adamw"] {
        let lesson = Lesson::of(name);
        let (rows, weights) = (lesson.recipe.batch, lesson.weights("init"));
        let target = gpu.target();
        let program = evaluation(&lesson.network, lesson.task, rows, &target).expect("a plan");
        let (params, _) = program.student.pack(&weights).expect("weights");
        let mut executor = gpu.clone().prepare(program.plan.clone()).expect("an executor");
        executor.write("student.params", &params).expect("room");
        let batch = &lesson.batches[1];
        for input in &program.test_inputs {
            let numbers = batch.field(input.name).expect("a field");
            executor.write_bytes(&input.buffer, numbers.bytes()).expect("room");
        }
        let counted = lesson.task.counts().of(batch) as f32;
        let live = StepParameters { counted, ..StepParameters::rows(rows) };
        executor.run(EVALUATE, &live, 0).expect("a run");
        let values = executor.finish().expect("metrics")[0].values.clone();

        let session = Session::evaluating(&gpu, &lesson.network, lesson.task, &weights, rows);
        let scores = session.expect("a session").logits([Ok(batch.clone())].into_iter());
        let numbers = |name: &str| match batch.field(name) {
            Some(Numbers::U32(numbers)) => numbers.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let (mut loss, mut hits) = ([0.0, 0.0], 0.0);
        for (row, scores) in scores.expect("scores").iter().enumerate() {
            let best =
                |p: &[f64]| (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b])).expect("one");
            if lesson.task == Task::Spans {
                // Of the tokens that there are.
                let (length, each) = (numbers(LENGTHS)[row] as usize, scores.len() / 2);
                let p = lesson.task.answer(&scores[..2 * length]);
                assert_eq!(lesson.task.answer(scores).len(), 2 * each);
                let (p, label) = (p.split_at(length), [numbers(STARTS)[row], numbers(ENDS)[row]]);
                let [start, end] = label.map(|label| label as usize);
                if start.max(end) >= length {
                    continue;
                }
                loss[0] -= (p.0[start].ln() + p.1[end].ln()) / 2.0 / f64::from(counted);
                hits += f32::from(u8::from(best(p.0) == start && best(p.1) == end));
                continue;
            }
            let p = lesson.task.answer(scores);
            let (words, labels) = (&p[..p.len() - 2], numbers(LABELS));
            let labels = &labels[row * labels.len() / rows as usize..];
            let places = batch.field(PLACES).map_or(0, Numbers::len) / rows as usize;
            for (p, &label) in words.chunks(words.len() / places).zip(labels) {
                if (label as usize) < p.len() {
                    loss[0] -= p[label as usize].ln() / f64::from(counted);
                    hits += f32::from(u8::from(best(p) == label as usize));
                }
            }
            loss[1] -= p[p.len() - 2 + numbers(NEXT)[row] as usize].ln() / f64::from(rows);
        }
        for (slot, wanted) in LOSSES.into_iter().zip(loss).filter(|(_, wanted)| *wanted != 0.0) {
            let found = f64::from(values[slot]);
            assert!((found / wanted - 1.0).abs() < 1e-5, "{name}: {found}, wanted is {wanted}");
        }
        assert_eq!(values[HITS], hits, "{name}");
    }
}

#[test]
fn spans_have_no_label_smoothing() {
    let lesson = Lesson::of("spans-adamw");
    let recipe = Recipe { label_smoothing: 0.1, ..lesson.recipe.clone() };
    let of = Training { recipe: &recipe, ..lesson.training(&lesson.network, lesson.objective) };
    let error =
        saving(&of, &Target::web(AdapterKind::Gpu), Saving::default()).expect_err("smoothing");
    assert!(error.to_string().contains("label_smoothing"), "{error}");
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
    for name in ["masked-adamw", "pretrain-adamw", "spans-adamw"] {
        merges(&gpu, &Lesson::of(name));
    }
}

fn merges(gpu: &Arc<dyn Device>, lesson: &Lesson) {
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
    let read = ["qkv", "transform.dense", "pooler.dense", "qa_outputs"];
    let scale = |name: &String| read.iter().any(|part| name.contains(&format!("{part}.weight")));
    for (_, tensor) in weights.iter_mut().filter(|(name, _)| scale(name)) {
        tensor.data.iter_mut().for_each(|w| *w *= 10.0);
    }
    let (merged, folded) = surgery::merge(&bridged, &weights).expect("a merge");
    assert_eq!(merged, lesson.network);
    let scores = |network: &Network, weights: &Weights| -> Vec<f32> {
        let rows = lesson.recipe.batch;
        let mut session =
            Session::evaluating(gpu, network, lesson.task, weights, rows).expect("a session");
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
    let objective = Objective::Imitate {
        discrepancy: Discrepancy::Mse,
        scale: 1.0,
        output: 0.0,
        trained: Trained::All,
    };
    let of = Training { teacher: Some(&teacher), ..lesson.training(&bridged, objective) };
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
        let objective =
            Objective::Imitate { discrepancy: Discrepancy::Mse, scale: 1.0, output: 0.0, trained };
        let of = Training { teacher: Some(&teacher), ..lesson.training(&student, objective) };
        let [before, after] = stepped(&gpu, &lesson, &of, parts);
        for (name, tensor) in &before {
            let rests = match trained {
                Trained::All => false,
                Trained::Layers => name.contains("embeddings"),
                Trained::LastBlock => name.contains("embeddings") || blocks == 2 && first(name),
                Trained::Head => unreachable!("who imitates trains blocks"),
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
        let of = lesson.training(&teacher, Objective::Labels);
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

/// With tables, activations and gradients stored as f16: the loss of each step is f32's but for roundings, whatever the heads.
#[test]
fn encoders_train_in_mixed_precision() {
    let Some(gpu) = gpu_that_has(Feature::F16) else { return };
    for name in ["masked-adamw", "pretrain-adamw", "spans-adamw", "pretrain-tune", "dropout-adamw"]
    {
        let lesson = Lesson::of(name);
        for kind in KINDS {
            let target = Target { kind, ..gpu.target() };
            let losses = |precision| {
                let of = lesson.training(&lesson.network, lesson.objective);
                let program = saving(&Training { precision, ..of }, &target, Saving::default());
                let mut session = lesson.session(&gpu, program.expect("a plan"));
                // A scale at which nothing overflows, so that no step is skipped.
                let scale = LossScale { scale: 64.0, taken: 0, skipped: 0 };
                session.set_loss_scale(Some(scale)).expect("a scale");
                let losses = lesson.steps(&mut session, 0..lesson.batches.len());
                assert_eq!(session.loss_scale().expect("a scale").map_or(0, |s| s.skipped), 0);
                losses
            };
            let (mixed, single) = (losses(Precision::Mixed), losses(Precision::F32));
            let off = largest(pairs(&mixed, &single).map(|(a, b)| (a / b - 1.0).abs()));
            println!("{name}, {kind:?}: mixed is off by {off:.1e}");
            assert!(off <= 1e-2, "{name}, {kind:?}: {mixed:?}, in f32 {single:?}");
            assert!(mixed != single);
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test --workspace --test masked -- --ignored --nocapture"]
fn milliseconds_of_kernels() {
    let Some(gpu) = gpu() else { return };
    let (length, places, rows) = (128, 20, 16);
    let of = Bert {
        vocabulary: 8192,
        hidden: 128,
        layers: 4,
        heads: 4,
        inner: 512,
        length,
        places,
        ..Bert::default()
    };
    let mut stream = Stream::new(&[3]);
    let mut ids = |count: u32, below: u64| -> Vec<u32> {
        (0..count * rows).map(|_| (stream.bits() % below) as u32).collect()
    };
    let inputs = vec![
        Field::u32(TOKENS, ids(length, 8192)),
        Field::u32(SEGMENTS, ids(length, 2)),
        Field::u32(LENGTHS, vec![length; rows as usize]),
        Field::u32(PLACES, ids(places, length.into())),
    ];
    let targets = vec![Field::u32(LABELS, ids(places, 8192))];
    let batch = Batch { inputs, targets, size: rows as usize, rows: rows as usize };
    let recipe = Recipe { optimizer: Optimizer::AdamW, ..nets::recipe(rows) };
    for (dropout, attention_dropout) in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.1, 0.1)] {
        let network = bert(&Bert { dropout, attention_dropout, ..of.clone() });
        let training = Training {
            student: &network,
            teacher: None,
            task: Task::MaskedWords { vocabulary: 8192, places },
            objective: Objective::Labels,
            recipe: &recipe,
            precision: Precision::F32,
        };
        let program = saving(&training, &gpu.target(), Saving::default()).expect("a plan");
        let mut session = Session::new(&gpu, program).expect("a session");
        session.load_student(&nn::fresh(&network, 2).expect("weights")).expect("weights");
        session.set_moments(None).expect("moments");
        let live = StepParameters::rows(rows);
        session.step(&batch, &live, 0).expect("a step");
        session.losses(true).expect("losses");
        session.start_profile().expect("timestamps");
        for step in 1..5 {
            session.step(&batch, &live, step).expect("a step");
        }
        let window = session.stop_profile("masked words", "step").expect("times");
        let steps = window.passes.len() as f64;
        let mut profile = Profile::new("", Peaks { gflops: 1.0, gbytes: 1.0 });
        profile.windows.push(window);
        let kernels = profile.kernels();
        let all: f64 = kernels.iter().map(|kernel| kernel.ms).sum();
        println!("dropout {dropout}, of attention {attention_dropout}: {:.1} ms", all / steps);
        for kernel in kernels.iter().take(30) {
            println!(
                "    {:8.2} ms  {:4.1} %  {}",
                kernel.ms / steps,
                100.0 * kernel.share,
                kernel.kernel
            );
        }
    }
}

/// Two segments in a table of two rows, whose gradient is summed in parts, and in one of nine, whose gradient goes by lists.
#[test]
#[ignore = "a measurement: cargo test --workspace --test masked -- --ignored --nocapture"]
fn milliseconds_of_small_tables() {
    let Some(gpu) = gpu() else { return };
    for rows in [2, 9] {
        let mut g = Graph::new();
        let (table, ids) = (g.input("table", &[rows, 128]), g.input("ids", &[16, 128]));
        let dy = g.input("dy", &[16, 128, 128]);
        let y = g.add(Embedding, &[table, ids]).expect("rows");
        let grad = g.backward_from(y, dy, &[table]).expect("gradients")[0];
        g.place(grad, "grad", 0);
        let plan = compile(&[("run", &g)], &gpu.target()).expect("a plan");
        let jobs = Job::of(&plan, "run");
        let mut executor = gpu.clone().prepare(plan).expect("an executor");
        let segments: Vec<u32> = (0..2048).map(|k| k / 64 % 2).collect();
        executor.write("ids", &segments).expect("room");
        executor.run("run", &StepParameters::rows(16), 0).expect("a run");
        executor.finish().expect("metrics");
        executor.start_profile().expect("timestamps");
        for _ in 0..20 {
            executor.run("run", &StepParameters::rows(16), 0).expect("a run");
        }
        let (passes, _) = executor.stop_profile().expect("times");
        for (k, job) in jobs.iter().enumerate() {
            let mut ns: Vec<u64> = passes.iter().map(|pass| pass.spans[k].nanoseconds()).collect();
            ns.sort_unstable();
            println!("{rows} rows: {:.3} ms  {}", ns[ns.len() / 2] as f64 / 1e6, job.kernel);
        }
    }
}
