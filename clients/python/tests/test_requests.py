"""Requests of web services and commands for the hub, brought by the real broker."""

from __future__ import annotations

import json
import queue
import urllib.error
import urllib.request
from typing import Any

import pytest
from conftest import Installed

import cloudlink


def send(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """What a web service gets for it: status, headers, body."""
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def address(installed: Installed, kind: str = "response") -> str:
    return f"{installed.broker.url}/api/eisy/pg3/webhook/{kind}/{installed.device}/{installed.slot}"


def command(installed: Installed, name: str, data: dict[str, Any]) -> dict[str, Any]:
    path = f"/api/devices/{installed.device}/commands/{name}"
    answer: dict[str, Any] = installed.broker.owner("POST", path, data)
    return answer


def attached(link: cloudlink.BlockingLink) -> None:
    """Waits until the relay has brought the first event: from then on it brings requests too."""
    assert next(iter(link.events())).kind == "configuration"


def test_a_web_service_is_answered_by_the_plugin(installed: Installed) -> None:
    seen: queue.Queue[cloudlink.Request] = queue.Queue()

    with installed.connect_blocking() as link:

        @link.on_request
        def handle(request: cloudlink.Request) -> cloudlink.Response:
            seen.put(request)
            return cloudlink.Response(201, {"x-webhook-plugin": "yes"}, json.dumps({"got": request.json()}))

        attached(link)
        status, headers, body = send(f"{address(installed)}?a=1&b=2", b'{"on": false}', **{"x-service": "acme"})
        assert (status, json.loads(body)) == (201, {"got": {"on": False}})
        assert headers["x-webhook-plugin"] == "yes"
        request = seen.get_nowait()
        assert (request.slot, request.method, request.query) == ("heating", "POST", {"a": "1", "b": "2"})
        assert (request.headers["x-service"], request.body) == ("acme", b'{"on": false}')
    assert send(address(installed), b"{}")[0] == 503, "nobody is there any more"


def test_who_needs_no_answer_gets_none(installed: Installed) -> None:
    seen: queue.Queue[cloudlink.Request] = queue.Queue()
    with installed.connect_blocking() as link:
        link.on_request(lambda request: seen.put(request))
        attached(link)
        assert send(address(installed, "noresponse"), b"ring")[0] == 200
        assert seen.get(timeout=20).body == b"ring"


@pytest.mark.parametrize(
    ("answer", "status", "kind", "body"),
    [
        (None, 200, None, b""),
        ({"on": True}, 200, "application/json", b'{"on": true}'),
        ("fine", 200, "text/plain; charset=utf-8", b"fine"),
        ((404, {"content-type": "text/html"}, b"<p>gone"), 404, "text/html", b"<p>gone"),
        (cloudlink.Response(999), 500, "text/plain; charset=utf-8", b"The plugin failed."),
    ],
)
def test_what_a_handler_gives_is_what_the_service_gets(
    installed: Installed, answer: Any, status: int, kind: str | None, body: bytes
) -> None:
    with installed.connect_blocking() as link:
        link.on_request(lambda request: answer)
        attached(link)
        got, headers, text = send(address(installed))
        assert (got, text) == (status, body)
        assert kind is None or headers["content-type"] == kind


def test_a_handler_that_raises_and_one_that_is_missing_say_so_and_no_more(installed: Installed) -> None:
    def fail(request: cloudlink.Request) -> None:
        raise RuntimeError("a secret of the plugin's")

    with installed.connect_blocking() as link:
        attached(link)
        assert send(address(installed))[0] == 501
        link.on_request(fail)
        status, _, body = send(address(installed))
        assert (status, body) == (500, b"The plugin failed.")


def test_a_command_is_answered_by_the_hub(installed: Installed) -> None:
    with installed.connect_blocking(slot=None) as hub, installed.connect_blocking() as plugin:
        hub.on_command(lambda command: {"name": command.name, "data": dict(command.data)})
        plugin.on_command(lambda command: pytest.fail("a plugin of one slot gets no commands"))
        attached(hub)
        attached(plugin)
        wanted = {"method": "dhcp", "wifi_mode": "off"}
        answer = command(installed, "modify_network", wanted)
        assert answer == {"ok": True, "data": {"name": "modify_network", "data": wanted}}
        hub.on_command(lambda command: ["no", "object"])
        assert command(installed, "get_wifi_list", {})["ok"] is False
