// One float at a time: any shape.
alias Pack = f32;

fn pack_3(i: u32) -> Pack { return one_3(i); }
