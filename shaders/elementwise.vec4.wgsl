// Four neighbouring floats at a time: the innermost axis is a multiple of four.
alias Pack = vec4f;

fn pack_1(i: u32) -> Pack { return quad_1(i); }
fn pack_2(i: u32) -> Pack { return quad_2(i); }
fn pack_3(i: u32) -> Pack { return quad_3(i); }
fn put_2(i: u32, v: Pack) { put_quad_2(i, v); }
fn put_3(i: u32, v: Pack) { put_quad_3(i, v); }
fn put_4(i: u32, v: Pack) { put_quad_4(i, v); }
