// One float at a time: any shape.
alias Pack = f32;
alias PackIndex = u32;

fn pack_1(i: u32) -> Pack { return one_1(i); }
fn pack_2(i: u32) -> Pack { return one_2(i); }
fn put_2(i: u32, v: Pack) { put_one_2(i, v); }
fn put_3(i: u32, v: Pack) { put_one_3(i, v); }
