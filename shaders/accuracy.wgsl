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

// hits[r] = [argmax x(r) = labels[r]] for the live.rows · per_sample rows that count, 0 for the others
@compute @workgroup_size(WG)
fn accuracy(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let r = invocation(at, groups);
    if r >= dims.rows { return; }
    var best = x(r * dims.classes);
    var best_at = 0u;
    for (var c = 1u; c < dims.classes; c++) {
        let value = x(r * dims.classes + c);
        if value > best {
            best = value;
            best_at = c;
        }
    }
    hits[r] = select(0.0, 1.0, best_at == labels[r] && r < live.rows * dims.per_sample);
}
