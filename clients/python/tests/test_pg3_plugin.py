"""The example, as a process of its own: consent, calls, refreshes, a restart, and the home's own client."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Installed
from person import Person

import cloudlink
from cloudlink.pg3.store import Store

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PACKAGE = Path(cloudlink.__file__).resolve().parents[1]


class Plugin:
    """The running example, and what it says on standard error."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDLINK")}
        path = os.pathsep.join([str(EXAMPLES), str(PACKAGE)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pg3_plugin"],
            env={**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def says(self, pattern: str) -> re.Match[str]:
        """Waits until it says this, from now on."""
        while True:
            line = self._lines.get(timeout=30)
            assert line is not None, "it ended: " + "".join(self.said)
            found = re.search(pattern, line)
            if found:
                return found

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)
        if self._process.stderr:
            self._process.stderr.close()


@pytest.fixture
def start(installed: Installed) -> Iterator[Callable[[], Plugin]]:
    """Starts the plugin in the working folder, where the device's key is."""
    cloudlink.Places().keep(installed.credential(), here=True)
    plugins: list[Plugin] = []

    def begin() -> Plugin:
        plugins.append(Plugin())
        return plugins[-1]

    yield begin
    for plugin in plugins:
        plugin.kill()


def parameters(installed: Installed, **given: Any) -> Store:
    store = Store.of_slot(installed.slot)
    store.set("customparams", {"api": installed.provider.url, "short_poll": "1", **given})
    return store


def test_from_nobody_over_consent_and_refreshes_to_a_restart(
    installed: Installed, person: Person, start: Callable[[], Plugin]
) -> None:
    store = parameters(installed)
    plugin = start()
    plugin.says("notice authenticate: Please initiate authentication")
    url = plugin.says(r"notice cloudlink: Please authenticate: open (\S+)").group(1)
    # So short that half of them is over between two looks.
    installed.provider.lifetime = 3
    person.links(url)
    plugin.says("the account was linked")
    plugin.says("thermostats: hall, attic")
    assert not store.get("notices"), "nobody is asked any more"
    while installed.state()["acked_version"] != installed.state()["version"]:
        plugin.says("thermostats: hall, attic")

    first = installed.provider.called_with[-1]
    while len(set(installed.provider.called_with)) < 3:
        plugin.says("thermostats: hall, attic")
    assert installed.provider.called_with[-1] != first, "it was refreshed"
    assert plugin.stop() == 0

    installed.provider.lifetime = 3600
    calls = len(installed.provider.called_with)
    again = start()
    again.says("thermostats: hall, attic")
    assert len(installed.provider.called_with) > calls
    assert not any("authenticate" in line for line in again.said)
    assert again.stop() == 0
    said = "".join(plugin.said + again.said)
    assert not any(token in said for token in installed.provider.access_tokens)


def test_the_home_brings_its_own_client(installed: Installed, person: Person, start: Callable[[], Plugin]) -> None:
    installed.provider.clients["our-own"] = "our-own-secret-0123"
    installed.broker.owner("PUT", f"/api/plugins/{installed.plugin}", {
        **installed.provider.configuration(), "parameters": {"audience": "homes", "locale": "en"},
    })  # fmt: skip
    installed.broker.owner("PUT", f"/api/devices/{installed.device}/slots/heating", {"plugin": installed.plugin})
    parameters(installed, client_id="our-own", client_secret="our-own-secret-0123", locale="de")
    plugin = start()
    person.links(plugin.says(r"notice cloudlink: Please authenticate: open (\S+)").group(1))
    plugin.says("thermostats: hall, attic")
    asked = installed.provider.authorizations[-1]
    assert (asked["client_id"], asked["audience"], asked["locale"]) == ("our-own", "homes", "de")
    assert installed.provider.token_requests[-1]["client_id"] == "our-own"

    version = installed.state()["version"]
    assert plugin.stop() == 0
    again = start()
    again.says("thermostats: hall, attic")
    assert installed.state()["version"] == version, "the same settings again change nothing"
    assert "our-own-secret-0123" not in "".join(plugin.said + again.said)


def test_the_tokens_of_an_older_version_are_taken_over(installed: Installed, start: Callable[[], Plugin]) -> None:
    store = parameters(installed)
    old = {**installed.provider.issue(), "expiry": "2024-01-02T03:04:05.678901"}
    store.set("customdata", {"token": old, "units": "C"})
    plugin = start()
    plugin.says("the broker took over the tokens")
    plugin.says("thermostats: hall, attic")
    assert store.get("customdata") == {"units": "C"}
    assert installed.state()["status"] == "linked"
    assert not store.get("notices")
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert old["refresh_token"] not in json.dumps(store.all()) + "".join(plugin.said)
