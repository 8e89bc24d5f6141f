"""Packing weights for kernels and generating the kernels."""
