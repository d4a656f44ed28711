"""The API of one slot, as blocking calls: what a plugin may ask and change about itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from . import steady
from .access import Access
from .errors import ApiError, AuthorizationRequired, LinkingFailed, NotFound
from .printable import printable
from .tokens import Tokens, remaining

_LONGEST_URL = 8192
#: How a flow can end.
_OVER = ("denied", "failed", "expired")


@dataclass(frozen=True)
class Attempt:
    """One attempt to link the slot: where its user has to go."""

    flow: str
    #: For a browser.
    connect_url: str = field(repr=False)
    #: For a browser elsewhere: eight letters, typed at `verification_uri`.
    user_code: str = field(repr=False)
    verification_uri: str
    #: The same with the code in it, for a QR code.
    verification_uri_complete: str = field(repr=False)
    #: Seconds from the start.
    expires_in: float
    #: Seconds between two looks at the status.
    interval: float
    started: float = field(default_factory=steady.now, repr=False)

    @property
    def is_over(self) -> bool:
        return steady.now() - self.started >= self.expires_in


class SlotApi:
    def __init__(self, access: Access, slot: str) -> None:
        self.access = access
        self.slot = slot
        self._path = f"/api/devices/{quote(access.device)}/slots/{quote(slot, safe='')}"

    def status(self) -> dict[str, Any]:
        """`plugin`, `status`, `expiry`, `scope`, `version`, `acked_version`."""
        return self._object("GET", "")

    def configuration(self) -> dict[str, Any]:
        """The effective configuration, secrets masked."""
        return self._object("GET", "/oauth")

    def settings(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merges into the slot's overrides (RFC 7396); `None` removes one."""
        return self._object("PATCH", "/oauth", json_body=dict(patch))

    def token(self) -> Tokens:
        """A good access token, refreshed first if it is due."""
        return self._tokens("GET", "/token")

    def refresh(self) -> Tokens:
        """An access token that was refreshed just now."""
        return self._tokens("POST", "/refresh")

    def import_tokens(self, tokens: Mapping[str, Any]) -> None:
        """Has the broker take over tokens that the plugin had already."""
        self._call("PUT", "/tokens", json_body=dict(tokens))

    def unlink(self) -> None:
        """Revokes the tokens at the provider where that is possible, and erases them in any case."""
        self._call("DELETE", "/tokens")

    def connect(self, return_url: str | None = None) -> Attempt:
        """Begins to link the slot."""
        answer = self._object("POST", "/connect", json_body={"return_url": return_url} if return_url else {})
        return Attempt(
            flow=str(answer.get("flow", "")),
            connect_url=printable(answer.get("connect_url", ""), _LONGEST_URL),
            user_code=printable(answer.get("user_code", "")),
            verification_uri=printable(answer.get("verification_uri", ""), _LONGEST_URL),
            verification_uri_complete=printable(answer.get("verification_uri_complete", ""), _LONGEST_URL),
            expires_in=float(answer.get("expires_in", 600)),
            interval=max(float(answer.get("interval", 5)), 1.0),
        )

    def flow(self, attempt: Attempt) -> str:
        """How far an attempt has come: raises `LinkingFailed` once it has ended without a link."""
        answer = self._object("GET", f"/flows/{quote(attempt.flow, safe='')}")
        status, error = str(answer.get("status")), answer.get("error")
        if status in _OVER:
            raise LinkingFailed(status, printable(error) if error else None)
        return status

    def confirm(self, attempt: Attempt, code: str) -> None:
        """Types the six digits that the browser shows after consent."""
        self._call("POST", f"/flows/{quote(attempt.flow, safe='')}/confirm", json_body={"code": code})

    def _tokens(self, method: str, path: str) -> Tokens:
        answer = self._call(method, path)
        body = answer.body if isinstance(answer.body, dict) else {}
        return Tokens(body, remaining(body.get("expiry"), answer.server_time))

    def _object(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        body = self._call(method, path, **more).body
        return body if isinstance(body, dict) else {}

    def _call(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self.access.call(method, self._path + path, **more)
        except ApiError as error:
            if error.code == "authorization_required":
                raise AuthorizationRequired(self.slot, error.detail) from None
            if isinstance(error, NotFound) and not path.startswith("/flows/"):
                raise NotFound(error.status, error.code, self._missing()) from None
            raise

    def _missing(self) -> str:
        return (
            f"device {self.access.device} has no slot {self.slot}: check the name, or have a plugin installed in it "
            f"with `cloudlink slot install {shlex.quote(self.slot)} --plugin ID`"
        )


class SlotTokens:
    """Tokens for the relay, which says nothing of a slot that is not there: so that is asked before the first."""

    def __init__(self, api: SlotApi) -> None:
        self._api = api
        self._is_there = False

    def token(self) -> str:
        """Raises `NotFound` where the device has no such slot."""
        token = self._api.access.token()
        if not self._is_there:
            try:
                self._api.status()
                self._is_there = True
            except NotFound:
                raise
            except ApiError:
                # Whatever it is, it says nothing against the slot.
                pass
        return token

    def forget(self, token: str) -> None:
        self._api.access.forget(token)
