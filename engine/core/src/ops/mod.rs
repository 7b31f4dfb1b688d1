//! The operations: one file an op family, with a shader of the same stem in `shaders/`.
//!
//! An op is a small value whose variants are the entry points of its shader. It answers two questions: what does
//! it launch for these shapes, and what is its gradient. One node is one entry point is one dispatch.

pub mod accuracy;
pub mod activation;
pub mod adam;
pub mod attention;
pub mod batch_norm;
pub mod clip;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod kl;
pub mod layer_norm;
pub mod mask;
pub mod matmul;
pub mod mse;
pub mod optimizer;
mod packs;
pub mod parts;
pub mod peak;
pub mod pool;
pub mod positions;
pub mod reduce;
pub mod scaler;
pub mod sgd;
pub mod softmax;
pub mod spans;
pub mod variants;

use std::{any::Any, fmt::Debug, rc::Rc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Node, ShapeError, Value};
pub use variants::Product;

/// A tensor's extents, slowest first. A scalar is `[1]`.
pub type Shape = Vec<u32>;

/// What kind of device a plan is compiled for; decides between register tiles and workgroup tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    /// A software adapter such as lavapipe: no barriers, large register tiles.
    Cpu,
    /// A real GPU: workgroup memory and coalesced loads.
    Gpu,
}

/// How a kernel reads the inputs that it takes through `shaders/lib/read`.
///
/// A software adapter loads from a storage buffer lane by lane, in a loop with a branch for each number; Mesa 22.3 takes 208 ns for eight
/// vec4s. The same eight from a storage texture are one gather, 8 ns. A plan for such an adapter therefore copies what kernels read into
/// textures, each tensor once after it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// From the buffers themselves.
    #[default]
    Buffers,
    /// From textures that mirror them.
    Textures,
}

impl Reads {
    /// What suits a kind of adapter.
    pub fn on(kind: AdapterKind) -> Self {
        match kind {
            AdapterKind::Cpu => Self::Textures,
            AdapterKind::Gpu => Self::Buffers,
        }
    }

    /// Whether it is [`Self::Buffers`].
    pub fn is_buffers(&self) -> bool {
        *self == Self::Buffers
    }
}

/// How a tensor's numbers lie in memory. Kernels compute in f32 whatever it is.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// 32-bit floats, or 32-bit integers.
    #[default]
    F32,
    /// 16-bit floats: eleven binary digits, up to 65504.
    F16,
}

impl Storage {
    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// Bytes of a range that holds `count` numbers: whole 4-byte words, as WebGPU binds them.
    pub fn range(self, count: u64) -> u64 {
        (count * self.bytes()).next_multiple_of(4)
    }

    /// Whether it is [`Self::F32`].
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

/// Which shader an op runs: file stem, entry point, variant file and override constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// Stem of the file in `shaders/`.
    pub file: String,
    /// The variant that is put before the body, behind the stem of the file: `matmul.r8x8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Entry point.
    pub entry: String,
    /// How it reads its inputs; the plan decides it.
    #[serde(default, skip_serializing_if = "Reads::is_buffers")]
    pub reads: Reads,
    /// Numbers of the bindings whose tensors are stored as f16, in rising order; the plan decides it.
    #[serde(default, rename = "halves", skip_serializing_if = "Vec::is_empty")]
    pub f16: Vec<u32>,
    /// Values of `override` constants, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constants: Vec<(String, f64)>,
}

impl Kernel {
    /// The entry point `entry` of `shaders/<file>.wgsl`.
    pub fn of(file: &str, entry: &str) -> Self {
        Self {
            file: file.into(),
            variant: None,
            entry: entry.into(),
            reads: Reads::Buffers,
            f16: Vec::new(),
            constants: Vec::new(),
        }
    }

    /// Puts a variant before the body: `shaders/<file>.<variant>.wgsl`, or `shaders/variants/<variant>.wgsl` if the body names it.
    #[must_use]
    pub fn variant(mut self, variant: &str) -> Self {
        self.variant = Some(format!("{}.{variant}", self.file));
        self
    }

    /// Sets an `override` constant.
    #[must_use]
    pub fn constant(mut self, name: &str, value: f64) -> Self {
        self.constants.push((name.into(), value));
        self
    }

    /// Sets a boolean `override` constant, as 0 or 1.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.constant(name, f64::from(u8::from(value)))
    }
}

/// Invocations a workgroup of the element-wise kernels; their `override WG`.
pub const WG: u32 = 64;

/// Most workgroups a dimension of a grid.
pub const MAX_GROUPS: u32 = 65_535;

/// What one node launches for given input shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Shader and constants.
    pub kernel: Kernel,
    /// Shapes of the outputs, in binding order.
    pub outputs: Vec<Shape>,
    /// The words of the shader's `Dims`, floats by `to_bits`.
    pub dims: Vec<u32>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Floating-point operations, a multiply-add counting two.
    pub flops: u64,
    /// The matrix product that it is, where its tile is a matter of choice.
    pub product: Option<Product>,
    /// Indices of inputs that the kernel updates in place (bound `read_write`).
    pub updates: &'static [usize],
    /// Whether its outputs are sums that stay f32 where other tensors are stored as f16.
    pub exact: bool,
}

impl Launch {
    /// A launch of one workgroup without outputs; the builders below say the rest.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            outputs: Vec::new(),
            dims: Vec::new(),
            grid: [1; 3],
            flops: 0,
            product: None,
            updates: &[],
            exact: false,
        }
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, shape: impl Into<Shape>) -> Self {
        self.outputs.push(shape.into());
        self
    }

    /// Sets the words of `Dims`.
    #[must_use]
    pub fn dims(mut self, words: impl IntoIterator<Item = u32>) -> Self {
        self.dims = words.into_iter().collect();
        self
    }

    /// Sets the grid, in workgroups.
    #[must_use]
    pub fn grid(mut self, grid: [u32; 3]) -> Self {
        self.grid = grid;
        self
    }

    /// One invocation for each of `count` items, in workgroups of [`WG`] (passed as the constant `WG`), over x and then y:
    /// `let i = at.x + at.y * groups.x * WG`.
    #[must_use]
    pub fn each(mut self, count: u64) -> Self {
        self.kernel = self.kernel.constant("WG", f64::from(WG));
        self.groups(count, WG)
    }

    /// Workgroups of `group` each for `count` items, over x and then y.
    #[must_use]
    pub fn groups(mut self, count: u64, group: u32) -> Self {
        let groups = count.div_ceil(u64::from(group)).max(1);
        let rows = groups.div_ceil(u64::from(MAX_GROUPS));
        self.grid = [to_u32(groups.div_ceil(rows)), to_u32(rows), 1];
        self
    }

    /// Sets the number of floating-point operations.
    #[must_use]
    pub fn flops(mut self, flops: u64) -> Self {
        self.flops = flops;
        self
    }

    /// Says that its outputs are sums that stay f32: parts that something adds up, gradients of weights.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Says which inputs are updated in place.
    #[must_use]
    pub fn updates(mut self, inputs: &'static [usize]) -> Self {
        self.updates = inputs;
        self
    }
}

/// Workgroups of `group` invocations for `items`, over x and then y.
fn grid(items: u64, group: u32) -> [u32; 3] {
    let groups = items.div_ceil(group.into());
    let rows = groups.div_ceil(MAX_GROUPS.into());
    [to_u32(groups.div_ceil(rows)), to_u32(rows), 1]
}

/// A size as a shader's `u32`. Tensors have fewer than 2³⁰ elements, which the graph checks, so nothing is lost.
pub fn to_u32(size: u64) -> u32 {
    u32::try_from(size).expect("tensors have fewer than 2^30 elements")
}

/// The number of elements of a tensor.
pub fn count(shape: &[u32]) -> u64 {
    shape.iter().map(|&n| u64::from(n)).product()
}

/// A node as its gradient rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Operands<'a> {
    /// The node's inputs.
    pub inputs: &'a [Value],
    /// The node's outputs; saved statistics are among them.
    pub outputs: &'a [Value],
}

/// The gradient of each input of a node: `None` for labels, indices and whatever has no gradient.
pub type Gradients = Result<Vec<Option<Value>>, ShapeError>;

/// One node in place of two; what [`Op::absorb`] and [`Op::join`] answer.
#[derive(Debug, Clone)]
pub struct Fused {
    /// What does the work of both.
    pub op: Rc<dyn Op>,
    /// Its inputs, among those of the two.
    pub inputs: Vec<Value>,
    /// Its outputs, among those of the two. What is left out is written no more: the two nodes become one only if
    /// nobody else wants it.
    pub outputs: Vec<Value>,
}

/// `op` as a value of type `T`, for ops that know another.
pub fn known<T: Op>(op: &dyn Op) -> Option<&T> {
    (op as &dyn Any).downcast_ref()
}

/// One operation.
pub trait Op: Any + Debug {
    /// What runs for inputs of these shapes, or `None` where the shapes (or attributes) do not fit.
    ///
    /// The shapes of the outputs must not depend on `on`.
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch>;

    /// The gradient rule: from the gradient `dy` of the first output to those of the inputs. Further outputs are saved statistics, which
    /// pass no gradient on. Write every gradient: what nobody reads is dropped later.
    ///
    /// # Errors
    /// If a node of the rule does not fit its shapes.
    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let _ = (graph, dy);
        Ok(vec![None; node.inputs.len()])
    }

    /// This node (`this`) and `reader`, which reads an output of it, as one node, if there is such an op.
    ///
    /// [`Graph::fused`] asks, and sees to it that nothing is lost: an op need not know who else reads what.
    fn absorb(&self, graph: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let _ = (graph, this, reader);
        None
    }

    /// This node and `sibling`, which reads an input that this node reads too, as one node with the outputs of both.
    ///
    /// Asked as [`Self::absorb`] is; `sibling` may stand before this node.
    fn join(&self, graph: &Graph, this: Operands<'_>, sibling: &Node) -> Option<Fused> {
        let _ = (graph, this, sibling);
        None
    }
}
