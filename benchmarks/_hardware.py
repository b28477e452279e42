"""The accelerators of the literature's toy figures: DRAM 200, buffer 6, register 1, MAC 1 pJ per 16-bit word."""

from __future__ import annotations

from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator

_ALL = "weights inputs outputs"


def level(name: str, pj: float, words: int | None, keeps: str = _ALL, fanout: tuple[Axis, ...] = ()) -> Level:
    """A level of 16-bit words with one energy for reads, fills and updates."""
    return Level(
        name,
        frozenset(keeps.split()),
        None if words is None else 2 * words,
        read_energy_pj=pj,
        fill_energy_pj=pj,
        update_energy_pj=pj,
        fanout=fanout,
    )


def three_levels(
    name: str = "3 levels, 16x16",
    *,
    array: tuple[int, int] = (16, 16),
    buffer_words: int = 65536,
    register_words: int = 256,
    energies: tuple[float, float, float, float] = (200.0, 6.0, 1.0, 1.0),
) -> SpatialAccelerator:
    """DRAM, a buffer and PEs with registers, everything kept everywhere; ``energies`` DRAM, buffer, register, MAC."""
    dram, buffer, register, mac = energies
    axes = (Axis("x", array[0]), Axis("y", array[1]))
    levels = (
        level("DRAM", dram, None),
        level("GLB", buffer, buffer_words, fanout=axes),
        level("RF", register, register_words),
    )
    return SpatialAccelerator(name, levels, Compute(mac), clock_hz=1e9)


def five_levels(
    name: str = "5 levels, Eyeriss with bypass",
    *,
    array: tuple[int, int] = (14, 12),
    buffer_words: int = 55296,
    spad_words: tuple[int, int, int] = (12, 224, 24),
    energies: tuple[float, float, float, float] = (200.0, 6.0, 1.0, 1.0),
) -> SpatialAccelerator:
    """DRAM, a buffer without weights, PEs with a scratchpad per tensor (``spad_words``: inputs, weights, outputs)."""
    dram, buffer, register, mac = energies
    axes = (Axis("x", array[0]), Axis("y", array[1]))
    levels = (
        level("DRAM", dram, None),
        level("GLB", buffer, buffer_words, "inputs outputs", fanout=axes),
        level("inputs_spad", register, spad_words[0], "inputs"),
        level("weights_spad", register, spad_words[1], "weights"),
        level("outputs_spad", register, spad_words[2], "outputs"),
    )
    return SpatialAccelerator(name, levels, Compute(mac), clock_hz=1e9)


def tpu_like(name: str = "TPU-like, 32x32") -> SpatialAccelerator:
    """DRAM, 2 MB, a systolic array of 32x32 with a weight and a partial sum in every PE, after ZigZag's example."""
    axes = (Axis("x", 32), Axis("y", 32))
    levels = (
        level("DRAM", 200.0, None),
        level("GLB", 6.0, 2**20, fanout=axes),
        level("weights_register", 1.0, 1, "weights"),
        level("outputs_register", 1.0, 1, "outputs"),
    )
    return SpatialAccelerator(name, levels, Compute(1.0), clock_hz=1e9)
