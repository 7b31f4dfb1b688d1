// Four neighbouring floats at a time: the count is a multiple of four.
alias Pack = vec4f;

// One number for each float of pack i; a float's number does not depend on the variant.
fn draw(key: u32, stream: u32, i: u32) -> Pack {
    return Pack(
        random_unit(key, stream, 4u * i),
        random_unit(key, stream, 4u * i + 1u),
        random_unit(key, stream, 4u * i + 2u),
        random_unit(key, stream, 4u * i + 3u),
    );
}
