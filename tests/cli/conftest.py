"""Files that the tests of the command line use."""

from __future__ import annotations

from pathlib import Path

import pytest
from calls import TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
