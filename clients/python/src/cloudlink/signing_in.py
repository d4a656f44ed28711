"""Signing in and out, and what one may do then. The files are those of `cloudlink login`: either can go on with what
the other left.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from . import claims
from .access import Access
from .credentials import Credential, KeyCredential, Places, TokenCredential
from .errors import CloudlinkError, NotSignedIn, ServerUnavailable
from .hub import Hub, authorize_with_password
from .keys import DeviceKey
from .printable import printable
from .sign_in_pages import CLIENT_ID, Show, by_browser, by_code, has_browser
from .transport import Server


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


@dataclass(frozen=True)
class Permissions:
    #: `owner`, or a device's id.
    subject: str
    server: str
    #: Where the credential came from: `CLOUDLINK_TOKEN`, or a file.
    source: str
    #: Unix seconds; None for a key, which is good until it is removed.
    until: int | None
    key_hash: str | None
    subs: tuple[str, ...]
    publ: tuple[str, ...]
    #: Of a device: the slots that it may change.
    writable_slots: tuple[str, ...] | None


def authenticate_user(
    url: str | None = None,
    *,
    headless: bool | None = None,
    here: bool = False,
    show: Show = _to_standard_error,
) -> Path:
    """Signs the owner in, by a browser here or, `headless`, by a code for a browser elsewhere.

    Left alone, `headless` is what suits the machine. The token is kept until it expires; answers its file.
    """
    places = Places()
    server = places.server(url)
    token = _sign_in(server, "owner", headless, show)
    said = claims.read(token)
    if said is None or said.device is not None:
        _revoke(server, token)
        raise CloudlinkError("somebody else was signed in than the owner: choose the owner on the page")
    return places.keep(TokenCredential(server, token, said), here=here)


def authenticate_device(
    device: str | None = None,
    url: str | None = None,
    *,
    password: str | None = None,
    headless: bool | None = None,
    here: bool = False,
    show: Show = _to_standard_error,
) -> KeyCredential:
    """The device of this machine, by a key that lasts.

    Where a key is kept already, and the server believes it, that is all. Else somebody signs in for the device, with
    its `password` or on the server's page; a new key is made, trusted, and kept in a file of mode 0600.
    """
    places = Places()
    known = _kept_key(places)
    if known is not None and device in (None, known.device) and url in (None, known.server.origin):
        try:
            Access(known).token()
            return known
        except NotSignedIn as refusal:
            show(f"The key that is kept here is of no use: {refusal}.")
            device = known.device if device is None else device
    server = places.server(url)
    if password is not None:
        if device is None:
            raise CloudlinkError("which device? Give its id with its password")
        return _trust_a_new_key(places, server, authorize_with_password(device, password, server.origin), here)
    token = _sign_in(server, f"device:{device}" if device else None, headless, show)
    try:
        said = claims.read(token)
        if said is None or said.device is None or device not in (None, said.device):
            raise CloudlinkError("somebody else was signed in than the device: choose the device on the page")
        hub = Hub(Access(TokenCredential(server, token, said)))
        return _trust_a_new_key(places, server, hub, here)
    finally:
        # The key speaks from now on.
        _revoke(server, token)


def _kept_key(places: Places) -> KeyCredential | None:
    try:
        credential = places.find().credential
    except NotSignedIn:
        return None
    return credential if isinstance(credential, KeyCredential) else None


def _sign_in(server: Server, scope: str | None, headless: bool | None, show: Show) -> str:
    if headless is False or (headless is None and has_browser()):
        token = by_browser(server, scope, show)
        if token is not None:
            return token
    return by_code(server, scope, show)


def _trust_a_new_key(places: Places, server: Server, hub: Hub, here: bool) -> KeyCredential:
    key = DeviceKey.make()
    host = printable(platform.node(), 40).strip()
    key_hash = hub.add_trust(f"cloudlink login on {host}" if host else "cloudlink login", key)
    credential = KeyCredential(server, hub.device, key)
    try:
        places.keep(credential, here=here)
    except CloudlinkError:
        # Nobody has this key any more, so nobody should be believed with it.
        hub.remove_trust(key_hash)
        raise
    return credential


def _revoke(server: Server, token: str) -> bool:
    try:
        form = {"token": token, "client_id": CLIENT_ID}
        return server.call("POST", "/api/revoke", form=form).status == 200
    except ServerUnavailable:
        # It ends by itself.
        return False


def signout() -> bool:
    """Forgets the credential here, whatever the server says; answers whether it has ended at the server too."""
    found = Places().find()
    found.forget()
    credential = found.credential
    if isinstance(credential, TokenCredential):
        return _revoke(credential.server, credential.token)
    try:
        Hub(Access(credential)).remove_trust(credential.key_hash)
    except CloudlinkError:
        return False
    return True


def permissions() -> Permissions:
    """Who is signed in where, until when, and what that is good for."""
    found = Places().find()
    credential: Credential = found.credential
    if isinstance(credential, TokenCredential):
        said, key_hash, until = credential.claims, None, credential.claims.expires_at
    else:
        read = claims.read(Access(credential).token())
        if read is None:
            raise CloudlinkError("the server gave no access token of a cloudlink")
        said, key_hash, until = read, credential.key_hash, None
    slots: tuple[str, ...] | None = None
    if said.device is None:
        # Whether the token is still believed, the server alone knows.
        credential.server.expect("GET", "/api/audit?limit=1", token=getattr(credential, "token", None))
    else:
        slots = tuple(Hub.signed_in(credential).writable_slots())
    return Permissions(
        said.subject, credential.server.origin, found.source, until, key_hash, said.subs, said.publ, slots
    )
