// Register tile of 4 rows by 4 columns an invocation, in quads.
const TM4: u32 = 1u;
const TN4: u32 = 1u;
