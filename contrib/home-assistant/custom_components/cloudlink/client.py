"""A client of cloudlink's account link. Needs aiohttp and nothing of Home Assistant."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp

_LOGGER = logging.getLogger(__name__)
# Seconds. The server says where to go within 20; Home Assistant waits 30.
URL_TIMEOUT = 25
# The server ends an attempt after ten minutes at most, and one more where an exchange is under way then.
TOKENS_TIMEOUT = 690
# Between our pings. A server that is silent for half of it after one is gone.
HEARTBEAT = 30
CALL_TIMEOUT = aiohttp.ClientTimeout(total=60)
# The list comes from the server's memory.
SERVICES_TIMEOUT = aiohttp.ClientTimeout(total=10)
# How long an answer to `services` is good, and for how long a server that gave none is left alone.
KEEP_SERVICES = 3600
KEEP_FAILURE = 60


class LinkError(Exception):
    """Why there is no link, in a word: the server's `unsupported`, `unavailable`, `timeout` and so on, or one of ours:
    `cannot_connect`, `connection_lost`, `not_connected`, `invalid_answer`, `timeout`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def _link_errors(otherwise: str) -> Iterator[None]:
    """Turns whatever the network does into `LinkError`."""
    try:
        yield
    except TimeoutError as error:
        raise LinkError("timeout") from error
    except (aiohttp.ClientError, OSError) as error:
        raise LinkError(otherwise) from error


class Attempt:
    """One attempt to link an account: open it, send somebody to the URL, wait for the tokens."""

    def __init__(self, session: aiohttp.ClientSession, server: str, service: str) -> None:
        self._session = session
        self._server = server.rstrip("/")
        self._service = service
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def open(self) -> str:
        """The URL that the person is sent to."""
        try:
            with _link_errors("cannot_connect"):
                async with asyncio.timeout(URL_TIMEOUT):
                    self._socket = await self._session.ws_connect(f"{self._server}/v1", heartbeat=HEARTBEAT)
                    await self._socket.send_json({"service": self._service})
                    return await self._answer("authorize_url")
        except BaseException:
            await self.close()
            raise

    async def tokens(self) -> dict[str, Any]:
        """What the provider granted, or `{"error": word}` where it, or the person, said no."""
        try:
            with _link_errors("connection_lost"):
                async with asyncio.timeout(TOKENS_TIMEOUT):
                    return await self._answer("tokens")
        finally:
            await self.close()

    async def close(self) -> None:
        """Leave. An attempt that nobody waits for ends at the server."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _answer(self, member: str) -> Any:
        if self._socket is None:
            raise LinkError("not_connected")
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise LinkError("connection_lost")
        try:
            answer = message.json()
            if "error" in answer:
                raise LinkError(str(answer["error"]))
            return answer[member]
        except (ValueError, TypeError, KeyError) as error:
            raise LinkError("invalid_answer") from error


class Services:
    """What a server offers, by way of `ask`: asked for once an hour, and a minute after a failure."""

    def __init__(
        self, ask: Callable[[], Awaitable[list[dict[str, Any]]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: list[dict[str, Any]] | None = None
        self._failure: LinkError | None = None
        self._ask_again_at: float | None = None

    async def get(self) -> list[dict[str, Any]]:
        """The list. What was known goes on while the server is away; where nothing is, `LinkError`."""
        async with self._asking:
            if self._ask_again_at is None or self._clock() >= self._ask_again_at:
                try:
                    self._known, self._failure = await self._ask(), None
                except LinkError as error:
                    _LOGGER.warning("The server does not say what it offers: %s", error.__cause__ or error)
                    self._failure = error
                self._ask_again_at = self._clock() + (KEEP_FAILURE if self._failure else KEEP_SERVICES)
        if self._known is None:
            raise LinkError(self._failure.code) from self._failure
        return self._known


async def services(session: aiohttp.ClientSession, server: str) -> list[dict[str, Any]]:
    """The integrations that can be linked."""
    try:
        with _link_errors("cannot_connect"):
            async with session.get(f"{server.rstrip('/')}/services", timeout=SERVICES_TIMEOUT) as answer:
                answer.raise_for_status()
                return await answer.json()
    except ValueError as error:
        raise LinkError("invalid_answer") from error


async def refresh(
    session: aiohttp.ClientSession, server: str, service: str, refresh_token: str
) -> dict[str, Any]:
    """New tokens. A status of 400 says that the account must be linked again; 429 and 503 that later will do."""
    url = f"{server.rstrip('/')}/refresh_token/{service}"
    async with session.post(url, json={"refresh_token": refresh_token}, timeout=CALL_TIMEOUT) as answer:
        answer.raise_for_status()
        return await answer.json()
