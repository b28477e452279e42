"""How well and how fast hardware is searched."""
