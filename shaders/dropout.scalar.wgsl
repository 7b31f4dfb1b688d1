// One float at a time: any count.
// uses: read, write
alias Pack = f32;

fn x(i: u32) -> Pack { return one_1(i); }
fn put_y(i: u32, v: Pack) { put_one_2(i, v); }

// One number for each float of pack i; a float's number does not depend on the variant.
fn draw(key: u32, stream: u32, i: u32) -> Pack {
    return random_unit(key, stream, i);
}
