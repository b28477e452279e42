"""Processors: CPUs, GPUs and microcontrollers as rooflines, lookup tables of measured layers, learned predictors."""
