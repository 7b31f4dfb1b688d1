// The outputs of a kernel whose tensors may be stored as f32 or as f16, by quads and by single numbers. The digit in a
// name is the binding. A kernel gets one section for each binding, from this file or from write.f16.wgsl.

// binding 1
@group(0) @binding(1) var<storage, read_write> quads_out_1: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> ones_out_1: array<f32>;
fn put_quad_1(i: u32, v: vec4<f32>) { quads_out_1[i] = v; }
fn put_one_1(i: u32, v: f32) { ones_out_1[i] = v; }

// binding 2
@group(0) @binding(2) var<storage, read_write> quads_out_2: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> ones_out_2: array<f32>;
fn put_quad_2(i: u32, v: vec4<f32>) { quads_out_2[i] = v; }
fn put_one_2(i: u32, v: f32) { ones_out_2[i] = v; }

// binding 3
@group(0) @binding(3) var<storage, read_write> quads_out_3: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> ones_out_3: array<f32>;
fn put_quad_3(i: u32, v: vec4<f32>) { quads_out_3[i] = v; }
fn put_one_3(i: u32, v: f32) { ones_out_3[i] = v; }

// binding 4
@group(0) @binding(4) var<storage, read_write> quads_out_4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> ones_out_4: array<f32>;
fn put_quad_4(i: u32, v: vec4<f32>) { quads_out_4[i] = v; }
fn put_one_4(i: u32, v: f32) { ones_out_4[i] = v; }

// binding 5
@group(0) @binding(5) var<storage, read_write> quads_out_5: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> ones_out_5: array<f32>;
fn put_quad_5(i: u32, v: vec4<f32>) { quads_out_5[i] = v; }
fn put_one_5(i: u32, v: f32) { ones_out_5[i] = v; }

// binding 6
@group(0) @binding(6) var<storage, read_write> quads_out_6: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> ones_out_6: array<f32>;
fn put_quad_6(i: u32, v: vec4<f32>) { quads_out_6[i] = v; }
fn put_one_6(i: u32, v: f32) { ones_out_6[i] = v; }

// binding 7
@group(0) @binding(7) var<storage, read_write> quads_out_7: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> ones_out_7: array<f32>;
fn put_quad_7(i: u32, v: vec4<f32>) { quads_out_7[i] = v; }
fn put_one_7(i: u32, v: f32) { ones_out_7[i] = v; }
