"""The two ways to a person's sign-in on the server's pages: a browser here that comes back to this machine (RFC 8252,
7636), or a code that is typed into a browser elsewhere (RFC 8628). Both answer an access token.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
import threading
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

from .errors import CloudlinkError, NotSignedIn, ServerUnavailable
from .keys import b64url
from .printable import printable
from .transport import Server

CLIENT_ID = "cloudlink-python"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_PATIENCE = 600.0
_SHORTEST, _LONGEST, _SLOWER = 1.0, 300.0, 5.0

Show = Callable[[str], None]


def has_browser() -> bool:
    """Whether a browser that opens here would be seen."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def by_code(server: Server, scope: str | None, show: Show, wait: Callable[[float], None] = time.sleep) -> str:
    """Shows a code and waits until somebody has typed it and signed in."""
    form = {"client_id": CLIENT_ID, **({"scope": scope} if scope else {})}
    begun = server.call("POST", "/api/device_authorization", form=form)
    if begun.status != 200 or not isinstance(begun.body, dict):
        raise _refusal(begun.body)
    show(f"Open this page in any browser:  {printable(begun.body['verification_uri'])}")
    show(f"and type this code:             {printable(begun.body['user_code'])}")
    deadline = time.monotonic() + min(float(begun.body["expires_in"]), 86400.0)
    interval = min(max(float(begun.body.get("interval", 5)), _SHORTEST), _LONGEST)
    question = {
        "grant_type": _DEVICE_CODE,
        "device_code": str(begun.body["device_code"]),
        "client_id": CLIENT_ID,
    }
    while time.monotonic() + interval < deadline:
        wait(interval)
        try:
            answer = server.call("POST", "/api/token", form=question)
        except ServerUnavailable:
            interval = min(interval * 2, _LONGEST)
            continue
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status == 200:
            return _granted(body)
        error = body.get("error")
        if error == "slow_down" or answer.status == 429:
            interval = min(interval + _SLOWER, _LONGEST)
        elif answer.status >= 500:
            interval = min(interval * 2, _LONGEST)
        elif error != "authorization_pending":
            raise _refusal(body)
    raise NotSignedIn("nobody typed the code in time: sign in again")


def by_browser(
    server: Server, scope: str | None, show: Show, open_url: Callable[[str], bool] = webbrowser.open
) -> str | None:
    """Opens the server's page in a browser and waits for its answer; none where no browser opens."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    loopback = _Loopback(state, server.origin)
    try:
        redirect_uri = f"http://127.0.0.1:{loopback.port}/callback"
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": redirect_uri,
            "code_challenge": b64url(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            "state": state,
            **({"scope": scope} if scope else {}),
        }
        url = f"{server.origin}/api/authorize?{urlencode(query)}"
        if not open_url(url):
            show("No browser could be opened here.")
            return None
        show("Sign in with the browser. Where none has opened, open this address on this machine:")
        show(f"  {url}")
        code = loopback.wait(_PATIENCE)
    finally:
        loopback.close()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "client_id": CLIENT_ID,
    }
    answer = server.call("POST", "/api/token", form=form)
    if answer.status != 200:
        raise _refusal(answer.body)
    return _granted(answer.body)


class _Loopback:
    """Listens on 127.0.0.1 for the one redirect that has our `state`."""

    def __init__(self, state: str, issuer: str) -> None:
        self._answer: dict[str, str] | None = None
        self._came = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                members = dict(parse_qsl(parts.query))
                ours = parts.path == "/callback" and hmac.compare_digest(
                    members.get("state", "").encode(), state.encode()
                )
                text = "Go back to the program that opened this." if ours else "There is nothing here."
                page = f"<!doctype html><meta charset=utf-8><title>cloudlink</title><p>{text}</p>".encode()
                self.send_response(200 if ours else 404)
                for name, value in (
                    ("Content-Type", "text/html; charset=utf-8"),
                    ("Content-Length", str(len(page))),
                    ("Cache-Control", "no-store"),
                    ("Referrer-Policy", "no-referrer"),
                    ("Content-Security-Policy", "default-src 'none'"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(page)
                if ours and not outer._came.is_set():
                    outer._answer = members
                    outer._came.set()

            def log_message(self, *_: Any) -> None:
                """The request line has the code in it."""

        self._issuer = issuer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def wait(self, patience: float) -> str:
        if not self._came.wait(patience) or self._answer is None:
            raise NotSignedIn("nobody signed in in time: try again, or use headless=True")
        if self._answer.get("iss") != self._issuer:
            raise CloudlinkError(f"the answer came from another server than {self._issuer}: check the URL")
        if "code" not in self._answer:
            raise _refusal(self._answer)
        return self._answer["code"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _granted(body: Any) -> str:
    token = body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(token, str):
        raise CloudlinkError("the server's answer has no access_token: check the URL")
    return token


def _refusal(body: Any) -> CloudlinkError:
    members = body if isinstance(body, dict) else {}
    error = printable(members.get("error", "no answer of a cloudlink"), 60)
    if error == "access_denied":
        return NotSignedIn("it was not allowed: nobody is signed in")
    if error == "expired_token":
        return NotSignedIn("nobody typed the code in time: sign in again")
    return NotSignedIn(f"the server refused ({error}): sign in again")
