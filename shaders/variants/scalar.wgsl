// uses: read, write
// One float at a time: any shape. The digit in a name is the binding, as in lib/read.
alias Pack = f32;
alias PackIndex = u32;
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

// Numbers of the floats of pack i.
fn pack_index(i: u32) -> PackIndex {
    return i;
}

fn pack_1(i: u32) -> Pack { return one_1(i); }
fn pack_2(i: u32) -> Pack { return one_2(i); }
fn pack_3(i: u32) -> Pack { return one_3(i); }
fn pack_4(i: u32) -> Pack { return one_4(i); }
fn pack_5(i: u32) -> Pack { return one_5(i); }
fn pack_6(i: u32) -> Pack { return one_6(i); }

fn put_1(i: u32, v: Pack) { put_one_1(i, v); }
fn put_2(i: u32, v: Pack) { put_one_2(i, v); }
fn put_3(i: u32, v: Pack) { put_one_3(i, v); }
fn put_4(i: u32, v: Pack) { put_one_4(i, v); }
fn put_5(i: u32, v: Pack) { put_one_5(i, v); }
fn put_6(i: u32, v: Pack) { put_one_6(i, v); }
fn put_7(i: u32, v: Pack) { put_one_7(i, v); }
