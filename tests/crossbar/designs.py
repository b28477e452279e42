"""Small crossbars for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accelerators.crossbar.converters import Fixed
from accelerators.crossbar.crossbar import Buffer, Cell, Crossbar, DigitalUnit, Memory, Tree
from accelerators.crossbar.values import Values

RESISTIVE = Cell("resistive", 0.05, on_us=20.0, off_us=1.0, read_voltage_v=0.2, read_s=10e-9, write_pj=10, write_s=1e-6)
CHARGE = Cell("charge", 0.2, write_pj=0.01, write_s=1e-9)
DIGITAL = Cell("digital", 0.2, write_pj=0.01, write_s=1e-9)


def analog(**figures: Any) -> Crossbar:
    """A resistive crossbar of eight arrays of 16 x 16 weights of one bit; uniform values."""
    plain = Crossbar(
        name="small",
        node_nm=28.0,
        supply_v=0.9,
        rows=16,
        columns=16,
        arrays=8,
        cell=RESISTIVE,
        weight_bits=1,
        input_bits=1,
        output_bits=8,
        adc_bits=4,
        converter=Fixed(2.0, 5e-9, 100.0, 4),
        values=Values("uniform", "uniform"),
    )
    return replace(plain, **figures)


def adders(**figures: Any) -> Crossbar:
    """A digital crossbar of four arrays of 16 x 2 weights of eight bits."""
    plain = Crossbar(
        name="adders",
        node_nm=28.0,
        supply_v=0.9,
        rows=16,
        columns=16,
        arrays=4,
        cell=DIGITAL,
        tree=Tree(),
        sample_and_hold=False,
        values=Values("uniform", "uniform"),
    )
    return replace(plain, **figures)


BUFFER = Buffer(4096.0, 64, 4, read_pj=1.0, write_pj=2.0, bandwidth_bytes_per_s=1e12, area_mm2=0.01, leakage_mw=0.5)
MEMORY = Memory(8.0, 1e9)
UNIT = DigitalUnit(4, 1e9, operation_pj=0.1, mac_pj=0.3, multiplies=True, area_mm2=0.01, leakage_mw=0.1)
