// Four neighbouring floats at a time: the innermost axis is a multiple of four.
alias Pack = vec4f;
const PACK: u32 = 4u;

fn pack_sum(v: Pack) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn pack_1(i: u32) -> Pack { return quad_1(i); }
fn pack_2(i: u32) -> Pack { return quad_2(i); }
fn put_4(i: u32, v: Pack) { put_quad_4(i, v); }
