// Register tile of 8 rows by 4 columns an invocation, in quads.
const TM4: u32 = 2u;
const TN4: u32 = 1u;
