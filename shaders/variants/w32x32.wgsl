// Workgroup tile of 32 rows by 32 columns: 64 invocations, 4 by 4 outputs each.
const WG_M: u32 = 8u;
const WG_N: u32 = 8u;
// The part of an invocation, in quads.
const TM4: u32 = 1u;
const TN4: u32 = 1u;
// Extent of a slice of k.
const DEPTH: u32 = 16u;
// Slices of k in workgroup memory at once.
const SLOTS: u32 = 1u;
