// One float at a time: any shape.
alias Pack = f32;
const PACK: u32 = 1u;

fn pack_sum(v: Pack) -> f32 {
    return v;
}
