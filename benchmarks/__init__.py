"""Checks that take minutes: validation against silicon, RTL and other simulators, and speed."""
