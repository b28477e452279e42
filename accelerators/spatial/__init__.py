"""Spatial accelerators: an array of processing elements fed by a chain of storage levels."""
