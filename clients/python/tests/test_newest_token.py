"""Answers and events that overtake each other: the newest token wins."""

from __future__ import annotations

import asyncio
import threading

from conversation import Flag, conversation, tokens
from websockets.asyncio.server import ServerConnection

from cloudlink import Link
from cloudlink.tokens import Tokens


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
