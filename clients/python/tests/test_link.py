"""The async link against the real broker."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Awaitable
from typing import Any, Callable, TypeVar

import pytest
from conftest import Installed
from person import Person

import cloudlink
from cloudlink import Event

T = TypeVar("T")


def within(work: Awaitable[T], seconds: float = 30) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(work, seconds)

    return asyncio.run(limited())


async def until(probe: Callable[[], Any], seconds: float = 20) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(probe):
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def thermostats(url: str, token: str) -> bytes:
    request = urllib.request.Request(f"{url}/thermostats", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
        return found


def test_ten_lines_are_a_plugin(installed: Installed, person: Person) -> None:
    async def plugin() -> bytes:
        async with installed.connect() as link:
            with pytest.raises(cloudlink.AuthorizationRequired) as refused:
                await link.access_token()
            start = await refused.value.start_linking()  # type: ignore[misc]
            await asyncio.to_thread(person.links, start.connect_url)
            await start.wait()
            token = await link.access_token()
            return await asyncio.to_thread(thermostats, installed.provider.url, token)

    assert b"attic" in within(plugin())


def test_events_come_in_order_and_are_acknowledged_after_their_handlers(installed: Installed, person: Person) -> None:
    async def plugin() -> None:
        seen: list[tuple[str, int]] = []

        async with installed.connect() as link:

            @link.on
            async def everything(event: Event) -> None:
                if event.kind == "consent":
                    state = await asyncio.to_thread(installed.state)
                    assert state["acked_version"] < event.version, "not before the handler has returned"
                seen.append((event.kind, event.version))

            start = await link.start_linking()
            await asyncio.to_thread(person.links_by_code, start.verification_uri, start.user_code)
            await link.wait_until_linked(20)
            await start.wait()
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])
            assert [kind for kind, _ in seen] == ["configuration", "consent"]
            assert link.tokens is not None and link.tokens["home"] == "7 Elm Street"
            assert 3500 < link.tokens.expires_in <= 3600
            assert link.tokens.access_token not in repr(link.tokens) + repr(link.configuration.keys())

            before = await link.access_token()
            after = await link.refresh()
            assert after != before and after == await link.access_token()
            await until(lambda: len(seen) == 3)
            assert seen[-1][0] == "tokens" and seen[-1][1] > seen[-2][1]

            await link.unlink()
            await until(lambda: seen[-1][0] == "unlinked")
            with pytest.raises(cloudlink.AuthorizationRequired):
                await link.access_token()

    within(plugin())


def test_a_handler_that_dies_is_told_again_on_the_next_connection(
    installed: Installed, caplog: pytest.LogCaptureFixture
) -> None:
    installed.link_now()

    async def plugin() -> None:
        async with installed.connect() as link:

            @link.on("consent")
            def dies(event: Event) -> None:
                raise RuntimeError("the plugin has a fault")

            await until(lambda: "comes again" in caplog.text)
            # It can still do its work.
            assert await link.access_token()
        assert installed.state()["acked_version"] < installed.state()["version"]
        async with installed.connect() as link:
            told: asyncio.Queue[Event] = asyncio.Queue()
            link.on("consent", handler=told.put)
            event = await told.get()
            assert event.version == installed.state()["version"]
            await until(lambda: installed.state()["acked_version"] == event.version)

    within(plugin())
    assert "the plugin has a fault" in caplog.text
    assert not any(token in caplog.text for token in installed.provider.access_tokens)


def test_whoever_iterates_takes_an_event_by_asking_for_the_next(installed: Installed) -> None:
    installed.link_now()

    async def plugin() -> None:
        async with installed.connect() as link:
            async for event in link.events():
                if event.kind == "consent":
                    break
            await asyncio.sleep(0)
        assert installed.state()["acked_version"] < installed.state()["version"], "a plugin that never acks"
        async with installed.connect() as link:
            kinds = []

            async def refresh_once_taken(version: int) -> None:
                await until(lambda: installed.state()["acked_version"] == version)
                await link.refresh()

            async for event in link.events():
                kinds.append(event.kind)
                if event.kind == "consent":
                    refreshing = asyncio.create_task(refresh_once_taken(event.version))
                if event.kind == "tokens":
                    await refreshing
                    break
            assert kinds == ["configuration", "consent", "tokens"]

    within(plugin())


def test_a_late_handler_is_told_the_state_first(installed: Installed) -> None:
    installed.link_now()

    async def plugin() -> None:
        async with installed.connect() as link:
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])
            told: asyncio.Queue[str] = asyncio.Queue()
            link.on(handler=lambda event: asyncio.run_coroutine_threadsafe(told.put(event.kind), loop).result())
            assert [await told.get(), await told.get()] == ["configuration", "consent"]

    loop: asyncio.AbstractEventLoop

    async def run() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await plugin()

    within(run())


def test_two_plugins_on_one_slot_both_have_the_newest_state(installed: Installed) -> None:
    installed.link_now()

    async def plugins() -> None:
        async with installed.connect() as one, installed.connect() as other:
            await asyncio.gather(one.wait_until_linked(20), other.wait_until_linked(20))
            await until(lambda: one.tokens is not None and other.tokens is not None)
            fresh = await one.refresh()
            await until(lambda: other.tokens is not None and other.tokens.access_token == fresh)
            assert await other.access_token() == fresh
            assert len({*(await asyncio.gather(*(link.access_token() for link in [one, other] * 10)))}) == 1

    within(plugins())


def test_it_comes_back_after_a_restart_and_is_told_nothing_twice(installed: Installed) -> None:
    installed.link_now()

    async def plugin() -> None:
        seen: list[tuple[str, int]] = []
        async with installed.connect() as link:
            link.on(handler=lambda event: seen.append((event.kind, event.version)))
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])
            before = list(seen)
            await asyncio.to_thread(installed.broker.stop)
            # What it has still serves.
            assert await link.access_token()
            with pytest.raises(cloudlink.ServerUnavailable):
                await link.refresh()
            await asyncio.to_thread(installed.broker.start)
            fresh = await link.refresh()
            await until(lambda: len(seen) > len(before))
            assert link.tokens is not None and link.tokens.access_token == fresh
            assert seen[len(before) :] == [("tokens", before[-1][1] + 1)]

    within(plugin(), 240)


def test_settings_merge_and_what_does_not_fit_is_named(installed: Installed) -> None:
    async def plugin() -> None:
        async with installed.connect() as link:
            await link.settings({"parameters": {"a": "1"}})
            effective = await link.settings({"parameters": {"b": "2"}, "scope": "read"})
            assert effective["parameters"] == {"a": "1", "b": "2"} and effective["scope"] == "read"
            assert (await link.settings({"scope": None}))["scope"] == "read write"
            await until(lambda: link.configuration.get("parameters") == {"a": "1", "b": "2"})
            with pytest.raises(cloudlink.Invalid) as refused:
                await link.settings({"token_endpoint": "https://elsewhere.example/token"})
            assert refused.value.errors

    within(plugin())


def test_tokens_from_before_are_taken_over(installed: Installed) -> None:
    old = installed.provider.issue()

    async def plugin() -> None:
        async with installed.connect() as link:
            await link.import_tokens(old)
            await until(lambda: link.tokens is not None)
            assert await link.access_token() == old["access_token"]
            assert link.tokens is not None and link.tokens["refresh_token"] != old["refresh_token"]
            with pytest.raises(cloudlink.Invalid) as refused:
                await link.import_tokens(dict(link.tokens))
            assert refused.value.code == "own_handle"

    within(plugin())


def test_a_denial_and_an_outage_are_told_apart(installed: Installed, person: Person) -> None:
    async def plugin() -> None:
        async with installed.connect() as link:
            start = await link.start_linking()
            await asyncio.to_thread(person.links, start.connect_url, "cancel")
            with pytest.raises(cloudlink.LinkingFailed) as denied:
                await start.wait()
            assert (denied.value.status, denied.value.error) == ("denied", "cancelled")

            installed.provider.lifetime = 2
            start = await link.start_linking()
            await asyncio.to_thread(person.links, start.connect_url)
            installed.provider.away = True
            await link.wait_until_linked(10)
            with pytest.raises(cloudlink.ProviderUnavailable) as away:
                # The old token is good to its last second.
                while await link.access_token():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert away.value.retry_after is not None

    within(plugin(), 60)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_by_an_hour_does_not_matter(
    installed: Installed, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from cloudlink.access import Access

    installed.link_now()
    wrong = Access(installed.credential(), installed.slot, clock=lambda: time.time() + hours * 3600)

    async def plugin() -> None:
        async with cloudlink.Link(wrong, installed.slot, []) as link:
            assert await link.access_token() in installed.provider.access_tokens
            await until(lambda: link.tokens is not None)
            assert link.tokens is not None and link.tokens.expires_in > 3000

    within(plugin())


def test_with_custody_of_the_device_the_plugin_keeps_its_tokens(installed: Installed) -> None:
    async def first() -> str:
        async with installed.connect() as link:
            await link.settings({"custody": "device"})
            await asyncio.to_thread(installed.link_now)
            await until(lambda: link.tokens is not None)
            assert link.tokens is not None
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])
            assert await link.access_token() == link.tokens.access_token, "it still has them in its hands"
            return str(link.tokens["refresh_token"])

    async def second() -> None:
        async with installed.connect() as link:
            with pytest.raises(cloudlink.TokensWithDevice):
                await link.access_token()

    assert within(first()) in installed.provider.refresh_tokens
    within(second())


def test_a_slot_deleted_and_installed_again_is_told_as_a_new_one(installed: Installed) -> None:
    path = f"/api/devices/{installed.device}/slots/{installed.slot}"

    async def plugin() -> None:
        seen: list[tuple[str, int]] = []
        async with installed.connect() as link:
            await link.settings({"custody": "device"})
            await asyncio.to_thread(installed.link_now)
            link.on(handler=lambda event: seen.append((event.kind, event.version)))
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])
            await asyncio.to_thread(installed.broker.owner, "DELETE", path)
            await until(lambda: seen[-1][0] == "unlinked")
            assert link.tokens is None
            before = len(seen)

            await asyncio.to_thread(installed.broker.owner, "PUT", path, {"plugin": installed.plugin})
            await link.settings({"custody": "device"})
            await asyncio.to_thread(installed.link_now)
            await until(lambda: seen[-1][0] == "consent")
            assert seen[before][0] == "configuration"
            assert all(version > seen[before - 1][1] for _, version in seen[before:])
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])
            assert link.tokens is not None and link.tokens["refresh_token"] in installed.provider.refresh_tokens
            assert await link.access_token() == link.tokens.access_token

    within(plugin())
