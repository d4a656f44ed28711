"""Answers requests and commands with the plugin's handlers, a few at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable

from .connector import Send
from .frames import Inbound
from .handlers import Leaving, call
from .inbound import command_in, refusal_frame, request_in, response_frame, result_frame

_log = logging.getLogger("cloudlink")

_AT_ONCE = 16
#: The server gives up after 30 s.
_LONGEST = 30.0


class Answering:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_request: Callable[..., Any] | None = None
        self.on_command: Callable[..., Any] | None = None

    def take(self, frame: Inbound) -> None:
        work = self._answer(frame) if len(self._tasks) < _AT_ONCE else self._busy(frame)
        if len(self._tasks) >= 2 * _AT_ONCE:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        # An exit leaves the loop by itself, and has been heard.
        if isinstance(error, Exception):
            _log.error("a request could not be answered", exc_info=error)

    async def _busy(self, frame: Inbound) -> None:
        await self._send(refusal_frame(frame, 503, "The plugin is busy."))

    async def _answer(self, frame: Inbound) -> None:
        try:
            text = await asyncio.wait_for(self._ask(frame), _LONGEST)
        except asyncio.TimeoutError:
            # Nobody waits any more.
            _log.warning("a handler took longer than %d s over a request", _LONGEST)
            return
        except Leaving as leaving:
            _log.warning("a handler ends the plugin on a request")
            await self._send(refusal_frame(frame, 500, "The plugin failed."))
            raise leaving.end from None
        except Exception as error:
            _log.error("a handler failed on a request", exc_info=error)
            text = refusal_frame(frame, 500, "The plugin failed.")
        await self._send(text)

    async def _ask(self, frame: Inbound) -> str:
        handler = self.on_command if frame.is_command else self.on_request
        if handler is None:
            return refusal_frame(frame, 501, "The plugin takes no such requests.")
        if frame.is_command:
            return result_frame(frame, await call(handler, command_in(frame)))
        return response_frame(frame, await call(handler, request_in(frame)))
