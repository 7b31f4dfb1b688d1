//! From graphs to a plan.

use std::collections::BTreeMap;

use super::{
    BufferSpec, Dispatch, KernelSpec, Plan, PlanError, Range, Target, VERSION,
    memory::{Leases, Lifetime},
    shaders,
};
use crate::{
    graph::{Graph, Home, Node, Value},
    ops::{self, Launch},
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
    // Programs run one after the other, so their temporaries share: one clock goes through all of them.
    let mut wanted = Vec::new();
    let mut clock = 0;
    for (_, graph) in programs {
        wanted.extend(temporaries(graph, clock));
        clock += graph.nodes().len();
    }
    let leases = Leases::of(&wanted);
    let mut compiler = Compiler {
        target,
        named: named.keys().enumerate().map(|(k, label)| (*label, k)).collect(),
        kernels: Vec::new(),
    };
    let mut lists = BTreeMap::new();
    let mut slots = leases.slot.iter().copied();
    for (name, graph) in programs {
        lists.insert((*name).to_owned(), compiler.program(graph, &mut slots)?);
    }
    let mut buffers: Vec<_> = named
        .iter()
        .map(|(label, &bytes)| BufferSpec { label: (*label).into(), bytes, lease: false })
        .collect();
    for (k, &bytes) in leases.sizes.iter().enumerate() {
        buffers.push(BufferSpec { label: format!("lease {k}"), bytes, lease: true });
    }
    if let Some(buffer) = buffers.iter().find(|b| b.bytes > target.limits.buffer_bytes) {
        let limit = target.limits.buffer_bytes;
        return Err(PlanError::Buffer { buffer: buffer.label.clone(), bytes: buffer.bytes, limit });
    }
    let plan = Plan {
        version: VERSION,
        target: *target,
        kernels: compiler.kernels,
        buffers,
        programs: lists,
    };
    match target.limits.memory {
        Some(limit) if plan.memory() > limit => {
            Err(PlanError::Budget { bytes: plan.memory(), limit })
        }
        _ => Ok(plan),
    }
}

/// How long each temporary of a program is wanted, in the order in which they are written; its first node is dispatch `clock`.
fn temporaries(graph: &Graph, clock: usize) -> Vec<Lifetime> {
    let live = graph.live();
    let nodes = || (clock..).zip(graph.nodes()).zip(&live).filter(|(_, live)| **live);
    let mut last = vec![0; graph.len()];
    for ((k, node), _) in nodes() {
        for value in node.inputs.iter().chain(&node.outputs) {
            last[value.index()] = k;
        }
    }
    let outputs = nodes().flat_map(|((k, node), _)| node.outputs.iter().map(move |v| (k, *v)));
    let lifetime = |(first, value): (usize, Value)| Lifetime {
        first,
        last: last[value.index()],
        size: ops::count(graph.shape(value)) * 4,
    };
    outputs.filter(|(_, value)| graph.is_temporary(*value)).map(lifetime).collect()
}

struct Compiler<'a> {
    target: &'a Target,
    named: BTreeMap<&'a str, usize>,
    kernels: Vec<KernelSpec>,
}

impl Compiler<'_> {
    /// The dispatches of a program, whose temporaries take their `slots` in the order of [`temporaries`].
    fn program(
        &mut self,
        graph: &Graph,
        slots: &mut impl Iterator<Item = usize>,
    ) -> Result<Vec<Dispatch>, PlanError> {
        let mut leased = vec![None; graph.len()];
        let mut list = Vec::new();
        for (node, _) in graph.nodes().iter().zip(graph.live()).filter(|(_, live)| *live) {
            for output in node.outputs.iter().filter(|v| graph.is_temporary(**v)) {
                leased[output.index()] = slots.next();
            }
            list.push(self.dispatch(graph, node, &leased)?);
        }
        Ok(list)
    }

    fn dispatch(
        &mut self,
        graph: &Graph,
        node: &Node,
        leased: &[Option<usize>],
    ) -> Result<Dispatch, PlanError> {
        let bug = |problem: String| PlanError::Kernel { node: node.label.clone(), problem };
        let limits = &self.target.limits;
        let shapes: Vec<&[u32]> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        let launch = node
            .op
            .launch(&shapes, self.target.kind)
            .ok_or_else(|| bug("fits no launch on this target".into()))?;
        let Launch { kernel, outputs, dims, grid, flops, updates } = launch;
        if !outputs.iter().map(Vec::as_slice).eq(node.outputs.iter().map(|&v| graph.shape(v))) {
            return Err(bug("its output shapes depend on the target".into()));
        }
        if grid.iter().any(|&n| n > limits.groups || n == 0) {
            return Err(PlanError::Grid { node: node.label.clone(), grid, limit: limits.groups });
        }
        let spec = shaders::reflect(&kernel).map_err(bug)?;
        let values: Vec<Value> = node.inputs.iter().chain(&node.outputs).copied().collect();
        if spec.bindings.len() != values.len() || spec.dims == dims.is_empty() {
            let (inputs, outputs) = (node.inputs.len(), node.outputs.len());
            let (bindings, uniform) = (spec.bindings.len(), spec.dims);
            return Err(bug(format!(
                "the shader binds {bindings} buffers (dims: {uniform}), the op has {inputs} inputs, {outputs} outputs and {} dims",
                dims.len()
            )));
        }
        for (k, binding) in spec.bindings.iter().enumerate() {
            if binding.writes != (k >= node.inputs.len() || updates.contains(&k)) {
                return Err(bug(format!(
                    "binding {} is read where the op writes, or the reverse",
                    binding.number
                )));
            }
        }
        if values.len() > limits.storage_buffers as usize {
            let (count, limit) = (values.len(), limits.storage_buffers);
            return Err(PlanError::StorageBuffers { node: node.label.clone(), count, limit });
        }

        let mut binds = Vec::with_capacity(values.len());
        for &value in &values {
            let tensor = graph.tensor_of(value);
            let bytes = ops::count(&tensor.shape) * 4;
            if bytes > limits.binding_bytes {
                let limit = limits.binding_bytes;
                return Err(PlanError::Binding { tensor: tensor.label.clone(), bytes, limit });
            }
            binds.push(match (&tensor.home, leased[value.index()]) {
                (Home::Named { buffer, offset }, _) => {
                    Range { buffer: self.named[buffer.as_str()], offset: offset * 4, bytes }
                }
                (Home::Temporary, Some(lease)) => {
                    Range { buffer: self.named.len() + lease, offset: 0, bytes }
                }
                (Home::Temporary, None) => {
                    return Err(bug(format!("{} is read before it is written", tensor.label)));
                }
            });
        }
        for (a, one) in binds.iter().zip(&spec.bindings) {
            for (b, other) in binds.iter().zip(&spec.bindings) {
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
        Ok(Dispatch { kernel, label: node.label.clone(), binds, dims, grid, flops, bytes })
    }
}
