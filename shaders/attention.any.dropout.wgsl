// Heads of any number of floats up to 32; 2 rows an invocation, 1 in the gradient, with dropout.
// uses: heads_scalar, step, random, attention_dropout
const ROWS: u32 = 2u;
const GRAD_ROWS: u32 = 1u;
const QUADS: u32 = 8u;
