//! Activations made anew in the backward pass, so that they need not be kept from the forward pass to there.
//!
//! ```text
//! forward …  a ─▶ b ─▶ c  …            forward …  a ─▶ b ─▶ c  …
//! backward … db(a, b), da(a) …    ▶    backward … a' ─▶ b', db(a', b'), da(a') …
//! ```
//!
//! Checkpointing as PyTorch's `torch.utils.checkpoint`, as a transformation of a graph that has its gradients already. The same kernels run
//! on the same numbers, so the bits are the same: dropout draws by a counter, and what updates something in place (batch norm's running
//! statistics) is not run again; what it puts out is kept.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use super::{Graph, Node, Value};

impl Graph {
    /// For each segment of the forward pass (a range of nodes), makes its temporaries anew before the first gradient that reads one.
    ///
    /// Kept are what other segments read (a segment's output), what has a place of its own, and what a node puts out that updates something
    /// in place. Segments must not overlap, and all lie before node `backward`. The trained gradients must have been placed before:
    /// a node that leads to no placed value is dead, and nothing is made anew for it.
    pub fn recompute(&mut self, segments: &[Range<usize>], backward: usize) {
        let live = self.live();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); self.len()];
        for (k, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|value| readers[value.0].push(k));
        }
        let mut before: HashMap<usize, Vec<Node>> = HashMap::new();
        for segment in segments {
            if let Some((first, copies)) = self.copies(segment.clone(), backward, &live, &readers) {
                before.entry(first).or_default().extend(copies);
            }
        }
        let nodes = std::mem::take(&mut self.nodes);
        for (k, node) in nodes.into_iter().enumerate() {
            self.nodes.extend(before.remove(&k).unwrap_or_default());
            self.nodes.push(node);
        }
    }

    /// Copies of the nodes of a segment that its gradients need once more, and the first node that reads one; the gradients then read the copies.
    fn copies(
        &mut self,
        segment: Range<usize>,
        backward: usize,
        live: &[bool],
        readers: &[Vec<usize>],
    ) -> Option<(usize, Vec<Node>)> {
        let mut maker: HashMap<Value, usize> = HashMap::new();
        for k in segment.clone().filter(|&k| live[k] && self.nodes[k].updates.is_empty()) {
            let outputs = self.nodes[k].outputs.iter().filter(|v| self.is_temporary(**v));
            maker.extend(outputs.map(|v| (*v, k)));
        }
        let other = |k: &usize| *k < backward && live[*k] && !segment.contains(k);
        maker.retain(|value, _| !readers[value.0].iter().any(other));

        // Walks back from the values that gradients read to values that are kept.
        let readers = maker.keys().flat_map(|value| &readers[value.0]).copied();
        let readers: BTreeSet<usize> = readers.filter(|&k| k >= backward).collect();
        let first = *readers.iter().find(|k| live[**k])?;
        let mut again = vec![false; segment.len()];
        let mut wanted: Vec<Value> = readers
            .iter()
            .filter(|k| live[**k])
            .flat_map(|&k| self.nodes[k].inputs.clone())
            .collect();
        while let Some(value) = wanted.pop() {
            if let Some(&k) = maker.get(&value)
                && !std::mem::replace(&mut again[k - segment.start], true)
            {
                wanted.extend(&self.nodes[k].inputs);
            }
        }

        let mut anew: HashMap<Value, Value> = HashMap::new();
        let mut copies = Vec::new();
        for k in segment.clone().filter(|k| again[k - segment.start]) {
            let mut node = self.nodes[k].clone();
            node.label = format!("again {}", node.label);
            renamed(&mut node.inputs, &anew);
            for output in &mut node.outputs {
                let copy = self.tensor(self.tensor_of(*output).clone());
                anew.insert(std::mem::replace(output, copy), copy);
            }
            copies.push(node);
        }
        // Values that are kept are read where they were. A copied node may write one of them again; nothing reads that.
        anew.retain(|value, _| maker.contains_key(value));
        for k in readers {
            renamed(&mut self.nodes[k].inputs, &anew);
        }
        Some((first, copies))
    }
}

fn renamed(values: &mut [Value], names: &HashMap<Value, Value>) {
    for value in values {
        *value = names.get(value).copied().unwrap_or(*value);
    }
}
