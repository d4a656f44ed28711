"""Requests of web services and commands, and what a link answers."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, Callable

from conversation import Flag, conversation, text
from websockets.asyncio.server import ServerConnection

from cloudlink import Command, Link, Request, Response


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
