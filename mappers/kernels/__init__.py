"""Numba kernels of the mappers: arrays in, arrays out."""
