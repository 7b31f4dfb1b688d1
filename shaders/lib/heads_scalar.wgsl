// The tensors of attention.wgsl where a head is any number of floats. What lies behind its last one reads as zero.
// qkv, dqkv: (B, L, 3, heads, d). y, dy: (B, L, heads, d).

// Places of quad c of the head that begins at number `head`, and which of its numbers there are.
fn places(head: u32, c: u32) -> vec4u { return head + min(vec4(4u * c) + vec4(0u, 1u, 2u, 3u), vec4(dims.head - 1u)); }
fn inside(c: u32) -> vec4<bool> { return vec4(4u * c) + vec4(0u, 1u, 2u, 3u) < vec4(dims.head); }

fn qkv_quad(head: u32, c: u32) -> vec4f {
    let p = places(head, c);
    return select(vec4f(), vec4(one_1(p.x), one_1(p.y), one_1(p.z), one_1(p.w)), inside(c));
}

fn y_quad(head: u32, c: u32) -> vec4f { return qkv_quad(head, c); }

fn dy_quad(head: u32, c: u32) -> vec4f {
    let p = places(head, c);
    return select(vec4f(), vec4(one_2(p.x), one_2(p.y), one_2(p.z), one_2(p.w)), inside(c));
}

// The number behind the last one of the head that begins at number `head`, for branches that depend on no uniform alone, see heads_vec4.
fn end_of(head: u32) -> u32 { return head + dims.head; }

fn put_y(head: u32, c: u32, v: vec4f) {
    for (var k = 0u; k < 4u; k++) {
        if head + 4u * c + k < end_of(head) { put_one_3(head + 4u * c + k, v[k]); }
    }
}

fn put_dqkv(head: u32, c: u32, v: vec4f) {
    for (var k = 0u; k < 4u; k++) {
        if head + 4u * c + k < end_of(head) { put_one_6(head + 4u * c + k, v[k]); }
    }
}
