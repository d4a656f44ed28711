"""Brings events to handlers, one at a time, and acknowledges each once all of them have returned.

A handler that raises: the failure is logged, nothing is acknowledged, and the event comes again on the next
connection. A newer event that is taken in the meantime covers it; a configuration covers no tokens. One that calls
`sys.exit()` ends the plugin, and nothing is acknowledged either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Callable

from .errors import CloudlinkError
from .frames import Event
from .handlers import Abandoned, EventStream, Handler, Leaving, Subscription, call
from .slot_state import SlotState

_log = logging.getLogger("cloudlink")


class Dispatcher:
    def __init__(self, absorb: Callable[[Event], Event], acknowledge: Callable[[str, int], Awaitable[None]]) -> None:
        self._absorb = absorb
        self._acknowledge = acknowledge
        self._states: dict[str, SlotState] = {}
        self._subscriptions: list[Subscription] = []
        self._late: list[Subscription] = []
        self._streams: list[EventStream] = []
        self._wake = asyncio.Event()
        self._ended = False
        self._why: CloudlinkError | None = None

    def offer(self, event: Event) -> None:
        """An event came from the server."""
        self._states.setdefault(event.slot, SlotState()).offer(event)
        self._wake.set()

    def subscribe(self, kind: str | None, handler: Handler) -> None:
        """Has a handler called from now on; with the state that was told already first."""
        self._late.append(Subscription(kind, handler))
        self._wake.set()

    def stream(self) -> EventStream:
        stream = EventStream()
        self._streams.append(stream)
        if self._ended:
            stream.end(self._why)
        self.subscribe(None, stream.put)
        return stream

    def end(self, why: CloudlinkError | None = None) -> None:
        """No more will come; whoever iterates hears why."""
        self._ended = True
        self._why = self._why or why
        for stream in self._streams:
            stream.end(self._why)

    async def run(self) -> None:
        """Until it is cancelled. Raises `Leaving` where a handler ends the plugin."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while await self._step():
                pass

    async def _step(self) -> bool:
        if self._late:
            await self._catch_up(self._late.pop(0))
            return True
        for state in self._states.values():
            taken = state.take()
            if taken is None:
                continue
            if not taken.is_news or await self._tell(state, taken.event):
                version = state.acknowledgeable(taken.event)
                if version is not None:
                    await self._acknowledge(taken.event.slot, version)
            return True
        return False

    async def _tell(self, state: SlotState, event: Event) -> bool:
        try:
            shown = self._absorb(event)
            for subscription in list(self._subscriptions):
                if subscription.wants(shown):
                    await self._call(subscription, shown)
        except Exception as error:
            state.failed(event)
            _complain(event, error)
            if isinstance(error, Leaving):
                raise
            return False
        state.taken(shown)
        return True

    async def _call(self, subscription: Subscription, event: Event) -> None:
        try:
            await call(subscription.handler, event)
        except Abandoned:
            self._subscriptions.remove(subscription)
            # Whoever iterated may have been the only one to take it.
            raise

    async def _catch_up(self, subscription: Subscription) -> None:
        self._subscriptions.append(subscription)
        for state in list(self._states.values()):
            for event in state.told():
                if not subscription.wants(event):
                    continue
                try:
                    await self._call(subscription, event)
                except Exception as error:
                    _complain(event, error, "it was acknowledged before")
                    if isinstance(error, Leaving):
                        raise


def _complain(event: Event, error: Exception, consequence: str = "it comes again on the next connection") -> None:
    if isinstance(error, Abandoned):
        _log.debug("%s version %s was not taken", event.kind, event.version)
        return
    if isinstance(error, Leaving):
        _log.warning(
            "a handler ends the plugin on %s version %s of slot %s: %s",
            event.kind,
            event.version,
            event.slot,
            consequence,
        )
        return
    # A traceback shows code, and what the handler put into its own exception; never the event's data.
    _log.error(
        "a handler failed on %s version %s of slot %s, so it is not acknowledged; %s",
        event.kind,
        event.version,
        event.slot,
        consequence,
        exc_info=error,
    )
