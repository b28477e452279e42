"""Numba kernels of the spatial model: arrays in, arrays out."""
