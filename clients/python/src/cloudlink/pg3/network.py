"""This machine's address in the home's network, for plugins that look for devices there."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import Any

from .log import LOGGER

#: netdevice(7): what is asked of an interface.
_QUESTIONS = {"addr": 0x8915, "broadcast": 0x8919, "netmask": 0x891B}
#: Nothing is sent there: it only has the kernel choose a way out (RFC 5737).
_SOMEWHERE = ("192.0.2.1", 9)


def get_network_interface(interface: str = "default") -> dict[str, Any]:
    """`addr`, `broadcast` and `netmask` of the interface, or of the one with the default route; False where unknown."""
    found: dict[str, Any] = dict.fromkeys(_QUESTIONS, False)
    name = _with_default_route() if interface == "default" else interface
    if name is not None:
        found.update(_asked(name))
    if interface == "default" and not found["addr"]:
        found["addr"] = _address_of_the_way_out()
    if not found["addr"]:
        LOGGER.error("there is no network interface %s", interface)
    return found


def _with_default_route() -> str | None:
    try:
        lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except (OSError, ValueError):
        return None
    return next((line.split()[0] for line in lines if line.split()[1:2] == ["00000000"]), None)


def _asked(name: str) -> dict[str, str]:
    answers: dict[str, str] = {}
    if sys.platform != "linux":
        return answers
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for what, question in _QUESTIONS.items():
            try:
                answer = fcntl.ioctl(asking.fileno(), question, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            answers[what] = socket.inet_ntoa(answer[20:24])
    return answers


def _address_of_the_way_out() -> Any:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(_SOMEWHERE)
            return asking.getsockname()[0]
    except OSError:
        return False
