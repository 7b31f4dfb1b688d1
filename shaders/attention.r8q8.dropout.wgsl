// Heads of at most 32 floats, whole quads; 8 rows an invocation, 4 in the gradient, with dropout.
// uses: heads_vec4, step, random, attention_dropout
const ROWS: u32 = 8u;
const GRAD_ROWS: u32 = 4u;
const QUADS: u32 = 8u;
