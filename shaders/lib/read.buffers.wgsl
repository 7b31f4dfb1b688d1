// The inputs of a kernel, by quads (four neighbouring floats) and by single floats. The number is that of the binding.
@group(0) @binding(1) var<storage, read> quads_1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> quads_2: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> quads_3: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> quads_4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> quads_5: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> quads_6: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> ones_1: array<f32>;
@group(0) @binding(2) var<storage, read> ones_2: array<f32>;
@group(0) @binding(3) var<storage, read> ones_3: array<f32>;
@group(0) @binding(4) var<storage, read> ones_4: array<f32>;
@group(0) @binding(5) var<storage, read> ones_5: array<f32>;
@group(0) @binding(6) var<storage, read> ones_6: array<f32>;

fn quad_1(i: u32) -> vec4<f32> { return quads_1[i]; }
fn quad_2(i: u32) -> vec4<f32> { return quads_2[i]; }
fn quad_3(i: u32) -> vec4<f32> { return quads_3[i]; }
fn quad_4(i: u32) -> vec4<f32> { return quads_4[i]; }
fn quad_5(i: u32) -> vec4<f32> { return quads_5[i]; }
fn quad_6(i: u32) -> vec4<f32> { return quads_6[i]; }

fn one_1(i: u32) -> f32 { return ones_1[i]; }
fn one_2(i: u32) -> f32 { return ones_2[i]; }
fn one_3(i: u32) -> f32 { return ones_3[i]; }
fn one_4(i: u32) -> f32 { return ones_4[i]; }
fn one_5(i: u32) -> f32 { return ones_5[i]; }
fn one_6(i: u32) -> f32 { return ones_6[i]; }
