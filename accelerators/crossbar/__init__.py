"""Crossbars: arrays of memory cells that multiply and add in place, analog or digital."""
