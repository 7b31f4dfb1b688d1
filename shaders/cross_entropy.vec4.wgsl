// Four neighbouring classes at a time: their number is a multiple of four.
alias Pack = vec4f;
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

// 1 at the label, else 0, for the classes of pack c.
fn one_hot(c: u32, label: u32) -> Pack {
    return select(vec4f(), vec4f(1.0), vec4(4u * c) + vec4(0u, 1u, 2u, 3u) == vec4(label));
}

fn pack_1(i: u32) -> Pack { return quad_1(i); }
fn put_4(i: u32, v: Pack) { put_quad_4(i, v); }
fn put_5(i: u32, v: Pack) { put_quad_5(i, v); }
