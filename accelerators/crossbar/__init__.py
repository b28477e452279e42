"""Analog crossbars: matrices stored as conductances, multiplied in place."""
