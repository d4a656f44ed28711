"""Who hears of what: PG3's topics, their numbers, and a thread for each call of a handler, as plugins expect."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

from .log import LOGGER

#: In the order of their numbers.
NAMES = (
    *("CONFIG", "START", "STARTDONE", "STOP", "DELETE", "ADDNODEDONE", "CUSTOMDATA", "CUSTOMPARAMS"),
    *("CUSTOMTYPEDPARAMS", "CUSTOMNS", "NOTICES", "POLL", "LOGLEVEL", "ISY", "CONFIGDONE", "CUSTOMPARAMSDOC"),
    *("CUSTOMTYPEDDATA", "NSINFO", "DISCOVER", "OAUTH", "WEBHOOK", "BONJOUR", "DELNODEDONE", "PROFILE"),
    *("UPDATEPROFILEDONE", "CUSTOMREQUEST"),
)

Handler = Callable[..., Any]
Leave = Callable[[SystemExit], None]


class Call:
    """One call of a handler, in a thread of its own."""

    def __init__(self, handler: Handler, args: tuple[Any, ...], leave: Leave) -> None:
        self.error: BaseException | None = None
        self._handler, self._args, self._leave = handler, args, leave
        self._thread = threading.Thread(target=self._run, daemon=True, name=getattr(handler, "__name__", None))
        self._thread.start()

    def _run(self) -> None:
        try:
            self._handler(*self._args)
        except SystemExit as end:
            self.error = end
            LOGGER.warning("the plugin's handler %s ends the plugin", self._name)
            self._leave(end)
        except BaseException as error:
            self.error = error
            LOGGER.exception("the plugin's handler %s failed", self._name)

    @property
    def _name(self) -> str:
        return getattr(self._handler, "__qualname__", "")

    def join(self, timeout: float | None = None) -> bool:
        """Whether it has returned."""
        if self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()


class Topics:
    def __init__(self, leave: Leave = lambda end: None) -> None:
        """`leave` hears of a handler that calls `sys.exit()`."""
        self._leave = leave
        self._lock = threading.Lock()
        self._subscribers: dict[int, list[tuple[Handler, str | None]]] = {}
        self._last: dict[int, tuple[str | None, tuple[Any, ...]]] = {}

    def subscribe(self, topic: int, handler: Handler, address: str | None = None) -> None:
        """Who comes late hears of the last news at once."""
        NAMES[topic]  # raises IndexError where there is no such topic
        with self._lock:
            self._subscribers.setdefault(topic, []).append((handler, address))
            last = self._last.get(topic)
        if last is not None and last[0] in (None, address):
            Call(handler, last[1], self._leave)

    def unsubscribe(self, topic: int, handler: Handler, address: str | None = None) -> bool:
        NAMES[topic]
        with self._lock:
            try:
                self._subscribers.get(topic, []).remove((handler, address))
            except ValueError:
                return False
            return True

    def has_subscriber(self, topic: int) -> bool:
        with self._lock:
            return bool(self._subscribers.get(topic))

    def publish(self, topic: int, *args: Any, address: str | None = None) -> list[Call]:
        with self._lock:
            self._last[topic] = (address, args)
            called = [one for one, wanted in self._subscribers.get(topic, []) if address in (None, wanted)]
        return [Call(handler, args, self._leave) for handler in called]

    def forget(self, topic: int) -> None:
        """Who comes late does not hear of it any more."""
        with self._lock:
            self._last.pop(topic, None)


def finish(calls: list[Call], timeout: float) -> bool:
    """Whether all have returned in time."""
    deadline = time.monotonic() + timeout
    return all(call.join(max(deadline - time.monotonic(), 0)) for call in calls)
