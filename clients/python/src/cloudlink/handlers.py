"""The plugin's own functions, and how they are called: coroutines here, plain functions in a thread, so that one that
blocks holds up nothing but the next event."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import Any, Callable

from .frames import KINDS, Event
from .threads import in_thread

Handler = Callable[[Event], Any]

#: What a handler can be registered for. `tokens` includes `consent`.
NAMES = frozenset(KINDS.values())


async def call(function: Callable[..., Any], *args: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    answer = await in_thread(function, *args)
    return await answer if inspect.isawaitable(answer) else answer


class Subscription:
    """One handler, and the kinds of events that it is called with."""

    def __init__(self, kind: str | None, handler: Handler) -> None:
        if kind is not None and kind not in NAMES:
            raise ValueError(f"there are no {kind} events; there are {', '.join(sorted(NAMES))}")
        self.kind = kind
        self.handler = handler

    def wants(self, event: Event) -> bool:
        return self.kind in (None, event.kind) or (self.kind == "tokens" and event.has_tokens)


class EventStream:
    """Events one after the other. One counts as taken when the next is asked for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Event, asyncio.Future[None]] | None] = asyncio.Queue()
        self._ended = False

    async def put(self, event: Event) -> None:
        """Waits until whoever iterates has taken it; raises where they stopped instead."""
        if self._ended:
            raise Abandoned
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((event, taken))
        await taken

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        taken: asyncio.Future[None] | None = None
        try:
            while True:
                item = await self._queue.get()
                if item is None:
                    return
                event, taken = item
                yield event
                if not taken.done():
                    taken.set_result(None)
        finally:
            self._ended = True
            while not self._queue.empty():
                item = self._queue.get_nowait()
                if item is not None and not item[1].done():
                    item[1].set_exception(Abandoned())
            if taken is not None and not taken.done():
                taken.set_exception(Abandoned())


class Abandoned(Exception):
    """Whoever iterated stopped before the event was taken."""
