// Register tile of 4 rows by 8 columns an invocation, in quads.
const TM4: u32 = 1u;
const TN4: u32 = 2u;
