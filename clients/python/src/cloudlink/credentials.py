"""Which credential is used, and where it is kept: the same places and files as those of the `cloudlink` commands.

The first of these counts: `CLOUDLINK_TOKEN` with `CLOUDLINK_URL`; `.cloudlink/credentials.json` in the working folder;
`cloudlink/credentials.json` in the user's configuration folder. A file that others can read, or that belongs to
somebody else, is refused.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Union

from . import claims
from .errors import CloudlinkError, NotSignedIn
from .keys import DeviceKey
from .private_files import read_private, remove, write_private
from .transport import Server

TOKEN, URL = "CLOUDLINK_TOKEN", "CLOUDLINK_URL"
_FILE = "credentials.json"


@dataclass(frozen=True)
class TokenCredential:
    """An access token, until it expires."""

    server: Server
    token: str = field(repr=False)
    claims: claims.Claims

    @property
    def device(self) -> str | None:
        return self.claims.device

    def refused(self, refusal: NotSignedIn) -> NotSignedIn:
        """The server's refusal, with what this machine's clock has to say about it."""
        if self.claims.expires_at > time.time():
            return refusal
        ended, now = _moment(self.claims.expires_at), _moment(time.time())
        return NotSignedIn(f"{refusal}; the token was good until {ended}, and this machine's clock shows {now}")


@dataclass(frozen=True)
class KeyCredential:
    """A trusted key of a device, until it is removed."""

    server: Server
    device: str
    key: DeviceKey

    @property
    def key_hash(self) -> str:
        return self.key.key_hash


Credential = Union[TokenCredential, KeyCredential]


@dataclass(frozen=True)
class Found:
    credential: Credential
    #: The file, or None for the environment.
    path: Path | None

    @property
    def source(self) -> str:
        return TOKEN if self.path is None else str(self.path)

    def forget(self) -> None:
        if self.path is not None:
            remove(self.path)


class Places:
    """Where credentials are looked for."""

    def __init__(self, environment: Mapping[str, str] | None = None, working_folder: Path | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._token, self._url = variables.get(TOKEN), variables.get(URL)
        self.here = (working_folder or Path.cwd()) / ".cloudlink"
        # The XDG specification has relative paths ignored.
        config, home = (variables.get(name, "") for name in ("XDG_CONFIG_HOME", "HOME"))
        self.user: Path | None = None
        if config and Path(config).is_absolute():
            self.user = Path(config) / "cloudlink"
        elif home and Path(home).is_absolute():
            self.user = Path(home) / ".config" / "cloudlink"

    def _files(self) -> list[Path]:
        return [folder / _FILE for folder in (self.here, self.user) if folder]

    def find(self) -> Found:
        """The credential to use."""
        if self._token:
            if not self._url:
                raise NotSignedIn(f"{TOKEN} is set but {URL} is not: set it to the server's public URL")
            said = claims.read(self._token)
            if said is None:
                raise NotSignedIn(f"{TOKEN} holds no access token of a cloudlink: set it anew")
            # When it came nobody knows, and this machine's clock may be wrong: the server says whether it is over.
            return Found(TokenCredential(Server(self._url), self._token, said), None)
        for path in self._files():
            credential = _read(path)
            if credential is None:
                continue
            if isinstance(credential, TokenCredential) and _is_over(credential.claims, path):
                remove(path)
                raise NotSignedIn(
                    f"the sign-in has expired, by this machine's clock ({_moment(time.time())}), and {path} is "
                    f"removed: sign in again with `cloudlink login --url {credential.server.origin}`"
                )
            return Found(credential, path)
        raise NotSignedIn(
            f"nobody is signed in: run `cloudlink login --url https://…`, call cloudlink.authenticate_device(), "
            f"or set {TOKEN} and {URL}"
        )

    def server(self, url: str | None = None) -> Server:
        """The server to sign in at: the one named, else that of the environment, else of the last sign-in."""
        if url or self._url:
            return Server(url or self._url or "")
        for path in self._files():
            credential = _read(path)
            if credential is not None:
                return credential.server
        raise CloudlinkError(f"which server? Give its public URL as url, or set {URL}")

    def keep(self, credential: Credential, *, here: bool = False) -> Path:
        """Writes a credential to its file, in place of what was there."""
        folder = self.here if here else self.user
        if folder is None:
            raise CloudlinkError(
                "there is no folder to keep the credential in: set HOME or XDG_CONFIG_HOME, or say here=True"
            )
        write_private(folder / _FILE, json.dumps(_written(credential), indent=2) + "\n")
        return folder / _FILE


def _is_over(said: claims.Claims, path: Path) -> bool:
    """Whether a token's time has passed both by its end and since its file was written.

    One of these alone may be wrong by as much as this machine's clock is, or was then.
    """
    now = time.time()
    if said.expires_at > now:
        return False
    return said.lasts is None or path.stat().st_mtime + said.lasts <= now


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _read(path: Path) -> Credential | None:
    text = read_private(path)
    if text is None:
        return None
    try:
        return _parsed(json.loads(text))
    except (ValueError, KeyError, TypeError, CloudlinkError):
        # The cause may quote the file.
        raise CloudlinkError(f"{path} holds no credential: remove it and sign in again") from None


def _parsed(value: Any) -> Credential:
    server = Server(value["server"])
    if "token" in value:
        said = claims.read(value["token"])
        if said is None:
            raise ValueError
        return TokenCredential(server, value["token"], said)
    if not isinstance(value["device"], str):
        raise TypeError
    return KeyCredential(server, value["device"], DeviceKey.from_pem(value["key"]))


def _written(credential: Credential) -> dict[str, str]:
    if isinstance(credential, TokenCredential):
        return {"server": credential.server.origin, "token": credential.token}
    return {
        "server": credential.server.origin,
        "device": credential.device,
        "key": credential.key.private_pem(),
        "key_hash": credential.key_hash,
    }


def credential_for(
    url: str | None = None,
    device: str | None = None,
    key: DeviceKey | str | Path | None = None,
    places: Places | None = None,
) -> Credential:
    """The credential that was given, whole, or the one that is found."""
    if device is None and key is None and url is None:
        return (places or Places()).find().credential
    if device is None or key is None:
        raise CloudlinkError("give device and key together (and url), or none of them")
    server = (places or Places()).server(url)
    return KeyCredential(server, device, key if isinstance(key, DeviceKey) else DeviceKey.load(key))
