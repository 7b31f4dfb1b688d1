// One class at a time: any number of them.
alias Pack = f32;
const PACK: u32 = 1u;

fn pack_sum(v: Pack) -> f32 {
    return v;
}

fn pack_max(v: Pack) -> f32 {
    return v;
}

fn pack_at(v: Pack, k: u32) -> f32 {
    return v;
}

// 1 at the label, else 0, for the classes of pack c.
fn one_hot(c: u32, label: u32) -> Pack {
    return select(0.0, 1.0, c == label);
}

fn pack_1(i: u32) -> Pack { return one_1(i); }
fn put_4(i: u32, v: Pack) { put_one_4(i, v); }
fn put_5(i: u32, v: Pack) { put_one_5(i, v); }
