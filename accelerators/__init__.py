"""What hardware is, and what an operation costs on it."""
