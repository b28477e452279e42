"""The models against measured silicon, RTL simulations and other simulators."""
