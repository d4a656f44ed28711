"""How a plugin ends: by `sys.exit()` in a handler, by Ctrl+C, and when its link is closed under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Installed

import cloudlink

#: Generous, and passed only by a plugin that does not end.
PATIENCE = 30

EXITING = {
    "plain": "def leaves(event):\n    sys.exit(3)",
    "async": "async def leaves(event):\n    sys.exit(3)",
}
WAITING = {
    "elsewhere": "threading.Event().wait()",
    "for events": "for event in link.events():\n    pass",
    "for a thread": "reader = threading.Thread(target=lambda: list(link.events()))\nreader.start()\nreader.join()",
    "for nothing": "while True:\n    pass",
}


def indented(text: str) -> str:
    return text.replace("\n", "\n    ")


class Running:
    """A plugin in a process of its own, which says `ready` when it is."""

    def __init__(self, program: str) -> None:
        package = str(Path(cloudlink.__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": package, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def ends(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def start(installed: Installed) -> Iterator[Callable[[str], Running]]:
    """Starts a program in the working folder, where the device's key is."""
    cloudlink.Places().keep(installed.credential(), here=True)
    all_of_them: list[Running] = []

    def begin(program: str) -> Running:
        all_of_them.append(Running(program))
        return all_of_them[-1]

    yield begin
    for one in all_of_them:
        one.process.kill()
        one.process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("waiting", WAITING)
@pytest.mark.parametrize("kind", EXITING)
def test_sys_exit_in_a_handler_ends_a_plugin_without_async(
    installed: Installed, start: Callable[[str], Running], kind: str, waiting: str
) -> None:
    code, said = start(f"""
import sys, threading, cloudlink
link = cloudlink.connect_blocking(slot="heating")
@link.on("configuration")
{EXITING[kind]}
with link:
    {indented(WAITING[waiting])}
""").ends()
    assert code == 3, said
    assert "a handler ends the plugin on configuration" in said and "KeyboardInterrupt" not in said
    assert installed.state()["acked_version"] < installed.state()["version"], "it comes again at the next start"


@pytest.mark.parametrize("kind", EXITING)
def test_sys_exit_in_a_handler_ends_an_async_plugin(
    installed: Installed, start: Callable[[str], Running], kind: str
) -> None:
    code, said = start(f"""
import asyncio, sys, cloudlink
async def main():
    link = cloudlink.connect(slot="heating")
    @link.on("configuration")
    {indented(EXITING[kind])}
    async with link:
        await asyncio.Event().wait()
asyncio.run(main())
""").ends()
    assert code == 3, said
    assert installed.state()["acked_version"] < installed.state()["version"]


def test_a_plugin_that_minds_ctrl_c_itself_is_asked_like_that(start: Callable[[str], Running]) -> None:
    code, said = start("""
import signal, sys, threading, cloudlink
begun, asked = threading.Event(), threading.Event()
signal.signal(signal.SIGINT, lambda *_: asked.set())
link = cloudlink.connect_blocking(slot="heating")
link.on("configuration", handler=lambda event: begun.wait() and sys.exit("it has had enough"))
with link:
    begun.set()
    asked.wait()
    print("tidied up", file=sys.stderr)
""").ends()
    assert (code, said.splitlines()[-2:]) == (1, ["tidied up", "it has had enough"]), said


@pytest.mark.parametrize(
    "waiting", ["for event in link.events():\n    print('ready')", "print('ready')\nlink.wait_until_linked()"]
)
def test_ctrl_c_is_a_keyboard_interrupt_and_nothing_else(start: Callable[[str], Running], waiting: str) -> None:
    plugin = start(f"""
import cloudlink
with cloudlink.connect_blocking(slot="heating") as link:
    {indented(waiting)}
""")
    assert plugin.line() == "ready"
    plugin.process.send_signal(signal.SIGINT)
    code, said = plugin.ends()
    assert code == -signal.SIGINT, said
    assert said.rstrip().endswith("KeyboardInterrupt") and said.count("Traceback") == 1, said


def test_who_waits_while_the_link_is_closed_hears_of_it(installed: Installed) -> None:
    heard: list[Any] = []
    link = installed.connect_blocking()

    def waits() -> None:
        begun.set()
        try:
            link.wait_until_linked()
        except cloudlink.CloudlinkError as error:
            heard.append(str(error))

    begun = threading.Event()
    waiter = threading.Thread(target=waits, daemon=True)
    with link:
        waiter.start()
        assert begun.wait(PATIENCE)
    waiter.join(PATIENCE)
    assert len(heard) == 1 and heard[0].startswith("this link is closed")
