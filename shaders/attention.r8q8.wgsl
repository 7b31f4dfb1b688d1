// Heads of at most 32 floats, whole quads; 8 rows an invocation, 4 in the gradient.
// uses: heads_vec4, attention_whole
const ROWS: u32 = 8u;
const GRAD_ROWS: u32 = 4u;
const QUADS: u32 = 8u;
