"""HTTP calls to one server. Nothing is followed, everything ends in time, and no answer is read for ever.

Calls block; async code runs them in a thread.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from .errors import CloudlinkError, ServerUnavailable, refused
from .version import VERSION

#: A call that refreshes at the provider takes up to 35 s.
TIMEOUT = 45.0
LONGEST_ANSWER = 1024 * 1024
#: However long a server asks to be left alone.
LONGEST_RETRY = 3600.0


class Answer(NamedTuple):
    status: int
    headers: Message
    body: Any

    @property
    def server_time(self) -> float | None:
        """The server's clock, as its `Date` says, to the second."""
        try:
            return parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (TypeError, ValueError, IndexError):
            return None

    @property
    def retry_after(self) -> float | None:
        try:
            return min(max(float(self.headers["Retry-After"]), 0.0), LONGEST_RETRY)
        except (TypeError, ValueError):
            return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


# No proxy either, as with the commands: a token goes to the server that was named, and to nobody between.
_OPENER = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))


class Server:
    """A cloudlink, by its public URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url.strip())
        try:
            port = parts.port
        except ValueError:
            port = -1
        plain = parts.scheme == "http"
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or "@" in parts.netloc:
            raise CloudlinkError("the server's URL must look like https://link.example")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise CloudlinkError("the server's URL has no path: give its public URL, like https://link.example")
        if plain and not _is_loopback(parts.hostname):
            raise CloudlinkError(
                "the server's URL must begin with https: over plain http anybody on the way could read the tokens"
            )
        self.origin = f"{parts.scheme}://{parts.netloc.lower()}"

    @property
    def relay(self) -> str:
        return self.origin.replace("http", "ws", 1) + "/api/cloudlink/relay"

    def __repr__(self) -> str:
        return f"Server({self.origin!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Server) and other.origin == self.origin

    def __hash__(self) -> int:
        return hash(self.origin)

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        json_body: Any | None = None,
        form: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """One call, whatever its status. Raises `ServerUnavailable` where no answer comes."""
        headers = {"Accept": "application/json", "User-Agent": f"cloudlink-python/{VERSION}"}
        data: bytes | None = None
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if json_body is not None:
            data, headers["Content-Type"] = json.dumps(json_body).encode(), "application/json"
        elif form is not None:
            data, headers["Content-Type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        request = urllib.request.Request(self.origin + path, data=data, headers=headers, method=method)  # noqa: S310
        deadline = time.monotonic() + timeout
        try:
            with _OPENER.open(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, _body(answer, deadline))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, _body(error, deadline))
        except (OSError, http.client.HTTPException) as error:
            # The cause may name the URL, never the token; its class is what helps.
            cause = getattr(error, "reason", error)
            raise ServerUnavailable(
                f"{self.origin} can't be reached ({type(cause).__name__}): check the URL and that it runs"
            ) from None

    def expect(self, method: str, path: str, **more: Any) -> Answer:
        """One call that must go well."""
        answer = self.call(method, path, **more)
        if 200 <= answer.status < 300:
            return answer
        raise refused(answer.status, answer.body, answer.retry_after)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _body(answer: Any, deadline: float) -> Any:
    parts: list[bytes] = []
    length = 0
    while True:
        part = answer.read1(64 * 1024) if hasattr(answer, "read1") else answer.read(64 * 1024)
        if not part:
            break
        parts.append(part)
        length += len(part)
        if length > LONGEST_ANSWER or time.monotonic() > deadline:
            raise ServerUnavailable("the server's answer is too long or too slow: check the URL")
    try:
        return json.loads(b"".join(parts)) if parts else None
    except ValueError:
        return None
