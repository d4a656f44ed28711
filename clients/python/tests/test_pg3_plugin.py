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
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Installed
from person import Person

import cloudlink
from cloudlink import pg3
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


class InProcess:
    """A plugin of a few lines in this process, and what its handlers were called with."""

    def __init__(self, installed: Installed) -> None:
        cloudlink.Places().keep(installed.credential(), here=True)
        self.calls: list[tuple[str, Any]] = []
        self.changed = threading.Condition()
        self.dies_at: str | None = None
        self.polyglot = pg3.Interface([])
        self.polyglot.start({"version": "1.0.0"})
        # As plugins do: after the start.
        self.oauth = pg3.OAuth(self.polyglot)
        self.polyglot.subscribe(self.polyglot.CUSTOMNS, self.custom_ns)
        self.polyglot.subscribe(self.polyglot.CUSTOMDATA, lambda data: self.note("data", data))
        self.polyglot.subscribe(self.polyglot.OAUTH, self.authenticated)
        self.polyglot.subscribe(self.polyglot.CONFIGDONE, lambda: self.note("done", None))
        self.polyglot.ready()

    def note(self, what: str, value: Any) -> None:
        with self.changed:
            self.calls.append((what, value))
            self.changed.notify_all()
        if self.dies_at == what:
            self.dies_at = None
            raise RuntimeError("the plugin has a fault")

    def custom_ns(self, key: str | None, value: Any) -> None:
        self.oauth.customNsHandler(key, value)
        self.note(str(key), value)

    def authenticated(self, token: dict[str, Any]) -> None:
        self.oauth.oauthHandler(token)
        self.note("oauth event", token)

    def order(self) -> list[str]:
        return [what for what, _ in self.calls]

    def waits_for(self, what: str, times: int = 1) -> Any:
        with self.changed:
            assert self.changed.wait_for(lambda: self.order().count(what) >= times, 30), (what, self.order())
        return [value for name, value in self.calls if name == what][-1]


@pytest.fixture
def run(installed: Installed) -> Iterator[Callable[[], InProcess]]:
    plugins: list[InProcess] = []

    def begin() -> InProcess:
        plugins.append(InProcess(installed))
        return plugins[-1]

    yield begin
    for plugin in plugins:
        plugin.polyglot.stop()


def until(probe: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not probe():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_consent_while_it_was_away_is_brought_in_pg3s_order(
    installed: Installed, run: Callable[[], InProcess]
) -> None:
    installed.link_now()
    plugin = run()
    token = plugin.waits_for("oauth event")
    assert plugin.order() == ["oauth", "oauthTokens", "data", "done", "oauth event"]
    assert isinstance(token["expires_in"], int) and datetime.fromisoformat(token["expiry"]).tzinfo is None
    assert plugin.oauth.getAccessToken() == token["access_token"]
    assert plugin.oauth.getOauthSettings()["token_endpoint"] == f"{installed.broker.url}/api/cloudlink/token"
    until(lambda: installed.state()["acked_version"] == installed.state()["version"])

    again = run()
    again.waits_for("done")
    until(lambda: again.polyglot.upstream.is_configured.is_set())
    assert again.order() == ["oauth", "oauthTokens", "data", "done"], "no consent is told twice"


def test_a_refresh_calls_no_handler_and_an_unlink_asks_the_user(
    installed: Installed, run: Callable[[], InProcess], person: Person
) -> None:
    installed.link_now()
    plugin = run()
    plugin.waits_for("oauth event")
    before = plugin.oauth.getAccessToken()
    with installed.connect_blocking() as other:
        fresh = other.refresh()
        until(lambda: plugin.oauth.getAccessToken() == fresh != before)
        assert plugin.order().count("oauthTokens") == 1 and plugin.order().count("oauth event") == 1

        # With the provider away the old token is used for as long as there is one.
        installed.provider.away = True
        assert plugin.oauth.getAccessToken() == fresh
        installed.provider.away = False
        other.unlink()
    until(lambda: plugin.polyglot.Notices["cloudlink"])
    with pytest.raises(ValueError, match="not available"):
        plugin.oauth.getAccessToken()
    found = re.search(r"open (\S+) or type", plugin.polyglot.Notices["cloudlink"])
    assert found
    person.links(found.group(1))
    plugin.waits_for("oauth event", times=2)
    until(lambda: "cloudlink" not in plugin.polyglot.Notices)


def test_a_handler_that_dies_is_called_again_at_the_next_start(
    installed: Installed, run: Callable[[], InProcess]
) -> None:
    plugin = run()
    plugin.waits_for("done")
    plugin.dies_at = "oauth event"
    installed.link_now()
    plugin.waits_for("oauth event")
    assert plugin.oauth.getAccessToken() in installed.provider.access_tokens, "it works all the same"
    plugin.polyglot.stop()
    assert installed.state()["acked_version"] < installed.state()["version"]
    again = run()
    again.waits_for("oauth event")
    until(lambda: installed.state()["acked_version"] == installed.state()["version"])


def test_a_denial_is_said_with_what_to_do(installed: Installed, run: Callable[[], InProcess], person: Person) -> None:
    plugin = run()
    until(lambda: plugin.polyglot.Notices["cloudlink"])
    found = re.search(r"open (\S+) or type", plugin.polyglot.Notices["cloudlink"])
    assert found
    person.links(found.group(1), "cancel")
    until(lambda: "cloudlink slot connect heating" in (plugin.polyglot.Notices["cloudlink"] or ""))


def test_settings_that_do_not_fit_are_said_and_change_nothing(
    installed: Installed, run: Callable[[], InProcess], caplog: pytest.LogCaptureFixture
) -> None:
    plugin = run()
    plugin.waits_for("done")
    plugin.oauth.updateOauthSettings({"token_endpoint": "https://elsewhere.example/token"})
    assert "not accepted" in caplog.text and "client_secret" in caplog.text
    plugin.oauth.updateOauthSettings({"scope": "read", "parameters": {"a": "1"}})
    # What a plugin saves whole goes up as the difference, without what is the broker's own.
    settings = dict(plugin.waits_for("oauth", times=2), addScope=False)
    pg3.Custom(plugin.polyglot, "oauth").load(settings, save=True)
    effective = installed.broker.owner("GET", f"/api/devices/{installed.device}/slots/heating/oauth")
    assert (effective["scope"], effective["parameters"], effective["addScope"]) == ("read", {"a": "1"}, False)
    assert effective["token_endpoint"] == f"{installed.provider.url}/token"
