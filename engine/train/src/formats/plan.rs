//! `plan.json`: a plan for machines that have neither this program nor naga, as a browser's WebGPU.
//!
//! It has the text of each kernel (the linked file's own, as naga's writer loses `override` constants), what each binds, and where in the
//! plan's buffers each tensor of `model.safetensors` goes. Who runs it does no arithmetic about shapes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelConfig;
use crate::{
    nn::{self, Slot},
    ops::AdapterKind,
    plan::{DIMS_SLOT, Plan, PlanError, Target, shaders},
    step::{self, Program, ProgramError},
};

/// Version of the form of [`PortablePlan`].
pub const VERSION: u32 = 1;

/// A plan with all that is needed to run it.
///
/// To make it ready: a buffer for each of `plan.buffers`, zeros but for `fills`; the tensors of a safetensors file by `tensors`; a compute
/// pipeline for each of `plan.kernels` from `shaders[modules[k]]`, with the kernel's `constants`. Group 0 has the `Dims` of a dispatch as
/// a uniform at binding 0, where the kernel's `dims` says so, and its storage `bindings` in the order of the dispatch's `binds`; group 1
/// the eight step parameters of `shaders/lib/step.wgsl`, where `live` says so. Then a program is a list of dispatches, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortablePlan {
    /// Version of this form, [`VERSION`].
    pub version: u32,
    /// What the device must grant, by WebGPU's names; no more than its defaults.
    pub limits: BTreeMap<String, u64>,
    /// Bytes of a uniform's slot, in which a dispatch's `dims` lie.
    pub dims_slot: u64,
    /// Each distinct linked shader once, WGSL.
    pub shaders: Vec<Shader>,
    /// Index in `shaders` of each kernel of the plan.
    pub modules: Vec<usize>,
    /// Where the tensors of the model's file go.
    pub tensors: Vec<TensorTarget>,
    /// Buffers that begin with other words than 0.
    pub fills: Vec<Fill>,
    /// The plan.
    pub plan: Plan,
}

/// A linked shader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shader {
    /// Its variant's or body's file.
    pub label: String,
    /// WGSL.
    pub text: String,
}

/// Where a tensor of the file goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorTarget {
    /// Its name in the file.
    pub name: String,
    /// Its extents in the file.
    pub shape: Vec<u32>,
    /// Index in the plan's buffers.
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

/// A buffer all whose words begin as one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fill {
    /// Index in the plan's buffers.
    pub buffer: usize,
    /// The word, a `u32`.
    pub word: u32,
}

impl PortablePlan {
    /// A program with the places of its student's tensors. A plan of a teacher as well has no place for the teacher's tensors.
    ///
    /// # Errors
    /// If a shader's file is missing: a bug of ours.
    pub fn of(program: &Program) -> Result<Self, PlanError> {
        let plan = program.plan.clone();
        let (mut shaders, mut modules) = (Vec::<Shader>::new(), Vec::new());
        for spec in &plan.kernels {
            let kernel = &spec.kernel;
            let label = kernel.variant.clone().unwrap_or_else(|| kernel.file.clone());
            let text = shaders::link(kernel)
                .map_err(|problem| PlanError::Kernel { node: label.clone(), problem })?;
            let known = shaders.iter().position(|shader| shader.text == text);
            modules.push(known.unwrap_or(shaders.len()));
            if known.is_none() {
                shaders.push(Shader { label, text });
            }
        }
        let buffer = |label: &str| plan.buffers.iter().position(|buffer| buffer.label == label);
        let mut tensors = Vec::new();
        for (label, slots) in
            [("student.params", &program.student.params), ("student.state", &program.student.state)]
        {
            // A network without batch norm has no state.
            let Some(buffer) = buffer(label) else { continue };
            tensors.extend(slots.iter().map(|(name, slot)| place(name, slot, buffer)));
        }
        let decays = program.decay_words.iter().enumerate();
        let fill = |(k, words): (usize, &Vec<u32>)| {
            let buffer = buffer(&format!("student.decay{k}"))?;
            words.iter().all(|&word| word == 1).then_some(Fill { buffer, word: 1 })
        };
        let fills = decays.filter_map(fill).collect();
        let (version, limits) = (VERSION, limits(&plan));
        let dims_slot = DIMS_SLOT;
        Ok(Self { version, limits, dims_slot, shaders, modules, tensors, fills, plan })
    }

    /// The program `evaluate` of a model for one image within the limits that every browser grants: it reads `eval.images` (1, H, W, C)
    /// and leaves the buffer `logits` (1, classes).
    ///
    /// # Errors
    /// If a tensor of the model is too large for a browser; the error names it.
    pub fn inference(config: &ModelConfig) -> Result<Self, ProgramError> {
        let network = config.network();
        let program = step::evaluation(&network, config.task(), 1, &Target::web(AdapterKind::Gpu))?;
        Ok(Self::of(&program)?)
    }
}

/// The limits that the plan needs.
fn limits(plan: &Plan) -> BTreeMap<String, u64> {
    let dispatches = || plan.programs.values().flatten();
    let binds = |dispatch: &crate::plan::Dispatch| dispatch.binds.len() as u64;
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

/// The place of a tensor.
fn place(name: &str, slot: &Slot, buffer: usize) -> TensorTarget {
    let here: Vec<usize> = slot.shape.iter().map(|&n| n as usize).collect();
    let there = slot.file.there(&here);
    let view = slot.file.view(&there);
    let order = view.map(|view| Order { view: extents(&view), axes: nn::AXES.into() });
    TensorTarget {
        name: name.into(),
        shape: extents(&there),
        buffer,
        offset: slot.offset * 4,
        order,
    }
}

/// Extents of tensors, of less than 2³⁰ numbers.
fn extents(of: &[usize]) -> Vec<u32> {
    of.iter().map(|&n| n as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Interpolation, Mlp, Model, Resnet, Stem},
        formats::{ImageInput, ModelFolder, ModelInput, folder},
        nn::fresh,
    };

    fn model(model: Model) -> ModelFolder {
        let config = ModelConfig {
            architecture: "test".into(),
            model,
            widened: None,
            input: ModelInput::Images(ImageInput {
                channels: 3,
                size: 8,
                mean: vec![0.5; 3],
                std: vec![0.5; 3],
                interpolation: Interpolation::Area,
                crop: 1.0,
            }),
            labels: (0..10).map(|k| k.to_string()).collect(),
        };
        let weights = fresh(&config.network(), 1).expect("weights");
        ModelFolder { weights, config, merge: None, card: String::new() }
    }

    fn models() -> [ModelFolder; 2] {
        let mlp = Mlp { hidden: vec![5, 4], blocks: vec![1, 1], ..Mlp::default() };
        let blocks = vec![1, 1];
        let resnet = Resnet { base: 4, stem: Stem::Cifar, blocks, ..Resnet::default() };
        [model(Model::Mlp(mlp)), model(Model::Resnet(resnet))]
    }

    /// Follows `tensors` as a browser does.
    fn filled(plan: &PortablePlan, file: &std::path::Path) -> BTreeMap<usize, Vec<f32>> {
        let bytes = std::fs::read(file).expect("read");
        let file = ::safetensors::SafeTensors::deserialize(&bytes).expect("a file");
        let mut buffers = BTreeMap::new();
        for place in &plan.tensors {
            let floats = plan.plan.buffers[place.buffer].bytes as usize / 4;
            let buffer: &mut Vec<f32> =
                buffers.entry(place.buffer).or_insert_with(|| vec![0.0; floats]);
            let view = file.tensor(&place.name).expect("a tensor");
            assert!(view.shape().iter().map(|&n| n as u32).eq(place.shape.iter().copied()));
            let numbers: Vec<f32> =
                view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            let whole = Order { view: vec![numbers.len() as u32], axes: vec![0] };
            let order = place.order.as_ref().unwrap_or(&whole);
            let extent = |axis: usize| order.view[axis] as usize;
            let stride = |axis: usize| order.view[axis + 1..].iter().product::<u32>() as usize;
            for at in 0..numbers.len() {
                let (mut rest, mut from) = (at, 0);
                for &axis in order.axes.iter().rev() {
                    from += rest % extent(axis as usize) * stride(axis as usize);
                    rest /= extent(axis as usize);
                }
                buffer[place.offset as usize / 4 + at] = numbers[from];
            }
        }
        buffers
    }

    #[test]
    fn the_file_fills_the_buffers_as_our_layout_does() {
        for model in models() {
            let path = tempfile::tempdir().expect("folder");
            model.write(path.path()).expect("written");
            let network = model.config.network();
            let program =
                step::evaluation(&network, model.config.task(), 1, &Target::web(AdapterKind::Gpu));
            let program = program.expect("a plan");
            let plan = PortablePlan::of(&program).expect("a plan");
            let buffers = filled(&plan, &path.path().join(folder::WEIGHTS));
            let (params, state) = program.student.pack(&model.weights).expect("weights");
            let has: Vec<_> = buffers.into_values().collect();
            let wanted: Vec<_> = [params, state].into_iter().filter(|b| !b.is_empty()).collect();
            assert!(has == wanted, "{}", model.config.model.arch());
        }
    }

    #[test]
    fn it_is_json_within_the_default_limits() {
        for model in models() {
            let plan = PortablePlan::inference(&model.config).expect("a plan");
            let text = serde_json::to_string(&plan).expect("JSON");
            assert_eq!(serde_json::from_str::<PortablePlan>(&text).expect("a plan"), plan);
            assert!(plan.limits["maxStorageBuffersPerShaderStage"] <= 8, "{:?}", plan.limits);
            assert_eq!(plan.modules.len(), plan.plan.kernels.len());
            assert!(plan.plan.buffers.iter().all(|buffer| !buffer.texture));
        }
    }

    #[test]
    fn a_model_too_large_for_a_browser_is_refused_by_name() {
        let mlp = Mlp { hidden: vec![20_000, 20_000], blocks: vec![1, 1], ..Mlp::default() };
        let config = ModelConfig { model: Model::Mlp(mlp), ..models()[0].config.clone() };
        let said = PortablePlan::inference(&config).expect_err("too large").to_string();
        assert!(said.contains("the device allows at most"), "{said}");
    }
}
