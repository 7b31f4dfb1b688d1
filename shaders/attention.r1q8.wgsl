// Heads of at most 32 floats, whole quads; a row an invocation.
// uses: heads_vec4, attention_whole
const ROWS: u32 = 1u;
const GRAD_ROWS: u32 = 1u;
const QUADS: u32 = 8u;
