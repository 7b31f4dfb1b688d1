// Four neighbouring floats at a time: the innermost axis is a multiple of four.
alias Pack = vec4f;

fn pack_sum(v: Pack) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn pack_1(i: u32) -> Pack { return quad_1(i); }
