"""What runs while a link is open: the connection, the dispatch of events, the answers to requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Callable

from .answering import Answering
from .connector import Connector, TokenSource
from .dispatcher import Dispatcher
from .errors import CloudlinkError
from .frames import Event, Frame, Inbound
from .handlers import Leaving

_log = logging.getLogger("cloudlink")


class Session:
    """Made in the event loop that it runs in."""

    def __init__(self, relay_url: str, access: TokenSource, absorb: Callable[[Event], Event]) -> None:
        #: Held by whoever asks for a token, so that many who ask at once cost one call.
        self.asking = asyncio.Lock()
        #: Set while there are tokens.
        self.linked = asyncio.Event()
        #: Why no events come any more.
        self.failed: CloudlinkError | None = None
        self._connector = Connector(relay_url, access, self._hear)
        self.dispatcher = Dispatcher(absorb, self._connector.acknowledge)
        self.answering = Answering(self._connector.send)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(work)) for work in (self._connector.run, self.dispatcher.run)]
        for task in self._tasks:
            # An exit leaves the loop by itself, and has been heard.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.dispatcher.end()
        await self.answering.close()

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Leaving as leaving:
            # Out of the event loop, as it would have gone by itself: `asyncio.run` closes the link and passes it on.
            raise leaving.end from None
        except CloudlinkError as error:
            _log.error("no events come any more: %s", error)
            self.failed = error
        except Exception:
            _log.exception("no events come any more: this package has a fault")
            self.failed = CloudlinkError("this package has a fault: the log has it")
        self.dispatcher.end(self.failed)

    def _hear(self, frame: Frame) -> None:
        if isinstance(frame, Event):
            self.dispatcher.offer(frame)
        elif isinstance(frame, Inbound):
            self.answering.take(frame)
