"""The plugin's own functions, and how they are called: coroutines here, plain functions in a thread, so that one that
blocks holds up nothing but the next event."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import Any, Callable, TypeVar, overload

from .frames import KINDS, Event
from .threads import in_thread

Handler = Callable[[Event], Any]
F = TypeVar("F", bound=Callable[..., Any])

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


class Subscribable:
    """Something whose events handlers can be registered for."""

    def subscribe(self, kind: str | None, handler: Handler) -> None:
        """What `on` does, plainly."""
        raise NotImplementedError

    @overload
    def on(self, kind: F) -> F: ...

    @overload
    def on(self, kind: str | None = None) -> Callable[[F], F]: ...

    @overload
    def on(self, kind: str | None = None, *, handler: Handler) -> Handler: ...

    def on(self, kind: Any = None, *, handler: Handler | None = None) -> Any:
        """Has `handler(event)` called: for all events, or those of one kind; `tokens` includes `consent`.

        Also as a decorator, `@link.on("tokens")` or `@link.on`. A plain function is called in a thread. An event is
        acknowledged once all handlers have returned; where one raises it comes again on the next connection.
        Whoever registers after the link was opened is first told the state that came before.
        """
        if callable(kind):
            kind, handler = None, kind
        if handler is not None:
            self.subscribe(kind, handler)
            return handler

        def register(function: F) -> F:
            self.subscribe(kind, function)
            return function

        return register


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
