// uses: grid, read, write
// variants: scalar, vec4
// Batch normalisation of x (rows, C) over its rows, rows = N·H·W:
//
//     y = γ x̂ + β,   x̂ = (x − μ) ρ,   ρ = 1 / √(σ² + ε),   then ReLU if RELU is set
//
// A sum over rows is written as a few parts, of `part` rows each, and each kernel that needs the sum adds the parts of its own columns: no
// dispatch in between. So what the forward pass found out about a column, its *line* (μ, ρ, γ, β), is written by
// the invocations of the first rows only, and the gradients bind one buffer for all four.
//
// An item is a column of a chunk of rows. LANES invocations of a workgroup share one, each with every LANES-th row; neighbouring
// invocations have neighbouring columns.
override RELU: bool = false;
// Whether μ and σ² are functions of x; in eval mode they are constants.
override BATCH: bool = true;
// A power of two that divides WG.
override LANES: u32 = 1u;

struct Dims {
    rows: u32,
    packs: u32,  // packs of a row; running: of everything
    chunk: u32,  // rows of an item
    part: u32,  // rows of a part of a sum
    parts: u32,  // ⌈rows / part⌉
    stride: u32,  // packs from the batch's means to its variances
    eps: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> dims: Dims;

struct Item {
    c: u32,  // column, in packs
    chunk: u32,
    begin: u32,  // this invocation's first row
    end: u32,  // row after the last; not above `begin` where there is no such chunk
    lane: u32,
    local: u32,  // number of the invocation in its workgroup
}

fn item(group: vec3u, local: u32, groups: vec3u) -> Item {
    let each = WG / LANES;
    let i = (group.x + group.y * groups.x) * each + local % each;
    let chunk = i / dims.packs;
    let lane = local / each;
    let begin = chunk * dims.chunk;
    return Item(i % dims.packs, chunk, begin + lane, min(begin + dims.chunk, dims.rows), lane, local);
}

// Whether this invocation writes what is to be known of the column.
fn tells(at: Item) -> bool {
    return at.chunk == 0u && at.lane == 0u;
}

struct Line {
    mean: Pack,  // μ
    rstd: Pack,  // ρ
    gamma: Pack,
    beta: Pack,
}

// γ x̂ + β
fn straight(line: Line, v: Pack) -> Pack {
    return line.gamma * ((v - line.mean) * line.rstd) + line.beta;
}

fn rectified(z: Pack) -> Pack {
    return select(z, max(z, Pack(0.0)), RELU);
}

var<workgroup> lane_rows: array<f32, WG>;
var<workgroup> lane_first: array<Pack, WG>;
var<workgroup> lane_second: array<Pack, WG>;

struct Sums {
    first: Pack,
    second: Pack,
}

// Σ over the lanes of an item, in a fixed order. Every invocation of the workgroup must take part.
fn lanes_sum(sums: Sums, local: u32) -> Sums {
    if LANES == 1u { return sums; }
    let each = WG / LANES;
    lane_first[local] = sums.first;
    lane_second[local] = sums.second;
    workgroupBarrier();
    for (var half = WG / 2u; half >= each; half /= 2u) {
        if local < half {
            lane_first[local] += lane_first[local + half];
            lane_second[local] += lane_second[local + half];
        }
        workgroupBarrier();
    }
    return Sums(lane_first[local % each], lane_second[local % each]);
}

// What is known of some rows of a column.
struct Moments {
    rows: f32,
    mean: Pack,
    square: Pack,  // Σ (x − mean)²
}

// Of all rows, from those of some and those of others (Chan, Golub and LeVeque).
fn merged(a: Moments, b: Moments) -> Moments {
    let rows = a.rows + b.rows;
    let share = b.rows / max(rows, 1.0);
    let d = b.mean - a.mean;
    return Moments(rows, a.mean + share * d, a.square + b.square + a.rows * share * d * d);
}

// The moments over the lanes of an item; as lanes_sum.
fn lanes_merged(moments: Moments, local: u32) -> Moments {
    if LANES == 1u { return moments; }
    let each = WG / LANES;
    lane_rows[local] = moments.rows;
    lane_first[local] = moments.mean;
    lane_second[local] = moments.square;
    workgroupBarrier();
    for (var half = WG / 2u; half >= each; half /= 2u) {
        if local < half {
            let other = local + half;
            let both = merged(
                Moments(lane_rows[local], lane_first[local], lane_second[local]),
                Moments(lane_rows[other], lane_first[other], lane_second[other]),
            );
            lane_rows[local] = both.rows;
            lane_first[local] = both.mean;
            lane_second[local] = both.square;
        }
        workgroupBarrier();
    }
    let c = local % each;
    return Moments(lane_rows[c], lane_first[c], lane_second[c]);
}

// The moments of a part are found from sums about its first row: stable where the mean is large.
// sums[p, 0, c] = mean of part p, sums[p, 1, c] = Σ (x − mean)²; here a chunk is a part
fn x(i: u32) -> Pack { return pack_1(i); }  // (rows, C)
@group(0) @binding(2) var<storage, read_write> sums: array<Pack>;  // (parts, 2, C)
@compute @workgroup_size(WG)
fn statistics(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    let shift = x(min(at.chunk * dims.chunk, dims.rows - 1u) * dims.packs + at.c);
    var own = Sums(Pack(0.0), Pack(0.0));
    for (var r = at.begin; r < at.end; r += LANES) {
        let d = x(r * dims.packs + at.c) - shift;
        own.first += d;
        own.second += d * d;
    }
    let all = lanes_sum(own, local);
    if at.lane != 0u || at.begin >= at.end { return; }
    let mean = all.first / f32(at.end - at.begin);
    sums[2u * at.chunk * dims.packs + at.c] = shift + mean;
    sums[(2u * at.chunk + 1u) * dims.packs + at.c] = max(all.second - all.first * mean, Pack(0.0));
}

fn part_sums(i: u32) -> Pack { return pack_2(i); }  // (parts, 2, C)
@group(0) @binding(4) var<storage, read> gamma: array<Pack>;  // (C)
@group(0) @binding(5) var<storage, read> beta: array<Pack>;  // (C)
fn skip(i: u32) -> Pack { return pack_6(i); }  // (rows, C)
fn put_y(i: u32, v: Pack) { put_7(i, v); }  // (rows, C)
@group(0) @binding(8) var<storage, read_write> lines: array<Pack>;  // (4, C): μ, ρ, γ, β
@group(0) @binding(9) var<storage, read_write> batch: array<Pack>;  // (2, C padded to 64): μ, rows σ² / (rows − 1)

fn tell(line: Line, at: Item) {
    if !tells(at) { return; }
    lines[at.c] = line.mean;
    lines[dims.packs + at.c] = line.rstd;
    lines[2u * dims.packs + at.c] = line.gamma;
    lines[3u * dims.packs + at.c] = line.beta;
}

// The line of a column by the batch, its moments merged from those of the parts.
fn batch_line(at: Item) -> Line {
    var own = Moments(0.0, Pack(0.0), Pack(0.0));
    for (var p = at.lane; p < dims.parts; p += LANES) {
        let rows = f32(min(dims.part, dims.rows - p * dims.part));
        let j = 2u * p * dims.packs + at.c;
        own = merged(own, Moments(rows, part_sums(j), part_sums(j + dims.packs)));
    }
    let all = lanes_merged(own, at.local);
    let n = f32(dims.rows);
    if tells(at) {
        batch[at.c] = all.mean;
        batch[dims.stride + at.c] = all.square / max(n - 1.0, 1.0);
    }
    let line = Line(all.mean, inverseSqrt(all.square / n + dims.eps), gamma[at.c], beta[at.c]);
    tell(line, at);
    return line;
}

fn normalise(line: Line, at: Item) {
    for (var r = at.begin; r < at.end; r += LANES) {
        let j = r * dims.packs + at.c;
        put_y(j, rectified(straight(line, x(j))));
    }
}

fn normalise_add(line: Line, at: Item) {
    for (var r = at.begin; r < at.end; r += LANES) {
        let j = r * dims.packs + at.c;
        put_y(j, rectified(straight(line, x(j)) + skip(j)));
    }
}

// y = γ x̂ + β
@compute @workgroup_size(WG)
fn apply(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    normalise(batch_line(at), at);
}

// y = γ x̂ + β + skip
@compute @workgroup_size(WG)
fn apply_add(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    normalise_add(batch_line(at), at);
}

@group(0) @binding(2) var<storage, read> running_mean: array<Pack>;  // (C)
@group(0) @binding(3) var<storage, read> running_var: array<Pack>;  // (C)

// The line of a column by the running statistics.
fn running_line(at: Item) -> Line {
    let rstd = inverseSqrt(running_var[at.c] + dims.eps);
    let line = Line(running_mean[at.c], rstd, gamma[at.c], beta[at.c]);
    tell(line, at);
    return line;
}

// y = γ (x − running mean) / √(running var + ε) + β
@compute @workgroup_size(WG)
fn eval_apply(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    normalise(running_line(at), at);
}

// y = γ (x − running mean) / √(running var + ε) + β + skip
@compute @workgroup_size(WG)
fn eval_apply_add(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    normalise_add(running_line(at), at);
}

// running ← (1 − momentum) running + momentum batch, of every layer at once: both lie alike in flat buffers
fn batches(i: u32) -> Pack { return pack_1(i); }
@group(0) @binding(2) var<storage, read_write> states: array<Pack>;  // in place
@compute @workgroup_size(WG)
fn running(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = invocation(at, groups); i < dims.packs; i += invocations(groups)) {
        states[i] = (1.0 - dims.momentum) * states[i] + dims.momentum * batches(i);
    }
}

@group(0) @binding(2) var<storage, read> saved_lines: array<Pack>;  // (4, C): μ, ρ, γ, β
fn dy(i: u32) -> Pack { return pack_3(i); }  // (rows, C)

fn saved_line(c: u32) -> Line {
    let packs = dims.packs;
    return Line(saved_lines[c], saved_lines[packs + c], saved_lines[2u * packs + c], saved_lines[3u * packs + c]);
}

// dz = dy, or 0 where a fused ReLU cut z = γ x̂ + β: so y need not be read
fn masked(dy: Pack, z: Pack) -> Pack {
    return select(dy, select(Pack(0.0), dy, z > Pack(0.0)), RELU);
}

// dsums[p, 0, c] = Σ dz x̂,   dsums[p, 1, c] = Σ dz   over the rows of part p; here a chunk is a part
@group(0) @binding(4) var<storage, read_write> dsums: array<Pack>;  // (parts, 2, C)
@compute @workgroup_size(WG)
fn grad_sums(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    let line = saved_line(at.c);
    var own = Sums(Pack(0.0), Pack(0.0));
    for (var r = at.begin; r < at.end; r += LANES) {
        let j = r * dims.packs + at.c;
        let normal = (x(j) - line.mean) * line.rstd;
        let dz = masked(dy(j), line.gamma * normal + line.beta);
        own.first += dz * normal;
        own.second += dz;
    }
    let all = lanes_sum(own, local);
    if at.lane != 0u || at.begin >= at.end { return; }
    dsums[2u * at.chunk * dims.packs + at.c] = all.first;
    dsums[(2u * at.chunk + 1u) * dims.packs + at.c] = all.second;
}

// dγ = Σₚ dsums[p, 0],   dβ = Σₚ dsums[p, 1],   dx = γ ρ (dz − (dβ + x̂ dγ) / rows), or γ ρ dz where the moments are constants
fn part_dsums(i: u32) -> Pack { return pack_4(i); }  // (parts, 2, C)
fn put_dx(i: u32, v: Pack) { put_5(i, v); }  // (rows, C)
@group(0) @binding(6) var<storage, read_write> dgamma: array<Pack>;  // (C)
@group(0) @binding(7) var<storage, read_write> dbeta: array<Pack>;  // (C)
@compute @workgroup_size(WG)
fn grad_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_workgroups) groups: vec3u,
) {
    let at = item(group, local, groups);
    let line = saved_line(at.c);
    var own = Sums(Pack(0.0), Pack(0.0));
    for (var p = at.lane; p < dims.parts; p += LANES) {
        let j = 2u * p * dims.packs + at.c;
        own.first += part_dsums(j);
        own.second += part_dsums(j + dims.packs);
    }
    let all = lanes_sum(own, local);
    if tells(at) {
        dgamma[at.c] = all.first;
        dbeta[at.c] = all.second;
    }
    let n = f32(dims.rows);
    let slope = select(Pack(0.0), all.first / n, BATCH);
    let level = select(Pack(0.0), all.second / n, BATCH);
    for (var r = at.begin; r < at.end; r += LANES) {
        let j = r * dims.packs + at.c;
        let normal = (x(j) - line.mean) * line.rstd;
        let dz = masked(dy(j), line.gamma * normal + line.beta);
        put_dx(j, line.gamma * line.rstd * (dz - level - normal * slope));
    }
}
