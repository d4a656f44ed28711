"""What a provider gave, and how long it lasts: counted from its arrival, never by this machine's clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from . import steady

#: Where neither the server nor the token says.
_NO_END = 10 * 365 * 24 * 3600.0


class Tokens(Mapping[str, Any]):
    """The provider's members as they came, `access_token` among them. Neither `repr` nor a log shows them."""

    def __init__(self, members: Mapping[str, Any], lasts: float | None = None) -> None:
        self._members = dict(members)
        said = members.get("expires_in")
        if lasts is None:
            usable = isinstance(said, (int, float)) and not isinstance(said, bool)
            lasts = float(said) if usable and said is not None else _NO_END
        self._lasts = lasts
        self._ends = steady.now() + lasts

    @property
    def access_token(self) -> str:
        return str(self._members.get("access_token", ""))

    @property
    def expires_in(self) -> float:
        """Seconds that are left now; below zero once it is over."""
        return self._ends - steady.now()

    @property
    def is_due(self) -> bool:
        """Whether the server would refresh it first: under 60 s, or half of what it had, are left."""
        return self.expires_in < min(60.0, self._lasts / 2)

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<Tokens: {', '.join(sorted(self._members))}; {self.expires_in:.0f} s left>"


def remaining(expiry: Any, server_time: float | None) -> float:
    """From an `expiry` by the server's clock (RFC 3339) and what that clock shows: the seconds between."""
    if not isinstance(expiry, str) or server_time is None:
        return _NO_END if expiry is None else 0.0
    try:
        return datetime.fromisoformat(_with_offset(expiry)).timestamp() - server_time
    except ValueError:
        return 0.0


def _with_offset(text: str) -> str:
    # Before Python 3.11 `fromisoformat` knows no Z, and three or six digits of a second only.
    if text.endswith(("Z", "z")):
        text = text[:-1] + "+00:00"
    if "." in text:
        head, tail = text.split(".", 1)
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    return text
