//! A graph as a static list of dispatches: plain data, serialisable, run by wgpu or by a browser.
//!
//! ```text
//! graph ── dead nodes dropped, ops fused ── leases ── kernels linked and reflected ──▶ Plan { kernels, buffers, programs }
//! ```
//!
//! A plan may hold several programs (`step`, `evaluate`): they share its named buffers and its leases.

mod choices;
mod compile;
mod memory;
pub mod shaders;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use choices::FILL;
pub use choices::{Choice, Choices, Class};
pub use compile::compile;

use crate::{
    graph::ShapeError,
    ops::{AdapterKind, Kernel, Product, Storage},
};

/// Bytes from one `dims` slot to the next: WebGPU's `minUniformBufferOffsetAlignment`.
pub const DIMS_SLOT: u64 = 256;

/// Texels of a mirror's row that hold numbers, four each; `shaders/lib/read.textures.wgsl` knows it too.
pub const TEXELS: u64 = 1024;

/// Texels from one row of a mirror to the next. Rows 16 KiB apart would all fall into the same few sets of a CPU's caches.
pub const PITCH: u64 = TEXELS + 16;

/// Bytes of a texel.
pub fn texel(storage: Storage) -> u64 {
    4 * storage.bytes()
}

/// Bytes of a mirror's row, with what lies between it and the next.
fn row(storage: Storage) -> u64 {
    PITCH * texel(storage)
}

/// Bytes of a mirror of a tensor of so many bytes.
fn mirrored(bytes: u64, storage: Storage) -> u64 {
    bytes.div_ceil(TEXELS * texel(storage)) * row(storage)
}

/// Most rows of a mirror: WebGPU's default `maxTextureDimension2D`.
const ROWS: u64 = 8192;

/// Most mirrors that a kernel binds: WebGPU's default `maxStorageTexturesPerShaderStage`.
const MIRRORS: usize = 4;

/// What a plan is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Register tiles or workgroup tiles.
    pub kind: AdapterKind,
    /// What the device allows.
    pub limits: Limits,
}

impl Target {
    /// WebGPU's default limits: what every browser grants.
    pub fn web(kind: AdapterKind) -> Self {
        Self { kind, limits: Limits::default() }
    }
}

/// The limits that plans are checked against; the default is WebGPU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// `maxStorageBufferBindingSize`, bytes.
    pub binding_bytes: u64,
    /// `maxBufferSize`, bytes.
    pub buffer_bytes: u64,
    /// `maxStorageBuffersPerShaderStage`.
    pub storage_buffers: u32,
    /// `maxComputeWorkgroupsPerDimension`.
    pub groups: u32,
    /// Most bytes of all buffers of a plan together: the user's `memory_budget`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

impl Limits {
    /// No limits at all: to learn how much a plan needs that fits nowhere here.
    pub const NONE: Self = Self {
        binding_bytes: u64::MAX,
        buffer_bytes: u64::MAX,
        storage_buffers: u32::MAX,
        groups: u32::MAX,
        memory: None,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            binding_bytes: 128 << 20,
            buffer_bytes: 256 << 20,
            storage_buffers: 8,
            groups: 65_535,
            memory: None,
        }
    }
}

/// A compiled graph; see the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// What it was compiled for.
    pub target: Target,
    /// Each distinct kernel once.
    pub kernels: Vec<KernelSpec>,
    /// Named buffers, then leases.
    pub buffers: Vec<BufferSpec>,
    /// Lists of dispatches by name.
    pub programs: BTreeMap<String, Vec<Dispatch>>,
}

/// A kernel and what its entry point binds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelSpec {
    /// Shader, variant, entry point, constants.
    #[serde(flatten)]
    pub kernel: Kernel,
    /// Storage bindings of group 0, in the order of [`Dispatch::binds`].
    pub bindings: Vec<Binding>,
    /// Whether binding 0 of group 0, the `Dims`, is used.
    pub dims: bool,
    /// Whether group 1 is used: the step parameters.
    pub live: bool,
}

/// A storage binding, as naga reflects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// Its number in group 0.
    pub number: u32,
    /// Whether it is `read_write`.
    pub writes: bool,
    /// Whether it is a texture that mirrors a tensor, else a buffer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub texture: bool,
    /// How the tensor is stored.
    #[serde(default, skip_serializing_if = "Storage::is_f32")]
    pub storage: Storage,
}

/// A linked shader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shader {
    /// Its variant's or body's file.
    pub label: String,
    /// WGSL.
    pub text: String,
}

/// A buffer to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BufferSpec {
    /// `student.params`, `images`, `lease 3`.
    pub label: String,
    /// Size.
    pub bytes: u64,
    /// Whether it is a lease, whose content does not outlive a program.
    pub lease: bool,
    /// Whether it is a texture that mirrors tensors: [`PITCH`] wide, a whole number of rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub texture: bool,
    /// Of a texture, how the tensors are stored that it mirrors: its format is `rgba32float` or `rgba16float`.
    #[serde(default, skip_serializing_if = "Storage::is_f32")]
    pub storage: Storage,
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dispatch {
    /// Index into [`Plan::kernels`].
    pub kernel: usize,
    /// `layer1.0.conv1/conv2d.forward`.
    pub label: String,
    /// Copies to be made before it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Storage ranges, in the order of [`KernelSpec::bindings`].
    pub binds: Vec<Range>,
    /// The words of `Dims`.
    pub dims: Vec<u32>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// The matrix product that it is: what its tile may be chosen by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, each tensor once.
    pub bytes: u64,
}

impl Dispatch {
    /// Seconds that it may take on a slow device of the kind: only decides where a step is cut into submits, and what there is time to time.
    pub fn estimate(&self, kind: AdapterKind) -> f64 {
        let (flops, bytes) = match kind {
            AdapterKind::Cpu => (10e9, 4e9),
            AdapterKind::Gpu => (200e9, 20e9),
        };
        (self.flops as f64 / flops).max(self.bytes as f64 / bytes)
    }
}

/// Seconds that one submit should stay under: drivers kill longer ones, and browsers take the device away.
const SUBMIT_SECONDS: f64 = 0.4;

/// For each dispatch of a program whether the submit ends after it. The bits are the same however a program is cut.
pub fn cuts(list: &[Dispatch], kind: AdapterKind) -> impl Iterator<Item = bool> {
    let mut seconds = 0.0;
    list.iter().map(move |dispatch| {
        seconds += dispatch.estimate(kind);
        let cut = seconds > SUBMIT_SECONDS;
        if cut {
            seconds = 0.0;
        }
        cut
    })
}

/// A copy of a tensor into a texture, row by row from the first texel on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mirror {
    /// Where the tensor lies.
    pub from: Range,
    /// The texture, as an index into [`Plan::buffers`].
    pub to: usize,
}

/// A range of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// Index into [`Plan::buffers`].
    pub buffer: usize,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Plan {
    /// The buffer of a label, as an index.
    pub fn buffer(&self, label: &str) -> Option<usize> {
        self.buffers.iter().position(|buffer| buffer.label == label)
    }

    /// Bytes of all buffers: known before anything is allocated.
    pub fn memory(&self) -> u64 {
        self.buffers.iter().map(|b| b.bytes).sum()
    }

    /// Bytes of the leased buffers and textures.
    pub fn leased(&self) -> u64 {
        self.buffers.iter().filter(|b| b.lease).map(|b| b.bytes).sum()
    }

    /// The greatest number of bytes of temporaries that are live at the same dispatch: a lower bound of [`Self::leased`].
    pub fn live_bytes(&self) -> u64 {
        self.programs.values().map(|list| self.live_bytes_of(list)).max().unwrap_or(0)
    }

    fn live_bytes_of(&self, list: &[Dispatch]) -> u64 {
        // A copy into a mirror is a moment of its own: it reads a buffer and writes a texture.
        type Moment = Vec<(Range, bool)>;
        let mut moments: Vec<Moment> = Vec::new();
        for dispatch in list {
            for &Mirror { from, to } in &dispatch.mirrors {
                moments.push(vec![(from, false), (Range { buffer: to, offset: 0, ..from }, true)]);
            }
            let bindings = &self.kernels[dispatch.kernel].bindings;
            let binds = dispatch.binds.iter().zip(bindings);
            moments.push(binds.map(|(range, binding)| (*range, binding.writes)).collect());
        }
        let mut live = vec![0u64; moments.len()];
        // From the last moment to the first: for each lease in use, its last use and the size of what it holds, until the moment that writes it.
        let mut ends: BTreeMap<usize, (usize, u64)> = BTreeMap::new();
        for (k, moment) in moments.iter().enumerate().rev() {
            for (range, writes) in moment.iter().filter(|(r, _)| self.buffers[r.buffer].lease) {
                let BufferSpec { texture, storage, .. } = self.buffers[range.buffer];
                let bytes = if texture { mirrored(range.bytes, storage) } else { range.bytes };
                let (last, bytes) = *ends.entry(range.buffer).or_insert((k, bytes));
                if *writes {
                    live[k..=last].iter_mut().for_each(|sum| *sum += bytes);
                    ends.remove(&range.buffer);
                }
            }
        }
        live.into_iter().max().unwrap_or(0)
    }

    /// Dispatches of a program; zero if there is none of that name.
    pub fn launches(&self, program: &str) -> usize {
        self.programs.get(program).map_or(0, Vec::len)
    }

    /// Floating-point operations of a program.
    pub fn flops(&self, program: &str) -> u64 {
        self.programs.get(program).map_or(0, |list| list.iter().map(|d| d.flops).sum())
    }

    /// One line a dispatch: what snapshot tests hold.
    pub fn listing(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let describe = |range: &Range| {
            let label = &self.buffers[range.buffer].label;
            format!("{label}@{}+{}", range.offset, range.bytes)
        };
        for buffer in &self.buffers {
            writeln!(text, "buffer {:<24} {:>10} bytes", buffer.label, buffer.bytes)
                .expect("memory");
        }
        for (name, list) in &self.programs {
            writeln!(text, "program {name}").expect("memory");
            for d in list {
                let kernel = &self.kernels[d.kernel];
                let binds = d.binds.iter().zip(&kernel.bindings).map(|(range, binding)| {
                    let mark = if binding.writes { ">" } else { "" };
                    let half = if binding.storage == Storage::F16 { "½" } else { "" };
                    format!("{mark}{half}{}", describe(range))
                });
                let binds = binds.collect::<Vec<_>>().join(" ");
                let variant =
                    kernel.kernel.variant.as_deref().map_or(String::new(), |v| format!(" [{v}]"));
                for Mirror { from, to } in &d.mirrors {
                    let (from, to) = (describe(from), &self.buffers[*to].label);
                    writeln!(text, "  mirror {from} in {to}").expect("memory");
                }
                writeln!(text, "  {}{variant} {:?} dims {:?} | {binds}", d.label, d.grid, d.dims)
                    .expect("memory");
            }
        }
        text
    }
}

/// Why a graph cannot become a plan.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum PlanError {
    /// A tensor is larger than the device lets a shader bind.
    #[error("tensor {tensor} needs {bytes} bytes, the device binds at most {limit}")]
    Binding {
        /// Label of the tensor.
        tensor: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A buffer is larger than the device allows.
    #[error("buffer {buffer} needs {bytes} bytes, the device allows at most {limit}")]
    Buffer {
        /// Label of the buffer.
        buffer: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The plan needs more than the memory budget.
    #[error("the plan needs {bytes} bytes of device memory, memory_budget allows {limit}")]
    Budget {
        /// Its size.
        bytes: u64,
        /// The budget.
        limit: u64,
    },
    /// Too many workgroups.
    #[error("{node} needs a grid of {grid:?} workgroups, the device allows {limit} a dimension")]
    Grid {
        /// Label of the node.
        node: String,
        /// The grid.
        grid: [u32; 3],
        /// The limit.
        limit: u32,
    },
    /// Too many storage buffers in a stage.
    #[error("{node} binds {count} storage buffers, the device allows {limit}")]
    StorageBuffers {
        /// Label of the node.
        node: String,
        /// How many it binds.
        count: usize,
        /// The limit.
        limit: u32,
    },
    /// A shader and its op disagree, or a dispatch would read and write one buffer: a bug of ours.
    #[error("{node}: {problem}")]
    Kernel {
        /// Label of the node.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// A shape does not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl PlanError {
    /// Whether the plan might fit with fewer rows.
    pub fn is_size(&self) -> bool {
        matches!(
            self,
            Self::Binding { .. }
                | Self::Buffer { .. }
                | Self::Budget { .. }
                | Self::Grid { .. }
                | Self::Shape(ShapeError::Size { .. })
        )
    }
}
