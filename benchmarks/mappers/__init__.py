"""How good and how fast the mappers are."""
