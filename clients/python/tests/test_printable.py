"""A server that sends orders to terminals: none of them gets through."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import cloudlink
from cloudlink import slot_api
from cloudlink.errors import CloudlinkError, Invalid, NotSignedIn, ServerUnavailable, refused
from cloudlink.sign_in_pages import by_code
from cloudlink.transport import Server

CONTROL = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202e"
LEFT = "]0;owned[2J31m"


@contextmanager
def server(answers: dict[str, tuple[int, Any]]) -> Iterator[Server]:
    """Answers each path with its status and JSON."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, answer = answers[self.path]
            body = json.dumps(answer).encode()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        yield Server(f"http://127.0.0.1:{http.server_address[1]}")
        http.shutdown()


def test_what_is_shown_to_who_signs_in() -> None:
    begun = {
        "verification_uri": f"https://link.example/link{CONTROL}",
        "user_code": f"ABCD{CONTROL}",
        "device_code": "d",
    }
    answers = {
        "/api/device_authorization": (200, {**begun, "expires_in": 60, "interval": 1}),
        "/api/token": (400, {"error": f"odd{CONTROL}"}),
    }
    lines: list[str] = []
    with server(answers) as here, pytest.raises(NotSignedIn) as raised:
        by_code(here, None, lines.append, wait=lambda _: None)
    assert [line.rsplit(" ", 1)[1] for line in lines] == [f"https://link.example/link{LEFT}", f"ABCD{LEFT}"]
    assert f"(odd{LEFT})" in str(raised.value)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(401, "x", NotSignedIn), (422, "invalid", Invalid), (404, "x", cloudlink.NotFound), (503, "x", ServerUnavailable)],
)
def test_what_an_error_says(status: int, code: str, kind: type[CloudlinkError]) -> None:
    listed = [{"field": f"/a{CONTROL}", "detail": f"why{CONTROL}"}]
    error = refused(status, {"code": code + CONTROL, "detail": f"so{CONTROL}", "errors": listed}, None)
    assert isinstance(error, kind)
    assert f"so{LEFT}" in str(error)
    assert str(error).isprintable()
    if isinstance(error, cloudlink.ApiError):
        assert (error.code, error.detail) == (code + LEFT, f"so{LEFT}")
        assert error.errors == ((f"/a{LEFT}", f"why{LEFT}"),)


def test_where_a_slots_user_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    members = ("connect_url", "user_code", "verification_uri", "verification_uri_complete")
    api = object.__new__(slot_api.SlotApi)
    monkeypatch.setattr(api, "_object", lambda *_, **__: dict.fromkeys(members, f"a{CONTROL}"), raising=False)
    attempt = api.connect()
    assert {getattr(attempt, member) for member in members} == {f"a{LEFT}"}
