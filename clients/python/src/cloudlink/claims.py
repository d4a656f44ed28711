"""What an access token says about itself.

It is read, not verified: whoever holds it has it from the server, and the server alone decides what it is good for.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

_LONGEST = 16 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Claims:
    #: `owner`, or a device's id.
    subject: str
    #: Unix seconds, by the server's clock.
    expires_at: int
    #: Seconds from its issue to its end, where it says when it was issued.
    lasts: int | None
    #: Topic filters: what it may hear, and what it may say.
    subs: tuple[str, ...]
    publ: tuple[str, ...]
    scope: str

    @property
    def device(self) -> str | None:
        return None if self.subject == "owner" else self.subject


def read(token: str) -> Claims | None:
    """The claims of one of cloudlink's tokens; none where it is something else."""
    parts = token.split(".")
    if len(token) > _LONGEST or not _TOKEN.fullmatch(token):
        return None
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return Claims(
            subject=_text(payload["sub"]),
            expires_at=int(payload["exp"]),
            lasts=int(payload["exp"]) - int(payload["iat"]) if "iat" in payload else None,
            subs=_texts(payload.get("subs")),
            publ=_texts(payload.get("publ")),
            scope=str(payload.get("scope", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in values or ())


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic, which has no wildcards, is one of those that a filter names (MQTT 3.1.1 §4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    # Wildcards in the first level don't reach the server's own topics.
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for at, level in enumerate(wanted):
        if level == "#":
            return at == len(wanted) - 1
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(levels) == len(wanted)


def has_publish_rights(token: str, topic: str) -> bool:
    """Whether the token's `publ` covers the topic, like `cloudlink/{device}/{slot}/settings`."""
    claims = read(token)
    if claims is None or "+" in topic or "#" in topic or not topic:
        return False
    return any(matches(one, topic) for one in claims.publ)
