//! From graphs to a plan.

use std::collections::BTreeMap;

use super::{
    BufferSpec, Dispatch, KernelSpec, Plan, PlanError, Range, Target, VERSION, memory::Leases,
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
    let mut compiler = Compiler {
        target,
        named: named.keys().enumerate().map(|(k, label)| (*label, k)).collect(),
        kernels: Vec::new(),
        leases: Leases::default(),
    };
    let mut lists = BTreeMap::new();
    for (name, graph) in programs {
        lists.insert((*name).to_owned(), compiler.program(graph)?);
    }
    let mut buffers: Vec<_> = named
        .iter()
        .map(|(label, &bytes)| BufferSpec { label: (*label).into(), bytes, lease: false })
        .collect();
    for (k, &bytes) in compiler.leases.sizes().iter().enumerate() {
        buffers.push(BufferSpec { label: format!("lease {k}"), bytes, lease: true });
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
}

impl Compiler<'_> {
    fn program(&mut self, graph: &Graph) -> Result<Vec<Dispatch>, PlanError> {
        let graph = &graph.fused(self.target.kind);
        let mut last_use = vec![0; graph.len()];
        for (k, node) in graph.nodes().iter().enumerate() {
            for value in node.inputs.iter().chain(&node.outputs) {
                last_use[value.index()] = k;
            }
        }
        let mut leased: Vec<Option<usize>> = vec![None; graph.len()];
        let mut list = Vec::new();
        for (k, node) in graph.nodes().iter().enumerate() {
            // Outputs take their leases before inputs give theirs back: no dispatch reads what it writes.
            for output in
                node.outputs.iter().filter(|v| graph.tensor_of(**v).home == Home::Temporary)
            {
                let bytes = ops::count(graph.shape(*output)) * 4;
                leased[output.index()] = Some(self.leases.take(bytes));
            }
            list.push(self.dispatch(graph, node, &leased)?);
            let mut done: Vec<_> = node.inputs.iter().chain(&node.outputs).collect();
            done.sort_unstable();
            done.dedup();
            for value in done.into_iter().filter(|v| last_use[v.index()] == k) {
                if let Some(lease) = leased[value.index()].take() {
                    self.leases.give(lease);
                }
            }
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
