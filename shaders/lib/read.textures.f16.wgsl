// As read.textures.wgsl, from mirrors of tensors that are stored as f16. A texel's load gives f32, so the shader needs no f16 of its own.

// binding 1
@group(0) @binding(1) var mirror_1: texture_storage_2d<rgba16float, read>;
fn quad_1(i: u32) -> vec4<f32> { return textureLoad(mirror_1, texel(i)); }
fn one_1(i: u32) -> f32 { return quad_1(i / 4u)[i % 4u]; }
fn number_1(i: u32) -> f32 { return one_1(i); }

// binding 2
@group(0) @binding(2) var mirror_2: texture_storage_2d<rgba16float, read>;
fn quad_2(i: u32) -> vec4<f32> { return textureLoad(mirror_2, texel(i)); }
fn one_2(i: u32) -> f32 { return quad_2(i / 4u)[i % 4u]; }
fn number_2(i: u32) -> f32 { return one_2(i); }

// binding 3
@group(0) @binding(3) var mirror_3: texture_storage_2d<rgba16float, read>;
fn quad_3(i: u32) -> vec4<f32> { return textureLoad(mirror_3, texel(i)); }
fn one_3(i: u32) -> f32 { return quad_3(i / 4u)[i % 4u]; }
fn number_3(i: u32) -> f32 { return one_3(i); }

// binding 4
@group(0) @binding(4) var mirror_4: texture_storage_2d<rgba16float, read>;
fn quad_4(i: u32) -> vec4<f32> { return textureLoad(mirror_4, texel(i)); }
fn one_4(i: u32) -> f32 { return quad_4(i / 4u)[i % 4u]; }
fn number_4(i: u32) -> f32 { return one_4(i); }

// binding 5
@group(0) @binding(5) var mirror_5: texture_storage_2d<rgba16float, read>;
fn quad_5(i: u32) -> vec4<f32> { return textureLoad(mirror_5, texel(i)); }
fn one_5(i: u32) -> f32 { return quad_5(i / 4u)[i % 4u]; }
fn number_5(i: u32) -> f32 { return one_5(i); }

// binding 6
@group(0) @binding(6) var mirror_6: texture_storage_2d<rgba16float, read>;
fn quad_6(i: u32) -> vec4<f32> { return textureLoad(mirror_6, texel(i)); }
fn one_6(i: u32) -> f32 { return quad_6(i / 4u)[i % 4u]; }
fn number_6(i: u32) -> f32 { return one_6(i); }
