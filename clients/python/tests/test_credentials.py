"""Where credentials are looked for, and the files that the commands read and write too."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from broker import BINARY, Broker
from conftest import Installed

import cloudlink
from cloudlink import claims
from cloudlink.credentials import Places, TokenCredential
from cloudlink.errors import CloudlinkError, NotSignedIn
from cloudlink.transport import Server


def token(**more: Any) -> str:
    payload = {"sub": "owner", "exp": int(time.time()) + 60, **more}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.canary"


def kept(value: Any, path: Path, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    path.chmod(mode)
    return path


def found(places: Places) -> str:
    credential = places.find().credential
    assert isinstance(credential, TokenCredential)
    return credential.server.origin


def test_environment_then_working_folder_then_user_folder(home: Path) -> None:
    here, user = home / "work", home / "home" / ".config" / "cloudlink"
    environment = {"HOME": str(home / "home"), "CLOUDLINK_URL": "https://a.example", "CLOUDLINK_TOKEN": token()}
    kept({"server": "https://c.example", "token": token()}, user / "credentials.json")
    kept({"server": "https://b.example", "token": token()}, here / ".cloudlink" / "credentials.json")
    assert found(Places(environment, here)) == "https://a.example"
    del environment["CLOUDLINK_TOKEN"]
    assert found(Places(environment, here)) == "https://b.example"
    (here / ".cloudlink" / "credentials.json").unlink()
    assert found(Places(environment, here)) == "https://c.example"
    kept({"server": "https://d.example", "token": token()}, home / "xdg" / "cloudlink" / "credentials.json")
    assert found(Places({**environment, "XDG_CONFIG_HOME": str(home / "xdg")}, here)) == "https://d.example"
    assert found(Places({**environment, "XDG_CONFIG_HOME": "relative"}, here)) == "https://c.example"
    with pytest.raises(NotSignedIn, match="cloudlink login"):
        Places({}, here).find()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused_with_the_line_to_run(home: Path, mode: int) -> None:
    path = kept({"server": "https://a.example", "token": token()}, Path(".cloudlink/credentials.json"), mode)
    with pytest.raises(CloudlinkError, match="chmod 600"):
        Places().find()
    path.chmod(0o600)
    Places().find()


@pytest.mark.parametrize(
    "value",
    ["", "canary", "[]", {"server": "canary"}, {"server": "https://a.example", "token": "canary"},
     {"server": "https://a.example", "device": 7, "key": "canary"},
     {"server": "https://a.example", "device": "d", "key": "-----BEGIN PRIVATE KEY-----\ncanary\n"}],
)  # fmt: skip
def test_what_is_no_credential_is_not_quoted(home: Path, value: Any) -> None:
    kept(value, Path(".cloudlink/credentials.json"))
    with pytest.raises(CloudlinkError) as refused:
        Places().find()
    assert "canary" not in str(refused.value) and "sign in again" in str(refused.value)


def test_a_token_that_has_expired_is_removed(home: Path) -> None:
    path = kept({"server": "https://a.example", "token": token(exp=1)}, Path(".cloudlink/credentials.json"))
    with pytest.raises(NotSignedIn, match=r"expired, by this machine's clock \(\d{4}-\d\d-\d\d .* UTC\)"):
        Places().find()
    assert not path.exists()


def test_a_sign_in_lasts_as_long_as_it_was_issued_for_whatever_the_clock_shows(home: Path) -> None:
    def signed_in(since: float, server_is_behind: float) -> Path:
        """The token was kept so long ago, and is good for an hour by a clock so far behind this one."""
        issued = int(time.time() - since - server_is_behind)
        value = {"server": "https://a.example", "token": token(iat=issued, exp=issued + 3600)}
        path = kept(value, Path(".cloudlink/credentials.json"))
        os.utime(path, (time.time() - since,) * 2)
        return path

    for since, server_is_behind in ((0, 0), (0, 7200), (0, -7200), (3000, 7200), (3000, -7200)):
        assert signed_in(since, server_is_behind).exists() and found(Places()) == "https://a.example"
    # The clock was years behind when it was kept, and has been set since.
    path = signed_in(10**9, -(10**9))
    assert found(Places()) == "https://a.example"
    for since, server_is_behind in ((4000, 0), (4000, 7200)):
        path = signed_in(since, server_is_behind)
        with pytest.raises(NotSignedIn, match="expired"):
            Places().find()
        assert not path.exists()


def test_of_a_token_in_the_environment_the_server_says_whether_it_is_over(broker: Broker, home: Path) -> None:
    places = Places({"CLOUDLINK_TOKEN": token(sub="d8b1", iat=1, exp=3601), "CLOUDLINK_URL": broker.url}, home)
    with pytest.raises(NotSignedIn, match="good until 1970-01-01 01:00:01 UTC, and this machine's clock shows 20"):
        cloudlink.Hub.signed_in(places.find().credential).slots()


def test_nothing_secret_is_shown(home: Path) -> None:
    key = cloudlink.DeviceKey.make()
    said = claims.read(token())
    assert said is not None
    shown = repr(TokenCredential(Server("https://a.example"), token(), said))
    assert "canary" not in shown
    assert key.private_pem().splitlines()[1] not in repr(cloudlink.KeyCredential(Server("https://a.example"), "d", key))


@pytest.mark.parametrize(
    "url",
    ["http://hub.example", "hub.example", "https://a.example/path", "https://user@a.example", "ftp://a", "https://a:x"],
)
def test_a_url_that_is_no_public_url_is_refused(url: str) -> None:
    with pytest.raises(CloudlinkError, match="URL"):
        Server(url)


def command(*arguments: str, home: Path) -> str:
    """What the `cloudlink` command prints in the working folder."""
    ran = subprocess.run(
        [str(BINARY), *arguments], capture_output=True, text=True, timeout=30,
        env={"PATH": os.environ["PATH"], "HOME": str(home / "home")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("kind", ["ed25519", "p256", "rsa"])
def test_the_commands_go_on_with_what_is_kept_here(installed: Installed, home: Path, kind: str) -> None:
    key = cloudlink.DeviceKey.make(kind)
    installed.hub().add_trust(kind, key)
    path = Places().keep(cloudlink.KeyCredential(Server(installed.broker.url), installed.device, key))
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    shown = json.loads(command("permissions", "--json", home=home))
    assert (shown["who"], shown["writable_slots"]) == (f"device {installed.device}", ["heating"])
    assert shown["key_hash"] == key.key_hash


def test_what_the_commands_keep_is_used_here(broker: Broker, home: Path) -> None:
    code = broker.owner("POST", "/api/enrolment-codes")["enrolment_code"]
    password = home / "password"
    password.write_text("a good long password for a hub")
    arguments = ("device", "enrol", "--url", broker.url, "--code", code, "--name", "Attic", "--here")
    device = command(*arguments, "--password-file", str(password), home=home).strip()
    assert cloudlink.permissions().subject == device
    assert cloudlink.authenticate_device().device == device, "nobody has to sign in again"
    assert Path(".cloudlink/.gitignore").read_text() == "*\n"


@pytest.mark.parametrize("odd", ["canary\n", "a b", "", "..", "e30.e30.canary\r\nX: 1", "e30.%%%.canary"])
def test_a_token_in_the_environment_that_is_none_is_refused_before_it_is_sent(home: Path, odd: str) -> None:
    with pytest.raises(NotSignedIn) as refused:
        Places({"CLOUDLINK_TOKEN": odd, "CLOUDLINK_URL": "https://a.example"}, home).find()
    assert "canary" not in str(refused.value)
