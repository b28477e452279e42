"""Calls of the command line, and a small accelerator to call it with."""

from __future__ import annotations

import subprocess
import sys

TINY = """\
name: tiny
kind: spatial
node: 45 nm
clock: 500 MHz
compute: {type: int8, accumulator: int32}
levels:
  - {name: DRAM, memory: dram, type: LPDDR4, bandwidth: 8 GB/s}
  - name: GLB
    memory: sram
    capacity: 64 kB
    width: 64 bit
    bandwidth: 16 B/cycle
    fanout: {x: {size: 16, unroll: [K, G]}, y: {size: 16, unroll: [C, P]}}
  - {name: RF, memory: registers, capacity: 32 B, width: 8 bit}
"""


def codesign(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codesign", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def refused(*arguments: object) -> str:
    """Standard error of a call that must end with code 2 and no traceback."""
    done = codesign(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr
