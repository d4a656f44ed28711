"""An OAuth provider whose user always consents, and the service behind it. It checks what a strict one checks: client,
redirect URI, PKCE, and that a code or refresh token is used once."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

CLIENT = ("acme", "acme-secret-0123456789")
#: As the provider of `cloudlink dev` answers.
THERMOSTATS = [{"name": "hall", "celsius": 20.5}, {"name": "attic", "celsius": 17.0}]


class Provider:
    def __init__(self) -> None:
        self.lifetime = 3600
        self.away = False
        self.refuses_refresh = False
        self.clients = dict([CLIENT])
        self.token_requests: list[dict[str, str]] = []
        self.authorizations: list[dict[str, str]] = []
        self.access_tokens: set[str] = set()
        #: The good tokens that the service was called with, in order.
        self.called_with: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.refresh_tokens: set[str] = set()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == "/authorize":
                    self._redirect(outer._authorize(dict(parse_qsl(parts.query))))
                elif parts.path == "/thermostats":
                    token = (self.headers["Authorization"] or "").partition("Bearer ")[2]
                    known = token in outer.access_tokens
                    if known:
                        outer.called_with.append(token)
                    self._json(200 if known else 401, THERMOSTATS if known else {"error": "invalid_token"})
                else:
                    self._json(404, {})

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
                form = {name: values[0] for name, values in parse_qs(text).items()}
                if self.path == "/revoke":
                    return self._json(200, {})
                return self._json(*outer._token(form))

            def _redirect(self, url: str) -> None:
                self.send_response(303)
                self.send_header("Location", url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _json(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """The request line would only be noise."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def configuration(self, **more: Any) -> dict[str, Any]:
        """What a plugin author writes for the store."""
        return {
            "name": "Acme Thermostats",
            "client_id": CLIENT[0],
            "client_secret": CLIENT[1],
            "auth_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "scope": "read write",
            "addRedirect": True,
            "redirect_uri": "own",
            **more,
        }

    def issue(self) -> dict[str, Any]:
        """Tokens as a plugin has them that was linked before there was a broker."""
        with self._lock:
            return self._issue()

    def _issue(self) -> dict[str, Any]:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.access_tokens.add(access)
        self.refresh_tokens.add(refresh)
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "home": "7 Elm Street",
        }

    def _authorize(self, query: dict[str, str]) -> str:
        assert query["response_type"] == "code" and query["client_id"] in self.clients
        self.authorizations.append(query)
        code = secrets.token_urlsafe(24)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.token_requests.append(form)
            if self.away:
                return 503, {"error": "temporarily_unavailable"}
            if self.clients.get(form.get("client_id", "")) != form.get("client_secret"):
                return 401, {"error": "invalid_client"}
            if form["grant_type"] == "authorization_code":
                asked = self._codes.pop(form.get("code", ""), None)
                verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
                challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
                good = (
                    asked is not None
                    and asked["code_challenge"] == challenge
                    and asked["redirect_uri"] == form.get("redirect_uri")
                    and asked["client_id"] == form["client_id"]
                )
            else:
                good = form.get("refresh_token") in self.refresh_tokens and not self.refuses_refresh
                self.refresh_tokens.discard(form.get("refresh_token", ""))
            return (200, self._issue()) if good else (400, {"error": "invalid_grant"})
