// uses: step, grid, read
// Which rows of logits x (rows, C) have their largest at the label; equal logits count for the lowest index.
struct Dims {
    rows: u32,
    classes: u32,  // C
    per_sample: u32,  // rows of one sample of the batch
}

@group(0) @binding(0) var<uniform> dims: Dims;
fn x(i: u32) -> f32 { return one_1(i); }  // (rows, C)
@group(0) @binding(2) var<storage, read> labels: array<u32>;  // (rows)
@group(0) @binding(3) var<storage, read_write> hits: array<f32>;  // (rows)

// Whether argmax x(r) = labels[r].
fn is_hit(r: u32) -> bool {
    var best = x(r * dims.classes);
    var best_at = 0u;
    for (var c = 1u; c < dims.classes; c++) {
        let value = x(r * dims.classes + c);
        if value > best {
            best = value;
            best_at = c;
        }
    }
    return best_at == labels[r];
}

// hits[r] = [argmax x(r) = labels[r]] for the live.rows · per_sample rows that count, 0 for the others
@compute @workgroup_size(WG)
fn accuracy(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let r = invocation(at, groups);
    if r >= dims.rows { return; }
    hits[r] = select(0.0, 1.0, is_hit(r) && r < live.rows * dims.per_sample);
}

// hits[b] = 1 if all per_sample rows of sample b are hits, for the live.rows samples that count; else 0
@compute @workgroup_size(WG)
fn samples(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let b = invocation(at, groups);
    if b >= dims.rows / dims.per_sample { return; }
    var all = b < live.rows;
    for (var k = 0u; k < dims.per_sample; k++) { all = all && is_hit(b * dims.per_sample + k); }
    hits[b] = select(0.0, 1.0, all);
}
