// Four neighbouring floats at a time: the innermost axis is a multiple of four.
alias Pack = vec4f;

fn pack_1(i: u32) -> Pack { return quad_1(i); }
fn pack_2(i: u32) -> Pack { return quad_2(i); }
