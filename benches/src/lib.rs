//! Benchmarks of kernels and whole training steps.
