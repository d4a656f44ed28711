"""A client of cloudlink's account link. Needs aiohttp and nothing of Home Assistant."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

# The server answers within 20 s; its pings show that it lives.
URL_TIMEOUT = 30
CALL_TIMEOUT = aiohttp.ClientTimeout(total=60)


class LinkError(Exception):
    """The server says why there is no link: `unsupported`, `unavailable`, `timeout` and so on."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


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
            async with asyncio.timeout(URL_TIMEOUT):
                self._socket = await self._session.ws_connect(f"{self._server}/v1")
                await self._socket.send_json({"service": self._service})
                return (await self._answer())["authorize_url"]
        except BaseException:
            await self.close()
            raise

    async def tokens(self) -> dict[str, Any]:
        """What the provider granted, or `{"error": word}` where it, or the person, said no."""
        try:
            return (await self._answer())["tokens"]
        finally:
            await self.close()

    async def close(self) -> None:
        """Leave. An attempt that nobody waits for ends at the server."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _answer(self) -> dict[str, Any]:
        if self._socket is None:
            raise LinkError("not_connected")
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise LinkError("connection_lost")
        answer = message.json()
        if "error" in answer:
            raise LinkError(answer["error"])
        return answer


async def services(session: aiohttp.ClientSession, server: str) -> list[dict[str, Any]]:
    """The integrations that can be linked."""
    async with session.get(f"{server.rstrip('/')}/services", timeout=CALL_TIMEOUT) as answer:
        answer.raise_for_status()
        return await answer.json()


async def refresh(
    session: aiohttp.ClientSession, server: str, service: str, refresh_token: str
) -> dict[str, Any]:
    """New tokens. A status of 400 says that the account must be linked again; 429 and 503 that later will do."""
    url = f"{server.rstrip('/')}/refresh_token/{service}"
    async with session.post(url, json={"refresh_token": refresh_token}, timeout=CALL_TIMEOUT) as answer:
        answer.raise_for_status()
        return await answer.json()
