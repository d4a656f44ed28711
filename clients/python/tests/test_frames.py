"""Frames from a websocket that says whatever it likes, and what of them gets where."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from conversation import Flag, conversation, text, tokens
from websockets.asyncio.server import ServerConnection

import cloudlink
from cloudlink import Event, Link
from cloudlink.frames import read

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
