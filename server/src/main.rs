//! The `taper` program.
fn main() {}
