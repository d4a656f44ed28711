"""Frames from a websocket that says whatever it likes."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from collections.abc import Awaitable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

import cloudlink
from cloudlink import Command, Event, Link, Request, Response
from cloudlink.connector import Connector
from cloudlink.errors import NotSignedIn
from cloudlink.frames import Frame, read
from cloudlink.relay import Relay
from cloudlink.tokens import Tokens
from cloudlink.transport import Server

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


GARBAGE = [
    "", "{", "[]", "null", "7", '"event"', text(type="event"), text(type="event", slot="heating", version="7"),
    text(type="event", slot="heating", version=True, event="oauth", data={}), text(type=["event"]),
    text(type="event", slot="heating", version=7, event="oauth", data=[]), text(type="nobody knows"),
    text(type="event", slot=7, version=7, event="oauth", data={}), text(type="hello", heartbeat="x"),
    text(type="event", slot="heating", version=7, event={}, key=[], data={}), "[" * 100_000,
    text(type="request"), text(type="goodbye", reconnect_after_ms=-1), text(type="error", code="\x1b[2J"),
]  # fmt: skip


def test_garbage_is_skipped_and_what_follows_is_told() -> None:
    async def talk(socket: ServerConnection) -> None:
        for one in GARBAGE[:-2]:
            await socket.send(one)
        await socket.send(b"\x00\xff")
        await socket.send(tokens(8))
        assert json.loads(await socket.recv()) == {"type": "ack", "slot": "heating", "version": 8}
        acknowledged.set()
        await socket.wait_closed()

    async def plugin(link: Link) -> None:
        await acknowledged.wait()
        assert await link.access_token() == "canary-8"

    acknowledged = Flag()
    conversation(talk, plugin)


def test_any_frame_is_read_or_none() -> None:
    for one in GARBAGE:
        frame = read(one)
        assert frame is None or not isinstance(frame, Event)
        assert "\x1b" not in repr(frame)


def test_nothing_is_told_twice_and_nothing_older_after_something_newer() -> None:
    connections = 0

    async def talk(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            for version in (7, 8, 8, 7):
                await socket.send(tokens(version))
                await asyncio.sleep(0)
            await first_told.wait()
        else:
            await socket.send(tokens(7))
            await socket.send(tokens(8))
            await socket.send(tokens(9))
            await socket.wait_closed()

    async def plugin(link: Link) -> None:
        async for event in link.events():
            seen.append(event.version)
            if event.version >= 8:
                first_told.set()
            if event.version == 9:
                break

    seen: list[int] = []
    first_told = Flag()
    conversation(talk, plugin)
    assert seen == sorted(set(seen)) and seen[-2:] == [8, 9]


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


def request(id: str, **more: Any) -> str:
    body = base64.b64encode(b'{"on": true}').decode()
    return text(**{"type": "request", "id": id, "slot": "heating", "method": "POST", "headers": {"x-a": "1"},
                   "query": {"q": "2"}, "body": body, **more})  # fmt: skip


def answers(link_setup: Callable[[Link], None], *frames: str, slot: str | None = "heating") -> list[dict[str, Any]]:
    """What a plugin answers to these frames, by their ids."""
    got: list[dict[str, Any]] = []

    async def talk(socket: ServerConnection) -> None:
        await ready.wait()
        for frame in frames:
            await socket.send(frame)
        while len(got) < len(frames):
            got.append(json.loads(await socket.recv()))
        done.set()
        await socket.wait_closed()

    async def plugin(link: Link) -> None:
        link_setup(link)
        ready.set()
        await done.wait()

    ready, done = Flag(), Flag()
    conversation(talk, plugin, slot)
    return sorted(got, key=lambda answer: str(answer["id"]))


def test_requests_are_answered_with_what_the_handler_gives() -> None:
    def setup(link: Link) -> None:
        @link.on_request
        def handle(request: Request) -> Any:
            assert (request.slot, request.method, request.headers) == ("heating", "POST", {"x-a": "1"})
            kind = request.query["q"]
            if kind == "response":
                return Response(201, {"x-b": "3"}, b"\xff")
            if kind == "dies":
                raise RuntimeError("a fault")
            return {"seen": request.json()} if kind == "json" else None

    queries = ("dies", "json", "none", "response")
    frames = [request(str(at), query={"q": query}) for at, query in enumerate(queries)]
    died, as_json, empty, whole = answers(setup, *frames)
    assert died["status"] == 500 and b"fault" not in base64.b64decode(died["body"])
    assert as_json["status"] == 200 and json.loads(base64.b64decode(as_json["body"])) == {"seen": {"on": True}}
    assert (empty["status"], empty["body"]) == (200, "")
    assert whole == {"type": "response", "id": "3", "status": 201, "headers": {"x-b": "3"}, "body": "/w=="}


def test_requests_nobody_takes_and_broken_ones_are_answered_too() -> None:
    (nobody,) = answers(lambda _: None, request("1"))
    assert nobody["status"] == 501

    def setup(link: Link) -> None:
        too_many = Response(200, dict.fromkeys(map(str, range(65)), ""))
        odd = {"long": b"x" * (256 * 1024 + 1), "status": Response(101), "headers": too_many}
        link.on_request(lambda request: odd[request.query["q"]])

    frames = [request(query, query={"q": query}) for query in ("headers", "long", "status")]
    assert [answer["status"] for answer in answers(setup, request("broken", body="%%%"), *frames)] == [500] * 4


def test_commands_come_to_the_hub_and_are_answered() -> None:
    def setup(link: Link) -> None:
        @link.on_command
        async def handle(command: Command) -> Any:
            if command.name == "list":
                return ["no object"]
            if command.name != "get_wifi_list":
                raise ValueError(command.name)
            return {"networks": ["home", command.data["also"]]}

    frames = [
        text(type="command", id="1", name="get_wifi_list", data={"also": "guests"}),
        text(type="command", id="2", name="format_disk", data={}),
        text(type="command", id="3", name="list", data={}),
    ]
    good, bad, odd = answers(setup, *frames, slot=None)
    assert good == {"type": "response", "id": "1", "ok": True, "data": {"networks": ["home", "guests"]}}
    assert bad["ok"] is False and odd["ok"] is False


def test_no_more_than_a_few_requests_run_at_once() -> None:
    hold = Flag()

    def setup(link: Link) -> None:
        async def handle(request: Request) -> str:
            await hold.wait()
            return "done"

        link.on_request(handle)
        asyncio.get_running_loop().call_later(0.3, hold.set)

    statuses = [answer["status"] for answer in answers(setup, *(request(f"{at:02}") for at in range(20)))]
    assert statuses.count(200) == 16 and statuses.count(503) == 4


def test_no_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.send(tokens(8))
        await socket.recv()
        told.set()
        await socket.wait_closed()

    async def plugin(link: Link) -> None:
        await told.wait()
        for shown in (link.tokens, link, link.events()):
            assert "canary" not in repr(shown)

    told = Flag()
    with caplog.at_level(logging.DEBUG):
        conversation(talk, plugin)
    ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert ours and not any("canary" in line for line in ours)
    assert "canary" not in repr(read(tokens(8)))
    assert issubclass(cloudlink.AuthorizationRequired, cloudlink.CloudlinkError)


class Scripted:
    """An API whose answers are given, and may be overtaken."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def token(self) -> Tokens:
        self.asked.set()
        assert self.may_answer.wait(10)
        return Tokens({"access_token": self.answers.pop(0), "expires_in": 3600})

    refresh = token


def test_an_answer_that_was_under_way_does_not_hide_a_newer_event() -> None:
    api = Scripted("the one before", "canary-9")

    async def talk(socket: ServerConnection) -> None:
        await asyncio.to_thread(api.asked.wait, 10)
        await socket.send(tokens(9))
        await socket.recv()
        api.may_answer.set()
        await socket.wait_closed()

    async def plugin(link: Link) -> None:
        link._api = api  # type: ignore[assignment]
        assert await link.access_token() == "the one before"
        assert [await link.access_token() for _ in range(3)] == ["canary-9"] * 3

    conversation(talk, plugin)
    assert api.answers == []


def test_an_event_that_was_under_way_does_not_hide_a_newer_answer() -> None:
    api = Scripted("canary-9", "canary-9")
    api.may_answer.set()
    refreshed, taken = Flag(), Flag()

    async def talk(socket: ServerConnection) -> None:
        await refreshed.wait()
        await socket.send(tokens(8))
        await socket.recv()
        taken.set()
        await told.wait()
        await socket.send(tokens(9))
        await socket.wait_closed()

    told = Flag()

    async def plugin(link: Link) -> None:
        link._api = api  # type: ignore[assignment]
        assert await link.refresh() == "canary-9"
        refreshed.set()
        await taken.wait()
        assert [await link.access_token() for _ in range(3)] == ["canary-9"] * 3
        told.set()
        async for event in link.events():
            if event.version == 9:
                break
        assert await link.access_token() == "canary-9"

    conversation(talk, plugin)
    assert api.answers == [], "it was asked once more, and no oftener"


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
