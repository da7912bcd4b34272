"""Kernels and memory on a CPU: the same numbers, faster."""
