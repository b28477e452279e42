"""Neural architecture search: spaces of networks."""
