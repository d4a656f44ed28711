"""The relay's frames as a plugin reads and writes them. What is no frame, or of an unknown type, is skipped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Union

from .printable import printable

#: (`event`, `key`) on the wire, and what this package calls it.
KINDS = {
    ("customns", "oauth"): "configuration",
    ("customns", "oauthTokens"): "tokens",
    ("oauth", None): "consent",
    ("reauthorize", None): "reauthorize",
    ("unlinked", None): "unlinked",
}


@dataclass(frozen=True)
class Event:
    """The newest state of a slot, or a part of it.

    `configuration`: `data` is the configuration for the plugin. `tokens`: the link's tokens, as after a refresh.
    `consent`: the same, of a new consent. `reauthorize`: the user must link again; `data["reason"]` says why.
    `unlinked`: the tokens are erased.
    """

    slot: str
    version: int
    kind: str
    data: dict[str, Any] = field(repr=False)

    @property
    def has_tokens(self) -> bool:
        return self.kind in ("tokens", "consent")


@dataclass(frozen=True)
class Hello:
    heartbeat: float


@dataclass(frozen=True)
class Goodbye:
    reconnect_after: float


@dataclass(frozen=True)
class Trouble:
    """A frame of ours was not accepted."""

    code: str


@dataclass(frozen=True)
class Inbound:
    """A `request` or `command`; what is in it is read where it is answered."""

    id: str | int
    members: dict[str, Any] = field(repr=False)

    @property
    def is_command(self) -> bool:
        return self.members.get("type") == "command"


Frame = Union[Event, Hello, Goodbye, Trouble, Inbound]


def read(text: str | bytes) -> Frame | None:
    """The frame in a message; none where it is not one that is known."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    kind = members.get("type")
    if kind == "event":
        return _event(members)
    if kind == "hello":
        return Hello(_number(members.get("heartbeat"), 30.0))
    if kind == "goodbye":
        return Goodbye(_number(members.get("reconnect_after_ms"), 0.0) / 1000)
    if kind == "error":
        return Trouble(printable(members.get("code"), 64))
    if kind in ("request", "command") and isinstance(members.get("id"), (str, int)):
        return Inbound(members["id"], members)
    return None


def _event(members: dict[str, Any]) -> Event | None:
    name, key = members.get("event"), members.get("key")
    known = KINDS.get((name, key)) if isinstance(name, str) and (key is None or isinstance(key, str)) else None
    slot, version, data = members.get("slot"), members.get("version"), members.get("data", {})
    if known is None or not isinstance(slot, str) or not isinstance(data, dict):
        return None
    if not isinstance(version, int) or isinstance(version, bool):
        return None
    return Event(slot, version, known, data)


def _number(value: Any, otherwise: float) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if usable else otherwise


def ack(slot: str, version: int) -> str:
    return json.dumps({"type": "ack", "slot": slot, "version": version})
