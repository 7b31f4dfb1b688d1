//! The tiles of a plan's products as plain data.
//!
//! A plan is compiled with the built-in table's tiles ([`variants`]). [`Plan::choose`] replaces those for which a faster one is known, from timings
//! (`Autotuner` in `engine/gpu`) or from a checkpoint. Only a dispatch's kernel, its grid and the number of tiles in its `Dims` change; buffers, leases and
//! mirrors do not depend on tiles.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BufferSpec, Dispatch, KernelSpec, Mirror, Plan, Range, shaders};
use crate::ops::{
    Kernel,
    variants::{self, Tile},
};

/// Products that are alike enough to take the same tile: an entry point with its constants, and their sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// The kernel, without its variant.
    #[serde(flatten)]
    pub kernel: Kernel,
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Terms of a sum.
    pub k: u32,
    /// Number of products.
    pub slabs: u64,
}

impl Class {
    /// The class of a dispatch; `None` where there is nothing to choose.
    fn of(kernel: &Kernel, dispatch: &Dispatch) -> Option<Self> {
        let variants::Product { m, n, k, slabs, .. } = dispatch.product?;
        Some(Self { kernel: Kernel { variant: None, ..kernel.clone() }, m, n, k, slabs })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, m, n, k, slabs } = self;
        write!(f, "{}.{} {m}×{n}×{k}", kernel.file, kernel.entry)?;
        if *slabs > 1 { write!(f, " ({slabs} slabs)") } else { Ok(()) }
    }
}

/// A tile for a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Which products.
    #[serde(flatten)]
    pub of: Class,
    /// The tile's variant file, `r8x4` or `w64x64`.
    pub tile: String,
}

/// The tiles that are not the table's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(pub Vec<Choice>);

impl Choices {
    fn tile(&self, class: &Class) -> Option<&str> {
        self.0.iter().find(|choice| choice.of == *class).map(|choice| choice.tile.as_str())
    }
}

/// Name of the program of [`Plan::trial`] that fills its mirrors.
pub const FILL: &str = "fill";

impl Plan {
    /// The classes of its products, each with the floating-point operations of all its dispatches and the name of its tile; those with the
    /// most operations first.
    pub fn classes(&self) -> Vec<(Class, u64, String)> {
        let mut classes: Vec<(Class, u64, String)> = Vec::new();
        for dispatch in self.programs.values().flatten() {
            let kernel = &self.kernels[dispatch.kernel].kernel;
            let (Some(class), Some(tile)) = (Class::of(kernel, dispatch), tile_of(kernel)) else {
                continue;
            };
            match classes.iter_mut().find(|(known, ..)| *known == class) {
                Some((_, flops, _)) => *flops += dispatch.flops,
                None => classes.push((class, dispatch.flops, tile.into())),
            }
        }
        classes.sort_by_key(|&(_, flops, _)| std::cmp::Reverse(flops));
        classes
    }

    /// This plan with the tiles that are chosen. A choice of what it does not have, of a tile that its kind of adapter does not have, or of
    /// one that makes more workgroups than the device allows, changes nothing.
    #[must_use]
    pub fn choose(mut self, choices: &Choices) -> Self {
        let before = std::mem::take(&mut self.kernels);
        let (kind, groups) = (self.target.kind, self.target.limits.groups);
        for dispatch in self.programs.values_mut().flatten() {
            let spec = &before[dispatch.kernel];
            let tile = Class::of(&spec.kernel, dispatch)
                .and_then(|class| Tile::named(kind, choices.tile(&class)?));
            let changed = tile.and_then(|tile| retiled(spec, dispatch, &tile, groups));
            let (spec, changed) = changed.unwrap_or_else(|| (spec.clone(), dispatch.clone()));
            let kernel = self.kernels.iter().position(|known| *known == spec);
            let kernel = kernel.unwrap_or_else(|| {
                self.kernels.push(spec);
                self.kernels.len() - 1
            });
            *dispatch = Dispatch { kernel, ..changed };
        }
        self
    }

    /// The first dispatch of a class by itself, by each tile that its adapter could take: programs with the tiles' names, on buffers of the
    /// shapes that it binds, and the program `fill`, which must run first.
    pub fn trial(&self, class: &Class) -> Option<Plan> {
        let mut all = self.programs.values().flatten();
        let dispatch = all.find(|dispatch| {
            Class::of(&self.kernels[dispatch.kernel].kernel, dispatch).as_ref() == Some(class)
        })?;
        let spec = &self.kernels[dispatch.kernel];
        let (mut buffers, mut binds, mut mirrors) = (Vec::new(), Vec::new(), Vec::new());
        for (k, (range, binding)) in dispatch.binds.iter().zip(&spec.bindings).enumerate() {
            let like = BufferSpec { lease: false, ..self.buffers[range.buffer].clone() };
            let mut add = |label: String, bytes: u64, texture: bool| {
                buffers.push(BufferSpec { label, bytes, texture, ..like.clone() });
                Range { buffer: buffers.len() - 1, offset: 0, bytes: range.bytes }
            };
            let from = add(format!("tensor {k}"), range.bytes, false);
            binds.push(match binding.texture {
                true => {
                    let mirror = add(format!("mirror {k}"), like.bytes, true);
                    mirrors.push(Mirror { from, to: mirror.buffer });
                    mirror
                }
                false => from,
            });
        }
        let mut trial = Plan {
            buffers,
            kernels: Vec::new(),
            programs: Default::default(),
            target: self.target,
        };
        for tile in variants::tiles(self.target.kind) {
            let retiled = retiled(spec, dispatch, &tile, self.target.limits.groups);
            let Some((spec, dispatch)) = retiled else { continue };
            let (kernel, binds) = (trial.kernels.len(), binds.clone());
            let dispatch = Dispatch { kernel, binds, mirrors: Vec::new(), ..dispatch };
            trial.kernels.push(spec);
            trial
                .programs
                .entry(FILL.into())
                .or_insert_with(|| vec![Dispatch { mirrors: mirrors.clone(), ..dispatch.clone() }]);
            trial.programs.insert(tile.variant.into(), vec![dispatch]);
        }
        Some(trial)
    }
}

/// The name of a kernel's tile.
fn tile_of(kernel: &Kernel) -> Option<&str> {
    kernel.variant.as_deref()?.strip_prefix(&kernel.file)?.strip_prefix('.')
}

/// A dispatch by another tile; `None` where that makes too many workgroups, or the shader has no such variant.
fn retiled(
    spec: &KernelSpec,
    dispatch: &Dispatch,
    tile: &Tile,
    groups: u32,
) -> Option<(KernelSpec, Dispatch)> {
    let mut dispatch = dispatch.clone();
    let kernel = Kernel { variant: None, ..spec.kernel.clone() }.variant(tile.variant);
    let spec = shaders::reflect(&kernel).ok().filter(|new| new.bindings == spec.bindings)?;
    dispatch.grid = tile.lay(&dispatch.product?, &mut dispatch.dims);
    dispatch.grid.iter().all(|&n| n <= groups).then_some((spec, dispatch))
}
