// One float at a time: any shape.
alias Pack = f32;

fn pack_sum(v: Pack) -> f32 {
    return v;
}

fn pack_1(i: u32) -> Pack { return one_1(i); }
