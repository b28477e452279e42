"""Settings of all tests."""

from __future__ import annotations

import os

# Tests run side by side: libraries with threads of their own would wait for each other. Set before they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
