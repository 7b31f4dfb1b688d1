// attention.wgsl where every probability is kept.
struct Dims {
    length: u32,  // L
    heads: u32,
    head: u32,  // d
    quads: u32,  // ⌈d / 4⌉
    tiles: u32,  // runs of ROWS (GRAD_ROWS) rows of one head of one sample
    units: u32,  // such runs of all heads and samples; grad_rows: rows of all
    scale: f32,  // 1 / √d
}

fn mask_key() -> u32 {
    return 0u;
}

fn kept(v: vec4f, key: u32, rows: vec4u, columns: vec4u) -> vec4f {
    return v;
}
