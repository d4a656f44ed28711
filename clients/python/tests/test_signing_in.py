"""Signing in and out against the real broker, and a hub's own affairs."""

from __future__ import annotations

import re
import threading
from functools import partial
from pathlib import Path

import pytest
from broker import Broker
from conftest import Installed
from person import Person

import cloudlink
from cloudlink import sign_in_pages
from cloudlink.claims import matches
from cloudlink.errors import CloudlinkError, NotSignedIn


class Shown:
    """What a sign-in shows; a person does something once it has shown where to go."""

    def __init__(self, do: object) -> None:
        self._do = do
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        said = "\n".join(self.lines)
        found = re.search(r"page in any browser: +(\S+)\n.*code: +(\S+)", said)
        if found and self._do is not None:
            person, self._do = self._do, None
            person(found.group(1), found.group(2))  # type: ignore[operator]


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person has acted before the first poll."""
    by_code = partial(sign_in_pages.by_code, wait=lambda _: None)
    monkeypatch.setattr("cloudlink.signing_in.by_code", by_code)


def test_the_owner_signs_in_by_a_code_and_out_again(broker: Broker, person: Person, home: Path) -> None:
    def signs_in(uri: str, code: str) -> None:
        person.signs_in(f"{uri}?user_code={code}", user="owner", password=broker.password)

    path = cloudlink.authenticate_user(broker.url, headless=True, show=Shown(signs_in))
    assert path == home / "home" / ".config" / "cloudlink" / "credentials.json"
    may = cloudlink.permissions()
    assert (may.subject, may.server, may.source) == ("owner", broker.url, str(path))
    assert may.until is not None and may.writable_slots is None
    with pytest.raises(NotSignedIn, match="owner"):
        cloudlink.list_trust()
    assert cloudlink.signout() is True
    assert not path.exists()
    with pytest.raises(NotSignedIn):
        cloudlink.permissions()


def test_the_owner_signs_in_by_a_browser_here(
    broker: Broker, person: Person, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []

    def open_url(url: str) -> bool:
        def use() -> None:
            pages.append(person.signs_in(url, user="owner", password=broker.password))

        browser = threading.Thread(target=use)
        browser.start()
        browsers.append(browser)
        return True

    browsers: list[threading.Thread] = []
    by_browser = partial(sign_in_pages.by_browser, open_url=open_url)
    monkeypatch.setattr("cloudlink.signing_in.by_browser", by_browser)
    cloudlink.authenticate_user(broker.url, headless=False, here=True, show=lambda _: None)
    browsers[0].join(10)
    assert cloudlink.permissions().source.endswith(".cloudlink/credentials.json")
    assert "Go back to the program" in pages[0]


def test_a_denial_is_no_sign_in(broker: Broker, person: Person, home: Path) -> None:
    def cancels(uri: str, code: str) -> None:
        person.signs_in(f"{uri}?user_code={code}", decision="cancel")

    with pytest.raises(NotSignedIn, match="not allowed"):
        cloudlink.authenticate_user(broker.url, headless=True, show=Shown(cancels))
    assert not (home / "home" / ".config").exists()


def test_a_device_signs_in_once_and_its_key_lasts(installed: Installed, person: Person, home: Path) -> None:
    def signs_in(uri: str, code: str) -> None:
        person.signs_in(f"{uri}?user_code={code}", device=installed.device, password=installed.password)

    credential = cloudlink.authenticate_device(
        installed.device, installed.broker.url, headless=True, here=True, show=Shown(signs_in)
    )
    path = Path(".cloudlink/credentials.json")
    assert path.stat().st_mode & 0o777 == 0o600
    again = cloudlink.authenticate_device(show=Shown(None))
    assert again.key_hash == credential.key_hash, "no new one is made"
    may = cloudlink.permissions()
    assert (may.subject, may.writable_slots, may.key_hash) == (installed.device, ("heating",), credential.key_hash)
    assert cloudlink.writable_slots() == ["heating"]
    assert any(key.key_hash == credential.key_hash for key in cloudlink.list_trust())
    assert cloudlink.signout() is True
    assert all(key.key_hash != credential.key_hash for key in installed.hub().list_trust())


def test_a_device_signs_in_with_its_password_where_its_key_was_removed(installed: Installed, home: Path) -> None:
    first = cloudlink.authenticate_device(installed.device, installed.broker.url, password=installed.password)
    installed.hub().remove_trust(first.key_hash)
    with pytest.raises(NotSignedIn, match="trusted keys"):
        cloudlink.permissions()
    second = cloudlink.authenticate_device(installed.device, password=installed.password, show=lambda _: None)
    assert second.key_hash != first.key_hash
    assert cloudlink.permissions().subject == installed.device
    assert cloudlink.signout() is True
    with pytest.raises(NotSignedIn):
        cloudlink.authenticate_device(installed.device, installed.broker.url, password="wrong, and long enough")


def test_a_hub_keeps_its_own_affairs_in_order(installed: Installed, home: Path) -> None:
    cloudlink.Places().keep(installed.credential())
    cloudlink.rename("Pantry hub")
    assert installed.broker.owner("GET", f"/api/devices/{installed.device}")["name"] == "Pantry hub"
    other = cloudlink.DeviceKey.make("p256")
    assert cloudlink.add_trust("another", other.public_pem()) == other.key_hash
    assert [key.label for key in cloudlink.list_trust()] == ["test", "another"]
    cloudlink.remove_trust(other.key_hash)
    assert [key.label for key in cloudlink.list_trust()] == ["test"]

    by_password = cloudlink.authorize_with_password(installed.device, installed.password)
    with pytest.raises(cloudlink.Forbidden):
        by_password.modify_password("not the old password", "a new one, quite long enough")
    by_password.modify_password(installed.password, "a new one, quite long enough", reset_acl=False)
    assert cloudlink.list_trust()
    with pytest.raises(NotSignedIn):
        cloudlink.authorize_with_password(installed.device, installed.password)
    cloudlink.modify_password("a new one, quite long enough", "yet another, just as long")
    with pytest.raises(NotSignedIn):
        cloudlink.list_trust()
    assert cloudlink.authorize_with_password(installed.device, "yet another, just as long").list_trust() == []


def test_publish_rights_are_those_of_the_token(installed: Installed) -> None:
    from cloudlink.access import Access

    device, all_slots = installed.device, Access(installed.credential()).token()
    one_slot = Access(installed.credential(), "heating").token()
    may = cloudlink.has_publish_rights
    for token in (all_slots, one_slot):
        assert may(token, f"cloudlink/{device}/heating/settings") and may(token, f"cloudlink/{device}/heating/ack")
        assert not may(token, f"cloudlink/{device}/heating/events")
        assert not may(token, "cloudlink/another/heating/settings")
    assert may(all_slots, f"cloudlink/{device}/other/settings") and not may(
        one_slot, f"cloudlink/{device}/other/settings"
    )
    assert not may(all_slots, f"cloudlink/{device}/+/settings") and not may(all_slots, "")
    assert not may("no token", f"cloudlink/{device}/heating/ack")


def test_filters_match_as_mqtt_has_it() -> None:
    for topic_filter, topic, covered in [
        ("a/+/c", "a/b/c", True), ("a/+/c", "a/b/x/c", False), ("a/+", "a/b/c", False), ("a/+", "a/", True),
        ("a/#", "a/b/c", True), ("a/#", "a", True), ("#", "a/b", True), ("a/#", "b", False), ("a/#/b", "a/x/b", False),
        ("a/b", "a", False), ("a", "a/b", False), ("", "a", False), ("#", "$SYS/a", False), ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True), ("A", "a", False),
    ]:  # fmt: skip
        assert matches(topic_filter, topic) is covered, (topic_filter, topic)


def test_a_wrong_server_says_so(home: Path) -> None:
    with pytest.raises(CloudlinkError, match="URL"):
        cloudlink.authenticate_user(headless=True)
    with pytest.raises(cloudlink.ServerUnavailable, match="can't be reached"):
        cloudlink.authenticate_user("http://127.0.0.1:1", headless=True)
