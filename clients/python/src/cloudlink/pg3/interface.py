"""`Interface`: what a plugin written for PG3 calls `polyglot`. A broker stands where PG3 stood; see `upstream`."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..blocking import BlockingLink
from ..credentials import KeyCredential, credential_for
from ..errors import CloudlinkError
from ..hub import Hub
from ..link import Link
from .asking import Asking
from .custom import Custom, difference
from .log import LOG_HANDLER, LOGGER
from .names import getValidAddress, getValidName, isAddressValid, isNameValid
from .network import get_network_interface
from .node import Node
from .polls import Polls
from .restart import start_again
from .store import Store
from .topics import NAMES, Handler, Topics, finish
from .upstream import PATIENCE, Upstream
from .webhooks import Webhooks
from .without_pg3 import WithoutPG3

#: Own data, by key: the topic that brings it at the start.
_OWN_DATA = {
    "notices": "NOTICES",
    "customparams": "CUSTOMPARAMS",
    "customtypedparams": "CUSTOMTYPEDPARAMS",
    "customdata": "CUSTOMDATA",
    "customtypeddata": "CUSTOMTYPEDDATA",
}
#: Kept, and for nobody's handler.
_INTERNAL = ("idata", "oauth", "oauthTokens", "customparamsdoc")


class Interface(WithoutPG3):
    (CONFIG, START, STARTDONE, STOP, DELETE, ADDNODEDONE, CUSTOMDATA, CUSTOMPARAMS) = range(8)
    (CUSTOMTYPEDPARAMS, CUSTOMNS, NOTICES, POLL, LOGLEVEL, ISY, CONFIGDONE, CUSTOMPARAMSDOC) = range(8, 16)
    (CUSTOMTYPEDDATA, NSINFO, DISCOVER, OAUTH, WEBHOOK, BONJOUR, DELNODEDONE, PROFILE) = range(16, 24)
    (UPDATEPROFILEDONE, CUSTOMREQUEST) = range(24, 26)
    CUSTOM_CONFIG_DOCS_FILE_NAME = "POLYGLOT_CONFIG.md"

    def __init__(self, classes: Sequence[type[Node]] = (), options: dict[str, Any] | None = None) -> None:
        """`options["slot"]`, or CLOUDLINK_SLOT, names the slot; a device that has one slot needs neither."""
        LOG_HANDLER.install()
        self._options = options or {}
        self._classes = list(classes)
        self._topics = Topics(self._leave)
        self._stopped = threading.Event()
        self._is_stopping = self._restarts = False
        #: Why it stopped, where nobody stopped it.
        self._end: SystemExit | CloudlinkError | None = None
        self._is_up = False
        self._nodes: dict[str, Node] = {}
        self._store: Store | None = None
        self.serverdata: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.Notices = Custom(self, "notices")
        self._shown: dict[str, Any] = {}
        self.upstream = Upstream(self._tell_custom_ns, self._tell_oauth, self._ask_to_link)
        self._asking = Asking(self.upstream, self.Notices)
        self._polls = Polls(lambda which: self._topics.publish(self.POLL, which))
        self._webhooks = Webhooks(self._topics, self.WEBHOOK)

    # Running.

    def start(self, version: Any = None) -> None:
        """Signs in and connects. `version` is text, or a dictionary with `version`."""
        self.serverdata["version"] = version.get("version") if isinstance(version, dict) else version
        credential = credential_for()
        slot = self._options.get("slot") or os.environ.get("CLOUDLINK_SLOT")
        if not slot:
            if not isinstance(credential, KeyCredential):
                raise CloudlinkError('which slot? Set CLOUDLINK_SLOT, or give Interface([], {"slot": …})')
            slots = [str(one["slot"]) for one in Hub.signed_in(credential).slots()]
            if len(slots) != 1:
                named = ", ".join(slots) or "none"
                raise CloudlinkError(f"which slot? Set CLOUDLINK_SLOT to one of the device's slots: {named}")
            slot = slots[0]
        self._store = Store.of_slot(slot)
        self.Notices.load(self._store.get("notices"))
        self.upstream.open(BlockingLink(Link.of(credential, slot, self._options.get("sealed_key"))))
        self.upstream.link.on_request(self._webhooks.answer)
        LOGGER.info("slot %s of %s at %s", slot, credential.device, credential.server.origin)

    def ready(self) -> None:
        """The plugin has subscribed: what there is may come."""
        if self._store is None:
            raise CloudlinkError("call start() before ready()")
        threading.Thread(target=self._bring_up, daemon=True, name="Interface").start()

    def runForever(self) -> None:
        """Until STOP: from `stop()`, or by SIGTERM and SIGINT, where this is the main thread.

        Raises why the plugin could not be started or can't go on, and `SystemExit` where a handler calls `sys.exit()`.
        """
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGINT"):
                signal.signal(getattr(signal, name), lambda *_: self._begin_stop())
            if hasattr(signal, "SIGHUP"):
                signal.signal(signal.SIGHUP, lambda *_: self._reload_parameters())
        while not self._stopped.wait(1.0):
            failed = self.upstream.failed
            if failed is not None:
                self._leave(failed)
        if self._end is not None:
            raise self._end
        if self._restarts:
            start_again()

    def stop(self) -> None:
        """Disconnects. What was not acknowledged comes again at the next start."""
        self._is_stopping = True
        self._polls.stop()
        self.upstream.close()
        self._stopped.set()

    def _leave(self, end: SystemExit | CloudlinkError) -> None:
        if not self._is_stopping:
            self._end = end
        self.stop()

    def restart(self) -> None:
        """STOP, and then the program from its beginning, once `runForever` has returned."""
        LOGGER.info("the plugin restarts itself")
        self._restarts = True
        self._begin_stop()

    def isConnected(self) -> bool:
        return self._is_up and not self._stopped.is_set()

    def _begin_stop(self) -> None:
        calls = self._topics.publish(self.STOP)

        def end() -> None:
            finish(calls, 10.0)
            self.stop()

        threading.Thread(target=end, daemon=True, name="stop").start()

    def _bring_up(self) -> None:
        try:
            self._topics.publish(self.CONFIG, self.config)
            if not self.upstream.bring_state(self._stopped.wait):
                return
            finish(self._tell_own_data(), PATIENCE)
            self._is_up = True
            finish(self._topics.publish(self.CONFIGDONE), PATIENCE)
            self.upstream.is_configured.set()
            self._polls.begin()
            slot = self.upstream.status(self._stopped.wait)
            if slot is None:
                return
            if slot.get("status") == "linked":
                self._asking.done()
            else:
                self._ask_to_link()
        except CloudlinkError as error:
            if not self._is_stopping:
                LOGGER.error("the plugin could not be started: %s", error)
                self._leave(error)

    def _tell_own_data(self) -> list[Any]:
        kept = self._kept().all()
        calls = []
        for key, topic in _OWN_DATA.items():
            calls += self._topics.publish(NAMES.index(topic), kept.get(key))
        for key, value in kept.items():
            if key not in _OWN_DATA and key not in _INTERNAL:
                calls += self._topics.publish(self.CUSTOMNS, key, value)
        return calls

    def _reload_parameters(self) -> None:
        self._topics.publish(self.CUSTOMPARAMS, self._kept().get("customparams"))

    def _tell_custom_ns(self, key: str, value: Any) -> bool:
        return _went_well(self._topics.publish(self.CUSTOMNS, key, value))

    def _tell_oauth(self, tokens: dict[str, Any]) -> bool:
        self._asking.done()
        calls = self._topics.publish(self.OAUTH, tokens)
        # Tokens age: who subscribes later is not told of these.
        self._topics.forget(self.OAUTH)
        return _went_well(calls)

    def _ask_to_link(self) -> None:
        if not self._stopped.is_set():
            self._asking.begin()

    def _kept(self) -> Store:
        if self._store is None:
            raise CloudlinkError("the plugin has not started: call start() first")
        return self._store

    # Topics and data.

    def subscribe(self, topic: int, callback: Handler, address: str | None = None) -> None:
        self._topics.subscribe(topic, callback, address)

    def unsubscribe(self, topic: int, callback: Handler, address: str | None = None) -> bool:
        return self._topics.unsubscribe(topic, callback, address)

    def send(self, message: dict[str, Any], type: str) -> None:
        """What a plugin would have told PG3: its own data are kept, tokens and settings go to the broker."""
        if type != "custom":
            LOGGER.debug("%s: %s", type, ", ".join(message))
            return
        for item in message.get("set", ()):
            key, value = item["key"], item["value"]
            if key == "oauthTokens":
                self.upstream.save_tokens(value)
            elif key == "oauth":
                self.upstream.save_settings(value)
            else:
                self._keep(key, value)

    def _keep(self, key: str, value: Any) -> None:
        if key == "notices":
            for notice, text in difference(self._shown, value).items():
                LOGGER.warning("notice %s: %s", notice, text)
            self._shown = dict(value)
        try:
            self._kept().set(key, value)
        except CloudlinkError as error:
            LOGGER.error("%s could not be kept: %s", key, error)

    def addNoticeTemp(self, key: str, text: str, delaySec: float) -> None:
        self.Notices[key] = text
        timer = threading.Timer(delaySec, self.Notices.delete, (key,))
        timer.daemon = True
        timer.start()

    def saveTypedParams(self, typedParams: Any) -> None:
        self._keep("customtypedparams", typedParams)

    def setCustomParamsDoc(self, html: str | None = None) -> None:
        """Without PG3 nobody shows it; it is kept."""
        if html is None:
            html = self.getMarkDownData(self.CUSTOM_CONFIG_DOCS_FILE_NAME)
        if self._store is not None:
            self._keep("customparamsdoc", html)
        self._topics.publish(self.CUSTOMPARAMSDOC, html)

    def getMarkDownData(self, fileName: str) -> str:
        """The page as it is; empty where there is none."""
        page = Path(fileName)
        return page.read_text(encoding="utf-8") if page.is_file() else ""

    # Nodes.

    def addNode(self, node: Node, conn_status: str | None = None, rename: bool = False) -> Node:
        self._nodes[node.address] = node
        added = {"address": node.address, "name": node.name, "nodeDefId": node.id, "primaryNode": node.primary}
        LOGGER.info("node %s (%s)", node.name, node.address)
        started = self._topics.publish(self.START, address=node.address)

        def then() -> None:
            self._topics.publish(self.ADDNODEDONE, added)
            finish(started, PATIENCE)
            self._topics.publish(self.STARTDONE, node.address, address=node.address)

        threading.Thread(target=then, daemon=True, name=f"start {node.address}").start()
        return node

    def getNode(self, address: str) -> Node | None:
        return self._nodes.get(address)

    def getNodes(self) -> dict[str, Node]:
        return self._nodes

    def nodes(self) -> Iterator[Node]:
        yield from list(self._nodes.values())

    def delNode(self, address: str) -> None:
        if self._nodes.pop(address, None) is not None:
            self._topics.publish(self.DELNODEDONE, {"address": address})

    def renameNode(self, address: str, newname: str) -> None:
        node = self._nodes.get(address)
        if node is not None:
            node.rename(newname)

    def getNodeNameFromDb(self, addr: str) -> str | None:
        node = self._nodes.get(addr)
        return None if node is None else node.name

    def getNodesFromDb(self, addr: Any = None) -> list[Any]:
        """Nothing is kept of nodes: a plugin adds them at each start."""
        return []

    def db_getNodeDrivers(self, addr: Any = None, init: bool = False) -> list[Any]:
        return []

    getValidName = staticmethod(getValidName)
    getValidAddress = staticmethod(getValidAddress)
    isNameValid = staticmethod(isNameValid)
    isAddressValid = staticmethod(isAddressValid)

    # What has a meaning here too.

    getNetworkInterface = staticmethod(get_network_interface)

    @property
    def network_interface(self) -> dict[str, Any]:
        return self.getNetworkInterface()

    def setPoll(self, short: float | None = None, long: float | None = None) -> None:
        self._polls.set(short, long)

    def webhookStart(self, config: Any = None) -> None:
        """Requests come whenever somebody subscribes WEBHOOK."""

    def webhookResponse(self, body: Any = "Success", status: int = 200) -> None:
        self._webhooks.respond(body, status)

    def getConfig(self) -> dict[str, Any]:
        return self.config

    def getLogLevel(self) -> str:
        return logging.getLevelName(LOGGER.getEffectiveLevel())

    def setLogLevel(self, newLevel: str) -> None:
        LOGGER.setLevel(newLevel.upper())
        self._topics.publish(self.LOGLEVEL, {"name": newLevel.upper(), "level": LOGGER.level})


def _went_well(calls: list[Any]) -> bool:
    if not finish(calls, PATIENCE):
        LOGGER.warning("a handler takes longer than %d s; its event counts as taken", PATIENCE)
    return all(call.error is None for call in calls)
