"""A device's private key: read or made, and used to sign assertions and to open what is sealed to it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, Union

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .errors import CloudlinkError

PrivateKey = Union[ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]

_LONGEST_FILE = 16 * 1024
#: How long an assertion is good for, in seconds.
LIFE = 60


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class DeviceKey:
    """Ed25519, P-256 or RSA."""

    def __init__(self, private: PrivateKey) -> None:
        self._private = private

    @classmethod
    def make(cls, kind: str = "ed25519") -> DeviceKey:
        """A new key. `p256` and `rsa` can also open sealed tokens; `ed25519` signs only."""
        if kind == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        if kind == "p256":
            return cls(ec.generate_private_key(ec.SECP256R1()))
        if kind == "rsa":
            return cls(rsa.generate_private_key(public_exponent=65537, key_size=3072))
        raise ValueError("kind must be ed25519, p256 or rsa")

    @classmethod
    def from_pem(cls, pem: str | bytes) -> DeviceKey:
        """A key in PKCS#8 PEM. The error does not quote it."""
        data = pem.encode() if isinstance(pem, str) else pem
        try:
            private = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if isinstance(private, ec.EllipticCurvePrivateKey) and not isinstance(private.curve, ec.SECP256R1):
            private = None
        if isinstance(private, rsa.RSAPrivateKey) and private.key_size < 2048:
            private = None
        if not isinstance(private, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise CloudlinkError(
                "no private key that can be used: it must be PEM, `-----BEGIN PRIVATE KEY-----`, unencrypted, with an "
                "Ed25519, P-256 or RSA key; make one with `openssl genpkey -algorithm ed25519 -out device.pem`"
            )
        return cls(private)

    @classmethod
    def load(cls, path: str | Path) -> DeviceKey:
        """The key in a file, which others on this machine must not be able to read."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                if hasattr(os, "geteuid") and os.fstat(file.fileno()).st_mode & 0o077:
                    raise CloudlinkError(f"others on this machine can read {path}: run `chmod 600 {path}`")
                data = file.read(_LONGEST_FILE)
        except OSError as error:
            raise CloudlinkError(f"{path} can't be read ({error.strerror}): check the path and who owns it") from None
        try:
            return cls.from_pem(data)
        except CloudlinkError as error:
            raise CloudlinkError(f"{path} holds {error}") from None

    def save(self, path: str | Path) -> None:
        """Writes the key to a new file of mode 0600. A file that is there is never written over."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(self.private_pem())

    def private_pem(self) -> str:
        pkcs8, bare = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self._private.private_bytes(serialization.Encoding.PEM, pkcs8, bare).decode()

    def public_pem(self) -> str:
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._private.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()

    @property
    def key_hash(self) -> str:
        """What the server calls this key."""
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        der = self._private.public_key().public_bytes(serialization.Encoding.DER, spki)
        return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()

    @property
    def private(self) -> PrivateKey:
        return self._private

    def assertion(self, device: str, audience: str, now: float) -> str:
        """A JWT that says that the device is there (RFC 7523 §2.1)."""
        issued = int(now)
        claims = {
            "iss": device,
            "sub": device,
            "aud": audience,
            "iat": issued,
            "exp": issued + LIFE,
            "jti": secrets.token_urlsafe(24),
        }
        algorithm = self._algorithm()
        signed = ".".join(_part(part) for part in ({"alg": algorithm, "typ": "JWT"}, claims))
        return f"{signed}.{b64url(self._sign(signed.encode()))}"

    def _algorithm(self) -> str:
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return "EdDSA"
        return "ES256" if isinstance(self._private, ec.EllipticCurvePrivateKey) else "RS256"

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(data)
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"DeviceKey({self.key_hash})"


def _part(value: Any) -> str:
    return b64url(json.dumps(value, separators=(",", ":")).encode())
