"""Ends of tokens as PG3's plugins read them: `expiry` in local time, without a zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

_LONGEST = 10 * 365 * 24 * 3600


def with_local_expiry(tokens: Mapping[str, Any], remaining: float | None = None) -> dict[str, Any]:
    """The tokens with an integer `expires_in`, and `expiry` counted from now."""
    left = tokens.get("expires_in") if remaining is None else remaining
    usable = isinstance(left, (int, float)) and not isinstance(left, bool)
    seconds = min(max(int(left), 0), _LONGEST) if usable and left is not None else _LONGEST
    expiry = (datetime.now() + timedelta(seconds=seconds)).isoformat()
    return {**tokens, "expires_in": seconds, "expiry": expiry}
