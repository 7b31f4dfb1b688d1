//! Widen, bridge and merge: that they undo each other in structure, and that a merge changes no logit, on fresh and on trained networks.

mod support;

use engine::{
    batch::Batch,
    config::{Activation, Mlp, Model, Resnet, Stem, Unit, Widen},
    data, models,
    nn::{
        Block, Extent, Folded, Layer, Network, Role, Weights, fresh,
        layers::{BatchNorm, MaxPool},
    },
    random::Stream,
    win::surgery::{bridge, merge, widen},
};
use proptest::prelude::*;
use support::{checkpoints, config, folder, logits, model, relative, train, weights_in};
use taper_tests::nets;

/// Greatest relative difference of logits that rounding explains.
const GATE: f64 = 1e-5;

/// A student and how its teacher is made.
#[derive(Debug, Clone)]
struct Case {
    student: Network,
    factor: u32,
    how: Widen,
    lower: bool,
    seed: u64,
}

impl Case {
    fn teacher(&self) -> Network {
        widen(&self.student, self.factor, self.how)
    }

    fn bridged(&self) -> Network {
        bridge(&self.student, &self.teacher(), self.lower).expect("a student bridges to its double")
    }

    /// Fresh weights; batch norms as after a training rather than as the identity.
    fn weights(&self) -> (Network, Weights) {
        let bridged = self.bridged();
        let weights = nets::weights(&bridged, self.seed);
        (bridged, weights)
    }

    fn inputs(&self, count: usize) -> Batch {
        let one: u32 = self.student.input.batch(1).iter().product();
        let mut stream = Stream::new(&[self.seed, 78]);
        let images = (0..count * one as usize).map(|_| stream.normal() as f32).collect();
        nets::pictures(images, vec![0; count])
    }
}

fn mlps() -> impl Strategy<Value = Network> {
    let blocks = prop::collection::vec(1u32..=3, 1..=4);
    let activation = prop::sample::select(vec![
        Activation::Relu,
        Activation::Gelu,
        Activation::Tanh,
        Activation::Sigmoid,
    ]);
    let input = prop_oneof![
        (1u32..=9).prop_map(Extent::Flat),
        (1u32..=4, 1u32..=4, 1u32..=3).prop_map(|(h, w, c)| Extent::Map(h, w, c)),
    ];
    (blocks, activation, input, 2u32..=5).prop_flat_map(|(blocks, activation, input, classes)| {
        let layers = blocks.iter().sum::<u32>() as usize;
        prop::collection::vec(1u32..=9, layers).prop_map(move |hidden| {
            let config = Mlp { hidden, activation, blocks: blocks.clone() };
            models::network(&Model::Mlp(config), input, classes)
        })
    })
}

fn resnets() -> impl Strategy<Value = Network> {
    let unit = prop::sample::select(vec![Unit::Bottleneck, Unit::Basic]);
    let stem = prop::sample::select(vec![Stem::Cifar, Stem::Imagenet]);
    let blocks = prop::collection::vec(1u32..=3, 1..=3);
    (unit, stem, blocks, 1u32..=4, 2u32..=5).prop_map(|(unit, stem, blocks, base, classes)| {
        let side = if stem == Stem::Cifar { 7 } else { 18 };
        let config = Resnet { width: 1.0, base, unit, stem, blocks };
        models::network(&Model::Resnet(config), Extent::Map(side, side, 3), classes)
    })
}

fn cases(students: impl Strategy<Value = Network>) -> impl Strategy<Value = Case> {
    let how = prop::sample::select(vec![Widen::Mid, Widen::All]);
    (students, 2u32..=3, how, any::<bool>(), any::<u64>())
        .prop_map(|(student, factor, how, lower, seed)| Case { student, factor, how, lower, seed })
}

fn settings(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// What must hold without a device.
fn check_structure(case: &Case) -> Result<(), TestCaseError> {
    let (student, teacher) = (&case.student, case.teacher());
    let (thin, wide) = (student.shapes().expect("shapes"), teacher.shapes().expect("shapes"));
    prop_assert_eq!(wide.output, thin.output);
    for (s, b) in thin.blocks.iter().zip(&wide.blocks) {
        let mid = case.how == Widen::Mid && matches!(s, Extent::Map(..));
        prop_assert_eq!(b.width(), if mid { s.width() } else { case.factor * s.width() });
        prop_assert_eq!(b.positions(), s.positions());
    }

    let (bridged, weights) = case.weights();
    prop_assert!(bridged.is_bridged());
    for (k, block) in bridged.blocks.iter().enumerate() {
        let lift = block.lift.as_ref().expect("every block ends in a lift");
        prop_assert_eq!(lift.out, wide.blocks[k].width());
        prop_assert_eq!(block.lower.is_some(), case.lower && k > 0);
    }
    let (merged, kept) = merge(&bridged, &weights).expect("what bridges merges");
    prop_assert_eq!(&merged, student);
    let shapes = |weights: &Weights| -> Vec<_> {
        weights.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
    };
    prop_assert_eq!(shapes(&kept), shapes(&fresh(student, 0).expect("shapes")));
    // Only what reads a pair changes: statistics and every other parameter stay the same bits.
    for spec in thin.params.iter().filter(|spec| spec.role == Role::State) {
        prop_assert_eq!(&kept[&spec.name], &weights[&spec.name]);
    }
    prop_assert_eq!(merge(&merged, &kept).expect("nothing to do"), (merged, kept));
    Ok(())
}

/// Logits before and after a merge, on the device.
fn check_numbers(case: &Case) -> Result<(), TestCaseError> {
    const INPUTS: usize = 16;
    let (bridged, weights) = case.weights();
    let (merged, kept) = merge(&bridged, &weights).expect("what bridges merges");
    let run = |network: &Network, weights: &Weights| {
        logits(network, weights, std::iter::once(case.inputs(INPUTS)), INPUTS as u32)
    };
    let error = relative(&run(&bridged, &weights), &run(&merged, &kept));
    prop_assert!(error <= GATE, "the merge changed the logits by {error:.1e}");
    Ok(())
}

/// Logits of a network in eval mode, and of it as it runs where it is a teacher.
fn check_folded(case: &Case) -> Result<(), TestCaseError> {
    const INPUTS: usize = 16;
    let (network, weights) = case.weights();
    let folded = Folded::of(&network).expect("a network");
    let kept = folded.weights(&weights).expect("it has them all");
    // Every batch norm of these networks stands behind a convolution.
    prop_assert!(folded.layout.state.is_empty());
    prop_assert!(kept.keys().all(|name| !name.contains("running")));
    let run = |network: &Network, weights: &Weights| {
        logits(network, weights, std::iter::once(case.inputs(INPUTS)), INPUTS as u32)
    };
    let error = relative(&run(&network, &weights), &run(&folded.network, &kept));
    prop_assert!(error <= GATE, "folding changed the logits by {error:.1e}");
    Ok(())
}

proptest! {
    #![proptest_config(settings(64))]

    #[test]
    fn merging_undoes_bridging_mlps(case in cases(mlps())) {
        check_structure(&case)?;
    }

    #[test]
    fn merging_undoes_bridging_resnets(case in cases(resnets())) {
        check_structure(&case)?;
    }
}

proptest! {
    #![proptest_config(settings(4))]

    #[test]
    fn merging_changes_no_logit_of_fresh_mlps(case in cases(mlps())) {
        check_numbers(&case)?;
    }

    #[test]
    fn merging_changes_no_logit_of_fresh_resnets(case in cases(resnets())) {
        check_numbers(&case)?;
    }

    #[test]
    fn folding_batch_norms_changes_no_logit(case in cases(resnets())) {
        check_folded(&case)?;
    }
}

/// S̄ as it was trained, from the checkpoint before the merge, against the S that the run kept.
fn check_trained(changes: &[&str]) {
    let steps = ["wide.steps=12", "narrow.steps=8", "tune.steps=8"];
    let config = config(&[changes, &steps].concat());
    let out = folder();
    train(&config, out.path());

    let member = out.path().join("members/win-0");
    let kept = model(&member.join("artifacts"));
    let student = kept.config.network();
    let teacher = model(&out.path().join("teachers/0")).config.network();
    let explicit = config.win.start == engine::config::Start::Random;
    let bridged = bridge(&student, &teacher, explicit).expect("it was trained so");
    let before = weights_in(&checkpoints(&member)[0]);
    let (merged, folded) = merge(&bridged, &before).expect("it was merged");
    assert_eq!((&merged, &folded), (&student, &kept.weights), "the run keeps what merge says");

    let data = data::open(&config, None, None).expect("the images");
    let batches = || data.test.batches(32).map(|batch| batch.expect("a batch"));
    let wide = logits(&bridged, &before, batches(), 32);
    assert_eq!(wide.len(), 64);
    let error = relative(&wide, &logits(&student, &kept.weights, batches(), 32));
    assert!(error <= GATE, "{changes:?}: the merge changed the logits by {error:.1e}");
    let report = kept.merge.expect("merge.json");
    assert!(report.relative_error <= GATE && report.inputs == 64, "{report:?}");
    let counts = [&bridged, &student].map(|n| n.shapes().expect("shapes").param_count());
    assert_eq!([report.params_before, report.params_after], counts);
}

#[test]
fn merging_a_trained_mlp_changes_no_logit() {
    check_trained(&["teacher.factor=3"]);
}

#[test]
fn merging_trained_bottlenecks_of_all_channels_widened_changes_no_logit() {
    check_trained(&[&support::RESNET[..], &["teacher.widen=all"]].concat());
}

#[test]
fn merging_trained_basic_units_with_explicit_maps_changes_no_logit() {
    let changes = ["model.unit=basic", "teacher.widen=all", "win.start=random"];
    check_trained(&[&support::RESNET[..], &changes].concat());
}

fn resnet(stem: Stem, blocks: &[u32]) -> Network {
    let config = Resnet { base: 4, stem, blocks: blocks.to_vec(), ..Resnet::default() };
    models::network(&Model::Resnet(config), Extent::Map(16, 16, 3), 10)
}

#[track_caller]
fn refusal(student: &Network, teacher: &Network) -> String {
    bridge(student, teacher, false).expect_err("a refusal").to_string()
}

/// The network with its last unit as a block of its own.
fn split(network: &Network) -> Network {
    let mut network = network.clone();
    let last = network.blocks.last_mut().expect("a block").layers.pop().expect("a unit");
    network.blocks.push(Block { layers: vec![last], ..Block::default() });
    network
}

#[test]
fn a_pair_that_does_not_fold_is_refused_and_its_block_named() {
    let student = split(&resnet(Stem::Cifar, &[2]));
    let refused = refusal(&student, &widen(&student, 2, Widen::All));
    assert_eq!(
        refused,
        "block 2 cannot be merged: the pair before it meets the identity shortcut of layer1.1, which is not linear on every path"
    );

    let before = |layer: Layer| {
        let mut student = resnet(Stem::Cifar, &[1, 1]);
        student.blocks[1].layers.insert(0, layer);
        refusal(&student, &widen(&student, 2, Widen::Mid))
    };
    let pool =
        before(Layer::MaxPool(MaxPool { name: "pool".into(), kernel: 2, stride: 2, pad: 0 }));
    assert!(
        pool.starts_with("block 2 cannot be merged") && pool.contains("max pool pool"),
        "{pool}"
    );
    let norm = before(Layer::BatchNorm(BatchNorm { name: "norm".into() }));
    assert!(
        norm.starts_with("block 2 cannot be merged") && norm.contains("batch norm norm"),
        "{norm}"
    );
}

#[test]
fn a_teacher_that_does_not_correspond_is_refused() {
    let student = resnet(Stem::Cifar, &[1, 1]);
    let refused = refusal(&student, &resnet(Stem::Cifar, &[1, 1, 1]));
    assert!(refused.contains("the student has 2 blocks, the teacher 3"), "{refused}");
    let refused = refusal(&student, &resnet(Stem::Imagenet, &[1, 1]));
    assert!(refused.contains("block 1 of the student") && refused.contains("16"), "{refused}");
    // Another depth inside the blocks is a teacher like any other.
    assert!(bridge(&student, &resnet(Stem::Cifar, &[2, 3]), false).is_ok());
}
