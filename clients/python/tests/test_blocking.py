"""The link without async, and plugins that behave badly, against the real broker."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any, Callable

import pytest
from conftest import Installed
from person import Person
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

import cloudlink
from cloudlink import Event, Link, claims
from cloudlink.access import Access


def until(probe: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def acknowledged(installed: Installed) -> bool:
    state = installed.state()
    return bool(state["acked_version"] == state["version"])


def test_ten_lines_are_a_plugin_without_async_too(installed: Installed, person: Person) -> None:
    with installed.connect_blocking() as link:
        with pytest.raises(cloudlink.AuthorizationRequired) as refused:
            link.access_token()
        assert refused.value.start_linking is not None
        start = refused.value.start_linking()
        person.links(start.connect_url)
        start.wait()
        assert link.access_token() in installed.provider.access_tokens
        assert link.refresh() == link.access_token()
        assert link.status()["status"] == "linked"
        assert start.user_code not in repr(start)
    with pytest.raises(cloudlink.CloudlinkError, match="closed"):
        link.access_token()


def test_a_handler_may_call_the_link(installed: Installed) -> None:
    installed.link_now()
    got: list[tuple[str, str]] = []
    with installed.connect_blocking() as link:

        @link.on("tokens")
        def use(event: Event) -> None:
            got.append((event.kind, link.access_token()))

        until(lambda: got and acknowledged(installed))
        assert got[0] == ("consent", link.access_token())


def test_events_one_after_the_other_until_the_link_is_closed(installed: Installed) -> None:
    installed.link_now()
    kinds: list[str] = []
    link = installed.connect_blocking()
    early: list[str] = []
    link.on("consent", handler=lambda event: early.append(event.kind))

    def read() -> None:
        for event in link.events():
            kinds.append(event.kind)

    with link:
        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: len(kinds) == 2)
        # The last is acknowledged, for the next was asked for.
        until(lambda: acknowledged(installed))
    reader.join(10)
    assert not reader.is_alive() and kinds == ["configuration", "consent"] and early == ["consent"]
    with pytest.raises(ValueError, match="there are no"):
        link.on("nobody knows")(print)


def test_who_is_refused_hears_of_it_at_once(installed: Installed) -> None:
    stranger = installed.connect_blocking(key=cloudlink.DeviceKey.make())
    with pytest.raises(cloudlink.NotSignedIn, match="trusted keys"):
        stranger.open()


@pytest.mark.parametrize("signed_in_with", ["a key", "a token"])
def test_a_slot_that_is_not_there_is_named_at_once(installed: Installed, signed_in_with: str) -> None:
    what_to_do = "no slot no-such-slot: .* `cloudlink slot install no-such-slot --plugin ID`"
    credential: Any = installed.credential()
    if signed_in_with == "a token":
        token = Access(credential).token()
        credential = cloudlink.TokenCredential(credential.server, token, claims.read(token) or pytest.fail())
    unknown = cloudlink.BlockingLink(Link.of(credential, "no-such-slot", None))
    with pytest.raises(cloudlink.NotFound, match=what_to_do):
        unknown.open()


def test_a_slot_that_goes_is_named_too(installed: Installed) -> None:
    with installed.connect_blocking() as link:
        installed.broker.owner("DELETE", f"/api/devices/{installed.device}/slots/{installed.slot}")
        with pytest.raises(cloudlink.NotFound, match="no slot heating"):
            link.access_token()


def test_what_is_no_name_for_a_slot_is_said_of_the_slot(installed: Installed) -> None:
    with pytest.raises(cloudlink.Invalid, match=r"'A B' is no slot's name: it has .* a-z") as refused:
        installed.connect_blocking(slot="A B").open()
    assert "trusted keys" not in str(refused.value)


def test_a_key_that_is_removed_ends_the_link(installed: Installed) -> None:
    other = cloudlink.DeviceKey.make()
    key_hash = installed.hub().add_trust("other", other)
    with installed.connect_blocking(key=other) as link:
        events = link.events()
        assert next(events).kind == "configuration"
        installed.hub().remove_trust(key_hash)
        with pytest.raises(cloudlink.NotSignedIn, match="trusted keys"):
            next(events)
        assert isinstance(link.failed, cloudlink.NotSignedIn)
        # Whoever only iterates hears of it too, those that come later included.
        with pytest.raises(cloudlink.NotSignedIn, match="trusted keys"):
            list(link.events())


def raw(installed: Installed, talk: Callable[[Any], Any]) -> None:
    """A plugin of nobody's making, on the relay."""

    async def run() -> None:
        token = await asyncio.to_thread(Access(installed.credential(), installed.slot).token)
        async with connect(
            installed.broker.url.replace("http", "ws", 1) + "/api/cloudlink/relay",
            additional_headers={"Authorization": f"Bearer {token}"},
            subprotocols=[Subprotocol("cloudlink.v1")],
            proxy=None,
        ) as socket:
            await talk(socket)

    asyncio.run(asyncio.wait_for(run(), 20))


async def event_of(socket: Any, name: str) -> dict[str, Any]:
    while True:
        frame: dict[str, Any] = json.loads(await socket.recv())
        if frame.get("event") == name:
            return frame


def test_one_that_never_acks_is_told_again_each_time(installed: Installed) -> None:
    installed.link_now()
    versions: list[int] = []

    async def talk(socket: Any) -> None:
        versions.append((await event_of(socket, "oauth"))["version"])

    for _ in range(3):
        raw(installed, talk)
    assert len(versions) == 3 and len(set(versions)) == 1
    with installed.connect_blocking():
        until(lambda: acknowledged(installed))


def test_one_that_acks_twice_and_sends_garbage_harms_nobody(installed: Installed) -> None:
    installed.link_now()

    async def talk(socket: Any) -> None:
        event = await event_of(socket, "oauth")
        for version in (event["version"], event["version"], event["version"] + 100, -1):
            await socket.send(json.dumps({"type": "ack", "slot": "heating", "version": version}))
        await socket.send(json.dumps({"type": "ack", "slot": "another", "version": 1}))
        for garbage in ("{", "[]", '{"type":"nobody knows"}', '{"type":"ack"}'):
            await socket.send(garbage)
            while json.loads(await socket.recv())["type"] != "error":
                pass

    raw(installed, talk)
    assert acknowledged(installed)
    with installed.connect_blocking() as link:
        assert link.access_token() in installed.provider.access_tokens


def test_a_link_of_the_whole_device_hears_of_all_slots(installed: Installed) -> None:
    installed.link_now()
    installed.hub().install("attic", installed.plugin)
    slots: set[str] = set()
    with installed.connect_blocking(slot=None) as link:
        link.on(handler=lambda event: slots.add(event.slot))
        until(lambda: slots == {"heating", "attic"})
        with pytest.raises(ValueError, match="slot="):
            link.access_token()


def test_an_async_handler_of_a_blocking_link_is_told_that_it_may_not_wait(
    installed: Installed, caplog: pytest.LogCaptureFixture
) -> None:
    with installed.connect_blocking() as link:

        @link.on("configuration")
        async def waits(event: Event) -> None:
            link.status()

        until(lambda: "plain function" in caplog.text)


def test_handlers_that_wait_for_the_link_leave_it_threads_to_answer(installed: Installed) -> None:
    installed.link_now()
    got: list[str] = []
    with installed.connect_blocking() as link:
        threads = [threading.Thread(target=lambda: got.append(link.access_token())) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(got) == 50 and len(set(got)) == 1
