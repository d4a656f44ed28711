"""`Node`: one thing that a plugin stands for. Without PG3 nobody shows it; its values are here, and in the log."""

from __future__ import annotations

import datetime
import json
from copy import deepcopy
from typing import Any, Callable

from .log import LOGGER


class Node:
    id = ""
    commands: dict[str, Callable[..., Any]] = {}  # noqa: RUF012 (plugins write it like this)
    drivers: list[dict[str, Any]] = []  # noqa: RUF012
    sends: dict[str, Any] = {}  # noqa: RUF012
    hint: Any = (0, 0, 0, 0)
    private: Any = None

    def __init__(self, poly: Any, primary: str, address: str, name: str) -> None:
        self.poly = poly
        self.primary = primary
        self.address = address
        self.name = name
        # One's own, and not the class's.
        self.drivers = deepcopy(self.drivers)
        self.isPrimary: bool | None = None
        self.config: Any = None
        self.enabled: Any = None
        self.added: Any = None
        self.timeAdded = datetime.datetime.now()

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def _driver(self, driver: str) -> dict[str, Any] | None:
        return next((one for one in self.drivers if one["driver"] == driver), None)

    def getDriver(self, driver: str) -> Any:
        found = self._driver(driver)
        return None if found is None else found["value"]

    def setDriver(
        self,
        driver: str,
        value: Any,
        report: bool = True,
        force: bool = False,
        uom: int | None = None,
        text: str | None = None,
    ) -> bool | None:
        """Sets a value; answers whether that changed anything, None where there is no such driver."""
        found = self._driver(driver)
        if found is None:
            LOGGER.error("node %s has no driver %s", self.address, driver)
            return None
        wanted = {"value": value, **({} if uom is None else {"uom": uom}), **({} if text is None else {"text": text})}
        changed = any(found.get(name) != one for name, one in wanted.items())
        found.update(wanted)
        if report and (changed or force):
            self.reportDriver(driver, force)
        return changed

    def reportDriver(self, driver: str, force: bool = False) -> None:
        found = self._driver(driver)
        if found is not None:
            self.poly.send({"set": [{"address": self.address, **found, "value": str(found["value"])}]}, "status")

    def reportDrivers(self) -> None:
        if self.drivers:
            self.poly.send({"set": [{"address": self.address, **one} for one in self.drivers]}, "status")

    def updateDrivers(self, drivers: list[dict[str, Any]]) -> None:
        self.drivers = deepcopy(drivers)

    def query(self, command: Any = None) -> None:
        self.reportDrivers()

    def status(self) -> None:
        self.reportDrivers()

    def start(self) -> None:
        """For the plugin to override, where it does not subscribe START."""

    def rename(self, newname: str) -> None:
        self.name = newname

    def toJSON(self) -> str:
        """What the node is, which goes to the log."""
        shown = {name: one for name, one in self.__dict__.items() if name != "poly"}
        text = json.dumps({"id": self.id, **shown}, default=str)
        LOGGER.debug(text)
        return text

    def reportCmd(self, command: str, value: Any = None, uom: int | None = None) -> None:
        self.poly.send({"command": [{"address": self.address, "cmd": command, "value": value, "uom": uom}]}, "command")

    def runCmd(self, command: dict[str, Any]) -> None:
        """Calls the method that the class names for a command."""
        function = self.commands.get(command.get("cmd", ""))
        if function is None:
            LOGGER.error("node %s has no command %s", self.address, command.get("cmd"))
        else:
            function(self, command)
