// Register tile of 32 rows by 16 columns an invocation, in quads.
const TM4: u32 = 8u;
const TN4: u32 = 4u;
