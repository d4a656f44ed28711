"""POLL: `shortPoll` and `longPoll`, as PG3 sends them."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

_SHORT, _LONG = 60.0, 300.0


class Polls:
    def __init__(self, publish: Callable[[str], Any]) -> None:
        self._publish = publish
        self._every = {"shortPoll": _SHORT, "longPoll": _LONG}
        self._changed = threading.Condition()
        self._is_stopped = False

    def set(self, short: float | None, long: float | None) -> None:
        if short is None and long is None:
            raise ValueError("give short or long, in seconds")
        with self._changed:
            for name, seconds in (("shortPoll", short), ("longPoll", long)):
                if seconds is not None:
                    self._every[name] = max(float(seconds), 1.0)
            self._changed.notify_all()

    def begin(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="polls").start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        last = dict.fromkeys(self._every, time.monotonic())
        while True:
            with self._changed:
                now = time.monotonic()
                due = [name for name, every in self._every.items() if last[name] + every <= now]
                if not due and not self._is_stopped:
                    self._changed.wait(min(last[name] + every - now for name, every in self._every.items()))
                if self._is_stopped:
                    return
            for name in due:
                last[name] = time.monotonic()
                self._publish(name)
