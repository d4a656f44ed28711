"""How long to wait before the next attempt: exponential, with full jitter, so that many plugins that lost the same
server do not come back at the same moment."""

from __future__ import annotations

import random
from typing import Callable

FIRST = 0.5
#: The most that any wait can be, one that the server asked for included.
LONGEST = 60.0


class Backoff:
    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def wait(self, asked: float | None = None) -> float:
        """Seconds: what the server asked for, else anything from nothing to the present ceiling."""
        ceiling = min(FIRST * 2 ** min(self._failures, 10), LONGEST)
        self._failures += 1
        return min(asked, LONGEST) if asked is not None else ceiling * self._draw()
