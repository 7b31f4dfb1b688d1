//! From graphs to a plan.
//!
//! First each op says what it launches, and the lifetimes follow: those of temporaries in buffers, and those of the textures that mirror what
//! kernels read by `lib/read`. Then leases are given out for all programs at once. Then the dispatches are written down.

use std::collections::{BTreeMap, HashMap};

use super::{
    BufferSpec, Dispatch, KernelSpec, MIRRORS, Mirror, Plan, PlanError, ROWS, Range, Target,
    memory::{Leases, Lifetime},
    mirrored, row, shaders,
};
use crate::{
    graph::{Graph, Home, Node, Value},
    ops::{Launch, Reads, Storage},
};

/// Compiles a graph for each program; programs share named buffers (by label) and leases.
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
    let mut drafts = Vec::with_capacity(programs.len());
    let mut clock = 0;
    for (name, graph) in programs {
        let draft = Draft::new(graph.fused(target.kind), target, clock)?;
        clock += draft.nodes.len();
        drafts.push((*name, draft));
    }
    let temporaries: Vec<_> = drafts.iter().flat_map(|(_, d)| &d.temporaries).copied().collect();
    let leases = Leases::of(&temporaries);
    let mirrored: Vec<_> = drafts.iter().flat_map(|(_, d)| &d.mirrored).copied().collect();
    let textures = Textures::of(&mirrored);

    let buffers: Vec<_> = named
        .iter()
        .map(|(label, &bytes)| BufferSpec {
            label: (*label).to_owned(),
            bytes,
            lease: false,
            texture: false,
            storage: Storage::F32,
        })
        .chain((0..).zip(&leases.sizes).map(|(k, &bytes)| BufferSpec {
            label: format!("lease {k}"),
            bytes,
            lease: true,
            texture: false,
            storage: Storage::F32,
        }))
        .chain((0..).zip(&textures.sizes).map(|(k, &(bytes, storage))| BufferSpec {
            label: format!("texture {k}"),
            bytes,
            lease: true,
            texture: true,
            storage,
        }))
        .collect();
    if let Some(buffer) = buffers.iter().find(|b| b.bytes > target.limits.buffer_bytes) {
        let limit = target.limits.buffer_bytes;
        return Err(PlanError::Buffer { buffer: buffer.label.clone(), bytes: buffer.bytes, limit });
    }

    let first_texture = named.len() + leases.sizes.len();
    let mut writer = Writer {
        target,
        named: named.keys().enumerate().map(|(k, label)| (*label, k)).collect(),
        kernels: Vec::new(),
        leases: leases.slot.iter().map(|slot| named.len() + slot).collect(),
        textures: textures.slot.iter().map(|slot| first_texture + slot).collect(),
    };
    let mut lists = BTreeMap::new();
    let (mut temporaries, mut mirrored) = (0, 0);
    for (name, draft) in drafts {
        lists.insert(name.to_owned(), writer.program(&draft, temporaries, mirrored)?);
        temporaries += draft.temporaries.len();
        mirrored += draft.mirrored.len();
    }
    let kernels = writer.kernels;
    let plan = Plan { target: *target, kernels, buffers, programs: lists };
    match target.limits.memory {
        Some(limit) if plan.memory() > limit => {
            Err(PlanError::Budget { bytes: plan.memory(), limit })
        }
        _ => Ok(plan),
    }
}

/// The textures of a plan. Mirrors of one format share textures, as temporaries share leased buffers.
#[derive(Debug, Default)]
struct Textures {
    /// Index of a texture for each mirror.
    slot: Vec<usize>,
    /// Size and format of each texture.
    sizes: Vec<(u64, Storage)>,
}

impl Textures {
    fn of(mirrors: &[(Lifetime, Storage)]) -> Self {
        let mut all = Self { slot: vec![0; mirrors.len()], sizes: Vec::new() };
        for storage in [Storage::F32, Storage::F16] {
            let (places, lifetimes): (Vec<usize>, Vec<Lifetime>) = (0..)
                .zip(mirrors)
                .filter(|(_, (_, of))| *of == storage)
                .map(|(place, (lifetime, _))| (place, *lifetime))
                .unzip();
            let leases = Leases::of(&lifetimes);
            for (place, slot) in places.into_iter().zip(leases.slot) {
                all.slot[place] = all.sizes.len() + slot;
            }
            all.sizes.extend(leases.sizes.into_iter().map(|bytes| (bytes, storage)));
        }
        all
    }
}

/// A program whose launches are known, and what it has to lease.
struct Draft {
    graph: Graph,
    /// What each node runs, what that binds, and for each binding that is a texture, which mirror.
    nodes: Vec<(Launch, KernelSpec, Vec<Option<usize>>)>,
    /// Lifetime of each temporary, in the order in which they are written.
    temporaries: Vec<Lifetime>,
    /// Which of them a tensor is.
    lease: Vec<Option<usize>>,
    /// Lifetime of each mirror, and how its tensor is stored.
    mirrored: Vec<(Lifetime, Storage)>,
    /// The tensor that each mirror copies, and before which node.
    copies: Vec<(usize, Value)>,
}

impl Draft {
    /// The first node is dispatch `clock`.
    fn new(mut graph: Graph, target: &Target, clock: usize) -> Result<Self, PlanError> {
        if graph.stores_f16() {
            store_f16(&mut graph, target)?;
        }
        let mut nodes = Vec::with_capacity(graph.nodes().len());
        for node in graph.nodes() {
            let (launch, spec) = launch(&graph, node, target)?;
            let none = vec![None; spec.bindings.len()];
            nodes.push((launch, spec, none));
        }
        let mut draft = Self {
            lease: vec![None; graph.len()],
            graph,
            nodes,
            temporaries: Vec::new(),
            mirrored: Vec::new(),
            copies: Vec::new(),
        };
        draft.lease(clock);
        draft.mirror(clock)?;
        Ok(draft)
    }

    /// Lifetimes of temporaries in buffers: from the node that writes one to the last that binds its buffer. Mirrors are copied right
    /// after that node, so a node that reads the mirror does not need the buffer.
    fn lease(&mut self, clock: usize) {
        for (k, (node, (_, spec, _))) in (clock..).zip(self.graph.nodes().iter().zip(&self.nodes)) {
            let values = node.inputs.iter().chain(&node.outputs);
            for (value, binding) in values.zip(&spec.bindings) {
                if !self.graph.is_temporary(*value) || binding.texture {
                    continue;
                }
                match self.lease[value.index()] {
                    Some(known) => self.temporaries[known].last = k,
                    None => {
                        self.lease[value.index()] = Some(self.temporaries.len());
                        let size = self.graph.tensor_of(*value).bytes();
                        self.temporaries.push(Lifetime { first: k, last: k, size });
                    }
                }
            }
        }
    }

    /// Mirrors and their lifetimes: from the copy, before some node, to the last node that reads it. A temporary is copied once, after it is
    /// written; a tensor of a named buffer where it is first read, and again if the buffer was written since.
    fn mirror(&mut self, clock: usize) -> Result<(), PlanError> {
        let graph = &self.graph;
        let places = graph.places();
        let mut written = vec![0; graph.len()];
        let mut now: HashMap<usize, usize> = HashMap::new();
        // Of these, the places in each named buffer.
        let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
        for (k, (node, (_, spec, mirrors))) in graph.nodes().iter().zip(&mut self.nodes).enumerate()
        {
            let inputs = node.inputs.iter().zip(&spec.bindings).zip(mirrors);
            for ((value, _), mirror) in inputs.filter(|((_, binding), _)| binding.texture) {
                let place = places[value.index()];
                let first = if graph.is_temporary(*value) { written[place] + 1 } else { k };
                let known = *now.entry(place).or_insert(self.mirrored.len());
                if known == self.mirrored.len() {
                    let tensor = graph.tensor_of(*value);
                    let size = mirrored(tensor.bytes(), tensor.storage);
                    let limit = ROWS * row(tensor.storage);
                    if size > limit {
                        let (tensor, bytes) = (tensor.label.clone(), size);
                        return Err(PlanError::Binding { tensor, bytes, limit });
                    }
                    let lifetime = Lifetime { first: clock + first, last: clock + k, size };
                    self.mirrored.push((lifetime, tensor.storage));
                    self.copies.push((first, *value));
                    if let Home::Named { buffer, .. } = &tensor.home {
                        named.entry(buffer).or_default().push(place);
                    }
                }
                self.mirrored[known].0.last = clock + k;
                *mirror = Some(known);
            }
            let updated = node.updates.iter().map(|&input| node.inputs[input]);
            for value in node.outputs.iter().copied().chain(updated) {
                match &graph.tensor_of(value).home {
                    Home::Temporary => written[value.index()] = k,
                    Home::Named { buffer, .. } => {
                        for place in named.remove(buffer.as_str()).unwrap_or_default() {
                            now.remove(&place);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Decides which temporaries are stored as f16: see [`Graph::store_f16`].
fn store_f16(graph: &mut Graph, target: &Target) -> Result<(), PlanError> {
    let mut half = vec![true; graph.len()];
    for node in graph.nodes() {
        let (launch, spec) = launch(graph, node, target)?;
        let allowed = shaders::may_be_f16(&launch.kernel)
            .map_err(|problem| PlanError::Kernel { node: node.label.clone(), problem })?;
        let values = node.inputs.iter().chain(&node.outputs).zip(&spec.bindings);
        for (k, (value, binding)) in values.enumerate() {
            let is_sum = launch.exact && k >= node.inputs.len();
            half[value.index()] &= allowed.contains(&binding.number) && !is_sum;
        }
    }
    let values = graph.nodes().iter().flat_map(|node| &node.outputs).copied();
    let stored: Vec<Value> = values
        .filter(|&value| {
            half[value.index()] && graph.is_temporary(value) && graph.shape(value).len() > 1
        })
        .collect();
    for value in stored {
        graph.store(value, Storage::F16);
    }
    Ok(())
}

/// What a node runs, and what that binds.
fn launch(graph: &Graph, node: &Node, target: &Target) -> Result<(Launch, KernelSpec), PlanError> {
    let bug = |problem: String| PlanError::Kernel { node: node.label.clone(), problem };
    let limits = &target.limits;
    let shapes: Vec<&[u32]> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
    let mut launch = node
        .op
        .launch(&shapes, target.kind)
        .ok_or_else(|| bug("fits no launch on this target".into()))?;
    if !launch.outputs.iter().map(Vec::as_slice).eq(node.outputs.iter().map(|&v| graph.shape(v))) {
        return Err(bug("its output shapes depend on the target".into()));
    }
    let grid = launch.grid;
    if grid.iter().any(|&n| n > limits.groups || n == 0) {
        return Err(PlanError::Grid { node: node.label.clone(), grid, limit: limits.groups });
    }
    if shaders::reads(&launch.kernel) {
        launch.kernel.reads = Reads::on(target.kind);
    }
    let mut spec = shaders::reflect(&launch.kernel).map_err(bug)?;
    let values = node.inputs.iter().chain(&node.outputs);
    let f16 = values.zip(&spec.bindings).filter(|(v, _)| !graph.tensor_of(**v).storage.is_f32());
    let f16: Vec<u32> = f16.map(|(_, binding)| binding.number).collect();
    if !f16.is_empty() {
        let allowed = shaders::may_be_f16(&launch.kernel).map_err(bug)?;
        if let Some(number) = f16.iter().find(|number| !allowed.contains(number)) {
            return Err(bug(format!("binding {number} knows f32 only")));
        }
        launch.kernel.f16 = f16;
        spec = shaders::reflect(&launch.kernel).map_err(bug)?;
    }
    let (inputs, outputs) = (node.inputs.len(), node.outputs.len());
    if spec.bindings.len() != inputs + outputs || spec.dims == launch.dims.is_empty() {
        let (bindings, uniform, dims) = (spec.bindings.len(), spec.dims, launch.dims.len());
        return Err(bug(format!(
            "the shader binds {bindings} buffers (dims: {uniform}), the op has {inputs} inputs, {outputs} outputs and {dims} dims"
        )));
    }
    for (k, binding) in spec.bindings.iter().enumerate() {
        if binding.writes != (k >= inputs || launch.updates.contains(&k)) {
            let number = binding.number;
            return Err(bug(format!(
                "binding {number} is read where the op writes, or the reverse"
            )));
        }
    }
    let textures = spec.bindings.iter().filter(|b| b.texture).count();
    if textures > MIRRORS {
        return Err(bug(format!("it reads {textures} textures, {MIRRORS} are allowed")));
    }
    let (count, limit) = (spec.bindings.len() - textures, limits.storage_buffers);
    if count > limit as usize {
        return Err(PlanError::StorageBuffers { node: node.label.clone(), count, limit });
    }
    Ok((launch, spec))
}

/// Writes dispatches down once all leases are given out.
struct Writer<'a> {
    target: &'a Target,
    named: BTreeMap<&'a str, usize>,
    kernels: Vec<KernelSpec>,
    /// The buffer of each temporary of all programs.
    leases: Vec<usize>,
    /// The texture of each mirror of all programs.
    textures: Vec<usize>,
}

impl Writer<'_> {
    /// The dispatches of a program, whose temporaries and mirrors are the plan's from `temporaries` and `mirrored` on.
    fn program(
        &mut self,
        draft: &Draft,
        temporaries: usize,
        mirrored: usize,
    ) -> Result<Vec<Dispatch>, PlanError> {
        let graph = &draft.graph;
        let range = |writer: &Self, node: &Node, value: Value| {
            let tensor = graph.tensor_of(value);
            let bytes = tensor.bytes();
            let lease = draft.lease[value.index()].map(|known| writer.leases[temporaries + known]);
            match (&tensor.home, lease) {
                (Home::Named { buffer, offset }, _) => {
                    let offset = offset * tensor.storage.bytes();
                    Ok(Range { buffer: writer.named[buffer.as_str()], offset, bytes })
                }
                (Home::Temporary, Some(buffer)) => Ok(Range { buffer, offset: 0, bytes }),
                (Home::Temporary, None) => {
                    let label = &tensor.label;
                    let problem = format!("{label} is read before it is written");
                    Err(PlanError::Kernel { node: node.label.clone(), problem })
                }
            }
        };
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); draft.nodes.len()];
        for (known, (at, _)) in draft.copies.iter().enumerate() {
            before[*at].push(known);
        }
        let mut list = Vec::with_capacity(draft.nodes.len());
        for (k, (node, (launch, spec, mirrors))) in
            graph.nodes().iter().zip(&draft.nodes).enumerate()
        {
            let copies = before[k].iter().map(|&known| {
                let from = range(self, node, draft.copies[known].1)?;
                Ok(Mirror { from, to: self.textures[mirrored + known] })
            });
            let copies = copies.collect::<Result<Vec<_>, PlanError>>()?;
            let values = node.inputs.iter().chain(&node.outputs).zip(mirrors);
            let binds = values.map(|(value, mirror)| match mirror {
                Some(known) => Ok(Range {
                    buffer: self.textures[mirrored + known],
                    offset: 0,
                    bytes: graph.tensor_of(*value).bytes(),
                }),
                None => range(self, node, *value),
            });
            let binds = binds.collect::<Result<Vec<_>, PlanError>>()?;
            self.check(graph, node, spec, &binds)?;
            let kernel = self.kernel(spec);
            list.push(Dispatch {
                kernel,
                label: node.label.clone(),
                mirrors: copies,
                bytes: binds.iter().map(|range| range.bytes).sum(),
                binds,
                dims: launch.dims.clone(),
                grid: launch.grid,
                product: launch.product,
                flops: launch.flops,
            });
        }
        Ok(list)
    }

    /// Checks that each range can be bound, and that no buffer is both read and written.
    fn check(
        &self,
        graph: &Graph,
        node: &Node,
        spec: &KernelSpec,
        binds: &[Range],
    ) -> Result<(), PlanError> {
        let limit = self.target.limits.binding_bytes;
        for (value, range) in node.inputs.iter().chain(&node.outputs).zip(binds) {
            if range.bytes > limit {
                let tensor = graph.tensor_of(*value).label.clone();
                return Err(PlanError::Binding { tensor, bytes: range.bytes, limit });
            }
        }
        for (a, one) in binds.iter().zip(&spec.bindings) {
            for (b, other) in binds.iter().zip(&spec.bindings) {
                if a.buffer == b.buffer && one.writes && !other.writes {
                    let problem = "it would read and write one buffer".into();
                    return Err(PlanError::Kernel { node: node.label.clone(), problem });
                }
            }
        }
        Ok(())
    }

    fn kernel(&mut self, spec: &KernelSpec) -> usize {
        self.kernels.iter().position(|known| known == spec).unwrap_or_else(|| {
            self.kernels.push(spec.clone());
            self.kernels.len() - 1
        })
    }
}
