//! Pooling of images: shader `shaders/pool.wgsl`.
//!
//! x (N, H, W, C) → y (N, P, Q, C) or, for the global average, (N, C).

use super::{AdapterKind, Gradients, Launch, Op, Operands, count, packs::Packs};
use crate::graph::{Graph, Value};

/// The largest value of each window; (height, width) each. The second output says which pixel it was, for the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Extent of a window.
    pub kernel: [u32; 2],
    /// Pixels from one window to the next.
    pub stride: [u32; 2],
    /// Pixels of −∞ around the image; at most half the kernel, as in PyTorch.
    pub pad: [u32; 2],
}

/// where, dy → dx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MaxPoolGrad {
    window: MaxPool,
    image: [u32; 2],
}

/// The mean over H and W.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalAvgPool;

/// dy (N, C) → dx (N, H, W, C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GlobalAvgPoolGrad {
    image: [u32; 2],
}

impl MaxPool {
    /// The number of windows along axis `k` of an image of this extent.
    fn windows(&self, k: usize, extent: u32) -> Option<u32> {
        let (kernel, stride, pad) = (self.kernel[k], self.stride[k], self.pad[k]);
        if stride == 0 || pad > kernel / 2 {
            return None;
        }
        let padded = extent.checked_add(pad)?.checked_add(pad)?;
        Some(padded.checked_sub(kernel)? / stride + 1)
    }

    fn launch_on(&self, entry: &str, [n, h, w, c]: [u32; 4]) -> Option<(Launch, [u32; 4], u64)> {
        let (p, q) = (self.windows(0, h)?, self.windows(1, w)?);
        let packs = Packs::of(c.into());
        let width = packs.count(c.into());
        let [[kh, kw], [sh, sw], [ph, pw]] = [self.kernel, self.stride, self.pad];
        let words = [n, h, w, width, p, q, kh, kw, sh, sw, ph, pw];
        let flops = u64::from(kh) * u64::from(kw) * count(&[n, p, q, c]);
        Some((Launch::new(packs.kernel("pool", entry)).dims(words), [n, p, q, width], flops))
    }
}

impl Op for MaxPool {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[n, h, w, c]] = *inputs else { return None };
        let (launch, out, flops) = self.launch_on("max_pool", [n, h, w, c])?;
        let y = [n, out[1], out[2], c];
        Some(launch.output(y).output(y).each(count(&out)).flops(flops))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[_, h, w, _] = graph.shape(node.inputs[0]) else {
            unreachable!("launch takes an image")
        };
        let grad = MaxPoolGrad { window: *self, image: [h, w] };
        Ok(vec![Some(graph.add(grad, &[node.outputs[1], dy])?)])
    }
}

impl Op for MaxPoolGrad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [chosen, dy @ &[n, p, q, c]] = *inputs else { return None };
        let [h, w] = self.image;
        let (launch, out, flops) = self.window.launch_on("max_pool_grad", [n, h, w, c])?;
        (chosen == dy && out[1..3] == [p, q])
            .then(|| launch.output([n, h, w, c]).each(count(&[n, h, w, out[3]])).flops(flops))
    }
}

/// The words of `Dims` of a global average.
fn global(entry: &str, [n, h, w, c]: [u32; 4]) -> Launch {
    let packs = Packs::of(c.into());
    let width = packs.count(c.into());
    Launch::new(packs.kernel("pool", entry))
        .dims([n, h, w, width, 1, 1, h, w, 1, 1, 0, 0])
        .each(count(&[n, width]))
        .flops(count(&[n, h, w, c]))
}

impl Op for GlobalAvgPool {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[n, h, w, c]] = *inputs else { return None };
        Some(global("global_avg_pool", [n, h, w, c]).output([n, c]))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[_, h, w, _] = graph.shape(node.inputs[0]) else {
            unreachable!("launch takes an image")
        };
        Ok(vec![Some(graph.add(GlobalAvgPoolGrad { image: [h, w] }, &[dy])?)])
    }
}

impl Op for GlobalAvgPoolGrad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[n, c]] = *inputs else { return None };
        let [h, w] = self.image;
        Some(global("global_avg_pool_grad", [n, h, w, c]).output([n, h, w, c]))
    }
}
