"""Worker processes that do not outlive the program."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor

_SECONDS_BETWEEN_LOOKS = 0.5


def _begin(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end with it: nobody tells a worker when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that start fresh (no copies of this one's state and threads), each with one thread for arithmetic.

    Linear algebra and PyTorch would otherwise use all cores in every one of them, and wait for each other.
    """
    # Read by the libraries when a process loads them; what this one has loaded does not change.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    )


def kill(pool: ProcessPoolExecutor) -> None:
    """End a pool at once, whatever its processes are doing; leaving it as a context would wait for them."""
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(wait=True, cancel_futures=True)
