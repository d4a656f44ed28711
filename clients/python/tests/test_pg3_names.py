"""PG3's names that have no PG3 behind them here, and those of its package."""

from __future__ import annotations

import inspect
import ipaddress
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Installed

import cloudlink
from cloudlink import pg3

#: What plugins call on `Interface`, with how many arguments at most: as in udi-interface 3.4.7.
METHODS = {
    "addLogLevel": 3, "addNode": 3, "addNoticeTemp": 3, "bonjour": 3, "checkProfile": 2, "customResponse": 2,
    "customResponseError": 5, "db_getNodeDrivers": 2, "delNode": 1, "getConfig": 0, "getJsonProfile": 1,
    "getLogLevel": 0, "getMarkDownData": 1, "getNetworkInterface": 1, "getNode": 1, "getNodeNameFromDb": 1,
    "getNodes": 0, "getNodesFromDb": 1, "getValidAddress": 1, "getValidName": 1, "installprofile": 0,
    "isAddressValid": 1, "isConnected": 0, "isNameValid": 1, "nodes": 0, "pg3MinimumVersion": 1, "ready": 0,
    "renameNode": 2, "restart": 0, "runForever": 0, "saveTypedParams": 1, "send": 2, "setController": 2,
    "setCustomParamsDoc": 1, "setLogLevel": 1, "setLogList": 1, "setPoll": 2, "start": 1, "stop": 0, "subscribe": 3,
    "supports_feature": 1, "udm_alert": 2, "unsubscribe": 3, "updateJsonProfile": 2, "updateProfile": 0,
    "webhookResponse": 2, "webhookStart": 1,
}  # fmt: skip


def test_everything_that_a_plugin_imports_or_calls_is_here(home: Path) -> None:
    for name in ("ISY", "LOGGER", "LOG_HANDLER", "Custom", "Interface", "Node", "OAuth", "unload_interface"):
        assert name in pg3.__all__ and hasattr(pg3, name)
    polyglot = pg3.Interface([])
    for name, most in METHODS.items():
        inspect.signature(getattr(polyglot, name)).bind(*range(most))


def test_names_are_checked_as_the_controller_checks_them() -> None:
    for name, is_valid in (("Hall way", True), ("Hall's", False), ("a/b", False)):
        assert pg3.Interface.isNameValid(name) is is_valid
    for address, is_valid in (("n1", True), ("N1", False), ("n-1", False), ("a" * 14, True), ("a" * 15, False)):
        assert pg3.Interface.isAddressValid(address) is is_valid


def test_what_only_pg3_can_do_is_said_and_harms_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    polyglot = pg3.Interface([])
    polyglot.bonjour("_hue._tcp", [], "tcp")
    polyglot.customResponse("7", {})
    polyglot.customResponseError("8", status=404)
    polyglot.updateJsonProfile({"editors": []}, {"waitResponse": True})
    for said in ("_hue._tcp", "request 7", "request 8 failed", "editors"):
        assert said in caplog.text
    assert polyglot.checkProfile(force=True, build_profile=None) and not polyglot.pg3MinimumVersion("3.4.5")
    with pytest.raises(ValueError, match="protocol"):
        polyglot.bonjour(None, None, "icmp")
    with pytest.raises(TypeError, match="subtypes"):
        polyglot.bonjour(None, "printer", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dictionary"):
        polyglot.updateJsonProfile([])  # type: ignore[arg-type]
    controller = pg3.ISY(polyglot)
    assert controller.unauthorized and not controller.valid
    for ask in (lambda: controller.cmd("/rest/time"), controller.pyisy):
        with pytest.raises(PermissionError, match="without PG3"):
            ask()


def test_the_machines_address_is_one_that_it_has(home: Path) -> None:
    loopback = pg3.Interface([]).getNetworkInterface("lo") if sys.platform == "linux" else {"addr": "127.0.0.1"}
    assert loopback["addr"] == "127.0.0.1"
    found = pg3.get_network_interface()
    assert set(found) == {"addr", "broadcast", "netmask"}
    if found["addr"]:
        assert ipaddress.ip_address(found["addr"])
    assert pg3.get_network_interface("nonesuch0") == {"addr": False, "broadcast": False, "netmask": False}


def test_a_node_shows_what_it_is(home: Path) -> None:
    class Thermostat(pg3.Node):
        id = "thermostat"
        drivers = [{"driver": "ST", "value": 20, "uom": 4}]

    shown = json.loads(Thermostat(pg3.Interface([]), "n1", "n1", "Hall").toJSON())
    assert (shown["id"], shown["address"], shown["name"], shown["drivers"][0]["value"]) == (
        "thermostat", "n1", "Hall", 20,
    )  # fmt: skip


def test_the_log_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    package, root = logging.getLogger("cloudlink"), logging.getLogger()
    package.addHandler(pg3.LOG_HANDLER.handler)
    root.addHandler(pg3.LOG_HANDLER.handler)
    pg3.unload_interface()
    assert pg3.LOG_HANDLER.handler not in [*package.handlers, *root.handlers]


@pytest.mark.skipif(not hasattr(sys, "orig_argv"), reason="this Python does not know how it was started")
def test_a_plugin_that_restarts_itself_begins_anew(installed: Installed) -> None:
    cloudlink.Places().keep(installed.credential(), here=True)
    program = """
import os, pathlib, sys
from cloudlink.pg3 import Interface
seen = pathlib.Path("seen")
again = seen.exists()
with seen.open("a") as file:
    print(os.getpid(), sys.argv[1:], file=file)
polyglot = Interface([])
polyglot.start("1.0")
polyglot.subscribe(polyglot.STOP, polyglot.stop)
polyglot.subscribe(polyglot.CONFIGDONE, polyglot.stop if again else polyglot.restart)
polyglot.ready()
polyglot.runForever()
"""
    package = str(Path(cloudlink.__file__).resolve().parents[1])
    environment: dict[str, Any] = {"PYTHONPATH": package, "CLOUDLINK_SLOT": installed.slot}
    ran = subprocess.run([sys.executable, "-c", program, "given"], env=environment, timeout=60, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    first, second = Path("seen").read_text().splitlines()
    assert first == second and first.endswith("['given']")
