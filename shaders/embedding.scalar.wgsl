// One float at a time: any shape.
alias Pack = f32;

fn pack_3(i: u32) -> Pack { return one_3(i); }
fn put_3(i: u32, v: Pack) { put_one_3(i, v); }
