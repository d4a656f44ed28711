"""A device's own affairs: its name, its password, and the keys that it trusts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from . import claims
from .access import Access
from .credentials import Credential, Places, TokenCredential
from .errors import CloudlinkError
from .keys import DeviceKey
from .transport import Answer


class Caller(Protocol):
    @property
    def device(self) -> str: ...

    def call(self, method: str, path: str, **more: Any) -> Answer: ...


class TrustedKey(NamedTuple):
    label: str
    key_hash: str
    added_at: str
    last_used_at: str | None


class Hub:
    """A device, called as itself: by its key, or by its password for its name, password and keys alone."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._path = f"/api/devices/{quote(caller.device)}"

    @classmethod
    def signed_in(cls, credential: Credential | None = None) -> Hub:
        """With the credential that was given, or the one that is found."""
        return cls(Access(credential or Places().find().credential))

    @property
    def device(self) -> str:
        return self._caller.device

    def add_trust(self, label: str, public_key: str | DeviceKey | Mapping[str, Any]) -> str:
        """Trusts a public key (PEM, or a JWK); answers its hash."""
        if isinstance(public_key, DeviceKey):
            public_key = public_key.public_pem()
        shown = public_key if isinstance(public_key, str) else dict(public_key)
        answer = self._caller.call("POST", f"{self._path}/keys", json_body={"label": label, "public_key": shown})
        return str(answer.body["key_hash"])

    def list_trust(self) -> list[TrustedKey]:
        listed = self._caller.call("GET", f"{self._path}/keys").body
        return [
            TrustedKey(str(key["label"]), str(key["key_hash"]), str(key["added_at"]), key.get("last_used_at"))
            for key in listed
        ]

    def remove_trust(self, key_hash: str) -> None:
        """Ends the key, and within five seconds all tokens that it obtained."""
        self._caller.call("DELETE", f"{self._path}/keys/{quote(key_hash, safe='')}")

    def rename(self, name: str) -> None:
        self._caller.call("PATCH", self._path, json_body={"name": name})

    def modify_password(self, old: str, new: str, reset_acl: bool = True) -> None:
        """Changes the password. `reset_acl` also empties the trusted keys and ends every token of the device."""
        body = {"old_password": old, "new_password": new, "reset_acl": reset_acl}
        self._caller.call("PUT", f"{self._path}/password", json_body=body)

    def slots(self, *, writable: bool = False) -> list[dict[str, Any]]:
        """The slots that the credential covers; with `writable`, those that it may change."""
        answer = self._caller.call("GET", f"{self._path}/slots" + ("?writable=true" if writable else ""))
        return list(answer.body)

    def writable_slots(self) -> list[str]:
        return [str(slot["slot"]) for slot in self.slots(writable=True)]

    def install(self, slot: str, plugin: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Installs a plugin of the store in a slot; in one that is there, its configuration is copied anew."""
        body: dict[str, Any] = {"plugin": plugin}
        if variables is not None:
            body["variables"] = dict(variables)
        return dict(self._caller.call("PUT", f"{self._path}/slots/{quote(slot, safe='')}", json_body=body).body)


def authorize_with_password(device: str, password: str, url: str | None = None) -> Hub:
    """The device by its password: good for an hour, for its name, password and trusted keys, and nothing is kept."""
    server = Places().server(url)
    answer = server.expect("POST", f"/api/devices/{quote(device, safe='')}/login", json_body={"password": password})
    token = str(answer.body.get("token", ""))
    said = claims.read(token)
    if said is None:
        raise CloudlinkError("the server gave no access token of a cloudlink: check the URL")
    return Hub(Access(TokenCredential(server, token, said)))


def add_trust(label: str, public_key: str | DeviceKey | Mapping[str, Any]) -> str:
    """`Hub.add_trust` of the device that is signed in."""
    return Hub.signed_in().add_trust(label, public_key)


def list_trust() -> list[TrustedKey]:
    """`Hub.list_trust` of the device that is signed in."""
    return Hub.signed_in().list_trust()


def remove_trust(key_hash: str) -> None:
    """`Hub.remove_trust` of the device that is signed in."""
    Hub.signed_in().remove_trust(key_hash)


def rename(name: str) -> None:
    """`Hub.rename` of the device that is signed in."""
    Hub.signed_in().rename(name)


def modify_password(old: str, new: str, reset_acl: bool = True) -> None:
    """`Hub.modify_password` of the device that is signed in. With `reset_acl` its key here ends too."""
    Hub.signed_in().modify_password(old, new, reset_acl)


def writable_slots() -> list[str]:
    """`Hub.writable_slots` of the device that is signed in."""
    return Hub.signed_in().writable_slots()
