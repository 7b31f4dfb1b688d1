// As read.buffers.wgsl, from tensors that are stored as f16.

// binding 1
@group(0) @binding(1) var<storage, read> quads_1: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read> ones_1: array<f16>;
fn quad_1(i: u32) -> vec4<f32> { return vec4<f32>(quads_1[i]); }
fn one_1(i: u32) -> f32 { return f32(ones_1[i]); }
fn number_1(i: u32) -> f32 { return f32(quads_1[i / 4u][i % 4u]); }

// binding 2
@group(0) @binding(2) var<storage, read> quads_2: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> ones_2: array<f16>;
fn quad_2(i: u32) -> vec4<f32> { return vec4<f32>(quads_2[i]); }
fn one_2(i: u32) -> f32 { return f32(ones_2[i]); }
fn number_2(i: u32) -> f32 { return f32(quads_2[i / 4u][i % 4u]); }

// binding 3
@group(0) @binding(3) var<storage, read> quads_3: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> ones_3: array<f16>;
fn quad_3(i: u32) -> vec4<f32> { return vec4<f32>(quads_3[i]); }
fn one_3(i: u32) -> f32 { return f32(ones_3[i]); }
fn number_3(i: u32) -> f32 { return f32(quads_3[i / 4u][i % 4u]); }

// binding 4
@group(0) @binding(4) var<storage, read> quads_4: array<vec4<f16>>;
@group(0) @binding(4) var<storage, read> ones_4: array<f16>;
fn quad_4(i: u32) -> vec4<f32> { return vec4<f32>(quads_4[i]); }
fn one_4(i: u32) -> f32 { return f32(ones_4[i]); }
fn number_4(i: u32) -> f32 { return f32(quads_4[i / 4u][i % 4u]); }

// binding 5
@group(0) @binding(5) var<storage, read> quads_5: array<vec4<f16>>;
@group(0) @binding(5) var<storage, read> ones_5: array<f16>;
fn quad_5(i: u32) -> vec4<f32> { return vec4<f32>(quads_5[i]); }
fn one_5(i: u32) -> f32 { return f32(ones_5[i]); }
fn number_5(i: u32) -> f32 { return f32(quads_5[i / 4u][i % 4u]); }

// binding 6
@group(0) @binding(6) var<storage, read> quads_6: array<vec4<f16>>;
@group(0) @binding(6) var<storage, read> ones_6: array<f16>;
fn quad_6(i: u32) -> vec4<f32> { return vec4<f32>(quads_6[i]); }
fn one_6(i: u32) -> f32 { return f32(ones_6[i]); }
fn number_6(i: u32) -> f32 { return f32(quads_6[i / 4u][i % 4u]); }
