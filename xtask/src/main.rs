//! One runner for setup, demo and tests.
fn main() {}
