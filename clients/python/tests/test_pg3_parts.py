"""The parts behind PG3's names."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import cloudlink
from cloudlink.inbound import Request
from cloudlink.pg3 import LOGGER, Custom, Interface, Node, OAuth
from cloudlink.pg3.custom import difference, merge
from cloudlink.pg3.polls import Polls
from cloudlink.pg3.store import Store
from cloudlink.pg3.times import with_local_expiry
from cloudlink.pg3.topics import NAMES, Topics, finish


class Sent:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    def send(self, message: dict[str, Any], type: str) -> None:
        self.messages.append((type, message))


def test_custom_reads_like_an_object_and_saves_what_is_changed() -> None:
    sent = Sent()
    custom = Custom(sent, "customdata")
    custom.load({"a": 1, "b": {"c": 2}})
    assert (custom["a"], custom.a, custom["x"], custom.x, custom.get("x", 7), len(custom)) == (1, 1, None, None, 7, 2)
    assert "a" in custom and sorted(custom.keys()) == ["a", "b"] and sent.messages == []
    custom["a"] = 2
    custom.d = 3
    custom.delete("b")
    assert sent.messages[-1] == ("custom", {"set": [{"key": "customdata", "value": {"a": 2, "d": 3}}]})
    custom.load({"a": 2, "d": 4, "e": 5})
    assert (custom.isChanged("a"), custom.isChanged("d"), custom.isNew("e"), custom.isNew("d")) == (0, 1, 1, 0)
    assert custom.dump()["_rawdata"] == {"a": 2, "d": 4, "e": 5}
    custom.clear()
    assert custom == {} and len(sent.messages) == 4
    typed = Custom(sent, "customtypedparams")
    typed.load([{"name": "a"}], save=True)
    assert sent.messages[-1][1]["set"][0]["value"] == [{"name": "a"}]
    custom.load(None)
    assert not custom


def test_nested_members_merge_after_an_earlier_one_has_changed() -> None:
    sent = Sent()
    custom = Custom(sent, "oauth")
    custom.load({"client_id": "store", "parameters": {"a": "1", "b": "2"}, "token_parameters": {"x": "1"}})
    custom.update({"client_id": "own", "parameters": {"b": "3", "c": {"d": "4"}}, "token_parameters": {"y": "2"}})
    assert custom["parameters"] == {"a": "1", "b": "3", "c": {"d": "4"}}
    assert custom["token_parameters"] == {"x": "1", "y": "2"} and len(sent.messages) == 1
    custom.update({"client_id": "own", "parameters": {"b": "3"}})
    assert len(sent.messages) == 1, "nothing has changed"


def test_a_difference_merged_into_the_old_gives_the_new() -> None:
    old = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": [1]}
    new = {"a": 1, "b": {"c": 5, "d": {"e": 3, "g": 6}}, "f": [2], "h": {"i": 7}}
    found = difference(old, new)
    assert found == {"b": {"c": 5, "d": {"g": 6}}, "f": [2], "h": {"i": 7}}
    assert merge(old, found) and old == new and difference(old, new) == {} and not merge(old, new)


def test_settings_may_be_given_before_anything_is_known(home: Path) -> None:
    polyglot = Interface([])
    service = OAuth(polyglot)
    service.updateOauthSettings({"client_id": "own", "parameters": {"a": "1"}})
    service.updateOauthSettings({"parameters": {"b": "2"}})
    service.customNsHandler("oauth", {"client_id": "store", "scope": "read", "parameters": {"z": "0"}})
    assert service.getOauthSettings() == {
        "client_id": "own", "scope": "read", "parameters": {"z": "0", "a": "1", "b": "2"},
    }  # fmt: skip
    with pytest.raises(ValueError, match="not available"):
        service.getAccessToken()
    with pytest.raises(cloudlink.NotSignedIn):
        polyglot.start("1.0")


def test_expiry_is_local_time_without_a_zone() -> None:
    tokens = with_local_expiry({"access_token": "x", "expires_in": 3600, "expiry": "2026-01-02T03:04:05Z"})
    ends = datetime.fromisoformat(tokens["expiry"])
    assert ends.tzinfo is None and abs(ends - datetime.now() - timedelta(hours=1)) < timedelta(seconds=5)
    for odd in ({}, {"expires_in": None}, {"expires_in": "x"}, {"expires_in": 10**30}, {"expires_in": True}):
        tokens = with_local_expiry(odd)
        assert isinstance(tokens["expires_in"], int) and timedelta(seconds=tokens["expires_in"])


def test_topics_have_their_numbers_and_tell_who_comes_late() -> None:
    assert (Interface.CONFIG, Interface.CUSTOMNS, Interface.CONFIGDONE, Interface.OAUTH) == (0, 9, 14, 19)
    assert all(getattr(Interface, name) == number for number, name in enumerate(NAMES))
    topics, heard = Topics(), []
    topics.subscribe(Interface.CONFIG, lambda *args: heard.append(("early", *args)))
    assert finish(topics.publish(Interface.CONFIG, 1), 5)
    late = threading.Event()

    def handler(value: int) -> None:
        heard.append(("late", value))
        late.set()

    topics.subscribe(Interface.CONFIG, handler)
    assert late.wait(5) and heard == [("early", 1), ("late", 1)]
    assert topics.unsubscribe(Interface.CONFIG, handler) and not topics.unsubscribe(Interface.CONFIG, handler)
    with pytest.raises(IndexError):
        topics.subscribe(99, handler)


def test_a_handler_that_dies_is_known_of(caplog: pytest.LogCaptureFixture) -> None:
    def dies() -> None:
        raise RuntimeError("a fault")

    topics = Topics()
    topics.subscribe(Interface.CONFIGDONE, dies)
    calls = topics.publish(Interface.CONFIGDONE)
    assert finish(calls, 5) and isinstance(calls[0].error, RuntimeError)
    assert "a fault" in caplog.text and LOGGER.name in caplog.text


def test_nodes_start_when_they_are_added(home: Path) -> None:
    polyglot = Interface([])
    heard: list[Any] = []
    done = threading.Event()
    polyglot.subscribe(polyglot.START, lambda: heard.append("start"), "n1")
    polyglot.subscribe(polyglot.START, lambda: heard.append("never"), "n2")
    polyglot.subscribe(polyglot.ADDNODEDONE, lambda node: heard.append(node["address"]))
    polyglot.subscribe(polyglot.STARTDONE, lambda address: done.set(), "n1")

    class Thermostat(Node):
        id = "thermostat"
        drivers = [{"driver": "ST", "value": 0, "uom": 2}]
        commands = {"ON": lambda self, command: self.setDriver("ST", command["value"])}

    node = polyglot.addNode(Thermostat(polyglot, "n1", "n1", "Hall"))
    assert done.wait(5) and sorted(heard) == ["n1", "start"]
    node.runCmd({"cmd": "ON", "value": 1})
    node.runCmd({"cmd": "NOBODY KNOWS"})
    assert node.getDriver("ST") == 1 and Thermostat.drivers[0]["value"] == 0
    assert (node.setDriver("ST", 1), node.setDriver("XX", 1), node.getDriver("XX")) == (False, None, None)
    assert polyglot.getNode("n1") is node and list(polyglot.nodes()) == [node]
    polyglot.delNode("n1")
    assert polyglot.getNode("n1") is None
    assert polyglot.getValidAddress("Hall-Way & Attic!? thermostat") == "hallway  attic"
    assert polyglot.getValidName("A<b>`c'") == "Abc"


def test_polls_come_as_often_as_they_were_set() -> None:
    came = threading.Semaphore(0)
    polls = Polls(lambda which: came.release() if which == "shortPoll" else None)
    polls.begin()
    polls.set(1, None)
    assert came.acquire(timeout=10)
    polls.stop()
    with pytest.raises(ValueError, match="short or long"):
        polls.set(None, None)


def test_a_webhook_is_answered_by_the_handler(home: Path) -> None:
    polyglot = Interface([])
    request = Request("heating", "POST", {"x": "1"}, {"q": "2"}, b"hello")
    assert polyglot._webhooks.answer(request).status == 501

    def handler(item: dict[str, Any]) -> None:
        polyglot.webhookResponse({"got": item["body"]}, 202)

    polyglot.subscribe(polyglot.WEBHOOK, handler)
    response = polyglot._webhooks.answer(request)
    assert (response.status, response.body) == (202, '{"got": "hello"}')


def test_own_data_are_kept_for_their_owner_alone(home: Path) -> None:
    store = Store.of_slot("heating")
    assert store.path == home / "home" / ".config" / "cloudlink" / "pg3" / "heating.json"
    store.set("customdata", {"a": 1})
    assert store.get("customdata") == {"a": 1} and store.path.stat().st_mode & 0o777 == 0o600
    store.path.chmod(0o644)
    with pytest.raises(cloudlink.CloudlinkError, match="chmod 600"):
        store.all()
    (home / "work" / ".cloudlink").mkdir()
    assert Store.of_slot("heating").path == home / "work" / ".cloudlink" / "pg3-heating.json"


def test_parameters_are_set_as_in_the_dashboard(home: Path) -> None:
    def run(*arguments: str, typed: str = "") -> str:
        given = [sys.executable, "-m", "cloudlink.pg3", "heating", *arguments]
        package = str(Path(cloudlink.__file__).resolve().parents[1])
        environment = {"HOME": str(home / "home"), "PYTHONPATH": package}
        ran = subprocess.run(given, input=typed, capture_output=True, text=True, timeout=30, env=environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert "secret" not in run("client_id=own", "client_secret=-", "gone=1", typed="s3cret\n").replace(
        "client_secret", ""
    )
    run("gone=")
    assert Store.of_slot("heating").get("customparams") == {"client_id": "own", "client_secret": "s3cret"}
