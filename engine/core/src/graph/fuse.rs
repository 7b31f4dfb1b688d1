//! Fusion: two nodes become one where an op offers to do the work of both.
//!
//! The ops know what they can take in ([`Op::absorb`](crate::ops::Op::absorb), [`Op::join`](crate::ops::Op::join)); this pass knows what
//! must still be written, and in which order.

use std::ops::Range;

use super::{Graph, Home, Node, Value};
use crate::ops::{AdapterKind, Fused, Operands, count};

impl Graph {
    /// The graph without its dead nodes and with its ops fused as far as they go on a kind of adapter. Tensors, their places and
    /// the named buffers stay as they are; values that fusion left out are written by no node.
    #[must_use]
    pub fn fused(&self, on: AdapterKind) -> Graph {
        let live = self.live().into_iter();
        let nodes = self.nodes.iter().zip(live).map(|(node, live)| live.then(|| node.clone()));
        let mut pass = Pass::new(self, nodes.collect(), on);
        while pass.sweep() {}
        let mut graph = Graph { nodes: pass.nodes.into_iter().flatten().collect(), ..self.clone() };
        // A fused node may have a constant in place of an input; the node that wrote that input is then dead.
        let mut live = graph.live().into_iter();
        graph.nodes.retain(|_| live.next().is_some_and(|live| live));
        graph
    }
}

struct Pass<'a> {
    graph: &'a Graph,
    on: AdapterKind,
    /// The nodes in their order; a place is empty where a node was dead or became part of another.
    nodes: Vec<Option<Node>>,
    kept: Vec<bool>,
    /// For each value, the node that writes it.
    writer: Vec<Option<usize>>,
    /// For each value, the nodes that read it or run after it, in order.
    readers: Vec<Vec<usize>>,
}

impl<'a> Pass<'a> {
    fn new(graph: &'a Graph, nodes: Vec<Option<Node>>, on: AdapterKind) -> Self {
        let mut kept = vec![false; graph.len()];
        for value in &graph.kept {
            kept[value.0] = true;
        }
        let (writer, readers) = (vec![None; graph.len()], vec![Vec::new(); graph.len()]);
        let mut pass = Self { graph, on, nodes: Vec::new(), kept, writer, readers };
        for (k, node) in nodes.into_iter().enumerate() {
            pass.nodes.push(None);
            if let Some(node) = node {
                pass.put(k, node);
            }
        }
        pass
    }

    /// Puts a node at an empty place.
    fn put(&mut self, k: usize, node: Node) {
        for value in &node.outputs {
            self.writer[value.0] = Some(k);
        }
        for value in node.inputs.iter().chain(&node.after) {
            let readers = &mut self.readers[value.0];
            if let Err(at) = readers.binary_search(&k) {
                readers.insert(at, k);
            }
        }
        self.nodes[k] = Some(node);
    }

    /// Empties a place.
    fn take(&mut self, k: usize) {
        let Some(node) = self.nodes[k].take() else { return };
        for value in &node.outputs {
            self.writer[value.0] = None;
        }
        for value in node.inputs.iter().chain(&node.after) {
            let readers = &mut self.readers[value.0];
            if let Ok(at) = readers.binary_search(&k) {
                readers.remove(at);
            }
        }
    }

    /// Fuses each node with what it can take in; returns whether any did.
    fn sweep(&mut self) -> bool {
        let mut any = false;
        for k in 0..self.nodes.len() {
            while let Some((other, place, node)) = self.offer(k) {
                self.take(k);
                self.take(other);
                self.put(place, node);
                any = true;
                if place != k {
                    break;
                }
            }
        }
        any
    }

    /// What node `k` can become: the node that it takes in, the place of the two, and the one node there.
    fn offer(&self, k: usize) -> Option<(usize, usize, Node)> {
        let node = self.nodes[k].as_ref()?;
        let this = Operands { inputs: &node.inputs, outputs: &node.outputs };
        let near = |values: &[Value]| -> Vec<usize> {
            values.iter().flat_map(|value| &self.readers[value.0]).copied().collect()
        };
        let try_with = |other: usize, fuse: &dyn Fn(&Node) -> Option<Fused>| {
            let with = self.nodes[other].as_ref().filter(|_| other != k)?;
            let fused = fuse(with)?;
            let place = self.place(k.min(other), k.max(other), &fused)?;
            Some((other, place, self.node(node, with, fused)?))
        };
        let readers = near(&node.outputs);
        let absorbed = readers
            .into_iter()
            .find_map(|j| try_with(j, &|reader| node.op.absorb(self.graph, this, reader)));
        absorbed.or_else(|| {
            let siblings = near(&node.inputs);
            siblings
                .into_iter()
                .find_map(|j| try_with(j, &|sibling| node.op.join(self.graph, this, sibling)))
        })
    }

    /// The place of one node instead of `first` and `second`: where the second stood, else where the first stood, or `None` if a
    /// value would be missed or the order of two nodes upset.
    fn place(&self, first: usize, second: usize, fused: &Fused) -> Option<usize> {
        let (a, b) = (self.nodes[first].as_ref()?, self.nodes[second].as_ref()?);
        if !a.updates.is_empty() || !b.updates.is_empty() {
            return None;
        }
        let outside = |value: &Value| {
            self.readers[value.0].iter().copied().filter(move |&k| k != first && k != second)
        };
        let mut written = a.outputs.iter().chain(&b.outputs);
        let missed = written.any(|value| {
            !fused.outputs.contains(value)
                && (self.kept[value.0] || outside(value).next().is_some())
        });
        if missed {
            return None;
        }
        let between = first + 1..second;
        let late = a.outputs.iter().flat_map(outside).all(|reader| reader > second);
        if late && !self.entangled(a, between.clone()) {
            return Some(second);
        }
        let needs = fused.inputs.iter().chain(&b.after);
        let early = needs.into_iter().all(|v| self.writer[v.0].is_none_or(|k| k < first));
        (early && !self.entangled(b, between)).then_some(first)
    }

    /// Whether `node` may not pass the nodes `between`, because one writes a place in a named buffer that the other uses. Values
    /// do not say so: a place can have several names.
    fn entangled(&self, node: &Node, between: Range<usize>) -> bool {
        let clash = |written: &[Value], used: &[Value]| {
            written.iter().any(|&one| used.iter().any(|&other| self.overlap(one, other)))
        };
        let (reads, writes) = (&node.inputs, written(node));
        self.nodes[between].iter().flatten().any(|passed| {
            let theirs = written(passed);
            clash(&theirs, reads) || clash(&theirs, &writes) || clash(&writes, &passed.inputs)
        })
    }

    fn overlap(&self, one: Value, other: Value) -> bool {
        let (one, other) = (self.graph.tensor_of(one), self.graph.tensor_of(other));
        match (&one.home, &other.home) {
            (Home::Named { buffer, offset }, Home::Named { buffer: same, offset: at }) => {
                buffer == same
                    && *offset < at + count(&other.shape)
                    && *at < offset + count(&one.shape)
            }
            _ => false,
        }
    }

    /// The fused node; `None` if its op has no kernel for these shapes on this adapter.
    fn node(&self, by: &Node, with: &Node, fused: Fused) -> Option<Node> {
        let Fused { op, inputs, outputs } = fused;
        let shapes: Vec<&[u32]> = inputs.iter().map(|&v| self.graph.shape(v)).collect();
        let launch = op.launch(&shapes, self.on)?;
        let scope = by.label.split('/').next().unwrap_or_default();
        let label = format!("{scope}/{}.{}", launch.kernel.file, launch.kernel.entry);
        let mut after = by.after.clone();
        after.extend(with.after.iter().filter(|value| !by.after.contains(value)));
        Some(Node { op, inputs, outputs, after, updates: launch.updates, label })
    }
}

/// What a node writes: its outputs, and the inputs that it updates.
fn written(node: &Node) -> Vec<Value> {
    node.outputs.iter().copied().chain(node.updates.iter().map(|&k| node.inputs[k])).collect()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::{Graph, Node, Value};
    use crate::ops::{
        AdapterKind, Fused, Kernel, Launch, Op, Operands,
        activation::{Activation, Grad},
        elementwise::{Accumulate, Add, Copy, Scale},
        known,
    };

    /// A stand-in for an op that joins another of its kind: y = x, as often as it says.
    #[derive(Debug)]
    struct Spread(usize);

    impl Op for Spread {
        fn launch(&self, inputs: &[&[u32]], _: AdapterKind) -> Option<Launch> {
            let launch = Launch::new(Kernel::of("test", "spread"));
            (inputs.len() == 1).then(|| (0..self.0).fold(launch, |l, _| l.output(inputs[0])))
        }

        fn join(&self, _: &Graph, this: Operands<'_>, sibling: &Node) -> Option<Fused> {
            let Spread(more) = known(&*sibling.op)?;
            Some(Fused {
                op: Rc::new(Spread(self.0 + more)),
                inputs: this.inputs.to_vec(),
                outputs: [this.outputs, &sibling.outputs].concat(),
            })
        }
    }

    fn names(graph: &Graph) -> Vec<String> {
        let entry = |node: &'_ Node| node.label.rsplit('.').next().unwrap_or_default().to_owned();
        graph.nodes().iter().map(entry).collect()
    }

    fn fused(graph: &Graph) -> Graph {
        graph.fused(AdapterKind::Cpu)
    }

    /// dx = (a + b) masked by y, and whatever `more` adds between the sum and the mask.
    fn sum_and_mask(more: impl FnOnce(&mut Graph, Value)) -> Graph {
        let mut g = Graph::new();
        let [a, b, y] = ["a", "b", "y"].map(|label| g.input(label, &[8]));
        let sum = g.add(Add, &[a, b]).expect("a sum");
        more(&mut g, sum);
        let dx = g.add(Grad(Activation::Relu), &[y, sum]).expect("a mask");
        g.place(dx, "dx", 0);
        g
    }

    #[test]
    fn an_only_reader_is_absorbed_and_the_dead_are_gone() {
        let g = sum_and_mask(|g, _| {
            let a = g.named("a", 0, &[8], "a");
            g.add(Scale(2.0), &[a]).expect("nobody reads it");
        });
        let fused = fused(&g);
        assert_eq!(names(&fused), ["add_relu_grad"]);
        assert_eq!(fused.nodes()[0].outputs, g.nodes()[2].outputs);
    }

    #[test]
    fn what_is_placed_or_read_elsewhere_stays() {
        let placed = sum_and_mask(|g, sum| g.place(sum, "sum", 0));
        assert_eq!(names(&fused(&placed)), ["add", "relu_grad"]);
        let read = sum_and_mask(|g, sum| {
            let twice = g.add(Scale(2.0), &[sum]).expect("a product");
            g.place(twice, "twice", 0);
        });
        assert_eq!(names(&fused(&read)), ["add", "scale", "relu_grad"]);
        let awaited = sum_and_mask(|g, sum| {
            let c = g.input("c", &[8]);
            let late = g.add_after(Copy, &[c], &[sum]).expect("a copy")[0];
            g.place(late, "late", 0);
        });
        assert_eq!(names(&fused(&awaited)), ["add", "copy", "relu_grad"]);
    }

    /// Neither may the sum read a after it has changed, nor the mask y before: with only one of them the other place serves.
    #[test]
    fn nothing_passes_what_changes_it() {
        let change = |labels: &'static [&str]| {
            sum_and_mask(move |g, _| {
                let c = g.input("c", &[8]);
                for label in labels {
                    let again = g.named(label, 0, &[8], label);
                    g.add_all(Accumulate::Count, &[c, again]).expect("a sum in place");
                }
            })
        };
        assert_eq!(names(&fused(&change(&["b"]))), ["add_relu_grad", "accumulate_count"]);
        assert_eq!(names(&fused(&change(&["y"]))), ["accumulate_count", "add_relu_grad"]);
        let both = fused(&change(&["b", "y"]));
        assert_eq!(names(&both), ["add", "accumulate_count", "accumulate_count", "relu_grad"]);
    }

    #[test]
    fn siblings_join_where_both_results_are_in_time() {
        let mut g = Graph::new();
        let x = g.input("x", &[8]);
        let one = g.add(Spread(1), &[x]).expect("a copy");
        let half = g.add(Scale(0.5), &[one]).expect("half");
        let other = g.add(Spread(1), &[x]).expect("a copy");
        let sum = g.add(Add, &[half, other]).expect("a sum");
        g.place(sum, "sum", 0);
        let fused = fused(&g);
        assert_eq!(names(&fused), ["spread", "scale", "add"]);
        assert_eq!(fused.nodes()[0].outputs, [one, other]);
        // The second needs what is made of the first: each stays where it is.
        let mut g = Graph::new();
        let x = g.input("x", &[8]);
        let one = g.add(Spread(1), &[x]).expect("a copy");
        let sum = g.add(Add, &[one, x]).expect("a sum");
        let other = g.add_after(Spread(1), &[x], &[sum]).expect("a copy")[0];
        g.place(other, "other", 0);
        g.place(one, "one", 0);
        assert_eq!(names(&g.fused(AdapterKind::Cpu)), ["spread", "add", "spread"]);
    }
}
