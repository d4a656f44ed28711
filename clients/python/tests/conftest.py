from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from broker import Broker
from person import Person
from provider import Provider

import cloudlink


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    broker = Broker()
    try:
        broker.start()
        yield broker
    finally:
        broker.remove()


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.stop()


@dataclass
class Installed:
    """A plugin that was just installed in a slot of a new device."""

    broker: Broker
    provider: Provider
    device: str
    password: str
    key: cloudlink.DeviceKey
    plugin: str
    slot: str = "heating"

    def connect(self, **more: Any) -> cloudlink.Link:
        given = {"slot": self.slot, "url": self.broker.url, "device": self.device, "key": self.key, **more}
        return cloudlink.connect(**given)

    def connect_blocking(self, **more: Any) -> cloudlink.BlockingLink:
        return cloudlink.BlockingLink(self.connect(**more))

    def hub(self) -> cloudlink.Hub:
        return cloudlink.Hub.signed_in(self.credential())

    def credential(self) -> cloudlink.KeyCredential:
        return cloudlink.KeyCredential(cloudlink.Places().server(self.broker.url), self.device, self.key)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.broker.owner("GET", f"/api/devices/{self.device}/slots/{self.slot}")
        return found

    def link_now(self) -> None:
        """Its user links it, while no plugin is there."""
        start = self.broker.owner("POST", f"/api/devices/{self.device}/slots/{self.slot}/connect", {})
        Person().links(start["connect_url"])
        assert self.state()["status"] == "linked"


@pytest.fixture
def installed(broker: Broker, provider: Provider, home: Path) -> Installed:
    plugin = f"acme-{secrets.token_hex(4)}"
    broker.owner("PUT", f"/api/plugins/{plugin}", provider.configuration())
    password = secrets.token_urlsafe(18)
    device = broker.owner("POST", "/api/devices", {"name": "Kitchen hub", "password": password})["device"]
    key = cloudlink.DeviceKey.make()
    broker.owner("POST", f"/api/devices/{device}/keys", {"label": "test", "public_key": key.public_pem()})
    broker.owner("PUT", f"/api/devices/{device}/slots/heating", {"plugin": plugin})
    return Installed(broker, provider, device, password, key, plugin)


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of the test's own; nobody is signed in."""
    for name in ("CLOUDLINK_TOKEN", "CLOUDLINK_URL", "CLOUDLINK_SLOT", "PG3INIT", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(work)
    return tmp_path
