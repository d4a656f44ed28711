"""The built `cloudlink serve`, with a PostgreSQL of its own in a temporary folder, and its owner."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("CLOUDLINK_BIN") or ROOT / "target" / "debug" / "cloudlink")
#: Generous: a machine that builds something else meanwhile is slow.
READY_WITHIN = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    def __init__(self) -> None:
        if not BINARY.exists():
            raise RuntimeError(f"{BINARY} is missing: run `cargo build` first, or name the binary in CLOUDLINK_BIN")
        self.folder = Path(tempfile.mkdtemp(prefix="cloudlink-python-"))
        # PostgreSQL refuses to run as root: its user must be able to walk in.
        self.folder.chmod(0o755)
        port, admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.password = secrets.token_urlsafe(18)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDLINK", "PG"))}
        self._environment = {
            **kept,
            "CLOUDLINK__SERVER__BIND": f"127.0.0.1:{port}",
            "CLOUDLINK__SERVER__PUBLIC_URL": self.url,
            "CLOUDLINK__ADMIN__BIND": f"127.0.0.1:{admin}",
            "CLOUDLINK__SERVER__DRAIN_SECONDS": "2",
            "CLOUDLINK__ADMIN__PASSWORD": self.password,
            "CLOUDLINK__VAULT__KEYS": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "CLOUDLINK__EGRESS__ALLOW_PRIVATE": "true",
            "CLOUDLINK__CONSENT__BINDING": "page",
            "CLOUDLINK__DATABASE__DATA_DIR": str(self.folder / "data"),
        }
        self._log = (self.folder / "log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(BINARY), "serve"], env=self._environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"cloudlink ended while starting: {self.log[-2000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"cloudlink is not ready: {self.log[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process = None

    def remove(self) -> None:
        self.stop()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def owner(self, method: str, path: str, body: Any = None) -> Any:
        """An API call as the owner, which must go well."""
        basic = base64.b64encode(f"owner:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from None
        return json.loads(text) if text else None
