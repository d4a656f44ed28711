"""Coming back, being refused, and being sent elsewhere."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conversation import Flag, GivenToken, text
from websockets.asyncio.server import ServerConnection, serve

import cloudlink
from cloudlink import Link
from cloudlink.connector import Connector
from cloudlink.errors import NotSignedIn
from cloudlink.frames import Frame
from cloudlink.relay import Relay
from cloudlink.transport import Answer, Server


def test_a_goodbye_says_when_to_come_back() -> None:
    waits: list[float | None] = []

    class Noting:
        def reset(self) -> None: ...

        def wait(self, asked: float | None = None) -> float:
            waits.append(asked)
            return 0.0

    async def talk(socket: ServerConnection) -> None:
        if not waits:
            await socket.send(text(type="goodbye", reason="draining", reconnect_after_ms=1500))
            await socket.close(1012)
        elif len(waits) == 1:
            await socket.close(4401)
        else:
            again.set()
            await socket.wait_closed()

    again = Flag()
    access = GivenToken()

    async def run() -> None:
        async with serve(talk, "127.0.0.1", 0, subprotocols=["cloudlink.v1"]) as server:  # type: ignore[list-item]
            url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            heard: list[Frame] = []
            connector = Connector(url, access, heard.append, Noting())  # type: ignore[arg-type]
            task = asyncio.create_task(connector.run())
            await again.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 20))
    assert waits == [1.5, None] and access.forgotten == ["canary-token"]


def test_a_server_that_never_believes_the_token_ends_the_link() -> None:
    async def run() -> None:
        def refuse(connection: ServerConnection, _: Any) -> Any:
            return connection.respond(401, "no")

        async def never(_: ServerConnection) -> None: ...

        async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
            url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            backoff = type("Now", (), {"wait": lambda *_: 0.0, "reset": lambda *_: None})()
            with pytest.raises(NotSignedIn):
                await Connector(url, GivenToken(), lambda _: None, backoff).run()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_slot_that_is_missing_once_the_server_is_back_ends_the_link() -> None:
    class Missing(GivenToken):
        asked = 0

        def call(self, method: str, path: str, **more: Any) -> Answer:
            self.asked += 1
            if self.asked == 1:
                raise cloudlink.ServerUnavailable("the server can't be reached")
            raise cloudlink.NotFound(404, "not_found", "There is nothing here.")

    async def run() -> None:
        async with Link(Missing(), "nonesuch", []) as link:  # type: ignore[arg-type]
            with pytest.raises(cloudlink.NotFound, match="cloudlink slot install nonesuch"):
                async for _ in link.events():
                    pass

    asyncio.run(asyncio.wait_for(run(), 20))


def test_no_redirect_takes_a_token_elsewhere() -> None:
    visits: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            visits.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"{origin}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as http:
        origin = f"http://127.0.0.1:{http.server_address[1]}"
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        with pytest.raises(cloudlink.ApiError, match="no cloudlink server"):
            Server(origin).expect("GET", "/api", token="canary")
        with pytest.raises(cloudlink.CloudlinkError, match="status 302"):
            asyncio.run(Relay.open(Server(origin).relay, "canary"))
        http.shutdown()
    assert visits == ["/api", "/api/cloudlink/relay"]
