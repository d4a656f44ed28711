"""The plugin's controller: every handler that PG3 calls, and one node for each thermostat."""

from __future__ import annotations

import threading
from typing import Any, Callable

from cloudlink.pg3 import LOGGER, Custom, Interface, Node

from .service import AcmeThermostats


class Thermostat(Node):
    id = "thermostat"
    drivers = [{"driver": "ST", "value": 0, "uom": 2}]

    def start(self) -> None:
        self.setDriver("ST", 1)


class Controller(Node):
    id = "controller"
    drivers = [{"driver": "ST", "value": 0, "uom": 2}, {"driver": "GV0", "value": 0, "uom": 56}]

    def __init__(self, polyglot: Interface, address: str, name: str) -> None:
        super().__init__(polyglot, address, address, name)
        self.polyglot = polyglot
        self.service = AcmeThermostats(polyglot)
        self.parameters = Custom(polyglot, "customparams")
        self.data = Custom(polyglot, "customdata")
        self.added = threading.Event()
        for topic, handler in self.handlers().items():
            polyglot.subscribe(topic, handler)
        polyglot.subscribe(polyglot.START, self.start, address)

    def handlers(self) -> dict[int, Callable[..., Any]]:
        polyglot = self.polyglot
        return {
            polyglot.CUSTOMNS: self.customNsHandler,
            polyglot.CUSTOMPARAMS: self.parameterHandler,
            polyglot.CUSTOMDATA: self.dataHandler,
            polyglot.OAUTH: self.oauthHandler,
            polyglot.CONFIGDONE: self.configDoneHandler,
            polyglot.ADDNODEDONE: self.addNodeDoneHandler,
            polyglot.POLL: self.pollHandler,
            polyglot.STOP: self.stopHandler,
        }

    def start(self) -> None:
        LOGGER.info("the controller has started")

    def customNsHandler(self, key: str | None, data: Any) -> None:
        """The OAuth configuration, and the tokens of before."""
        self.service.customNsHandler(key, data)

    def oauthHandler(self, token: dict[str, Any]) -> None:
        """Somebody has authenticated just now."""
        self.service.oauthHandler(token)
        self.polyglot.Notices.delete("authenticate")
        self.discover()

    def parameterHandler(self, parameters: dict[str, Any] | None) -> None:
        """What the home has set: its own client at Acme, which the OAuth settings take over."""
        self.parameters.load(parameters)
        if self.parameters["api"]:
            self.service.api = self.parameters["api"]
        if self.parameters["short_poll"]:
            self.polyglot.setPoll(short=float(self.parameters["short_poll"]))
        settings: dict[str, Any] = {}
        if self.parameters["client_id"] and self.parameters["client_secret"]:
            settings["client_id"] = self.parameters["client_id"]
            settings["client_secret"] = self.parameters["client_secret"]
        if self.parameters["locale"]:
            settings["parameters"] = {"locale": self.parameters["locale"]}
        if settings:
            self.service.updateOauthSettings(settings)

    def dataHandler(self, data: dict[str, Any] | None) -> None:
        """The plugin's own data. Older versions kept their tokens in it: those move to where tokens are kept now."""
        self.data.load(data)
        if self.data["token"]:
            LOGGER.info("the tokens of an older version are taken over")
            Custom(self.polyglot, "oauthTokens").load(self.data["token"], save=True)
            self.data.delete("token")

    def configDoneHandler(self) -> None:
        """All that is known has come."""
        self.polyglot.addNode(self)
        try:
            self.service.getAccessToken()
        except ValueError:
            self.polyglot.Notices["authenticate"] = "Please initiate authentication"
            return
        self.polyglot.Notices.delete("authenticate")
        self.discover()

    def addNodeDoneHandler(self, node: dict[str, Any]) -> None:
        if node["address"] == self.address:
            self.added.set()

    def pollHandler(self, which: str) -> None:
        if which == "shortPoll":
            self.discover()

    def stopHandler(self) -> None:
        LOGGER.info("the plugin stops")
        self.polyglot.stop()

    def discover(self, command: Any = None) -> None:
        """One node for each thermostat."""
        try:
            names = self.service.thermostats()
        except (ValueError, OSError) as error:
            LOGGER.warning("the thermostats could not be read: %s", error)
            self.setDriver("ST", 0)
            return
        self.setDriver("ST", 1)
        self.setDriver("GV0", len(names))
        for name in names:
            address = self.polyglot.getValidAddress(name)
            if self.polyglot.getNode(address) is None:
                self.polyglot.addNode(Thermostat(self.polyglot, self.address, address, name))
        LOGGER.info("thermostats: %s", ", ".join(names))

    commands = {"DISCOVER": discover}
