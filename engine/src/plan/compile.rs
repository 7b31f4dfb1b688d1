//! From graphs to a plan.

use std::collections::BTreeMap;

use super::{
    BufferSpec, Dispatch, KernelSpec, MIRRORS, Mirror, Plan, PlanError, ROW, ROWS, Range, Target,
    VERSION, memory::Leases, shaders,
};
use crate::{
    graph::{Graph, Home, Node, Value},
    ops::{self, Launch, Reads},
};

/// Compiles one graph a program; programs share named buffers (by label) and leases.
///
/// # Errors
/// If a tensor, buffer or grid does not fit the target's limits; [`PlanError`] names it.
pub fn compile(programs: &[(&str, &Graph)], target: &Target) -> Result<Plan, PlanError> {
    let mut named: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, graph) in programs {
        for (label, &floats) in graph.buffers() {
            let bytes = named.entry(label).or_default();
            *bytes = (*bytes).max(floats * 4);
        }
    }
    let mut compiler = Compiler {
        target,
        named: named.keys().enumerate().map(|(k, label)| (*label, k)).collect(),
        kernels: Vec::new(),
        leases: Leases::default(),
        textures: Leases::default(),
    };
    let mut lists = BTreeMap::new();
    for (name, graph) in programs {
        lists.insert((*name).to_owned(), compiler.program(graph)?);
    }
    let mut buffers: Vec<_> = named
        .iter()
        .map(|(label, &bytes)| BufferSpec {
            label: (*label).into(),
            bytes,
            lease: false,
            texture: false,
        })
        .collect();
    let leased = [("lease", compiler.leases.sizes()), ("texture", compiler.textures.sizes())];
    for (what, sizes) in leased {
        let texture = what == "texture";
        buffers.extend(sizes.iter().enumerate().map(|(k, &bytes)| BufferSpec {
            label: format!("{what} {k}"),
            bytes,
            lease: true,
            texture,
        }));
    }
    // Until now nobody knew how many leases stand before the textures.
    let first = named.len() + compiler.leases.sizes().len();
    for dispatch in lists.values_mut().flatten() {
        for mirror in &mut dispatch.mirrors {
            mirror.to += first;
        }
        let bindings = &compiler.kernels[dispatch.kernel].bindings;
        for (bind, _) in dispatch.binds.iter_mut().zip(bindings).filter(|(_, b)| b.texture) {
            bind.buffer += first;
        }
    }
    if let Some(buffer) = buffers.iter().find(|b| b.bytes > target.limits.buffer_bytes) {
        let limit = target.limits.buffer_bytes;
        return Err(PlanError::Buffer { buffer: buffer.label.clone(), bytes: buffer.bytes, limit });
    }
    Ok(Plan {
        version: VERSION,
        target: *target,
        kernels: compiler.kernels,
        buffers,
        programs: lists,
    })
}

struct Compiler<'a> {
    target: &'a Target,
    named: BTreeMap<&'a str, usize>,
    kernels: Vec<KernelSpec>,
    leases: Leases,
    textures: Leases,
}

/// Who reads a tensor last, and where it lies meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// The last node that reads or writes its buffer.
    buffer: usize,
    /// The last node that reads its mirror, if one does.
    mirror: Option<usize>,
    /// The buffer that a temporary has taken.
    lease: Option<usize>,
    /// The texture that mirrors it.
    texture: Option<usize>,
}

impl Compiler<'_> {
    fn program(&mut self, graph: &Graph) -> Result<Vec<Dispatch>, PlanError> {
        let live = graph.live();
        let nodes = || graph.nodes().iter().enumerate().filter(|(k, _)| live[*k]);
        let places = graph.places();
        let launches = nodes()
            .map(|(_, node)| self.launch(graph, node))
            .collect::<Result<Vec<_>, PlanError>>()?;
        let mut uses = vec![Use::default(); graph.len()];
        for ((k, node), (_, spec)) in nodes().zip(&launches) {
            for (value, binding) in node.inputs.iter().chain(&node.outputs).zip(&spec.bindings) {
                let used = &mut uses[places[value.index()]];
                match binding.texture {
                    true => used.mirror = Some(k),
                    false => used.buffer = k,
                }
            }
        }
        let mut list = Vec::new();
        let mut mirrors = Vec::new();
        for ((k, node), (launch, spec)) in nodes().zip(launches) {
            // A tensor of a named buffer is mirrored where it is first read. A temporary has been, when it was written.
            for (value, binding) in node.inputs.iter().zip(&spec.bindings) {
                let used = &mut uses[places[value.index()]];
                if binding.texture && used.texture.is_none() {
                    mirrors.push(self.mirror(graph, *value, used)?);
                }
            }
            // Outputs take their leases before inputs give theirs back: no dispatch reads what it writes.
            let temporary = |v: &&Value| graph.tensor_of(**v).home == Home::Temporary;
            for output in node.outputs.iter().filter(temporary) {
                let bytes = ops::count(graph.shape(*output)) * 4;
                uses[places[output.index()]].lease = Some(self.leases.take(bytes));
            }
            let binds = self.bind(graph, node, &spec, |value| uses[places[value.index()]])?;
            let before = std::mem::take(&mut mirrors);
            list.push(self.dispatch(node, launch, spec, binds, before)?);

            // What lies in a buffer that was written has changed: its mirrors are old.
            let updated = node.updates.iter().map(|&input| node.inputs[input]);
            for written in node.outputs.iter().copied().chain(updated) {
                if let Home::Named { buffer, .. } = &graph.tensor_of(written).home {
                    for (used, tensor) in uses.iter_mut().zip(graph.tensors()) {
                        if matches!(&tensor.home, Home::Named { buffer: b, .. } if b == buffer) {
                            self.textures.give(used.texture.take());
                        }
                    }
                }
            }
            let mut done: Vec<_> =
                node.inputs.iter().chain(&node.outputs).map(|v| places[v.index()]).collect();
            done.sort_unstable();
            done.dedup();
            for &place in &done {
                let used = &mut uses[place];
                if used.mirror.is_none_or(|last| last <= k) {
                    self.textures.give(used.texture.take());
                }
            }
            // The copies are made before the next dispatch, so a buffer that is only read by its mirror is free from there on.
            for output in node.outputs.iter().filter(temporary) {
                let used = &mut uses[places[output.index()]];
                if used.mirror.is_some() {
                    mirrors.push(self.mirror(graph, *output, used)?);
                }
            }
            for &place in &done {
                let used = &mut uses[place];
                if used.buffer <= k {
                    self.leases.give(used.lease.take());
                }
            }
        }
        Ok(list)
    }

    /// What a node runs, and what that binds.
    fn launch(&self, graph: &Graph, node: &Node) -> Result<(Launch, KernelSpec), PlanError> {
        let bug = |problem: String| PlanError::Kernel { node: node.label.clone(), problem };
        let shapes: Vec<&[u32]> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        let mut launch = node
            .op
            .launch(&shapes, self.target.kind)
            .ok_or_else(|| bug("fits no launch on this target".into()))?;
        if !launch
            .outputs
            .iter()
            .map(Vec::as_slice)
            .eq(node.outputs.iter().map(|&v| graph.shape(v)))
        {
            return Err(bug("its output shapes depend on the target".into()));
        }
        if shaders::reads(&launch.kernel) {
            launch.kernel.reads = Reads::on(self.target.kind);
        }
        let spec = shaders::reflect(&launch.kernel).map_err(bug)?;
        let (inputs, outputs) = (node.inputs.len(), node.outputs.len());
        if spec.bindings.len() != inputs + outputs || spec.dims == launch.dims.is_empty() {
            let (bindings, uniform) = (spec.bindings.len(), spec.dims);
            return Err(bug(format!(
                "the shader binds {bindings} buffers (dims: {uniform}), the op has {inputs} inputs, {outputs} outputs and {} dims",
                launch.dims.len()
            )));
        }
        for (k, binding) in spec.bindings.iter().enumerate() {
            if binding.writes != (k >= inputs || launch.updates.contains(&k)) {
                return Err(bug(format!(
                    "binding {} is read where the op writes, or the reverse",
                    binding.number
                )));
            }
        }
        let mirrors = spec.bindings.iter().filter(|b| b.texture).count();
        if mirrors > MIRRORS {
            return Err(bug(format!("it reads {mirrors} textures, {MIRRORS} are allowed")));
        }
        Ok((launch, spec))
    }

    /// Takes a texture for a tensor, and says how it is filled.
    fn mirror(&mut self, graph: &Graph, value: Value, used: &mut Use) -> Result<Mirror, PlanError> {
        let from = self.range(graph, value, *used)?;
        if from.bytes > ROWS * ROW {
            let (tensor, bytes) = (graph.tensor_of(value).label.clone(), from.bytes);
            return Err(PlanError::Binding { tensor, bytes, limit: ROWS * ROW });
        }
        let to = self.textures.take(from.bytes.next_multiple_of(ROW));
        used.texture = Some(to);
        Ok(Mirror { from, to })
    }

    /// Where a tensor's buffer is.
    fn range(&self, graph: &Graph, value: Value, used: Use) -> Result<Range, PlanError> {
        let tensor = graph.tensor_of(value);
        let bytes = ops::count(&tensor.shape) * 4;
        match (&tensor.home, used.lease) {
            (Home::Named { buffer, offset }, _) => {
                Ok(Range { buffer: self.named[buffer.as_str()], offset: offset * 4, bytes })
            }
            (Home::Temporary, Some(lease)) => {
                Ok(Range { buffer: self.named.len() + lease, offset: 0, bytes })
            }
            (Home::Temporary, None) => {
                let problem = "it is read before it is written".into();
                Err(PlanError::Kernel { node: tensor.label.clone(), problem })
            }
        }
    }

    /// The ranges that a node binds; those of textures count from the first texture on.
    fn bind(
        &self,
        graph: &Graph,
        node: &Node,
        spec: &KernelSpec,
        used: impl Fn(Value) -> Use,
    ) -> Result<Vec<Range>, PlanError> {
        let limits = &self.target.limits;
        let values = node.inputs.iter().chain(&node.outputs).copied();
        let mut binds = Vec::with_capacity(spec.bindings.len());
        for (value, binding) in values.zip(&spec.bindings) {
            let tensor = graph.tensor_of(value);
            let bytes = ops::count(&tensor.shape) * 4;
            if bytes > limits.binding_bytes {
                let limit = limits.binding_bytes;
                return Err(PlanError::Binding { tensor: tensor.label.clone(), bytes, limit });
            }
            binds.push(match (binding.texture, used(value).texture) {
                (true, Some(texture)) => Range { buffer: texture, offset: 0, bytes },
                _ => self.range(graph, value, used(value))?,
            });
        }
        Ok(binds)
    }

    fn dispatch(
        &mut self,
        node: &Node,
        launch: Launch,
        spec: KernelSpec,
        binds: Vec<Range>,
        mirrors: Vec<Mirror>,
    ) -> Result<Dispatch, PlanError> {
        let bug = |problem: String| PlanError::Kernel { node: node.label.clone(), problem };
        let limits = &self.target.limits;
        let Launch { dims, grid, flops, .. } = launch;
        if grid.iter().any(|&n| n > limits.groups || n == 0) {
            return Err(PlanError::Grid { node: node.label.clone(), grid, limit: limits.groups });
        }
        let buffers = || binds.iter().zip(&spec.bindings).filter(|(_, b)| !b.texture);
        if buffers().count() > limits.storage_buffers as usize {
            let (count, limit) = (buffers().count(), limits.storage_buffers);
            return Err(PlanError::StorageBuffers { node: node.label.clone(), count, limit });
        }
        for (a, one) in buffers() {
            for (b, other) in buffers() {
                if a.buffer == b.buffer && one.writes && !other.writes {
                    return Err(bug("it would read and write one buffer".into()));
                }
            }
        }
        let bytes = binds.iter().map(|range| range.bytes).sum();
        let kernel = match self.kernels.iter().position(|known| *known == spec) {
            Some(k) => k,
            None => {
                self.kernels.push(spec);
                self.kernels.len() - 1
            }
        };
        Ok(Dispatch { kernel, label: node.label.clone(), mirrors, binds, dims, grid, flops, bytes })
    }
}
