// One-dimensional grids, split over x and y above 65,535 workgroups.
override WG: u32 = 64u;

// The linear index of an invocation.
fn invocation(at: vec3u, groups: vec3u) -> u32 {
    return at.x + at.y * groups.x * WG;
}

// How many invocations there are; kernels that loop do so in strides of it.
fn invocations(groups: vec3u) -> u32 {
    return groups.x * groups.y * WG;
}
