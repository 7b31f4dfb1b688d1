// The tensors of attention.wgsl where a head is whole quads. Quads behind its last one read as the last.
// qkv, dqkv: (B, L, 3, heads, d). y, dy: (B, L, heads, d).

// Quad c of the head that begins at number `head`.
fn qkv_quad(head: u32, c: u32) -> vec4f { return quad_1(head / 4u + min(c, dims.quads - 1u)); }
fn y_quad(head: u32, c: u32) -> vec4f { return quad_1(head / 4u + min(c, dims.quads - 1u)); }
fn dy_quad(head: u32, c: u32) -> vec4f { return quad_2(head / 4u + min(c, dims.quads - 1u)); }

// The quad behind the last one of the head that begins at number `head`. A branch on `c < dims.quads` is one on a uniform alone, once loops over c
// are unrolled; Mesa's lavapipe then compiles a large kernel anew for every dispatch, and keeps each: 30 ms and megabytes a step.
fn end_of(head: u32) -> u32 { return head / 4u + dims.quads; }

fn put_y(head: u32, c: u32, v: vec4f) {
    if head / 4u + c < end_of(head) { put_quad_3(head / 4u + c, v); }
}

fn put_dqkv(head: u32, c: u32, v: vec4f) {
    if head / 4u + c < end_of(head) { put_quad_6(head / 4u + c, v); }
}
