"""AnalogNAS: networks for analog crossbars by a surrogate of their accuracy under drift, and evolution."""
