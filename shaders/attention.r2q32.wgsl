// Heads of at most 128 floats, whole quads; 2 rows an invocation, 1 in the gradient.
// uses: heads_vec4, attention_whole
const ROWS: u32 = 2u;
const GRAD_ROWS: u32 = 1u;
const QUADS: u32 = 32u;
