"""Processors: CPUs, GPUs and microcontrollers as rooflines, and lookup tables of measured layers."""
