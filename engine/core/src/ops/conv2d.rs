//! Convolution of images: shaders `shaders/conv2d.wgsl` (register tiles, for CPU adapters) and `shaders/conv2d_tiled.wgsl` (workgroup
//! tiles, for GPUs), tiles by [`variants`]. A 1×1 convolution of stride 1 is a matrix product and runs as one.

use std::rc::Rc;

use super::{
    AdapterKind, Fused, Gradients, Launch, Op, Operands,
    activation::{Activation, Grad},
    count,
    elementwise::{Add, AddRelu},
    known,
    matmul::{AddParts, Epilogue, Matmul, Sizes},
    reduce, to_u32,
    variants::{self, Product},
};
use crate::graph::{Graph, Node, Value};

/// y = x ∗ w (+ b), then perhaps ReLU: x (N, H, W, I), w (O, KH, KW, I), b (O) → (N, H′, W′, O), H′ = ⌊(H + 2·pad − KH) / stride⌋ + 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Height and width of the kernel.
    pub kernel: [u32; 2],
    /// Steps down and to the right, at least 1.
    pub stride: [u32; 2],
    /// Zeros above and below, left and right.
    pub pad: [u32; 2],
    /// There is a third input b.
    pub bias: bool,
    /// Whether y = max(x ∗ w + b, 0).
    pub relu: bool,
}

/// y = x ∗ w + b + skip, then perhaps ReLU: the convolution, which has a bias, and a fourth input like y. The end of a residual unit whose
/// batch norms are part of its convolutions; it has no gradient, as only fusion makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ConvSkip(Conv2d);

/// The gradients of [`Conv2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conv2dGrad {
    /// dx: dy (N, H′, W′, O), w (O, KH, KW, I), then what the epilogue takes → (N, H, W, I).
    Input {
        /// The convolution.
        of: Conv2d,
        /// Height and width of x, which dy alone does not tell.
        size: [u32; 2],
        /// What is done on the way out.
        epilogue: Epilogue,
    },
    /// dw: dy, x → (O, KH, KW, I), or, for more than one part, (parts, O, KH, KW, I), to be added by [`AddParts`].
    Weight {
        /// The convolution.
        of: Conv2d,
        /// Number of runs that the sum over positions is cut into.
        parts: u32,
    },
}

/// Extents of one convolution.
struct Extents {
    images: u32,
    size: [u32; 2],
    c_in: u32,
    out: [u32; 2],
    c_out: u32,
}

impl Extents {
    fn rows(&self) -> u64 {
        [self.images, self.out[0], self.out[1]].map(u64::from).iter().product()
    }
}

/// The matrix product that a convolution or a gradient of it is, as its kernel sees it.
struct Sums {
    /// Rows, of one phase.
    m: u64,
    /// Columns.
    n: u32,
    /// Sets of rows that meet different taps of the kernel: in dx with a stride, one for each remainder of a position by the stride.
    phases: u32,
    /// Runs that the sum is cut into.
    parts: u32,
    /// Whether ReLU is applied.
    relu: bool,
}

impl Conv2d {
    /// Extents for an input and a number of output channels; `None` where the kernel does not fit the padded image.
    fn extents(&self, x: &[u32], c_out: u32) -> Option<Extents> {
        let &[images, height, width, c_in] = x else { return None };
        let out = |size: u32, axis: usize| {
            let room =
                size.checked_add(self.pad[axis].checked_mul(2)?)?.checked_sub(self.kernel[axis])?;
            Some(room.checked_div(self.stride[axis])? + 1)
        };
        let sizes = [images, height, width, c_in, c_out, self.kernel[0], self.kernel[1]];
        let out = [out(height, 0)?, out(width, 1)?];
        let fits = sizes.iter().all(|&n| n > 0);
        fits.then_some(Extents { images, size: [height, width], c_in, out, c_out })
    }

    /// Whether the convolution is a matrix product of the pixels.
    fn pointwise(&self) -> bool {
        (self.kernel, self.stride, self.pad) == ([1; 2], [1; 2], [0; 2])
    }

    /// The launch of y, with or without a skip connection, which is like y.
    fn forward(
        &self,
        [x, w]: [&[u32]; 2],
        bias: &[&[u32]],
        on: AdapterKind,
        skip: bool,
    ) -> Option<Launch> {
        let e = self.extents(x, *w.first()?)?;
        let bias_fits = if self.bias { bias == [&[e.c_out][..]] } else { bias.is_empty() };
        if w != self.weight(&e) || !bias_fits {
            return None;
        }
        let output = [e.images, e.out[0], e.out[1], e.c_out];
        let [linear, conv] = match (self.bias, skip) {
            (false, _) => ["matmul", "conv"],
            (true, false) => ["linear", "conv_bias"],
            (true, true) => ["linear_skip", "conv_skip"],
        };
        if self.pointwise() {
            let sizes = Sizes::linear(to_u32(e.rows()), e.c_out, e.c_in);
            return Some(sizes.launch(on, linear, 1, self.relu).output(output));
        }
        let kind = match (whole(e.c_in), whole(e.c_out)) {
            (true, true) => "",
            (true, false) if !skip => "_out1",
            _ => "_any",
        };
        let entry = format!("{conv}{kind}");
        let sums = Sums { m: e.rows(), n: e.c_out, phases: 1, parts: 1, relu: self.relu };
        Some(self.launch_as(on, &entry, &e, sums).output(output))
    }

    fn launch_as(&self, on: AdapterKind, entry: &str, e: &Extents, sums: Sums) -> Launch {
        let Sums { m, n, phases, parts, relu } = sums;
        let (m, slabs) = (to_u32(m), u64::from(phases) * u64::from(parts));
        let [taps_y, taps_x] = self.kernel;
        let phase = [e.size[0].div_ceil(self.stride[0]), e.size[1].div_ceil(self.stride[1])];
        let k_part = to_u32(e.rows().div_ceil(parts.into()));
        let flops =
            2 * e.rows() * [e.c_out, taps_y, taps_x, e.c_in].map(u64::from).iter().product::<u64>();
        let dims = vec![
            e.images,
            e.size[0],
            e.size[1],
            e.c_in,
            e.out[0],
            e.out[1],
            e.c_out,
            taps_y,
            taps_x,
            self.stride[0],
            self.stride[1],
            self.pad[0],
            self.pad[1],
            m,
            n,
            0,
            0,
            0,
            parts,
            k_part,
            phase[0],
            phase[1],
            relu.into(),
        ];
        // Phases may differ in their number of taps; k is the mean.
        let k = to_u32(flops / (2 * u64::from(m) * u64::from(n) * u64::from(phases)).max(1));
        let product = Product { m, n, k, slabs, words: 15 };
        variants::launch(on, ["conv2d", entry], product, dims).flops(flops)
    }

    fn weight(&self, e: &Extents) -> [u32; 4] {
        [e.c_out, self.kernel[0], self.kernel[1], e.c_in]
    }
}

/// Whether vectors of four channels can be used.
fn whole(channels: u32) -> bool {
    channels.is_multiple_of(4)
}

impl Op for Conv2d {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let (&[x, w], bias) = inputs.split_first_chunk()?;
        self.forward([x, w], bias, on, false)
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let dy =
            if self.relu { graph.add(Grad(Activation::Relu), &[node.outputs[0], dy])? } else { dy };
        let (x, w) = (node.inputs[0], node.inputs[1]);
        let size = [graph.shape(x)[1], graph.shape(x)[2]];
        let epilogue = Epilogue::default();
        let dx = graph.add(Conv2dGrad::Input { of: *self, size, epilogue }, &[dy, w])?;
        let &[c_out, taps_y, taps_x, c_in] = graph.shape(w) else { unreachable!("launch took it") };
        let rows = to_u32(count(graph.shape(dy)) / u64::from(c_out));
        let parts = variants::parts(c_out, taps_y * taps_x * c_in, rows, 1);
        let mut dw = graph.add(Conv2dGrad::Weight { of: *self, parts }, &[dy, x])?;
        if parts > 1 {
            dw = graph.add(AddParts, &[dw])?;
        }
        let mut grads = vec![Some(dx), Some(dw)];
        if self.bias {
            grads.push(Some(reduce::sum_rows(graph, dy)?));
        }
        Ok(grads)
    }

    /// A ReLU behind it, or a sum with a skip connection.
    fn absorb(&self, _: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        if self.relu {
            return None;
        }
        let bends = Self { relu: true, ..*self };
        let one = |op: Rc<dyn Op>, more: &[Value]| {
            let inputs = [this.inputs, more].concat();
            Some(Fused { op, inputs, outputs: reader.outputs.clone() })
        };
        if known(&*reader.op) == Some(&Activation::Relu) {
            return one(Rc::new(bends), &[]);
        }
        let of = match known::<AddRelu>(&*reader.op) {
            Some(AddRelu) => bends,
            None => known::<Add>(&*reader.op).map(|Add| *self)?,
        };
        let &[a, b] = &reader.inputs[..] else { return None };
        let skip = if a == this.outputs[0] { b } else { a };
        (self.bias && a != b).then(|| one(Rc::new(ConvSkip(of)), &[skip]))?
    }
}

impl Op for ConvSkip {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, w, bias, skip] = *inputs else { return None };
        let launch = self.0.forward([x, w], &[bias], on, true)?;
        (self.0.bias && launch.outputs == [skip]).then_some(launch)
    }
}

impl Op for Conv2dGrad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        match *self {
            Self::Input { of, size, epilogue } => {
                let [dy, w, more @ ..] = inputs else { return None };
                let (&[images, ..], &[.., c_in]) = (*dy, *w) else { return None };
                let x = [images, size[0], size[1], c_in];
                let e = of.extents(&x, *w.first()?)?;
                let fits = *dy == [images, e.out[0], e.out[1], e.c_out] && *w == of.weight(&e);
                if !fits || !epilogue.takes(more, &x) {
                    return None;
                }
                if of.pointwise() {
                    let by = Matmul { ta: false, tb: false };
                    let sizes = Sizes::matrices(to_u32(e.rows()), c_in, e.c_out, by);
                    let entry = epilogue.entry("matmul");
                    return Some(sizes.launch(on, &entry, 1, false).output(x));
                }
                let [step_y, step_x] = of.stride;
                let phase =
                    u64::from(size[0].div_ceil(step_y)) * u64::from(size[1].div_ceil(step_x));
                let kind = if whole(c_in) && whole(e.c_out) { "" } else { "_any" };
                let entry = epilogue.entry("dx") + kind;
                let m = u64::from(images) * phase;
                let sums = Sums { m, n: c_in, phases: step_y * step_x, parts: 1, relu: false };
                Some(of.launch_as(on, &entry, &e, sums).output(x))
            }
            Self::Weight { of, parts } => {
                let [dy, x] = *inputs else { return None };
                let e = of.extents(x, *dy.last()?)?;
                let fits = dy == [e.images, e.out[0], e.out[1], e.c_out];
                if !fits || parts == 0 || u64::from(parts) > e.rows().div_ceil(4) {
                    return None;
                }
                let weight = of.weight(&e);
                let output =
                    if parts == 1 { weight.to_vec() } else { [&[parts], &weight[..]].concat() };
                if of.pointwise() {
                    let by = Matmul { ta: true, tb: false };
                    let sizes = Sizes::matrices(e.c_out, e.c_in, to_u32(e.rows()), by);
                    return Some(sizes.launch(on, "matmul", parts, false).output(output).exact());
                }
                let entry = if whole(e.c_in) && whole(e.c_out) { "dw" } else { "dw_any" };
                let n = of.kernel[0] * of.kernel[1] * e.c_in;
                let sums = Sums { m: e.c_out.into(), n, phases: 1, parts, relu: false };
                Some(of.launch_as(on, entry, &e, sums).output(output).exact())
            }
        }
    }

    /// Takes in what `reader` does to dx, where [`Epilogue`] has it.
    fn absorb(&self, _: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let Self::Input { of, size, epilogue } = *self else { return None };
        let (epilogue, more) = epilogue.and(this.outputs[0], reader)?;
        Some(Fused {
            op: Rc::new(Self::Input { of, size, epilogue }),
            inputs: [this.inputs, &more].concat(),
            outputs: reader.outputs.clone(),
        })
    }
}
