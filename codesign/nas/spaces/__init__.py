"""Spaces of networks: one module per space builds any of its members as a graph of operators."""
