"""Plugins and hubs for cloudlink.

    async with cloudlink.connect(slot="heating") as link:
        token = await link.access_token()

`connect_blocking` is the same without async; `cloudlink.pg3` has the names of PG3's Python interface.
"""

from __future__ import annotations

from pathlib import Path
from typing import Union

from .blocking import BlockingLink, BlockingLinking
from .claims import has_publish_rights
from .credentials import KeyCredential, Places, TokenCredential, credential_for
from .errors import (
    ApiError,
    AuthorizationRequired,
    CannotOpen,
    CloudlinkError,
    Forbidden,
    Invalid,
    LinkingFailed,
    NotFound,
    NotSignedIn,
    ProviderUnavailable,
    ServerUnavailable,
    TokensWithDevice,
    TokensWithheld,
    TooManyRequests,
)
from .frames import Event
from .hub import (
    Hub,
    TrustedKey,
    add_trust,
    authorize_with_password,
    list_trust,
    modify_password,
    remove_trust,
    rename,
    writable_slots,
)
from .inbound import Command, Request, Response
from .keys import DeviceKey
from .link import Link
from .linking import Linking
from .signing_in import Permissions, authenticate_device, authenticate_user, permissions, signout
from .tokens import Tokens
from .version import VERSION

__version__ = VERSION

KeyLike = Union[DeviceKey, str, Path]


def connect(
    slot: str | None = None,
    *,
    url: str | None = None,
    device: str | None = None,
    key: KeyLike | None = None,
    sealed_key: KeyLike | None = None,
) -> Link:
    """A link for `async with`: of one slot, or without `slot` of all of the device, with commands.

    Who is speaking: `device` and `key` (a file, PKCS#8 PEM), or else whoever is signed in here. `sealed_key` opens
    sealed tokens where the device's own key does not.
    """
    return Link.of(credential_for(url, device, key), slot, sealed_key)


def connect_blocking(
    slot: str | None = None,
    *,
    url: str | None = None,
    device: str | None = None,
    key: KeyLike | None = None,
    sealed_key: KeyLike | None = None,
) -> BlockingLink:
    """`connect` for `with`, without async."""
    return BlockingLink(connect(slot, url=url, device=device, key=key, sealed_key=sealed_key))


__all__ = [
    "ApiError",
    "AuthorizationRequired",
    "BlockingLink",
    "BlockingLinking",
    "CannotOpen",
    "CloudlinkError",
    "Command",
    "DeviceKey",
    "Event",
    "Forbidden",
    "Hub",
    "Invalid",
    "KeyCredential",
    "Link",
    "Linking",
    "LinkingFailed",
    "NotFound",
    "NotSignedIn",
    "Permissions",
    "Places",
    "ProviderUnavailable",
    "Request",
    "Response",
    "ServerUnavailable",
    "TokenCredential",
    "Tokens",
    "TokensWithDevice",
    "TokensWithheld",
    "TooManyRequests",
    "TrustedKey",
    "__version__",
    "add_trust",
    "authenticate_device",
    "authenticate_user",
    "authorize_with_password",
    "connect",
    "connect_blocking",
    "has_publish_rights",
    "list_trust",
    "modify_password",
    "permissions",
    "remove_trust",
    "rename",
    "signout",
    "writable_slots",
]
