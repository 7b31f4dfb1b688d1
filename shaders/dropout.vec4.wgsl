// Four neighbouring floats at a time: the count is a multiple of four.
// uses: read, write
alias Pack = vec4f;

fn x(i: u32) -> Pack { return quad_1(i); }
fn put_y(i: u32, v: Pack) { put_quad_2(i, v); }

// One number for each float of pack i; a float's number does not depend on the variant.
fn draw(key: u32, stream: u32, i: u32) -> Pack {
    return random_units(key, vec4(stream), vec4(4u * i) + vec4(0u, 1u, 2u, 3u));
}
