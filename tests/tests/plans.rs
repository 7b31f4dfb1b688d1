//! Plans as they are written down, and what holds for every plan.

use std::collections::BTreeMap;

use engine::{
    config::{Discrepancy, Optimizer, Precision, Recipe, Unit, Widen},
    graph::{Graph, Home, Value},
    nn::{Bound, Layout, Mode, Network, build},
    ops::{
        AdapterKind, activation::Activation, cross_entropy::cross_entropy, elementwise::Add,
        layer_norm::LayerNorm, matmul::Linear,
    },
    plan::{BufferSpec, Limits, Mirror, PITCH, Plan, PlanError, Range, Target, compile},
    step::{
        ACCUMULATE, DISCREPANCY, EVALUATE, Objective, Program, ProgramError, STEP, Saving, Task,
        Trained, Training, fit, program, saving,
    },
    win::surgery::{bridge, widen},
};
use proptest::prelude::*;
use taper_tests::nets::{mlp, recipe, resnet};

use Precision::{F32, Mixed};

fn plan(
    student: &Network,
    teacher: Option<&Network>,
    objective: Objective,
    recipe: &Recipe,
    target: &Target,
) -> Result<Plan, ProgramError> {
    Ok(program(
        &Training { student, teacher, task: Task::Classify, objective, recipe, precision: F32 },
        target,
    )?
    .plan)
}

const KD: Objective = Objective::Distill { alpha: 0.5, temperature: 4.0 };
const NARROW: Objective = Objective::Imitate {
    discrepancy: Discrepancy::RelativeMse,
    scale: 0.5,
    output: 0.0,
    trained: Trained::All,
};

fn cpu() -> Target {
    Target::web(AdapterKind::Cpu)
}

/// The student between its pairs, and its teacher.
fn wide(student: &Network) -> (Network, Network) {
    let teacher = widen(student, 2, Widen::All);
    (bridge(student, &teacher, false).expect("a bridge"), teacher)
}

#[test]
fn an_mlp_by_labels() {
    let plan = plan(&mlp(&[4, 4], &[1, 1]), None, Objective::Labels, &recipe(4), &cpu());
    insta::assert_snapshot!(plan.expect("a plan").listing());
}

#[test]
fn an_mlp_by_its_teacher() {
    let student = mlp(&[4], &[1]);
    let teacher = widen(&student, 2, Widen::All);
    let recipe = Recipe { optimizer: Optimizer::AdamW, clip_norm: Some(1.0), ..recipe(4) };
    let plan = plan(&student, Some(&teacher), KD, &recipe, &cpu());
    insta::assert_snapshot!(plan.expect("a plan").listing());
}

#[test]
fn the_first_narrow_step() {
    let (bridged, teacher) = wide(&mlp(&[4, 4], &[1, 1]));
    let plan = plan(&bridged.prefix(1), Some(&teacher), NARROW, &recipe(4), &cpu());
    insta::assert_snapshot!(plan.expect("a plan").listing());
}

/// The first dispatch copies the weights to f16, and what is marked ½ is stored so; the scaler judges the gradients before the optimiser.
#[test]
fn an_mlp_in_mixed_precision() {
    let (student, recipe) = (&mlp(&[4, 4], &[1, 1]), &recipe(4));
    let objective = Objective::Labels;
    let of = Training {
        student,
        teacher: None,
        task: Task::Classify,
        objective,
        recipe,
        precision: Mixed,
    };
    insta::assert_snapshot!(program(&of, &cpu()).expect("a plan").plan.listing());
}

/// What must live at once is halved: only sums, statistics and, on a CPU, the mirrors of flat buffers stay f32. Tests stay f32 as well, of half as
/// many inputs; on a CPU they lease textures that steps cannot share, as these are of another format, and the mirror from which the weights
/// are halved is kept for the optimiser.
#[test]
fn mixed_precision_takes_less_memory() {
    let student = &resnet(Unit::Bottleneck, 8, &[2, 2, 2, 2]);
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let bytes = |precision| {
            let (objective, recipe) = (Objective::Labels, &recipe(512));
            let of = Training {
                student,
                teacher: None,
                task: Task::Classify,
                objective,
                recipe,
                precision,
            };
            let plan = program(&of, &Target::web(kind)).expect("a plan").plan;
            [plan.live_bytes(), plan.leased(), plan.memory()]
        };
        let (single, mixed) = (bytes(F32), bytes(Mixed));
        println!("{kind:?}: {single:?} bytes live, leased and in all; mixed {mixed:?}");
        let most = if kind == AdapterKind::Cpu { [52, 57, 60] } else { [51, 51, 54] };
        for ((mixed, single), most) in mixed.into_iter().zip(single).zip(most) {
            assert!(mixed * 100 < single * most, "{kind:?}: {mixed} of {single}, {most} % allowed");
        }
    }
}

#[test]
fn a_bottleneck_resnet() {
    let student = resnet(Unit::Bottleneck, 1, &[1]);
    let plan = plan(&student, None, Objective::Labels, &recipe(2), &cpu());
    insta::assert_snapshot!(plan.expect("a plan").listing());
}

/// The teacher's batch norms are part of its convolutions; the sums at the ends of units are part of the student's batch norms,
/// and the gradients' sums before them of the masks.
#[test]
fn a_narrow_step_of_a_residual_network() {
    let (bridged, teacher) = wide(&resnet(Unit::Basic, 1, &[2]));
    let plan = plan(&bridged.prefix(1), Some(&teacher), NARROW, &recipe(2), &cpu());
    insta::assert_snapshot!(plan.expect("a plan").listing());
}

/// So large a batch that the gradients of weights are sums of parts: they are added up by one dispatch.
#[test]
fn a_large_batch() {
    let plan = plan(&mlp(&[4], &[1]), None, Objective::Labels, &recipe(1024), &cpu());
    insta::assert_snapshot!(plan.expect("a plan").listing());
}

/// No dispatch writes a buffer that it reads, except by one `read_write` binding; bindings lie inside their
/// buffers, at 256 bytes; and none is above the limits.
fn assert_bindings(plan: &Plan) {
    let limits = &plan.target.limits;
    for dispatch in plan.programs.values().flatten() {
        let spec = &plan.kernels[dispatch.kernel];
        assert_eq!(dispatch.binds.len(), spec.bindings.len(), "{}", dispatch.label);
        let textures = spec.bindings.iter().filter(|binding| binding.texture).count();
        let buffers = spec.bindings.len() - textures;
        assert!(buffers <= limits.storage_buffers as usize, "{}", dispatch.label);
        // WebGPU's default for storage textures of a stage.
        assert!(textures <= 4, "{}", dispatch.label);
        assert!(dispatch.grid.iter().all(|n| (1..=limits.groups).contains(n)));
        assert!(dispatch.flops > 0 || dispatch.bytes > 0, "{} does nothing", dispatch.label);
        let mut writes: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
        for (range, binding) in dispatch.binds.iter().zip(&spec.bindings) {
            let buffer = &plan.buffers[range.buffer];
            assert_eq!(range.offset % 256, 0, "{}", dispatch.label);
            assert!(range.offset + range.bytes <= buffer.bytes, "{}", dispatch.label);
            assert!(range.bytes <= limits.binding_bytes, "{}", dispatch.label);
            writes.entry(range.buffer).or_default().push(binding.writes);
        }
        for (buffer, writes) in writes {
            let label = &plan.buffers[buffer].label;
            let mixed = writes.contains(&true) && writes.contains(&false);
            assert!(!mixed, "{} reads and writes {label}", dispatch.label);
            let leased = plan.buffers[buffer].lease && writes.iter().filter(|w| **w).count() > 1;
            assert!(!leased, "{} writes {label} twice", dispatch.label);
        }
    }
}

/// A training step's graph, without `program`, so that the test has the graph that the plan was made of.
fn graph(network: &Network, batch: u32, f16: bool) -> Graph {
    let mut graph = Graph::new();
    let g = &mut graph;
    if f16 {
        g.store_f16();
    }
    let images = g.input("images", &network.input.batch(batch));
    let labels = g.input("labels", &[batch]);
    let shapes = network.shapes().expect("a network");
    let layout = if f16 { Layout::with_f16(&shapes) } else { Layout::of(&shapes) };
    let bound = match f16 {
        true => Bound::with_f16(g, "student", &layout),
        false => Bound::new(g, "student", &layout),
    };
    let blocks = 0..network.blocks.len();
    let built = build(g, network, &bound, images, blocks, |_| Mode::Train).expect("a graph");
    let loss = cross_entropy(g, built.outputs[0], labels, 0.1).expect("a loss");
    let wrt: Vec<Value> = layout.params.keys().map(|name| bound.get(name)).collect();
    let grads = g.backward(loss, &wrt).expect("gradients");
    for (slot, grad) in layout.params.values().zip(grads) {
        g.place(grad, "student.grads", slot.offset);
    }
    g.place(loss, "metrics", 0);
    graph
}

/// The nodes of each block in [`graph`].
fn blocks(network: &Network, batch: u32) -> Vec<std::ops::Range<usize>> {
    let mut graph = Graph::new();
    let images = graph.input("images", &network.input.batch(batch));
    let layout = Layout::of(&network.shapes().expect("a network"));
    let bound = Bound::new(&mut graph, "student", &layout);
    let range = 0..network.blocks.len();
    build(&mut graph, network, &bound, images, range, |_| Mode::Train).expect("a graph").nodes
}

/// What lies in a buffer or a texture.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    Temporary(Value),
    /// A copy of this range of a named buffer.
    Copy(Range),
}

/// Plays a plan beside the graph it was made of, fused: what a node reads from a lease, or from a texture that mirrors a tensor, is the value
/// that the graph means, and not one that took the lease while it was still wanted, nor a copy that is out of date.
fn assert_leases(graph: &Graph, plan: &Plan) {
    let mut holds: BTreeMap<usize, Content> = BTreeMap::new();
    let graph = graph.fused(plan.target.kind);
    let list = &plan.programs["step"];
    assert_eq!(graph.nodes().len(), list.len(), "one node is one dispatch");
    for (node, dispatch) in graph.nodes().iter().zip(list) {
        for Mirror { from, to } in &dispatch.mirrors {
            assert!(plan.buffers[*to].texture && from.bytes <= plan.buffers[*to].bytes);
            let copy = match plan.buffers[from.buffer].lease {
                true => *holds.get(&from.buffer).expect("something to copy"),
                false => Content::Copy(*from),
            };
            holds.insert(*to, copy);
        }
        let values = node.inputs.iter().chain(&node.outputs);
        for (k, (value, range)) in values.zip(&dispatch.binds).enumerate() {
            let bound = &plan.buffers[range.buffer];
            let binding = &plan.kernels[dispatch.kernel].bindings[k];
            assert!(!bound.texture || bound.storage == binding.storage, "a texture of its format");
            let content = match &graph.tensor_of(*value).home {
                Home::Temporary => Content::Temporary(*value),
                Home::Named { buffer, offset } => {
                    let named = |spec: &BufferSpec| !spec.lease && spec.label == *buffer;
                    let buffer = plan.buffers.iter().position(named).expect("a named buffer");
                    let tensor = graph.tensor_of(*value);
                    let offset = offset * tensor.storage.bytes();
                    Content::Copy(Range { buffer, offset, bytes: range.bytes })
                }
            };
            if !bound.lease {
                assert_eq!(content, Content::Copy(*range), "{}", node.label);
            } else if k < node.inputs.len() {
                assert_eq!(
                    holds.get(&range.buffer),
                    Some(&content),
                    "{} reads another",
                    node.label
                );
            } else {
                holds.insert(range.buffer, content);
            }
        }
        // Copies of what was written are old.
        let bindings = plan.kernels[dispatch.kernel].bindings.iter();
        for (range, _) in dispatch.binds.iter().zip(bindings).filter(|(_, b)| b.writes) {
            holds.retain(
                |_, content| !matches!(content, Content::Copy(r) if r.buffer == range.buffer),
            );
        }
    }
}

fn networks() -> impl Strategy<Value = Network> {
    let width = || 1..7u32;
    let perceptron =
        (prop::collection::vec(width(), 1..5), any::<bool>()).prop_map(|(w, split)| {
            let depth = w.len() as u32;
            let blocks = if split && depth > 1 { vec![1, depth - 1] } else { vec![depth] };
            mlp(&w, &blocks)
        });
    let residual = (any::<bool>(), 1..4u32, prop::collection::vec(1..3u32, 1..4)).prop_map(
        |(bottleneck, base, blocks)| {
            resnet(if bottleneck { Unit::Bottleneck } else { Unit::Basic }, base, &blocks)
        },
    );
    prop_oneof![perceptron, residual]
}

fn kinds() -> impl Strategy<Value = AdapterKind> {
    prop_oneof![Just(AdapterKind::Cpu), Just(AdapterKind::Gpu)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lease_holds_one_live_value(
        network in networks(), batch in 1..6u32, kind in kinds(), f16 in any::<bool>(),
    ) {
        let graph = graph(&network, batch, f16);
        let plan = compile(&[("step", &graph)], &Target::web(kind)).expect("a plan");
        assert_bindings(&plan);
        assert_leases(&graph, &plan);
    }

    #[test]
    fn what_is_made_anew_is_made_before_it_is_read(
        network in networks(), batch in 1..6u32, kind in kinds(), f16 in any::<bool>(),
    ) {
        let mut graph = graph(&network, batch, f16);
        let updates = |graph: &Graph| graph.nodes().iter().filter(|n| !n.updates.is_empty()).count();
        let before = updates(&graph);
        let backward = graph.nodes().iter().position(|n| n.label.starts_with("d/")).expect("a seed");
        // The node ranges of the blocks, as `build` has them in a graph of its own.
        graph.recompute(&blocks(&network, batch), backward);
        prop_assert_eq!(updates(&graph), before, "nothing is updated twice");
        let plan = compile(&[("step", &graph)], &Target::web(kind)).expect("a plan");
        assert_bindings(&plan);
        assert_leases(&graph, &plan);
    }

    #[test]
    fn every_stage_is_bound_within_the_rules(
        student in networks(), batch in 1..6u32, kind in kinds(), adam in any::<bool>(),
        clip_norm in prop::option::of(Just(1.0)), f16 in any::<bool>(),
    ) {
        let precision = if f16 { Mixed } else { F32 };
        let optimizer = if adam { Optimizer::AdamW } else { Optimizer::Sgd };
        let recipe = Recipe { optimizer, clip_norm, ..recipe(batch) };
        let target = Target::web(kind);
        let (bridged, teacher) = wide(&student);
        let prefix = bridged.prefix(1);
        for (student, objective) in [(&student, Objective::Labels), (&student, KD), (&bridged, KD), (&prefix, NARROW)] {
            let teacher = Some(&teacher);
            let of = Training { student, teacher, task: Task::Classify, objective, recipe: &recipe, precision };
            let plan = program(&of, &target).expect("a plan").plan;
            assert_bindings(&plan);
            for (micro_batches, recompute) in [(1, true), (2, false), (3, true)] {
                let how = Saving { micro_batches, recompute, apart: false };
                let saved = saving(&of, &target, how).expect("a plan");
                assert_bindings(&saved.plan);
                prop_assert!(saved.rows * saved.micro_batches >= batch);
                let step = if saved.micro_batches == 1 { STEP } else { ACCUMULATE };
                // It does what the measure of its loss does, and more; the test of an imitation also runs the rest of the teacher.
                let measure = if objective == NARROW { DISCREPANCY } else { EVALUATE };
                prop_assert!(saved.plan.launches(step) >= plan.launches(measure));
            }
            let sizes: u64 = plan.buffers.iter().map(|b| b.bytes).sum();
            prop_assert_eq!(plan.memory(), sizes);
            prop_assert!(objective != Objective::Labels || plan.flops(STEP) > plan.flops(EVALUATE));
            let text = serde_json::to_string(&plan).expect("JSON");
            let back: Plan = serde_json::from_str(&text).expect("a plan");
            prop_assert!(back == plan, "a plan comes back from JSON as another");
        }
    }
}

#[test]
fn a_plan_is_the_same_each_time() {
    let make =
        || plan(&resnet(Unit::Basic, 2, &[1, 1]), None, Objective::Labels, &recipe(3), &cpu());
    assert_eq!(make(), make());
}

#[test]
fn what_is_too_large_is_named() {
    let student = resnet(Unit::Basic, 2, &[1, 1]);
    let limited = |limits| {
        let target = Target { limits, ..Target::web(AdapterKind::Gpu) };
        plan(&student, None, Objective::Labels, &recipe(4), &target).expect_err("it is too large")
    };
    // Images are 4 · 8 · 8 · 3 floats, the stem's output 4 · 8 · 8 · 2.
    let error = limited(Limits { binding_bytes: 3000, ..Limits::default() });
    let ProgramError::Plan(PlanError::Binding { tensor, bytes, limit }) = &error else {
        panic!("{error}")
    };
    assert_eq!((tensor.as_str(), *bytes, *limit), ("images", 3072, 3000));
    assert_eq!(error.to_string(), "tensor images needs 3072 bytes, the device binds at most 3000");

    let error = limited(Limits { buffer_bytes: 3000, ..Limits::default() });
    let ProgramError::Plan(PlanError::Buffer { buffer, bytes, limit: 3000 }) = &error else {
        panic!("{error}")
    };
    assert!(!buffer.is_empty() && *bytes > 3000, "{error}");

    let error = limited(Limits { groups: 1, ..Limits::default() });
    let ProgramError::Plan(PlanError::Grid { node, limit: 1, .. }) = &error else {
        panic!("{error}")
    };
    assert!(node.contains('/'), "{error}");

    let error = limited(Limits { storage_buffers: 2, ..Limits::default() });
    let ProgramError::Plan(PlanError::StorageBuffers { node, limit: 2, .. }) = &error else {
        panic!("{error}")
    };
    assert!(node.starts_with("conv1/"), "{error}");
}

/// A step that does not fit is cut into the fewest micro-batches that do, equal ones if batch norm looks at them.
#[test]
fn a_step_is_cut_as_little_as_it_must() {
    let perceptron = mlp(&[64; 4], &[4]);
    let residual = resnet(Unit::Basic, 4, &[1, 1]);
    for (student, batch, equal) in [(&perceptron, 14, false), (&residual, 12, true)] {
        let recipe = recipe(batch);
        let of = Training {
            student,
            teacher: None,
            task: Task::Classify,
            objective: Objective::Labels,
            recipe: &recipe,
            precision: F32,
        };
        let within = |memory: u64| {
            let limits = Limits { memory: Some(memory), ..Limits::default() };
            fit(&of, &Target { limits, ..cpu() }, false)
        };
        let plans: Vec<Program> = (1..=batch)
            .map(|micro_batches| {
                let how = Saving { micro_batches, ..Saving::default() };
                saving(&of, &cpu(), how).expect("a plan")
            })
            .filter(|program| !equal || batch.is_multiple_of(program.micro_batches))
            .collect();
        let whole = within(plans[0].plan.memory()).expect("it fits").plan.listing();
        assert_eq!(whole, program(&of, &cpu()).expect("a plan").plan.listing());
        for wanted in &plans {
            let found = within(wanted.plan.memory()).expect("it fits");
            assert!(found.plan.memory() <= wanted.plan.memory());
            assert!(found.micro_batches <= wanted.micro_batches, "{} parts", found.micro_batches);
            assert!(!equal || found.rows * found.micro_batches == batch);
        }
        let error = within(1000).expect_err("parameters alone take more").to_string();
        assert!(error.contains("memory_budget allows 1000"), "{error}");
    }
}

/// Where a batch norm sees one position of each input, a micro-batch has two inputs or more: of one there is no variance.
#[test]
fn no_batch_norm_gets_one_value_a_channel() {
    // Two stages end at 4 × 4, four at 1 × 1.
    for (stages, least) in [(2, 1), (4, 2)] {
        let student = &resnet(Unit::Basic, 2, &[1; 4][..stages]);
        let (objective, teacher) = (Objective::Labels, None);
        let by = |batch: u32, memory: Option<u64>, cut: Option<u32>| {
            let recipe = &recipe(batch);
            let of = Training {
                student,
                teacher,
                task: Task::Classify,
                objective,
                recipe,
                precision: F32,
            };
            let target = Target { limits: Limits { memory, ..Limits::default() }, ..cpu() };
            match cut {
                Some(parts) => {
                    saving(&of, &target, Saving { micro_batches: parts, ..Saving::default() })
                }
                None => fit(&of, &target, false),
            }
        };
        let one = by(1, None, None).map(|program| program.rows);
        match least {
            1 => assert_eq!(one, Ok(1)),
            _ => {
                let error = one.expect_err("a variance of one number").to_string();
                assert!(error.starts_with("batch norm layer4.0.bn1 gets one value"), "{error}");
                assert!(
                    by(256, None, Some(256)).is_err(),
                    "nor as a micro-batch that is asked for"
                );
            }
        }
        // Down to the least memory that any cut takes, no cut is of fewer inputs.
        let smallest = by(256, None, Some(256 / least)).expect("a plan").plan.memory();
        for memory in (0..20).map(|k| smallest + k * smallest / 5) {
            let program = by(256, Some(memory), None).expect("the smallest fits");
            assert!(program.rows >= least, "{} rows of {stages} stages", program.rows);
        }
        let error = by(256, Some(smallest - 1), None).map(|program| program.rows);
        let error = error.expect_err("too little memory");
        assert!(error.is_size(), "{error}");
        // A prime batch has no other equal parts than single inputs.
        let whole = by(251, None, Some(1)).expect("a plan").plan.memory();
        let prime = by(251, Some(whole - 1), None);
        assert_eq!(prime.is_ok(), least == 1, "{:?}", prime.map(|program| program.rows));
    }
}

/// Memory with recomputation is what blocks read and put out, and the inside of one of them.
#[test]
fn recomputing_takes_less_memory() {
    let student = resnet(Unit::Bottleneck, 8, &[2, 2, 2, 2]);
    let recipe = recipe(64);
    let of = Training {
        student: &student,
        teacher: None,
        task: Task::Classify,
        objective: Objective::Labels,
        recipe: &recipe,
        precision: F32,
    };
    let plan = |recompute| {
        let how = Saving { recompute, ..Saving::default() };
        saving(&of, &cpu(), how).expect("a plan").plan
    };
    let (kept, anew) = (plan(false), plan(true));
    println!(
        "{} bytes leased, {} with recomputation; {} MFLOP a step, then {}",
        kept.leased(),
        anew.leased(),
        kept.flops(STEP) / 1_000_000,
        anew.flops(STEP) / 1_000_000
    );
    assert!(anew.leased() as f64 <= 0.8 * kept.leased() as f64);
    assert!(anew.flops(STEP) as f64 <= 1.34 * kept.flops(STEP) as f64);
}

/// Memory is known before anything is allocated, and leases are shared: a deep network needs hardly more than what its
/// backward pass must keep.
#[test]
fn memory_grows_by_what_must_be_kept() {
    let memory = |depth: usize, kind: AdapterKind| {
        let target = Target::web(kind);
        let hidden = vec![64; depth];
        let student = mlp(&hidden, &[depth as u32]);
        let plan = plan(&student, None, Objective::Labels, &recipe(64), &target).expect("a plan");
        let leases = plan.buffers.iter().filter(|b| b.lease).map(|b| b.bytes).sum::<u64>();
        assert!(plan.memory() > leases);
        leases
    };
    // A hidden layer keeps one activation of 64 × 64 floats for its gradient.
    let more = |kind| (memory(12, kind) - memory(8, kind)) / 4;
    assert_eq!(more(AdapterKind::Gpu), 64 * 64 * 4);
    // In mirrors of whole rows, and with one of its weight and one of its bias; then, for the optimiser, with one of all its parameters
    // and one of their momentum.
    assert_eq!(more(AdapterKind::Cpu), (3 + 2) * 16 * PITCH);
}

/// The blocks of a transformer without their attention, and a wide head over a vocabulary: temporaries of sizes far apart.
fn feed_forward(rows: u32, hidden: u32, blocks: usize, vocabulary: u32) -> Graph {
    let mut graph = Graph::new();
    let g = &mut graph;
    let labels = g.input("labels", &[rows]);
    let mut at = g.input("x", &[rows, hidden]);
    let mut trained = Vec::new();
    let mut linear = |g: &mut Graph, x: Value, out: u32| {
        let k = trained.len();
        let width = g.shape(x)[1];
        let (w, b) = (g.input(&format!("w{k}"), &[out, width]), g.input(&format!("b{k}"), &[out]));
        trained.extend([w, b]);
        g.add(Linear { bias: true, relu: false }, &[x, w, b]).expect("a linear layer")
    };
    let (gamma, beta) = (g.input("gamma", &[hidden]), g.input("beta", &[hidden]));
    for _ in 0..blocks {
        let up = linear(g, at, 4 * hidden);
        let bent = g.add(Activation::Gelu, &[up]).expect("an activation");
        let down = linear(g, bent, hidden);
        let sum = g.add(Add, &[at, down]).expect("a skip");
        at = g.add(LayerNorm { eps: 1e-12 }, &[sum, gamma, beta]).expect("a layer norm");
    }
    let logits = linear(g, at, vocabulary);
    let loss = cross_entropy(g, logits, labels, 0.0).expect("a loss");
    trained.extend([gamma, beta]);
    let grads = g.backward(loss, &trained).expect("gradients");
    for (k, grad) in grads.into_iter().enumerate() {
        g.place(grad, &format!("grad{k}"), 0);
    }
    g.place(loss, "metrics", 0);
    graph
}

/// The works of `benches/` have the same test.
#[test]
fn leases_take_little_more_than_what_must_live_at_once() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let target = Target::web(kind);
        let graph = feed_forward(2048, 128, 4, 8192);
        let words = compile(&[("step", &graph)], &target).expect("a plan");
        assert_leases(&graph, &words);
        let student = resnet(Unit::Bottleneck, 8, &[2, 2, 2, 2]);
        let images = plan(&student, None, Objective::Labels, &recipe(64), &target).expect("a plan");
        for plan in [words, images] {
            let (leased, live) = (plan.leased(), plan.live_bytes());
            println!("{kind:?}: {leased} bytes leased, {live} must live");
            assert!(live <= leased && leased as f64 <= 1.3 * live as f64, "{leased} for {live}");
        }
    }
}
