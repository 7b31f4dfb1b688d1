// Heads of at most 64 floats, whole quads; 4 rows an invocation, 2 in the gradient, with dropout.
// uses: heads_vec4, step, random, attention_dropout
const ROWS: u32 = 4u;
const GRAD_ROWS: u32 = 2u;
const QUADS: u32 = 16u;
