"""Experiments: one YAML file, validated as a whole, run by workers, kept in a ledger, resumed at any time."""
