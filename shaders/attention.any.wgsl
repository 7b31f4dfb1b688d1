// Heads of any number of floats up to 32; 2 rows an invocation, 1 in the gradient.
// uses: heads_scalar, attention_whole
const ROWS: u32 = 2u;
const GRAD_ROWS: u32 = 1u;
const QUADS: u32 = 8u;
