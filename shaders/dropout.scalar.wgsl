// One float at a time: any count.
alias Pack = f32;

// One number for each float of pack i; a float's number does not depend on the variant.
fn draw(key: u32, stream: u32, i: u32) -> Pack {
    return random_unit(key, stream, i);
}
