// The tensors of attention.wgsl where a head is whole quads. Quads behind its last one read as the last.
// qkv, dqkv: (B, L, 3, heads, d). y, dy: (B, L, heads, d).

// Quad c of the head that begins at number `head`.
fn qkv_quad(head: u32, c: u32) -> vec4f { return quad_1(head / 4u + min(c, dims.quads - 1u)); }
fn y_quad(head: u32, c: u32) -> vec4f { return quad_1(head / 4u + min(c, dims.quads - 1u)); }
fn dy_quad(head: u32, c: u32) -> vec4f { return quad_2(head / 4u + min(c, dims.quads - 1u)); }

fn put_y(head: u32, c: u32, v: vec4f) {
    if c < dims.quads { put_quad_3(head / 4u + c, v); }
}

fn put_dqkv(head: u32, c: u32, v: vec4f) {
    if c < dims.quads { put_quad_6(head / 4u + c, v); }
}
