// Heads of at most 64 floats, whole quads; a row an invocation, with dropout.
// uses: heads_vec4, step, random, attention_dropout
const ROWS: u32 = 1u;
const GRAD_ROWS: u32 = 1u;
const QUADS: u32 = 16u;
