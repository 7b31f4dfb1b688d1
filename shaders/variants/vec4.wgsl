// uses: read, write
// Four neighbouring floats at a time: the innermost axis is a multiple of four. The digit in a name is the binding, as in lib/read.
alias Pack = vec4f;
alias PackIndex = vec4u;
const PACK: u32 = 4u;

fn pack_sum(v: Pack) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn pack_max(v: Pack) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

fn pack_at(v: Pack, k: u32) -> f32 {
    return v[k];
}

// Numbers of the floats of pack i.
fn pack_index(i: u32) -> PackIndex {
    return vec4(4u * i) + vec4(0u, 1u, 2u, 3u);
}

fn pack_1(i: u32) -> Pack { return quad_1(i); }
fn pack_2(i: u32) -> Pack { return quad_2(i); }
fn pack_3(i: u32) -> Pack { return quad_3(i); }
fn pack_4(i: u32) -> Pack { return quad_4(i); }
fn pack_5(i: u32) -> Pack { return quad_5(i); }
fn pack_6(i: u32) -> Pack { return quad_6(i); }

fn put_1(i: u32, v: Pack) { put_quad_1(i, v); }
fn put_2(i: u32, v: Pack) { put_quad_2(i, v); }
fn put_3(i: u32, v: Pack) { put_quad_3(i, v); }
fn put_4(i: u32, v: Pack) { put_quad_4(i, v); }
fn put_5(i: u32, v: Pack) { put_quad_5(i, v); }
fn put_6(i: u32, v: Pack) { put_quad_6(i, v); }
fn put_7(i: u32, v: Pack) { put_quad_7(i, v); }
