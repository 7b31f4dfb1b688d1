//! Element-wise arithmetic: shader `shaders/elementwise.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op, count, narrow};

/// A constant: y = value, `len` times.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// The constant.
    pub value: f32,
    /// How many.
    pub len: u32,
}

impl Op for Fill {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [] = inputs else { return None };
        let kernel = Kernel::of("elementwise", "fill");
        Some(
            Launch::new(kernel)
                .output([self.len])
                .dims([self.len, self.value.to_bits()])
                .each(self.len.into()),
        )
    }
}

/// y = a + b, of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Add;

impl Op for Add {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a, b] = inputs else { return None };
        let n = count(a);
        (a == b).then(|| {
            Launch::new(Kernel::of("elementwise", "add"))
                .output(*a)
                .dims([narrow(n), 0])
                .each(n)
                .flops(n)
        })
    }
}
