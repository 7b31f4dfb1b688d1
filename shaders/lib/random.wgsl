// Counter-based random numbers: a value is a function of (seed, stream, index) and of nothing else,
// so that a gradient draws the mask of its forward pass again, and a resumed run the same numbers.

// PCG3D of Jarzynski and Olano, "Hash Functions for GPU Rendering" (JCGT 2020).
fn random_u32(seed: u32, stream: u32, index: u32) -> u32 {
    var v = vec3u(seed, stream, index) * 1664525u + 1013904223u;
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v ^= v >> vec3u(16u);
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    return v.x;
}

// As `random_u32`, four at once: for each place those of its stream and index.
fn random_u32s(seed: u32, stream: vec4u, index: vec4u) -> vec4u {
    var x = vec4(seed) * 1664525u + 1013904223u;
    var y = stream * 1664525u + 1013904223u;
    var z = index * 1664525u + 1013904223u;
    x += y * z;
    y += z * x;
    z += x * y;
    x ^= x >> vec4(16u);
    y ^= y >> vec4(16u);
    z ^= z >> vec4(16u);
    return x + y * z;
}

// Uniform in [0, 1), a multiple of 2⁻²⁴.
fn random_unit(seed: u32, stream: u32, index: u32) -> f32 {
    return f32(random_u32(seed, stream, index) >> 8u) * 5.9604644775390625e-8;
}

// Four of them.
fn random_units(seed: u32, stream: vec4u, index: vec4u) -> vec4f {
    return vec4f(random_u32s(seed, stream, index) >> vec4(8u)) * 5.9604644775390625e-8;
}
