//! The shaders' text, linked by concatenation, and what naga reflects of it.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use naga::{
    AddressSpace, ImageClass, Module, StorageAccess, TypeInner,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use super::{Binding, KernelSpec};
use crate::ops::{Kernel, Reads};

/// Every file of `shaders/` by its stem (`matmul`, `matmul.tile16x16`, `lib/step`), with its text.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// The text of a file of `shaders/`.
fn file(stem: &str) -> Result<&'static str, String> {
    FILES
        .iter()
        .find_map(|(name, text)| (*name == stem).then_some(*text))
        .ok_or_else(|| format!("there is no shaders/{stem}.wgsl"))
}

/// The part through which kernels read their inputs: there is one for each of [`Reads`].
const READ: &str = "read";

/// The `lib/` parts that a text names in its comments `// uses: a, b`.
fn uses(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("// uses:"))
        .flat_map(|list| list.split(',').map(str::trim))
}

/// Whether a kernel takes inputs through `lib/read`, so that they may lie in buffers or in textures.
pub fn reads(kernel: &Kernel) -> bool {
    let files = [Some(kernel.file.as_str()), kernel.variant.as_deref()];
    let texts = files.into_iter().flatten().filter_map(|stem| file(stem).ok());
    texts.flat_map(uses).any(|part| part == READ)
}

/// The text of a kernel: the `lib/` files that its body and its variant use, its variant, its body.
///
/// # Errors
/// If a file is missing.
pub fn link(kernel: &Kernel) -> Result<String, String> {
    let body = file(&kernel.file)?;
    let variant = kernel.variant.as_deref().map(file).transpose()?;
    let mut parts = Vec::new();
    for name in uses(body).chain(uses(variant.unwrap_or_default())) {
        let part = match (name, kernel.reads) {
            (READ, Reads::Buffers) => file("lib/read.buffers")?,
            (READ, Reads::Textures) => file("lib/read.textures")?,
            _ => file(&format!("lib/{name}"))?,
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.extend(variant);
    parts.push(body);
    Ok(parts.join("\n"))
}

/// Storage bindings, and whether `Dims` and the live numbers are used.
type Used = (Vec<Binding>, bool, bool);

struct Parsed {
    module: Module,
    info: ModuleInfo,
}

fn parse(text: &str) -> Result<Parsed, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::default())
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    Ok(Parsed { module, info })
}

/// What an entry point binds, straight from the shader: nobody lists bindings twice.
///
/// # Errors
/// If the shader does not validate, lacks the entry point, or binds something that the conventions do not know.
pub fn reflect(kernel: &Kernel) -> Result<KernelSpec, String> {
    type Key = (String, Option<String>, Reads, String);
    static SEEN: LazyLock<Mutex<HashMap<Key, Used>>> = LazyLock::new(Mutex::default);
    let key = (kernel.file.clone(), kernel.variant.clone(), kernel.reads, kernel.entry.clone());
    let seen = SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&key).cloned();
    let (bindings, dims, live) = match seen {
        Some(found) => found,
        None => {
            let found = bindings_of(kernel)?;
            SEEN.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(key, found.clone());
            found
        }
    };
    Ok(KernelSpec { kernel: kernel.clone(), bindings, dims, live })
}

fn bindings_of(kernel: &Kernel) -> Result<Used, String> {
    let Parsed { module, info } = parse(&link(kernel)?)?;
    let index =
        module.entry_points.iter().position(|e| e.name == kernel.entry).ok_or_else(|| {
            format!("shaders/{}.wgsl has no entry point {}", kernel.file, kernel.entry)
        })?;
    let used = info.get_entry_point(index);
    let (mut bindings, mut dims, mut live) = (Vec::new(), false, false);
    for (handle, global) in module.global_variables.iter() {
        let Some(at) = &global.binding else { continue };
        if used[handle].is_empty() {
            continue;
        }
        match (at.group, at.binding, global.space) {
            (0, 0, AddressSpace::Uniform) => dims = true,
            (1, 0, AddressSpace::Uniform) => live = true,
            (0, number, AddressSpace::Storage { access }) if number > 0 => {
                let writes = access.contains(StorageAccess::STORE);
                bindings.push(Binding { number, writes, texture: false });
            }
            (0, number, AddressSpace::Handle) if number > 0 && is_mirror(&module, global.ty) => {
                bindings.push(Binding { number, writes: false, texture: true });
            }
            (group, binding, _) => {
                return Err(format!("@group({group}) @binding({binding}) has no meaning here"));
            }
        }
    }
    bindings.sort_by_key(|b| b.number);
    Ok((bindings, dims, live))
}

/// Whether a type is a texture that one reads a mirrored tensor from.
fn is_mirror(module: &Module, ty: naga::Handle<naga::Type>) -> bool {
    matches!(
        module.types[ty].inner,
        TypeInner::Image {
            class: ImageClass::Storage {
                format: naga::StorageFormat::Rgba32Float,
                access: StorageAccess::LOAD
            },
            ..
        }
    )
}
