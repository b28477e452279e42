"""Settings of all tests."""

from __future__ import annotations

import os
import signal

# Tests run side by side: libraries with threads of their own would wait for each other. Set before they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Who starts the tests in the background may have them, and the commands that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
