// Heads of at most 64 floats, whole quads; 4 rows an invocation, 2 in the gradient.
// uses: heads_vec4, attention_whole
const ROWS: u32 = 4u;
const GRAD_ROWS: u32 = 2u;
const QUADS: u32 = 16u;
