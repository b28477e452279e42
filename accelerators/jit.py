"""Compiled kernels and where their machine code is kept.

Numba's on-disk cache looks at the file of the function alone, so a kernel that inlines another one goes stale when
only the other file changes. The cache therefore lives in a folder whose name is a digest of the sources of *all*
kernels, of numba's version and of the processor: any change there starts a new folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config

_PACKAGES = ("accelerators", "mappers", "codesign")
_KEPT_FOLDERS = 4


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Folder of the compiled kernels: under $CODESIGN_CACHE_DIR, else $XDG_CACHE_HOME, else ~/.cache."""
    root = Path(__file__).resolve().parent.parent
    sources = sorted(path for package in _PACKAGES for path in (root / package).glob("**/kernels/*.py"))
    digest = hashlib.sha256(f"{numba.__version__} {platform.python_version()} {platform.machine()}".encode())
    for path in sources:
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    base = os.environ.get("CODESIGN_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "codesign" / f"kernels-{digest.hexdigest()[:16]}"


@lru_cache(maxsize=1)
def announce_compilation() -> None:
    """Say on stderr, once per process, that kernels are going to be compiled, if no earlier run has left them."""
    folder = _usable_folder()
    if folder is None:
        print(f"compiling the kernels: {cache_folder()} cannot be written, so every run compiles", file=sys.stderr)
    elif not any(folder.glob("**/*.nbc")):
        print("compiling the kernels (first run only, about half a minute)", file=sys.stderr)


@lru_cache(maxsize=1)
def _usable_folder() -> Path | None:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        # A read-only home must not stop the program: it compiles in every process instead.
        return None
    _remove_old(folder)
    return folder


def _remove_old(current: Path) -> None:
    """Keep the newest few folders: every edit of a kernel leaves one behind."""
    others = [path for path in current.parent.glob("kernels-*") if path != current]
    others.sort(key=lambda path: path.stat().st_mtime if path.exists() else 0.0, reverse=True)
    for path in others[_KEPT_FOLDERS - 1 :]:
        for file in path.glob("**/*.nb[ic]"):
            file.unlink(missing_ok=True)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.njit`` with the project's cache folder; array kernels only, no Python objects."""
    folder = _usable_folder()
    if folder is None:
        return numba.njit(function)
    # The folder is a global setting of numba that is read while decorating; other users of numba keep theirs.
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        compiled = numba.njit(cache=True)(function)
    finally:
        config.CACHE_DIR = before
    _survive_damage(compiled._cache)
    return compiled


def _survive_damage(cache: Any) -> None:
    """Let a damaged cache file mean "compile again": numba itself would raise what unpickling it raises."""
    load = cache.load_overload

    def load_or_forget(signature: Any, target_context: Any) -> Any:
        try:
            return load(signature, target_context)
        except Exception:
            cache.flush()
            return None

    cache.load_overload = load_or_forget
