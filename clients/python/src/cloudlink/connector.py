"""Stays connected to the relay: signs in, reads frames, and comes back after each interruption."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Callable, Protocol

from .backoff import Backoff
from .errors import CloudlinkError, Invalid, NotFound, NotSignedIn
from .frames import Frame, Goodbye, Hello, Trouble
from .relay import NoRelay, Relay, TokenRefused
from .threads import in_thread

_log = logging.getLogger("cloudlink")

#: A connection that lasted this long was a good one: the next wait is short again.
_GOOD = 20.0


class TokenSource(Protocol):
    def token(self) -> str: ...

    def forget(self, token: str) -> None: ...


class Connector:
    def __init__(
        self, url: str, access: TokenSource, hear: Callable[[Frame], None], backoff: Backoff | None = None
    ) -> None:
        self._url = url
        self._access = access
        self._hear = hear
        self._backoff = backoff or Backoff()
        self._relay: Relay | None = None
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled. Raises where only a person can put right what is wrong."""
        refusals = 0
        while True:
            began = time.monotonic()
            asked: float | None = None
            token = ""
            try:
                token = await in_thread(self._access.token)
                asked, reason = await self._serve(token)
            except TokenRefused as error:
                self._access.forget(token)
                refusals = 1 if self._lasted(began) else refusals + 1
                if refusals > 5:
                    raise NotSignedIn(f"{error}, again and again: sign in anew") from None
                reason = str(error)
            except (NotSignedIn, NoRelay, NotFound, Invalid):
                raise
            except CloudlinkError as error:
                reason = str(error)
                asked = getattr(error, "retry_after", None)
            if self._lasted(began):
                self._backoff.reset()
            wait = self._backoff.wait(asked)
            _log.info("not connected: %s; the next attempt follows in %.1f s", reason, wait)
            await asyncio.sleep(wait)

    @staticmethod
    def _lasted(began: float) -> bool:
        return time.monotonic() - began >= _GOOD

    async def _serve(self, token: str) -> tuple[float | None, str]:
        """One connection: what the server asked for, and why it ended."""
        relay = await Relay.open(self._url, token)
        self._relay = relay
        self.connected.set()
        _log.info("connected to %s", self._url)
        asked: float | None = None
        try:
            async for frame in relay.frames():
                if isinstance(frame, Goodbye):
                    asked = frame.reconnect_after
                elif isinstance(frame, Trouble):
                    _log.warning("the relay did not accept a frame: %s", frame.code)
                elif frame is not None and not isinstance(frame, Hello):
                    self._hear(frame)
        except TokenRefused:
            raise
        except CloudlinkError as error:
            return asked, str(error)
        finally:
            self._relay = None
            self.connected.clear()
            await relay.close()
        return asked, "the connection ended"

    async def acknowledge(self, slot: str, version: int) -> None:
        """On the present connection; without one nothing is lost, for the event comes again on the next."""
        if self._relay is not None:
            await self._relay.acknowledge(slot, version)

    async def send(self, text: str) -> None:
        if self._relay is not None:
            await self._relay.send(text)


Send = Callable[[str], Awaitable[None]]
