//! The shaders' text, linked by concatenation, and what naga reflects of it.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use naga::{
    AddressSpace, ImageClass, Module, StorageAccess, TypeInner,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use super::{Binding, KernelSpec, Plan, PlanError, Shader};
use crate::ops::{Kernel, Reads, Storage};

/// Every file of `shaders/` by its stem (`matmul`, `attention.r8q8`, `variants/r8x8`, `lib/step`), with its text.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// The text of a file of `shaders/`.
fn file(stem: &str) -> Result<&'static str, String> {
    FILES
        .iter()
        .find_map(|(name, text)| (*name == stem).then_some(*text))
        .ok_or_else(|| format!("there is no shaders/{stem}.wgsl"))
}

/// The part through which kernels read their inputs: there is one for each of [`Reads`] and each kind of storage.
const READ: &str = "read";

/// The part through which kernels write what may be stored either way.
const WRITE: &str = "write";

/// What begins the section of a part that belongs to one binding, before its number.
const SECTION: &str = "// binding ";

/// The names of the variables that [`READ`] and [`WRITE`] declare begin so.
const LIB_VARIABLES: [&str; 3] = ["quads_", "ones_", "mirror_"];

/// The names that a text lists in its comments `// KEY: a, b`.
fn listed<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(':'))
        .flat_map(|list| list.split(',').map(str::trim))
}

/// The `lib/` parts that a text uses.
fn uses(text: &str) -> impl Iterator<Item = &str> {
    listed(text, "uses")
}

/// The variants of a body by their names in a [`Kernel`] (`matmul.r8x8`): the files of its own, and the files of `variants/` that its comment
/// `// variants: a, b` names.
pub fn variants(body: &str) -> Vec<String> {
    let own = format!("{body}.");
    let owned = FILES.iter().filter(|(stem, _)| stem.starts_with(&own));
    let shared = listed(file(body).unwrap_or_default(), "variants");
    owned.map(|(stem, _)| (*stem).to_owned()).chain(shared.map(|name| own.clone() + name)).collect()
}

/// The text of a kernel's variant, empty where it has none.
fn variant(kernel: &Kernel) -> Result<&'static str, String> {
    let Some(name) = &kernel.variant else { return Ok("") };
    if let Ok(own) = file(name) {
        return Ok(own);
    }
    let shared = name.strip_prefix(&kernel.file).and_then(|rest| rest.strip_prefix('.'));
    match shared.filter(|shared| {
        listed(file(&kernel.file).unwrap_or_default(), "variants").any(|v| v == *shared)
    }) {
        Some(shared) => file(&format!("variants/{shared}")),
        None => Err(format!("shaders/{}.wgsl has no variant {name}", kernel.file)),
    }
}

/// Whether a kernel takes inputs through `lib/read`, so that they may lie in buffers or in textures.
pub fn reads(kernel: &Kernel) -> bool {
    type Seen = HashMap<String, HashMap<Option<String>, bool>>;
    static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);
    let mut seen = SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = seen.get(&kernel.file).and_then(|of| of.get(&kernel.variant)) {
        return *known;
    }
    let found = uses_read(kernel);
    seen.entry(kernel.file.clone()).or_default().insert(kernel.variant.clone(), found);
    found
}

fn uses_read(kernel: &Kernel) -> bool {
    let texts = [file(&kernel.file), variant(kernel)];
    texts.into_iter().flatten().flat_map(uses).any(|part| part == READ)
}

/// A part that is cut into sections, one a binding: each from the file `stem`, or from `stem.f16` where the binding is one of `f16`. What
/// stands before the sections of the first file serves both; what stands before those of the second comes with any of them.
fn sections(stem: &str, f16: &[u32]) -> Result<String, String> {
    let cut = |text: &'static str| {
        let mut parts = text.split(SECTION);
        let head = parts.next().unwrap_or_default();
        let number =
            |part: &&str| part.lines().next().and_then(|n| n.trim_end().parse::<u32>().ok());
        let numbered = parts.filter_map(|part| Some((number(&part)?, part)));
        (head, numbered.collect::<Vec<_>>())
    };
    let (head, single) = cut(file(&format!("lib/{stem}"))?);
    let (f16_head, half) = cut(file(&format!("lib/{stem}.f16"))?);
    let is_f16 = |n: &u32| f16.contains(n);
    let mut text = head.to_owned();
    if half.iter().any(|(n, _)| is_f16(n)) {
        text += f16_head;
    }
    let chosen = single.into_iter().filter(|(n, _)| !is_f16(n));
    for (_, section) in chosen.chain(half.into_iter().filter(|(n, _)| is_f16(n))) {
        text = text + SECTION + section;
    }
    Ok(text)
}

/// Each distinct shader of a plan once, and which of them each kernel is from.
///
/// # Errors
/// If a shader's file is missing: a bug of ours.
pub fn of_plan(plan: &Plan) -> Result<(Vec<Shader>, Vec<usize>), PlanError> {
    let (mut shaders, mut modules) = (Vec::<Shader>::new(), Vec::new());
    for spec in &plan.kernels {
        let kernel = &spec.kernel;
        let label = kernel.variant.clone().unwrap_or_else(|| kernel.file.clone());
        let text =
            link(kernel).map_err(|problem| PlanError::Kernel { node: label.clone(), problem })?;
        let known = shaders.iter().position(|shader| shader.text == text);
        modules.push(known.unwrap_or(shaders.len()));
        if known.is_none() {
            shaders.push(Shader { label, text });
        }
    }
    Ok((shaders, modules))
}

/// The text of a kernel: the `lib/` parts that its body and its variant use, its variant, its body.
///
/// # Errors
/// If a file is missing.
pub fn link(kernel: &Kernel) -> Result<String, String> {
    let body = file(&kernel.file)?;
    let variant = variant(kernel)?;
    let mut parts = Vec::new();
    for name in uses(body).chain(uses(variant)) {
        let part = match (name, kernel.reads) {
            (READ, Reads::Buffers) => sections("read.buffers", &kernel.f16)?,
            (READ, Reads::Textures) => sections("read.textures", &kernel.f16)?,
            (WRITE, _) => sections(WRITE, &kernel.f16)?,
            _ => file(&format!("lib/{name}"))?.to_owned(),
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.extend([variant, body].map(str::to_owned));
    // A directive stands before everything else.
    if parts.iter().any(|part| part.contains("<f16>")) {
        parts.insert(0, file("lib/f16")?.to_owned());
    }
    Ok(parts.join("\n"))
}

/// What an entry point uses.
#[derive(Debug, Clone, Default)]
struct Used {
    bindings: Vec<Binding>,
    dims: bool,
    live: bool,
    /// Numbers of the bindings that `lib/` declares, so that the tensor may be stored either way.
    may_be_f16: Vec<u32>,
}

struct Parsed {
    module: Module,
    info: ModuleInfo,
}

fn parse(text: &str) -> Result<Parsed, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let capabilities = Capabilities::default() | Capabilities::SHADER_FLOAT16;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    Ok(Parsed { module, info })
}

/// What an entry point binds, straight from the shader: nobody lists bindings twice.
///
/// # Errors
/// If the shader does not validate, lacks the entry point, or binds something that the conventions do not know.
pub fn reflect(kernel: &Kernel) -> Result<KernelSpec, String> {
    let Used { bindings, dims, live, .. } = used(kernel)?;
    Ok(KernelSpec { kernel: kernel.clone(), bindings, dims, live })
}

/// Numbers of the bindings whose tensors may be stored as f32 or as f16.
///
/// # Errors
/// As [`reflect`].
pub fn may_be_f16(kernel: &Kernel) -> Result<Vec<u32>, String> {
    Ok(used(kernel)?.may_be_f16)
}

fn used(kernel: &Kernel) -> Result<Used, String> {
    type Key = (String, Option<String>, Reads, Vec<u32>, String);
    static SEEN: LazyLock<Mutex<HashMap<Key, Used>>> = LazyLock::new(Mutex::default);
    let Kernel { file, variant, entry, reads, f16, .. } = kernel;
    let key = (file.clone(), variant.clone(), *reads, f16.clone(), entry.clone());
    let seen = || SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = seen().get(&key) {
        return Ok(found.clone());
    }
    let found = bindings_of(kernel)?;
    seen().insert(key, found.clone());
    Ok(found)
}

fn bindings_of(kernel: &Kernel) -> Result<Used, String> {
    let Parsed { module, info } = parse(&link(kernel)?)?;
    let index =
        module.entry_points.iter().position(|e| e.name == kernel.entry).ok_or_else(|| {
            format!("shaders/{}.wgsl has no entry point {}", kernel.file, kernel.entry)
        })?;
    let info = info.get_entry_point(index);
    let mut used = Used::default();
    let as_stored = |number| match kernel.f16.contains(&number) {
        true => Storage::F16,
        false => Storage::F32,
    };
    for (handle, global) in module.global_variables.iter() {
        let Some(at) = &global.binding else { continue };
        if info[handle].is_empty() {
            continue;
        }
        match (at.group, at.binding, global.space) {
            (0, 0, AddressSpace::Uniform) => used.dims = true,
            (1, 0, AddressSpace::Uniform) => used.live = true,
            (0, number, AddressSpace::Storage { access }) if number > 0 => {
                let writes = access.contains(StorageAccess::STORE);
                used.bindings.push(Binding {
                    number,
                    writes,
                    texture: false,
                    storage: as_stored(number),
                });
            }
            (0, number, AddressSpace::Handle) if number > 0 && is_mirror(&module, global.ty) => {
                let storage = as_stored(number);
                used.bindings.push(Binding { number, writes: false, texture: true, storage });
            }
            (group, binding, _) => {
                return Err(format!("@group({group}) @binding({binding}) has no meaning here"));
            }
        }
        if at.group == 0 && LIB_VARIABLES.iter().any(|name| is_called(global, name)) {
            used.may_be_f16.push(at.binding);
        }
    }
    used.bindings.sort_by_key(|b| b.number);
    Ok(used)
}

fn is_called(global: &naga::GlobalVariable, prefix: &str) -> bool {
    global.name.as_ref().is_some_and(|name| name.starts_with(prefix))
}

/// Whether a type is a texture that one reads a mirrored tensor from.
fn is_mirror(module: &Module, ty: naga::Handle<naga::Type>) -> bool {
    matches!(
        module.types[ty].inner,
        TypeInner::Image {
            class: ImageClass::Storage {
                format: naga::StorageFormat::Rgba32Float | naga::StorageFormat::Rgba16Float,
                access: StorageAccess::LOAD
            },
            ..
        }
    )
}
