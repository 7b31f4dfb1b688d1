//! `plan.json`: a program as one document, for machines that have neither this program nor naga, as a browser's WebGPU.
//!
//! It has the plan, the text of each kernel (the linked file's own, as naga's writer loses `override` constants), what each program reads of
//! a batch, and how the buffers of student, teacher and optimiser begin. Who runs it does no arithmetic about shapes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    error::ProgramError,
    optimizer::SCALER,
    program::{Program, evaluation},
    task::Task,
};
use crate::{
    batch::NumberKind,
    nn::{self, Layout, Network, Slot},
    ops::{AdapterKind, scaler},
    plan::{DIMS_SLOT, Dispatch, Plan, PlanError, Shader, Target, shaders},
};

/// Version of the form of [`PlanDocument`].
const VERSION: u32 = 2;

/// A plan with all that is needed to run it.
///
/// To make it ready: a buffer for each of `buffers`, zeros but for what `owners.optimizer` says; the tensors of a safetensors file by
/// `owners.student`, and those of another one by `owners.teacher`; a compute pipeline for each of `kernels` from `shaders[modules[k]]`, with
/// the kernel's `constants`. Group 0 has the `Dims` of a dispatch as a uniform at binding 0, where the kernel's `dims` says so, and its
/// storage `bindings` in the order of the dispatch's `binds`; group 1 the eight step parameters of `shaders/lib/step.wgsl`, where `live` says
/// so. Then a program is a list of dispatches, in their order, after its `inputs` were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanDocument {
    /// Version of this form; a reader refuses every other one.
    pub version: u32,
    /// What the device must grant, by WebGPU's names; no more than its defaults.
    pub limits: BTreeMap<String, u64>,
    /// Bytes of a uniform's slot, in which a dispatch's `dims` lie.
    pub dims_slot: u64,
    /// Each distinct linked shader once, WGSL.
    pub shaders: Vec<Shader>,
    /// Index in `shaders` of each kernel.
    pub modules: Vec<usize>,
    /// What each program reads of a batch; a program that reads nothing of it is not listed.
    pub inputs: BTreeMap<String, Vec<BatchInput>>,
    /// How the buffers begin that outlive a program.
    pub owners: Owners,
    /// The plan itself.
    #[serde(flatten)]
    pub plan: Plan,
}

/// A field of a batch, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchInput {
    /// The field's name: `images`, `labels`, `tokens`.
    pub name: String,
    /// Index in the buffers.
    pub buffer: usize,
    /// Extents, the first of which counts samples.
    pub shape: Vec<u32>,
    /// What its numbers are.
    pub kind: NumberKind,
}

/// Whose the buffers are that outlive a program, and how they begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owners {
    /// The tensors of the student's file.
    pub student: Vec<TensorTarget>,
    /// The tensors of the teacher's file; empty where no teacher runs. A teacher is always in eval mode and its batch norms are part of its
    /// convolutions, so these are the tensors of the folded network, which [`nn::Folded::to_file`] makes of the teacher's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teacher: Vec<TensorTarget>,
    /// The optimiser's moments, weight-decay words and state of loss scaling; empty where nothing is trained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optimizer: Vec<BufferStart>,
}

/// Where a tensor of a file goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorTarget {
    /// Its name in the file.
    pub name: String,
    /// Its extents in the file.
    pub shape: Vec<u32>,
    /// Index in the buffers.
    pub buffer: usize,
    /// Its first byte there.
    pub offset: u64,
    /// In which order its numbers are written; absent: as they lie in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

/// The file's numbers are seen as extents `view` and written axis by axis: `axes[0]` of them slowest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// Extents, whose product is the tensor's.
    pub view: Vec<u32>,
    /// Each axis of `view` once.
    pub axes: Vec<u32>,
}

/// The words that a buffer begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BufferStart {
    /// Index in the buffers.
    pub buffer: usize,
    /// From the buffer's first word on; behind them are zeros, and there are only zeros where there are no runs.
    pub runs: Vec<WordRun>,
}

/// Equal words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WordRun {
    /// The word, the bits of a number where the buffer has such.
    pub word: u32,
    /// How many there are.
    pub count: u32,
}

impl PlanDocument {
    /// The document of a program.
    ///
    /// # Errors
    /// If a shader's file is missing: a bug of ours.
    pub fn of(program: &Program) -> Result<Self, PlanError> {
        let plan = program.plan.clone();
        let (shaders, modules) = shaders::of_plan(&plan)?;
        Ok(Self {
            version: VERSION,
            limits: limits(&plan),
            dims_slot: DIMS_SLOT,
            shaders,
            modules,
            inputs: inputs(program),
            owners: Owners {
                student: targets(&plan, "student", &program.student),
                teacher: match &program.teacher {
                    Some(teacher) => targets(&plan, "teacher", &teacher.layout),
                    None => Vec::new(),
                },
                optimizer: starts(program),
            },
            plan,
        })
    }

    /// The program `evaluate` of a network for one sample within the limits that every browser grants; it leaves the buffer `logits`, of
    /// extents (1, classes) where the task is to classify, and `logits.1` of a second head.
    ///
    /// # Errors
    /// If a tensor of the network is too large for a browser; the error names it.
    pub fn inference(network: &Network, task: Task) -> Result<Self, ProgramError> {
        Ok(Self::of(&evaluation(network, task, 1, &Target::web(AdapterKind::Gpu))?)?)
    }
}

/// The limits that a plan needs.
fn limits(plan: &Plan) -> BTreeMap<String, u64> {
    let dispatches = || plan.programs.values().flatten();
    let binds = |dispatch: &Dispatch| dispatch.binds.len() as u64;
    let most = |numbers: &mut dyn Iterator<Item = u64>| numbers.max().unwrap_or(0);
    let binding = most(&mut dispatches().flat_map(|d| &d.binds).map(|range| range.bytes));
    let groups = most(&mut dispatches().flat_map(|d| d.grid).map(u64::from));
    [
        ("maxBufferSize", most(&mut plan.buffers.iter().map(|buffer| buffer.bytes))),
        ("maxStorageBufferBindingSize", binding),
        ("maxStorageBuffersPerShaderStage", most(&mut dispatches().map(binds))),
        ("maxComputeWorkgroupsPerDimension", groups),
    ]
    .map(|(name, value)| (name.into(), value))
    .into()
}

/// The inputs of each program: those whose buffers its dispatches bind or copy.
fn inputs(program: &Program) -> BTreeMap<String, Vec<BatchInput>> {
    let all: Vec<BatchInput> = program
        .inputs
        .iter()
        .chain(&program.test_inputs)
        .filter_map(|input| {
            let (name, shape, kind) = (input.name.into(), input.shape.clone(), input.kind);
            let buffer = program.plan.buffer(&input.buffer)?;
            Some(BatchInput { name, buffer, shape, kind })
        })
        .collect();
    let of_list = |list: &[Dispatch]| -> Vec<BatchInput> {
        let reads = |dispatch: &Dispatch, buffer: usize| {
            let mirrored = dispatch.mirrors.iter().map(|mirror| &mirror.from);
            dispatch.binds.iter().chain(mirrored).any(|range| range.buffer == buffer)
        };
        let of = |input: &&BatchInput| list.iter().any(|dispatch| reads(dispatch, input.buffer));
        all.iter().filter(of).cloned().collect()
    };
    let programs = program.plan.programs.iter();
    programs
        .map(|(name, list)| (name.clone(), of_list(list)))
        .filter(|(_, inputs)| !inputs.is_empty())
        .collect()
}

/// Where the tensors of a network's file go.
fn targets(plan: &Plan, network: &str, layout: &Layout) -> Vec<TensorTarget> {
    let mut targets = Vec::new();
    for (part, slots) in [("params", &layout.params), ("state", &layout.state)] {
        // A network without batch norm has no state.
        let Some(buffer) = plan.buffer(&format!("{network}.{part}")) else { continue };
        targets.extend(slots.iter().flat_map(|(name, slot)| parts(name, slot, buffer)));
    }
    targets
}

/// Where the tensors of a file go that are one of ours.
fn parts(name: &str, slot: &Slot, buffer: usize) -> impl Iterator<Item = TensorTarget> {
    let here: Vec<usize> = slot.shape.iter().map(|&n| n as usize).collect();
    let (mut there, names) = (slot.file.there(&here), slot.file.names(name));
    let order = slot.file.view(&there);
    let order = order.map(|view| Order { view: extents(&view), axes: nn::AXES.into() });
    // Several of them have equal shares of its rows.
    if let Some(rows) = there.first_mut() {
        *rows /= names.len();
    }
    let (shape, bytes) = (extents(&there), 4 * there.iter().product::<usize>() as u64);
    let first = slot.offset * 4;
    (0..).zip(names).map(move |(k, name)| {
        let (shape, order) = (shape.clone(), order.clone());
        TensorTarget { name, shape, buffer, offset: first + k * bytes, order }
    })
}

/// Extents of tensors, of less than 2³⁰ numbers.
fn extents(of: &[usize]) -> Vec<u32> {
    of.iter().map(|&n| n as u32).collect()
}

/// How the optimiser's buffers begin.
fn starts(program: &Program) -> Vec<BufferStart> {
    let start = |label: &str, words: &[u32]| {
        let buffer = program.plan.buffer(label)?;
        Some(BufferStart { buffer, runs: runs(words) })
    };
    let moments = ["student.m", "student.v"].map(|label| start(label, &[]));
    let decays = program.decay_words.iter().enumerate();
    let decays = decays.map(|(k, words)| start(&format!("student.decay{k}"), words));
    let scaling = start(SCALER, &scaler::FIRST_STATE.map(f32::to_bits));
    moments.into_iter().chain(decays).chain([scaling]).flatten().collect()
}

/// Words as runs of equal ones.
fn runs(words: &[u32]) -> Vec<WordRun> {
    let run = |equal: &[u32]| WordRun { word: equal[0], count: equal.len() as u32 };
    words.chunk_by(|a, b| a == b).map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Kd, Mlp, Model, Optimizer, Precision, Recipe, Resnet, Stem},
        models::{self, Bert},
        nn::{Extent, Folded, Weights, fresh},
        step::{ACCUMULATE, APPLY, EVALUATE, Objective, STEP, Saving, Training, saving},
    };

    fn mlp() -> Network {
        let mlp = Mlp { hidden: vec![5, 4], blocks: vec![1, 1], ..Mlp::default() };
        models::network(&Model::Mlp(mlp), Extent::Map(8, 8, 3), 10)
    }

    fn resnet() -> Network {
        let blocks = vec![1, 1];
        let resnet = Resnet { base: 4, stem: Stem::Cifar, blocks, ..Resnet::default() };
        models::network(&Model::Resnet(resnet), Extent::Map(8, 8, 3), 10)
    }

    /// Follows `targets` as a browser does.
    fn filled(plan: &Plan, targets: &[TensorTarget], file: &Weights) -> BTreeMap<usize, Vec<f32>> {
        let mut buffers = BTreeMap::new();
        for target in targets {
            let floats = plan.buffers[target.buffer].bytes as usize / 4;
            let buffer: &mut Vec<f32> =
                buffers.entry(target.buffer).or_insert_with(|| vec![0.0; floats]);
            let tensor = &file[&target.name];
            assert_eq!(extents(&tensor.shape), target.shape, "{}", target.name);
            let numbers = &tensor.data;
            let whole = Order { view: vec![numbers.len() as u32], axes: vec![0] };
            let order = target.order.as_ref().unwrap_or(&whole);
            let extent = |axis: usize| order.view[axis] as usize;
            let stride = |axis: usize| order.view[axis + 1..].iter().product::<u32>() as usize;
            for at in 0..numbers.len() {
                let (mut rest, mut from) = (at, 0);
                for &axis in order.axes.iter().rev() {
                    from += rest % extent(axis as usize) * stride(axis as usize);
                    rest /= extent(axis as usize);
                }
                buffer[target.offset as usize / 4 + at] = numbers[from];
            }
        }
        buffers
    }

    /// That a file fills the buffers as a layout packs the weights.
    fn fills(plan: &Plan, targets: &[TensorTarget], file: &Weights, packed: (Vec<f32>, Vec<f32>)) {
        let has: Vec<_> = filled(plan, targets, file).into_values().collect();
        let wanted: Vec<_> = [packed.0, packed.1].into_iter().filter(|b| !b.is_empty()).collect();
        assert!(has == wanted);
        assert_eq!(targets.len(), file.len(), "each tensor of the file has a place");
    }

    fn web() -> Target {
        Target::web(AdapterKind::Gpu)
    }

    #[test]
    fn a_file_fills_the_buffers_as_our_layout_does() {
        let bert = Bert {
            vocabulary: 11,
            hidden: 8,
            embedding: None,
            layers: 2,
            heads: 2,
            inner: 16,
            length: 5,
            positions: 7,
            places: 2,
            ..Bert::default()
        };
        for (network, task) in [
            (mlp(), Task::Classify),
            (resnet(), Task::Classify),
            (models::bert(&bert), Task::MaskedWords { vocabulary: 11, places: 2 }),
        ] {
            let weights = fresh(&network, 1).expect("weights");
            let program = evaluation(&network, task, 1, &web()).expect("a plan");
            let document = PlanDocument::of(&program).expect("a document");
            let packed = program.student.pack(&weights).expect("weights");
            let file = network.to_file(&weights);
            fills(&document.plan, &document.owners.student, &file, packed);
        }
    }

    #[test]
    fn it_is_json_within_the_default_limits() {
        for network in [mlp(), resnet()] {
            let document = PlanDocument::inference(&network, Task::Classify).expect("a document");
            let text = serde_json::to_string(&document).expect("JSON");
            assert_eq!(serde_json::from_str::<PlanDocument>(&text).expect("read"), document);
            let most = document.limits["maxStorageBuffersPerShaderStage"];
            assert!(most <= 8, "{:?}", document.limits);
            assert_eq!(document.modules.len(), document.plan.kernels.len());
            assert!(document.plan.buffers.iter().all(|buffer| !buffer.texture));
            assert_eq!(document.owners.optimizer, []);
            let images = &document.inputs[EVALUATE][0];
            assert_eq!((&*images.name, images.shape.as_slice()), ("images", &[1, 8, 8, 3][..]));
        }
    }

    #[test]
    fn a_network_too_large_for_a_browser_is_refused_by_name() {
        let mlp = Mlp { hidden: vec![20_000, 20_000], blocks: vec![1, 1], ..Mlp::default() };
        let network = models::network(&Model::Mlp(mlp), Extent::Map(8, 8, 3), 10);
        let error = PlanDocument::inference(&network, Task::Classify).expect_err("too large");
        assert!(error.to_string().contains("the device allows at most"), "{error}");
    }

    #[test]
    fn teacher_and_optimizer_travel() {
        let (student, teacher) = (mlp(), resnet());
        let recipe = Recipe { batch: 6, optimizer: Optimizer::AdamW, ..Kd::default().recipe() };
        let of = Training {
            student: &student,
            teacher: Some(&teacher),
            task: Task::Classify,
            objective: Objective::Distill { alpha: 0.5, temperature: 2.0 },
            recipe: &recipe,
            precision: Precision::Mixed,
        };
        let cut = Saving { micro_batches: 2, ..Saving::default() };
        let program = saving(&of, &web(), cut).expect("a plan");
        let document = PlanDocument::of(&program).expect("a document");
        let names = |list: &[BatchInput]| list.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&document.inputs[ACCUMULATE]), ["images", "labels"]);
        assert_eq!(document.inputs[ACCUMULATE][1].shape, [3]);
        assert_eq!(document.inputs[ACCUMULATE][1].kind, NumberKind::U32);
        assert!(!document.inputs.contains_key(APPLY) && !document.inputs.contains_key(STEP));

        let weights = fresh(&teacher, 1).expect("weights");
        let folded = Folded::of(&teacher).expect("a network");
        let file = folded.to_file(&weights).expect("weights");
        let packed = folded.pack(&weights).expect("weights");
        fills(&document.plan, &document.owners.teacher, &file, packed);

        let of_label = |label: &str| {
            let has = |start: &&BufferStart| document.plan.buffers[start.buffer].label == label;
            let found = document.owners.optimizer.iter().find(has);
            &found.unwrap_or_else(|| panic!("{label} is missing")).runs
        };
        assert_eq!(document.owners.optimizer.len(), 4);
        assert!(of_label("student.m").is_empty() && of_label("student.v").is_empty());
        let scale = WordRun { word: 65_536.0f32.to_bits(), count: 1 };
        assert_eq!(of_label(SCALER), &[scale, WordRun { word: 0, count: 3 }]);
        let decays = of_label("student.decay0").iter();
        let words: Vec<u32> = decays.flat_map(|run| vec![run.word; run.count as usize]).collect();
        assert_eq!(words, program.decay_words[0]);
    }

    #[test]
    fn words_are_runs() {
        let run = |word, count| WordRun { word, count };
        assert_eq!(runs(&[1, 1, 0, 1]), [run(1, 2), run(0, 1), run(1, 1)]);
        assert_eq!(runs(&[]), []);
    }
}
