// Workgroup tile of 128 rows by 128 columns: 256 invocations, 8 by 8 outputs each.
const WG_M: u32 = 16u;
const WG_N: u32 = 16u;
// The part of an invocation, in quads.
const TM4: u32 = 2u;
const TN4: u32 = 2u;
// Extent of a slice of k.
const DEPTH: u32 = 8u;
// Slices of k in workgroup memory at once.
const SLOTS: u32 = 1u;
