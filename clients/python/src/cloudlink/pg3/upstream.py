"""What stands where PG3 stood: brings configuration and tokens to the plugin's handlers in PG3's order, and what the
plugin saves to the broker.

Start: CUSTOMNS `oauth`; CUSTOMNS `oauthTokens` where somebody has authenticated; the plugin's own data; CONFIGDONE.
Then OAUTH for each new consent. A refresh updates the `OAuth` class and calls no handler, so that no plugin looks for
its devices once an hour. An event is acknowledged once the handlers have returned; where one raises it comes again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Callable

from ..blocking import BlockingLink
from ..errors import ApiError, AuthorizationRequired, CloudlinkError, Invalid, ServerUnavailable
from ..frames import Event
from ..tokens import Tokens
from .custom import difference, merge
from .log import LOGGER
from .times import with_local_expiry

if TYPE_CHECKING:
    from .oauth import OAuth

#: How long a handler may take before its event counts as taken, in seconds.
PATIENCE = 60.0
#: How long tokens may take to come after the slot was said to be linked.
_TOKENS_COME = 10.0

Publish = Callable[..., bool]


class HandlerFailed(CloudlinkError):
    """A handler of the plugin's raised; the log has it."""


class Upstream:
    def __init__(self, custom_ns: Publish, oauth: Publish, ask_to_link: Callable[[], None]) -> None:
        self._custom_ns = custom_ns
        self._oauth = oauth
        self._ask_to_link = ask_to_link
        self._classes: list[OAuth] = []
        self._pending: dict[str, Any] = {}
        self._link: BlockingLink | None = None
        self._lock = threading.Lock()
        self._progress = threading.Condition()
        self._seen = -1
        self._tokens_seen = False
        self._is_ready = threading.Event()
        self.is_configured = threading.Event()

    def join(self, oauth: OAuth) -> None:
        self._classes.append(oauth)

    @property
    def link(self) -> BlockingLink:
        if self._link is None:
            raise CloudlinkError("the plugin has not started: call start() first")
        return self._link

    @property
    def failed(self) -> CloudlinkError | None:
        """Why no events come any more, where only a person can put that right."""
        link = self._link
        return None if link is None else link.failed

    def open(self, link: BlockingLink) -> None:
        link.on(handler=self._event)
        link.open()
        with self._lock:
            self._link = link
            pending, self._pending = self._pending, {}
        if pending:
            self._send_settings(pending)

    def close(self) -> None:
        with self._lock:
            link, self._link = self._link, None
        # Whoever waits in a handler need not any more.
        self._is_ready.set()
        self.is_configured.set()
        if link is not None:
            link.close()

    # To the plugin.

    def status(self, is_stopped: Callable[[float], bool]) -> dict[str, Any] | None:
        """The slot; waits for a broker that does not answer. None where the plugin was stopped meanwhile."""
        wait = 1.0
        while True:
            try:
                return self.link.status()
            except ServerUnavailable as error:
                LOGGER.warning("the broker does not answer; the plugin waits for it: %s", error)
                if is_stopped(wait):
                    return None
                wait = min(wait * 2, 30.0)

    def bring_state(self, is_stopped: Callable[[float], bool]) -> bool:
        """Brings what there is now, configuration first. False where the plugin was stopped meanwhile."""
        self._is_ready.set()
        slot = self.status(is_stopped)
        if slot is None:
            return False
        linked = slot.get("status") == "linked"
        with self._progress:
            while not self._progress.wait_for(lambda: self._seen >= int(slot["version"]), 1.0):
                if is_stopped(0):
                    return False
                if self.failed is not None:
                    raise self.failed
            if linked and self.link.configuration.get("custody") != "device":
                self._progress.wait_for(lambda: self._tokens_seen, _TOKENS_COME)
        return True

    def _event(self, event: Event) -> None:
        # Nothing is acknowledged that the plugin was not told.
        self._is_ready.wait(PATIENCE)
        fine = True
        if event.kind == "configuration":
            fine = self._custom_ns("oauth", deepcopy(event.data))
        elif event.has_tokens:
            tokens = with_local_expiry(event.data)
            if not self.is_configured.is_set():
                fine = self._custom_ns("oauthTokens", deepcopy(tokens))
            self._tell_classes(tokens)
        else:
            self._tell_classes(None)
        with self._progress:
            self._seen = max(self._seen, event.version)
            self._tokens_seen = event.has_tokens or self._tokens_seen
            self._progress.notify_all()
        if event.kind == "consent" and self.is_configured.wait(PATIENCE):
            fine = self._oauth(with_local_expiry(event.data)) and fine
        elif event.kind in ("unlinked", "reauthorize") and self.is_configured.is_set():
            LOGGER.warning("the account must be linked again: %s", event.data.get("reason", "it was unlinked"))
            self._ask_to_link()
        if not fine:
            raise HandlerFailed("a handler of the plugin's failed")

    def _tell_classes(self, tokens: Mapping[str, Any] | None) -> None:
        for oauth in self._classes:
            oauth._brokerHasTokens(tokens)

    # From the plugin.

    def access_token(self) -> str:
        if self._link is None:
            raise AuthorizationRequired("of this plugin", "the plugin has not started")
        return self._link.access_token()

    def tokens(self) -> Tokens | None:
        return None if self._link is None else self._link.tokens

    def update_settings(self, update: Mapping[str, Any]) -> None:
        with self._lock:
            if self._link is None:
                merge(self._pending, deepcopy(dict(update)))
                return
        self._send_settings(update)

    def save_settings(self, value: Mapping[str, Any]) -> None:
        """The whole configuration, as a plugin saves it: only what differs goes up, so nothing of the broker's own."""
        changes = difference(self.link.configuration, value)
        if changes:
            self.update_settings(changes)

    def _send_settings(self, update: Mapping[str, Any]) -> None:
        try:
            self.link.settings(update)
        except CloudlinkError as error:
            # A handler can't do anything about it; a person can.
            LOGGER.error("the OAuth settings were not accepted, and stay as they were: %s", error)
            return
        if self.is_configured.is_set() and self.link.status().get("status") != "linked":
            self._ask_to_link()

    def save_tokens(self, value: Mapping[str, Any]) -> None:
        """Tokens that the plugin had before: the broker takes them over, once."""
        held = self.tokens()
        if not value or (held is not None and held.get("refresh_token") == value.get("refresh_token")):
            return
        try:
            self.link.import_tokens(value)
            LOGGER.info("the broker took over the tokens that the plugin had")
        except Invalid as error:
            if error.code != "own_handle":
                LOGGER.error("the tokens that the plugin had are of no use any more: %s", error)
        except ApiError as error:
            LOGGER.error("the tokens that the plugin had could not be taken over: %s", error)
