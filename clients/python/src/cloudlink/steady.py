"""A clock that nobody sets, and that goes on while the machine sleeps: what a token's life is counted by."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since some moment."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
