// Workgroup tile of 64 rows by 16 columns: 64 invocations, 4 by 4 outputs each.
const WG_M: u32 = 16u;
const WG_N: u32 = 4u;
// The part of an invocation, in quads.
const TM4: u32 = 1u;
const TN4: u32 = 1u;
// Extent of a slice of k.
const DEPTH: u32 = 16u;
// Slices of k in workgroup memory at once.
const SLOTS: u32 = 1u;
