"""The plugin's own functions, and how they are called: coroutines here, plain functions in a thread, so that one that
blocks holds up nothing but the next event."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from typing import Any, Callable, TypeVar, overload

from .errors import CloudlinkError
from .frames import KINDS, Event
from .threads import in_thread

Handler = Callable[[Event], Any]
F = TypeVar("F", bound=Callable[..., Any])

#: What a handler can be registered for. `tokens` includes `consent`.
NAMES = frozenset(KINDS.values())


class Leaving(Exception):
    """A handler called `sys.exit()`, or met Ctrl+C: the program is to end, once what is left to do is done.

    As it came it would end the event loop at once, out of whichever task it was raised in.
    """

    def __init__(self, end: SystemExit | KeyboardInterrupt) -> None:
        super().__init__("the plugin ends itself")
        self.end = end


class Cancelled(Exception):
    """A handler let a `CancelledError` out that nobody here had asked for."""


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """What the handler gives, or raises: always an `Exception`, unless whoever calls is cancelled."""
    # In a task of its own, so that a handler that is cancelled can be told from a caller that is.
    task = asyncio.ensure_future(_outcome(function, args))
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if task.cancelled():
        raise Cancelled("the handler was cancelled")
    answer, error = task.result()
    if error is None:
        return answer
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        raise Leaving(error) from error
    if isinstance(error, Exception):
        raise error
    raise RuntimeError(f"the handler raised {type(error).__name__}") from error


async def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*args), None
        answer = await in_thread(function, *args)
        return (await answer if inspect.isawaitable(answer) else answer), None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


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
        acknowledged once all handlers have returned; where one raises it comes again on the next connection. One that
        calls `sys.exit()` ends the plugin.
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
        self._why: CloudlinkError | None = None

    async def put(self, event: Event) -> None:
        """Waits until whoever iterates has taken it; raises where they stopped instead."""
        if self._ended:
            raise Abandoned
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((event, taken))
        await taken

    def end(self, why: CloudlinkError | None = None) -> None:
        """No more will come; whoever iterates hears why, where that is not because the link was closed."""
        self._why = self._why or why
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        taken: asyncio.Future[None] | None = None
        try:
            while True:
                item = await self._queue.get()
                if item is None:
                    if self._why is not None:
                        raise self._why
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
