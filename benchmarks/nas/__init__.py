"""Searches of networks, measured."""
