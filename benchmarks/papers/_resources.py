"""What is searched within the resources of a published design: everything, or its sizes alone."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers._arms import accelerator_of, datasheet


@dataclass(frozen=True)
class Settings:
    """How much is searched, and by whom: ``effort`` is population and generations, ``queries`` networks per design."""

    seeds: int
    effort: tuple[int, int]
    pool: Executor
    folder: Path
    queries: int = 0


def resources(name: str, dram: bool, settings: Settings) -> dict[str, Any]:
    """The ``hardware`` section of a search within the resources of a published design."""
    file = settings.folder / f"{name}_{'with' if dram else 'without'}_dram_bandwidth.yaml"
    file.write_text(json.dumps(datasheet(name, dram)), encoding="utf-8")
    return {"space": "naas", "budget": {"like": str(file)}}


def sizing_space(name: str, settings: Settings, *, dram: bool = False) -> dict[str, Any]:
    """The ``hardware`` section in which only sizes of a published design are searched, within its resources."""
    data = datasheet(name, dram)
    levels: list[dict[str, Any]] = [dict(level) for level in data["levels"]]
    accelerator = accelerator_of(data)
    for level, built in zip(levels[1:], accelerator.levels[1:], strict=True):
        if level["memory"] == "sram" and built.capacity_bytes:
            low = max(16, built.capacity_bytes / 8) // 16 * 16
            size = {"from": f"{low:.0f} B", "to": f"{4 * built.capacity_bytes // 16 * 16:.0f} B", "step": "16 B"}
            level["capacity"] = {**size, "scale": "log"}
        if "fanout" in level:
            level["fanout"] = {
                axis: {**setting, "size": {"from": 2, "to": 4 * setting["size"], "step": 2, "scale": "log"}}
                for axis, setting in level["fanout"].items()
            }
    design = {key: value for key, value in data.items() if key not in ("name", "description", "source")}
    return {"design": {**design, "levels": levels}, "budget": resources(name, dram, settings)["budget"]}
