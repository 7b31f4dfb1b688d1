// Four neighbouring floats at a time: the innermost axis is a multiple of four.
alias Pack = vec4f;

fn pack_3(i: u32) -> Pack { return quad_3(i); }
fn put_3(i: u32, v: Pack) { put_quad_3(i, v); }
