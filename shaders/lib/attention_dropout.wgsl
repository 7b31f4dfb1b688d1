// attention.wgsl where each probability is kept, and divided by 1 − p, with probability 1 − p.
struct Dims {
    length: u32,  // L
    heads: u32,
    head: u32,  // d
    quads: u32,  // ⌈d / 4⌉
    tiles: u32,  // runs of ROWS (GRAD_ROWS) rows of one head of one sample
    units: u32,  // such runs of all heads and samples; grad_rows: rows of all
    scale: f32,  // 1 / √d
    stream: u32,  // differs between the dropouts of a network
    zeros: u32,  // numbers below it draw a zero: p 2³²
    keep: f32,  // 1 / (1 − p)
}

// Of this step and this layer.
fn mask_key() -> u32 {
    return random_u32(live.seed, dims.stream, live.step);
}

// What is left of the numbers at four places of P. Its rows are counted through the heads of all samples.
fn kept(v: vec4f, key: u32, rows: vec4u, columns: vec4u) -> vec4f {
    return select(vec4f(), dims.keep * v, random_u32s(key, rows, columns) >= vec4(dims.zeros));
}
