"""Sealed delivery, opened in passing, with what the real broker seals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from conftest import Installed
from test_link import until, within

import cloudlink
from cloudlink import sealed
from cloudlink.errors import CannotOpen
from cloudlink.keys import DeviceKey


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_sealed_tokens_are_opened_in_passing(installed: Installed, tmp_path: Path, kind: str) -> None:
    key = DeviceKey.make(kind)
    key.save(tmp_path / "sealed.pem")
    installed.hub().add_trust("sealed", key)
    installed.link_now()

    async def plugin() -> None:
        async with installed.connect(sealed_key=tmp_path / "sealed.pem") as link:
            await link.settings({"seal_to": key.key_hash})
            fresh = await link.refresh()
            await until(lambda: link.tokens is not None and link.tokens.access_token == fresh)
            assert link.configuration["seal_to"] == key.key_hash
            assert link.tokens is not None and link.tokens["home"] == "7 Elm Street"
            await until(lambda: installed.state()["acked_version"] == installed.state()["version"])

    within(plugin())


def test_a_device_key_that_can_encrypt_needs_no_other(installed: Installed) -> None:
    key = DeviceKey.make("p256")
    installed.hub().add_trust("both", key)
    installed.key = key
    installed.link_now()

    async def plugin() -> None:
        async with installed.connect() as link:
            await link.settings({"seal_to": key.key_hash})
            await link.refresh()
            await until(lambda: link.tokens is not None)

    within(plugin())


def test_tokens_for_another_key_are_not_acknowledged_and_said_so(
    installed: Installed, caplog: pytest.LogCaptureFixture
) -> None:
    key = DeviceKey.make("p256")
    installed.hub().add_trust("sealed", key)

    async def plugin() -> None:
        async with installed.connect() as link:
            await link.settings({"seal_to": key.key_hash})
            await asyncio.to_thread(installed.link_now)
            await until(lambda: "sealed_key" in caplog.text)
            assert installed.state()["acked_version"] < installed.state()["version"]
            assert link.tokens is None
            assert await link.access_token() in installed.provider.access_tokens, "it may ask for one all the same"

    within(plugin())


@pytest.mark.parametrize(
    "jwe",
    ["", "....", "a.b.c.d.e", "e30....", 7, None, "eyJraWQiOiJ4In0....", "e30." + "A" * 100_000 + "...", "bnVsbA...."],
)
def test_what_is_no_sealed_object_is_refused_and_not_quoted(jwe: object) -> None:
    with pytest.raises(CannotOpen) as refused:
        sealed.open_sealed({"jwe": jwe}, [DeviceKey.make("p256")])
    assert "AAAA" not in str(refused.value)


def test_weaker_ways_to_seal_are_refused() -> None:
    import json

    from cloudlink.keys import b64url

    key = DeviceKey.make("rsa")
    for header in (
        {"alg": "RSA1_5", "enc": "A256GCM"},
        {"alg": "RSA-OAEP-256", "enc": "A128CBC-HS256"},
        {"alg": "dir", "enc": "A256GCM"},
        {"alg": "RSA-OAEP-256", "enc": "A256GCM", "zip": "DEF"},
        {"alg": "ECDH-ES", "enc": "A256GCM", "epk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}},
    ):
        head = b64url(json.dumps({**header, "kid": key.key_hash}).encode())
        with pytest.raises(CannotOpen, match=r"not known|does not fit"):
            sealed.open_sealed({"jwe": f"{head}.AAAA.AAAA.AAAA.AAAA"}, [key])


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    DeviceKey.make().save(path)
    assert DeviceKey.load(path).key_hash
    with pytest.raises(FileExistsError):
        DeviceKey.make().save(path)
    path.chmod(0o644)
    with pytest.raises(cloudlink.CloudlinkError, match="chmod 600"):
        DeviceKey.load(path)
    for text in ("canary", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(cloudlink.CloudlinkError, match="genpkey") as refused:
            DeviceKey.load(path)
        assert "canary" not in str(refused.value)
