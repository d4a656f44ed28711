"""Handlers that end otherwise than by returning."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from conversation import Flag, conversation, tokens
from websockets.asyncio.server import ServerConnection

import cloudlink
from cloudlink import Event, Link
from cloudlink.answering import Answering
from cloudlink.frames import Inbound
from cloudlink.handlers import call


class GivesUp(BaseException):
    pass


async def async_cancelled(event: Event) -> None:
    raise asyncio.CancelledError


def cancelled(event: Event) -> None:
    raise asyncio.CancelledError


def stops(event: Event) -> Any:
    return next(iter(()))


def gives_up(event: Event) -> None:
    raise GivesUp


@pytest.mark.parametrize("ends", [async_cancelled, cancelled, stops, gives_up])
def test_however_a_handler_fails_the_next_event_comes(ends: Any, caplog: pytest.LogCaptureFixture) -> None:
    acknowledged: list[int] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.send(tokens(1))
        await failed.wait()
        await socket.send(tokens(2))
        acknowledged.append(json.loads(await socket.recv())["version"])
        done.set()
        await socket.wait_closed()

    async def plugin(link: Link) -> None:
        @link.on("tokens")
        async def first(event: Event) -> None:
            if event.version == 1:
                failed.set()

        @link.on("tokens")
        def second(event: Event) -> Any:
            return ends(event) if event.version == 1 else None

        await done.wait()

    failed, done = Flag(), Flag()
    conversation(talk, plugin)
    assert acknowledged == [2] and "a handler failed on tokens version 1" in caplog.text


def test_a_handler_that_is_at_work_is_cancelled_with_the_link() -> None:
    ended: list[str] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.send(tokens(1))
        await socket.wait_closed()

    async def plugin(link: Link) -> None:
        @link.on("tokens")
        async def works(event: Event) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                # It may take its time to tidy up.
                await asyncio.sleep(0)
                ended.append("cancelled")

        await begun.wait()

    begun = Flag()
    conversation(talk, plugin)
    assert ended == ["cancelled"]


def test_a_request_whose_handler_ends_the_plugin_is_answered_first() -> None:
    answers: list[dict[str, Any]] = []

    async def send(answer: str) -> None:
        answers.append(json.loads(answer))

    async def run() -> None:
        def leaves(request: cloudlink.Request) -> None:
            raise SystemExit(3)

        answering = Answering(send)
        answering.on_request = leaves
        answering.take(Inbound("1", {"type": "request", "slot": "heating"}))
        await asyncio.Event().wait()

    with pytest.raises(SystemExit) as end:
        asyncio.run(asyncio.wait_for(run(), 20))
    assert end.value.code == 3 and [answer["status"] for answer in answers] == [500]


def test_whoever_is_cancelled_while_a_handler_works_is_cancelled() -> None:
    async def run() -> None:
        task = asyncio.ensure_future(call(asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
