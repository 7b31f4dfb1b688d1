//! Reverse mode, as more nodes of the same graph.

use super::{Graph, ShapeError, Value};
use crate::ops::elementwise::{Add, Fill};

impl Graph {
    /// Appends the gradients of the scalar `loss` with respect to each of `wrt`.
    ///
    /// Only nodes on a path from `wrt` to `loss` are differentiated, so nothing below the lowest trained tensor is built.
    ///
    /// # Errors
    /// [`ShapeError::NoGradient`] if `loss` does not depend on a value of `wrt` in a differentiable way.
    pub fn backward(&mut self, loss: Value, wrt: &[Value]) -> Result<Vec<Value>, ShapeError> {
        let one = self.scoped("d", |g| g.add(Fill { value: 1.0, len: 1 }, &[]))?;
        self.backward_from(loss, one, wrt)
    }

    /// Appends the gradients with respect to each of `wrt` where that of `top`, a tensor of any shape, is `dtop`. It is for ops
    /// that write a loss together with its gradient.
    ///
    /// # Errors
    /// As [`Self::backward`].
    pub fn backward_from(
        &mut self,
        top: Value,
        dtop: Value,
        wrt: &[Value],
    ) -> Result<Vec<Value>, ShapeError> {
        // A tensor is active if something that is trained flows into it.
        let mut active = vec![false; self.len()];
        for value in wrt {
            active[value.index()] = true;
        }
        let forward = self.nodes().len();
        for node in self.nodes() {
            if node.inputs.iter().any(|v| active[v.index()]) {
                for output in &node.outputs {
                    active[output.index()] = true;
                }
            }
        }

        let mut grads: Vec<Option<Value>> = vec![None; self.len()];
        grads[top.index()] = Some(dtop);
        for k in (0..forward).rev() {
            let node = &self.nodes()[k];
            let Some(dy) = node.outputs.first().and_then(|y| grads[y.index()]) else { continue };
            if !node.inputs.iter().any(|v| active[v.index()]) {
                continue;
            }
            let inputs = node.inputs.clone();
            let scope = format!("d {}", node.label.split('/').next().unwrap_or_default());
            let dins = self.scoped(&scope, |g| g.vjp(k, dy))?;
            for (input, din) in inputs.into_iter().zip(dins) {
                let Some(din) = din else { continue };
                if !active[input.index()] {
                    continue;
                }
                grads[input.index()] = Some(match grads[input.index()] {
                    None => din,
                    Some(sum) => self.scoped(&scope, |g| g.add(Add, &[sum, din]))?,
                });
            }
        }
        wrt.iter()
            .map(|value| {
                grads[value.index()].ok_or_else(|| ShapeError::NoGradient {
                    path: self.tensor_of(top).label.clone(),
                    wrt: self.tensor_of(*value).label.clone(),
                })
            })
            .collect()
    }
}
