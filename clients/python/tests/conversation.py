"""A websocket that says whatever it likes, for the tests of what a link makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from email.message import Message
from typing import Any, Callable

from websockets.asyncio.server import ServerConnection, serve

from cloudlink import Link
from cloudlink.transport import Answer, Server

Talk = Callable[[ServerConnection], Awaitable[None]]


class Flag:
    """An `asyncio.Event` that may be made before there is a loop, which Python 3.9 does not allow."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    def _made(self) -> asyncio.Event:
        self._event = self._event or asyncio.Event()
        return self._event

    def set(self) -> None:
        self._made().set()

    async def wait(self) -> None:
        await self._made().wait()


class GivenToken:
    """An `Access` that was given its token."""

    device = "d8b1"
    server = Server("http://127.0.0.1:1")

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def token(self) -> str:
        return "canary-token"

    def call(self, method: str, path: str, **more: Any) -> Answer:
        return Answer(200, Message(), {})

    def forget(self, token: str) -> None:
        self.forgotten.append(token)


def conversation(talk: Talk, plugin: Callable[[Link], Awaitable[None]], slot: str | None = "heating") -> GivenToken:
    """Runs a plugin against a server that talks like this on each connection."""
    access = GivenToken()

    async def run() -> None:
        async with serve(talk, "127.0.0.1", 0, subprotocols=["cloudlink.v1"]) as server:  # type: ignore[list-item]
            port = next(iter(server.sockets)).getsockname()[1]
            async with Link(access, slot, [], f"ws://127.0.0.1:{port}") as link:  # type: ignore[arg-type]
                await plugin(link)

    asyncio.run(asyncio.wait_for(run(), 20))
    return access


def text(**members: Any) -> str:
    return json.dumps(members)


def tokens(version: int, **more: Any) -> str:
    data = {"access_token": f"canary-{version}", "expires_in": 3600}
    return text(type="event", slot="heating", version=version, event="customns", key="oauthTokens", data=data, **more)
