"""Access tokens to call the server with: asked for when one is needed, used until a minute before its end.

No clock of this machine decides anything. How long a token lasts is counted from its arrival; an assertion is made by
the server's own time where the server says that the clocks differ.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Callable

from . import steady
from .credentials import Credential, KeyCredential, TokenCredential
from .errors import CloudlinkError, Invalid, NotSignedIn, ServerUnavailable
from .printable import printable
from .transport import Answer, Server

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
#: A token this near to its end is not used for another call.
_NEAR_THE_END = 60.0
_LONGEST_SAYING = 200
_SLOT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_WHAT_SLOT_NAMES_HAVE = "1 to 63 characters of a-z, 0-9 and -, and does not begin with -"


class Access:
    """Tokens of one credential, for all of a device or for one slot of it. Any thread may ask."""

    def __init__(
        self, credential: Credential, slot: str | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._credential = credential
        self._slot = slot
        self._clock = clock
        self._ahead = 0.0
        self._lock = threading.Lock()
        self._token: str | None = None
        self._good_until = 0.0

    @property
    def server(self) -> Server:
        return self._credential.server

    @property
    def device(self) -> str:
        device = self._credential.device
        if device is None:
            raise NotSignedIn("the owner is signed in, and no device: call cloudlink.authenticate_device() first")
        return device

    def token(self) -> str:
        """A token that is good. Blocks while a new one is asked for."""
        if isinstance(self._credential, TokenCredential):
            return self._credential.token
        with self._lock:
            if self._token is None or steady.now() >= self._good_until:
                self._renew(self._credential)
            return self._token or ""

    def forget(self, token: str) -> None:
        """The server refused this token."""
        with self._lock:
            if self._token == token:
                self._token = None

    def call(self, method: str, path: str, **more: Any) -> Answer:
        """An API call that must go well; once more with a new token where the server refused the one it had."""
        token = self.token()
        try:
            return self.server.expect(method, path, token=token, **more)
        except NotSignedIn as refusal:
            if isinstance(self._credential, TokenCredential):
                raise self._credential.refused(refusal) from None
            self.forget(token)
            return self.server.expect(method, path, token=self.token(), **more)

    def _renew(self, credential: KeyCredential) -> None:
        answer = self._ask(credential)
        if _is_about_the_clock(answer) and answer.server_time is not None:
            # Set right once for this process; the machine's clock stays as it is.
            self._ahead = answer.server_time - self._clock()
            answer = self._ask(credential)
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status == 200 and isinstance(body.get("access_token"), str):
            lasts = body.get("expires_in")
            self._token = body["access_token"]
            self._good_until = steady.now() + (float(lasts) if isinstance(lasts, (int, float)) else 0.0)
            self._good_until -= _NEAR_THE_END
            return
        raise _refusal(answer, body, credential.server, self._slot)

    def _ask(self, credential: KeyCredential) -> Answer:
        now = self._clock() + self._ahead
        url = f"{credential.server.origin}/api/token"
        form = {"grant_type": _JWT_BEARER, "assertion": credential.key.assertion(credential.device, url, now)}
        if self._slot is not None:
            form["slot"] = self._slot
        return credential.server.call("POST", "/api/token", form=form)


def _is_about_the_clock(answer: Answer) -> bool:
    body = answer.body if isinstance(answer.body, dict) else {}
    return body.get("error") == "invalid_grant" and "clock" in str(body.get("error_description"))


def _refusal(answer: Answer, body: dict[str, Any], server: Server, slot: str | None) -> CloudlinkError:
    if answer.status == 429 or answer.status >= 500:
        return ServerUnavailable(f"{server.origin} is in trouble (status {answer.status})", answer.retry_after)
    if "error" not in body:
        return CloudlinkError(
            f"no cloudlink server answered (status {answer.status} from {server.origin}/api/token): check the URL"
        )
    if slot is not None and body["error"] == "invalid_request" and not _SLOT_NAME.fullmatch(slot):
        return Invalid(answer.status, "invalid_slot", f"{slot!r} is no slot's name: it has {_WHAT_SLOT_NAMES_HAVE}")
    said = printable(body.get("error_description") or body["error"], _LONGEST_SAYING)
    if "clock" in said:
        advice = "set this machine's clock"
    elif "aud must" in said:
        advice = "give the server's public URL exactly as it is set there"
    else:
        advice = "check the device's id, and that the key is among its trusted keys"
    return NotSignedIn(f"the server refused this device: {said}; {advice}")
