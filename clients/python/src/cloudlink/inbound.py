"""What comes in over the relay: requests of web services (webhooks) and commands for hubs. Nothing is queued there, so
whoever asked waits for the answer.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from .frames import Inbound

_log = logging.getLogger("cloudlink")

_LONGEST_BODY = 256 * 1024
_MOST_HEADERS = 64
_REFUSED = {"content-type": "text/plain; charset=utf-8"}


@dataclass(frozen=True)
class Request:
    slot: str
    method: str
    headers: Mapping[str, Any] = field(repr=False)
    query: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Command:
    name: str
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Response:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""


#: What a handler of requests may give: None is 200 and empty, a dict or list is JSON.
Answer = Union[Response, bytes, str, dict[str, Any], list[Any], tuple[Any, ...], None]


def request_in(frame: Inbound) -> Request:
    """Raises ValueError where it is none."""
    members = frame.members
    body = members.get("body") or ""
    if not isinstance(body, str):
        raise ValueError("the body is no text")
    return Request(
        slot=str(members.get("slot", "")),
        method=str(members.get("method", "GET")),
        headers=_mapping(members.get("headers")),
        query=_mapping(members.get("query")),
        body=base64.b64decode(body, validate=True),
    )


def command_in(frame: Inbound) -> Command:
    return Command(str(frame.members.get("name", "")), _mapping(frame.members.get("data")))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def response_frame(frame: Inbound, answer: Answer) -> str:
    """The `response` to a request."""
    response = _response(answer)
    body = response.body.encode() if isinstance(response.body, str) else bytes(response.body)
    headers = {name: str(value) for name, value in response.headers.items()}
    status = response.status
    if len(body) > _LONGEST_BODY or len(headers) > _MOST_HEADERS or not 200 <= status <= 599:
        _log.error("a request was answered with what can't be sent: at most 256 KiB, 64 headers, status 200 to 599")
        status, headers, body = 500, _REFUSED, b"The plugin failed."
    encoded = base64.b64encode(body).decode()
    return json.dumps({"type": "response", "id": frame.id, "status": status, "headers": headers, "body": encoded})


def refusal_frame(frame: Inbound, status: int, detail: str) -> str:
    """The `response` where there is no handler, or it failed."""
    if frame.is_command:
        return json.dumps({"type": "response", "id": frame.id, "ok": False, "data": {"detail": detail}})
    return response_frame(frame, Response(status, _REFUSED, detail))


def result_frame(frame: Inbound, data: Any) -> str:
    """The `response` to a command. Raises TypeError where it is no object."""
    if data is not None and not isinstance(data, Mapping):
        raise TypeError("a command is answered with a dictionary, or with nothing")
    return json.dumps({"type": "response", "id": frame.id, "ok": True, "data": dict(data or {})})


def _response(answer: Answer) -> Response:
    if answer is None:
        return Response()
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, tuple):
        return Response(*answer)
    if isinstance(answer, (dict, list)):
        return Response(200, {"content-type": "application/json"}, json.dumps(answer))
    return Response(200, {"content-type": "text/plain; charset=utf-8"}, answer)
