"""One attempt to link a slot, and the wait for its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Callable

from .errors import LinkingFailed, ServerUnavailable, TooManyRequests
from .handlers import Leaving, call
from .slot_api import Attempt, SlotApi
from .threads import in_thread

_LONGEST_INTERVAL = 60.0


class Linking:
    """Where the slot's user has to go, and how far they have come."""

    def __init__(self, api: SlotApi, attempt: Attempt, wakers: set[asyncio.Event]) -> None:
        self._api = api
        self._wakers = wakers
        self._attempt = attempt

    @property
    def connect_url(self) -> str:
        """For a browser."""
        return self._attempt.connect_url

    @property
    def user_code(self) -> str:
        """For a browser elsewhere: to be typed at `verification_uri`."""
        return self._attempt.user_code

    @property
    def verification_uri(self) -> str:
        return self._attempt.verification_uri

    @property
    def verification_uri_complete(self) -> str:
        """For a QR code."""
        return self._attempt.verification_uri_complete

    @property
    def expires_in(self) -> float:
        """Seconds from the start."""
        return self._attempt.expires_in

    async def status(self) -> str:
        """`pending`, `authorizing`, `exchanging`, `confirm` or `linked`; raises `LinkingFailed` at another end."""
        return await in_thread(self._api.flow, self._attempt)

    async def confirm(self, code: str) -> None:
        """Gives the digits that the browser shows after consent: status `confirm`."""
        await in_thread(self._api.confirm, self._attempt, code)

    async def wait(self, ask_for_code: Callable[[], Any] | None = None) -> None:
        """Returns when the slot is linked; raises `LinkingFailed` when it will not be.

        `ask_for_code()` is called, once, where digits have to be typed here; it answers them.
        """
        try:
            await self.watch(ask_for_code)
        except Leaving as leaving:
            raise leaving.end from None

    async def watch(self, ask_for_code: Callable[[], Any] | None = None) -> None:
        """What `wait` does; raises `Leaving` where `ask_for_code` calls `sys.exit()`."""
        # Set when tokens come over the relay: no need to wait for the next look then.
        news = asyncio.Event()
        self._wakers.add(news)
        try:
            await self._watch(news, ask_for_code)
        finally:
            self._wakers.discard(news)

    async def _watch(self, news: asyncio.Event, ask_for_code: Callable[[], Any] | None) -> None:
        interval = self._attempt.interval
        asked = False
        while True:
            news.clear()
            try:
                status = await self.status()
                if status == "linked":
                    return
                if status == "confirm" and ask_for_code is not None and not asked:
                    asked = True
                    await self.confirm(str(await call(ask_for_code)))
                    continue
            except (ServerUnavailable, TooManyRequests) as error:
                if self._attempt.is_over:
                    raise LinkingFailed("expired", None) from None
                interval = min(max(error.retry_after or 0.0, interval * 2), _LONGEST_INTERVAL)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), interval)

    def __repr__(self) -> str:
        return f"<Linking at {self.verification_uri}>"
