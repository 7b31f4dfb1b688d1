//! Every shader and variant through the compilers of three graphics APIs, and through Chrome's own; and `Dims`, which a shader and
//! its launch both know.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use engine::{
    config::{Optimizer, Precision, Recipe},
    graph::Graph,
    ops::{AdapterKind, Kernel, Reads, dropout::Dropout, peak::Peak},
    plan::{
        Plan, Target, compile,
        shaders::{self, FILES, link},
    },
    step::{Objective, Task, Training, program},
};
use naga::{
    Module, ShaderStage, TypeInner,
    back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};
use taper_tests::{
    golden::Golden,
    nets::{mlp, recipe},
    table::{FAMILIES, probe},
    tools,
};

/// A shader linked with one of its variants.
struct Linked {
    name: String,
    text: String,
    module: Module,
    info: ModuleInfo,
}

/// Bindings of the largest number that `lib/` knows.
const BINDINGS: std::ops::RangeInclusive<u32> = 1..=7;

/// Every body with every variant it has, each with all its tensors stored as f32 and, as far as it leaves that open, as f16.
fn linked() -> Vec<Linked> {
    let bodies = FILES.iter().map(|(stem, _)| *stem).filter(|stem| !stem.contains(['/', '.']));
    let mut all = Vec::new();
    for body in bodies {
        let mut variants: Vec<Option<String>> =
            shaders::variants(body).into_iter().map(Some).collect();
        if variants.is_empty() {
            variants.push(None);
        }
        let variants =
            variants.iter().flat_map(|v| [Reads::Buffers, Reads::Textures].map(|r| (v.clone(), r)));
        let variants = variants.flat_map(|(v, reads)| {
            [Vec::new(), BINDINGS.collect()].map(|f16| (v.clone(), reads, f16))
        });
        for (variant, reads, f16) in variants {
            let name = variant.clone().unwrap_or_else(|| body.to_owned());
            let kernel = Kernel { variant, reads, f16, ..Kernel::of(body, "") };
            if reads == Reads::Textures && !shaders::reads(&kernel) {
                continue;
            }
            let text = link(&kernel).expect("the files are there");
            let module = naga::front::wgsl::parse_str(&text)
                .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            let capabilities = Capabilities::default() | Capabilities::SHADER_FLOAT16;
            let info = Validator::new(ValidationFlags::all(), capabilities)
                .validate(&module)
                .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            all.push(Linked { name, text, module, info });
        }
    }
    all
}

/// Its `override` constants as they are, and with every flag turned over.
fn constants(module: &Module) -> [PipelineConstants; 2] {
    let flags = module.overrides.iter().filter_map(|(_, o)| {
        let bool = matches!(module.types[o.ty].inner, TypeInner::Scalar(naga::Scalar::BOOL));
        bool.then(|| (o.name.clone().expect("our constants have names"), 1.0))
    });
    [PipelineConstants::default(), flags.collect()]
}

#[test]
fn every_entry_point_becomes_spirv_msl_and_hlsl() {
    let mut count = 0;
    for Linked { name, module, info, .. } in linked() {
        assert!(!module.entry_points.is_empty(), "{name} has no entry point");
        for entry in &module.entry_points {
            let threads: u32 = entry.workgroup_size.iter().product();
            assert!(threads <= 256, "{name}.{}: {threads} invocations", entry.name);
            for set in constants(&module) {
                let at = format!("{name}.{}", entry.name);
                let point = Some((ShaderStage::Compute, entry.name.as_str()));
                let (module, info) = process_overrides(&module, &info, point, &set)
                    .unwrap_or_else(|e| panic!("{at}: {e}"));
                spv::write_vec(&module, &info, &spv::Options::default(), None)
                    .unwrap_or_else(|e| panic!("{at} as SPIR-V: {e}"));
                let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
                msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
                    .unwrap_or_else(|e| panic!("{at} as MSL: {e}"));
                let shader_model = hlsl::ShaderModel::V6_2;
                let options = hlsl::Options { shader_model, ..Default::default() };
                let pipeline = hlsl::PipelineOptions::default();
                let mut text = String::new();
                hlsl::Writer::new(&mut text, &options, &pipeline)
                    .write(&module, &info, None)
                    .unwrap_or_else(|e| panic!("{at} as HLSL: {e}"));
                count += 1;
            }
        }
    }
    assert!(count > 100, "only {count} kernels were written");
}

#[test]
fn tint_takes_every_shader() {
    let Some(program) = tools::tint() else { return };
    let tint = || {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let folder = tempfile::tempdir().expect("a folder");
    for Linked { name, text, .. } in linked() {
        let path = folder.path().join(format!("{name}.wgsl"));
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(text.as_bytes()).expect("room");
        let result = tint().args(["--format", "wgsl", "-o"]).arg("/dev/null").arg(&path).output();
        let result = result.expect("tint runs");
        let said = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{name}: {said}");
    }
}

/// Plans that use every shader, by both kinds of kernels.
fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let target = Target::web(kind);
        for family in FAMILIES {
            for case in Golden::read(&format!("ops/{family}")).cases() {
                let graph: Graph = probe(&case).graph;
                plans.push(compile(&[("run", &graph)], &target).expect("a plan"));
            }
        }
        for optimizer in [Optimizer::Sgd, Optimizer::Adam, Optimizer::AdamW] {
            let network = mlp(&[5, 8], &[1, 1]);
            // So large a batch that the gradients of weights come in parts.
            let recipe = Recipe { clip_norm: Some(1.0), optimizer, ..recipe(1024) };
            let (student, objective) = (&network, Objective::Labels);
            for precision in [Precision::F32, Precision::Mixed] {
                let of = Training {
                    student,
                    teacher: None,
                    task: Task::Classify,
                    objective,
                    recipe: &recipe,
                    precision,
                };
                plans.push(program(&of, &target).expect("a plan").plan);
            }
        }
        let mut graph = Graph::new();
        let x = graph.input("x", &[3, 5]);
        let y = graph.add(Dropout { p: 0.5, stream: 0 }, &[x]).expect("dropout");
        graph.place(y, "y", 0);
        let z = graph.add(Peak { invocations: 3, rounds: 2 }, &[]).expect("multiply-adds");
        graph.place(z, "z", 0);
        plans.push(compile(&[("run", &graph)], &target).expect("a plan"));
    }
    plans
}

/// `Dims` is written down twice, in a shader and in a launch: they must have as many words.
#[test]
fn a_launch_lists_the_words_of_dims() {
    let all = linked();
    let mut seen = BTreeSet::new();
    for plan in plans() {
        for dispatch in plan.programs.values().flatten() {
            let kernel = &plan.kernels[dispatch.kernel].kernel;
            let name = kernel.variant.as_ref().unwrap_or(&kernel.file);
            seen.insert(kernel.file.clone());
            let linked = all.iter().find(|l| l.name == *name).expect("a known shader");
            let dims = linked.module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Dims"));
            let listed = match dims.map(|(_, t)| &t.inner) {
                Some(TypeInner::Struct { span, .. }) => *span as usize / 4,
                _ => 0,
            };
            let used = plan.kernels[dispatch.kernel].dims;
            let words = dispatch.dims.len();
            assert_eq!(words, if used { listed } else { 0 }, "{name}.{}", kernel.entry);
            assert!(words <= 64, "{name}: a slot of dims holds 64 words");
        }
    }
    // `Dims` is a file's, whatever the entry point.
    for linked in &all {
        let file = linked.name.split('.').next().expect("a stem");
        assert!(seen.contains(file), "no plan here uses shaders/{file}.wgsl");
    }
}
