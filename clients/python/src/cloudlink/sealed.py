"""Sealed delivery: tokens in a JWE (RFC 7516, compact) that only the plugin's own key opens.

Two ways to agree on the content key are known, `RSA-OAEP-256` and direct `ECDH-ES` on P-256, and one cipher,
`A256GCM`. Anything else is refused, so that nobody chooses a weaker one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from .errors import CannotOpen
from .keys import DeviceKey

_CIPHER = "A256GCM"
_KEY_BITS = 256


def is_sealed(data: Any) -> bool:
    return isinstance(data, dict) and set(data) == {"jwe"} and isinstance(data["jwe"], str)


def open_sealed(data: dict[str, Any], keys: Sequence[DeviceKey]) -> dict[str, Any]:
    """What is inside of `{"jwe": …}`. Raises `CannotOpen`, which quotes nothing."""
    try:
        head, encrypted_key, iv, text, tag = data["jwe"].split(".")
        header = json.loads(_decoded(head))
        key = next((key for key in keys if key.key_hash == header.get("kid")), None)
        if key is None:
            raise CannotOpen(
                "the tokens are sealed to a key that is not here: give its file as sealed_key, or change seal_to"
            )
        if header.get("enc") != _CIPHER or "zip" in header or "crit" in header:
            raise CannotOpen("the tokens are sealed in a way that is not known here: update this package")
        content_key = _content_key(key, header, _decoded(encrypted_key))
        plain = AESGCM(content_key).decrypt(_decoded(iv), _decoded(text) + _decoded(tag), head.encode())
        opened = json.loads(plain)
    except CannotOpen:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, InvalidTag):
        raise CannotOpen("the sealed tokens were damaged or made for another key") from None
    if not isinstance(opened, dict):
        raise CannotOpen("the sealed tokens are no JSON object")
    return opened


def _content_key(key: DeviceKey, header: dict[str, Any], encrypted_key: bytes) -> bytes:
    private, algorithm = key.private, header.get("alg")
    if algorithm == "RSA-OAEP-256" and isinstance(private, rsa.RSAPrivateKey):
        mask = padding.MGF1(hashes.SHA256())
        return private.decrypt(encrypted_key, padding.OAEP(mgf=mask, algorithm=hashes.SHA256(), label=None))
    if algorithm == "ECDH-ES" and isinstance(private, ec.EllipticCurvePrivateKey):
        point = header["epk"]
        if point.get("kty") != "EC" or point.get("crv") != "P-256" or encrypted_key:
            raise CannotOpen("the sealed tokens were made for another kind of key")
        x, y = (int.from_bytes(_decoded(point[axis]), "big") for axis in ("x", "y"))
        # A point that is not on the curve is a ValueError here.
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        shared = private.exchange(ec.ECDH(), public)
        parties = (_decoded(header.get(party, "")) for party in ("apu", "apv"))
        info = b"".join([_sized(_CIPHER.encode()), *map(_sized, parties), _KEY_BITS.to_bytes(4, "big")])
        return ConcatKDFHash(hashes.SHA256(), _KEY_BITS // 8, info).derive(shared)
    raise CannotOpen("the tokens are sealed in a way that does not fit the key")


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
