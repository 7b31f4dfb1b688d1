// One float at a time: any shape.
alias Pack = f32;

fn pack_1(i: u32) -> Pack { return one_1(i); }
fn pack_2(i: u32) -> Pack { return one_2(i); }
fn pack_3(i: u32) -> Pack { return one_3(i); }
fn pack_4(i: u32) -> Pack { return one_4(i); }
fn pack_6(i: u32) -> Pack { return one_6(i); }
fn put_5(i: u32, v: Pack) { put_one_5(i, v); }
fn put_7(i: u32, v: Pack) { put_one_7(i, v); }
