"""A client of cloudlink's account link. Needs aiohttp and nothing of Home Assistant."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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


def server_url(text: str) -> str:
    """A server's URL, as it may be used; else `ValueError`, which says what to write."""
    parts = urlsplit(text)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return text
    raise ValueError(
        "the cloudlink server's URL must begin with https: over plain http anybody on the way could read the tokens, "
        "in a home's own network too; http is for 127.0.0.1 and localhost alone"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _ended_here(answer: aiohttp.ClientResponse) -> None:
    """Raises unless this server said yes itself. A redirect would take tokens to wherever it points."""
    answer.raise_for_status()
    if answer.status >= 300:
        raise aiohttp.ClientResponseError(
            answer.request_info,
            answer.history,
            status=answer.status,
            message="the server redirects, which is not followed: configure the URL that it redirects to",
        )


async def _refuse_redirect(_session: Any, _context: Any, redirect: aiohttp.TraceRequestRedirectParams) -> None:
    try:
        _ended_here(redirect.response)
    finally:
        redirect.response.close()


# `ws_connect` has no other way to stay where it was sent.
_STAYING = aiohttp.TraceConfig()
_STAYING.on_request_redirect.append(_refuse_redirect)


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
                    self._socket = await self._connect()
                    await self._socket.send_json({"service": self._service})
                    return await self._answer("authorize_url")
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        # The connections stay those of the session that was given; only what is asked for is asked differently.
        async with aiohttp.ClientSession(
            connector=self._session.connector, connector_owner=False, trace_configs=[_STAYING]
        ) as staying:
            return await staying.ws_connect(f"{self._server}/v1", heartbeat=HEARTBEAT)

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
            url = f"{server.rstrip('/')}/services"
            async with session.get(url, timeout=SERVICES_TIMEOUT, allow_redirects=False) as answer:
                _ended_here(answer)
                return await answer.json()
    except ValueError as error:
        raise LinkError("invalid_answer") from error


async def refresh(
    session: aiohttp.ClientSession, server: str, service: str, refresh_token: str
) -> dict[str, Any]:
    """New tokens. A status of 400 says that the account must be linked again; 429 and 503 that later will do."""
    url = f"{server.rstrip('/')}/refresh_token/{service}"
    body = {"refresh_token": refresh_token}
    async with session.post(url, json=body, timeout=CALL_TIMEOUT, allow_redirects=False) as answer:
        _ended_here(answer)
        return await answer.json()
