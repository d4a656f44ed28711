"""A plugin's link to its broker: a fresh access token whenever it asks, and events when something changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, TypeVar, Union

from .access import Access
from .credentials import Credential
from .errors import (
    AuthorizationRequired,
    CloudlinkError,
    ProviderUnavailable,
    ServerUnavailable,
    TokensWithDevice,
)
from .frames import Event
from .handlers import EventStream, F, Handler, Subscribable, Subscription
from .keys import DeviceKey
from .linking import Linking
from .sealed import is_sealed, open_sealed
from .session import Session
from .slot_api import SlotApi, SlotTokens
from .threads import in_thread
from .tokens import Tokens

_log = logging.getLogger("cloudlink")

KeyLike = Union[DeviceKey, str, Path]
T = TypeVar("T")


class Link(Subscribable):
    """Made by `cloudlink.connect`; use it with `async with`."""

    def __init__(
        self,
        access: Access,
        slot: str | None,
        sealed_keys: Sequence[DeviceKey],
        relay_url: str | None = None,
    ) -> None:
        self.slot = slot
        self._access = access
        self._api = SlotApi(access, slot) if slot is not None else None
        self._sealed_keys = sealed_keys
        self._relay_url = relay_url or access.server.relay
        self._session: Session | None = None
        self._handlers: list[tuple[str | None, Handler]] = []
        self._on_request: Callable[..., Any] | None = None
        self._on_command: Callable[..., Any] | None = None
        #: The configuration for the plugin, as it came last.
        self.configuration: dict[str, Any] = {}
        #: All members of the newest tokens that came; None where nobody has linked the slot.
        self.tokens: Tokens | None = None
        #: What `access_token` gives without asking; None where it is not known which token is the newest.
        self._usable: Tokens | None = None
        #: A token that an answer brought and no event yet.
        self._ahead: str | None = None
        self._changes = 0
        self._failed: CloudlinkError | None = None
        self._wakers: set[asyncio.Event] = set()
        self._reason: str | None = None

    @classmethod
    def of(cls, credential: Credential, slot: str | None, sealed_key: KeyLike | None) -> Link:
        keys = [] if sealed_key is None else [_key(sealed_key)]
        own = getattr(credential, "key", None)
        return cls(Access(credential, slot), slot, [*keys, *([own] if own else [])])

    async def open(self) -> None:
        """Signs in and connects. A server that can't be reached is tried again in the background.

        Raises `NotFound` where the device has no such slot.
        """
        if self._session is not None:
            raise CloudlinkError("this link is open already")
        tokens = self._access if self._api is None else SlotTokens(self._api)
        session = Session(self._relay_url, tokens, self._absorb)
        session.answering.on_request, session.answering.on_command = self._on_request, self._on_command
        for kind, handler in self._handlers:
            session.dispatcher.subscribe(kind, handler)
        try:
            await in_thread(tokens.token)
        except ServerUnavailable as error:
            _log.warning("not connected yet: %s", error)
        self._session = session
        session.start()

    async def close(self) -> None:
        """Disconnects. What was not acknowledged comes again on the next connection."""
        session, self._session = self._session, None
        if session is not None:
            self._failed = session.failed
            await session.close()

    def _open(self) -> Session:
        if self._session is None:
            raise CloudlinkError("this link is closed: use it with `async with`")
        return self._session

    async def __aenter__(self) -> Link:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _absorb(self, event: Event) -> Event:
        """Opens what is sealed, and remembers what this link needs itself."""
        if event.has_tokens and is_sealed(event.data):
            opened = open_sealed(event.data, self._sealed_keys)
            event = Event(event.slot, event.version, event.kind, opened)
        if event.slot != self.slot:
            return event
        self._changes += 1
        if event.kind == "configuration":
            self.configuration = event.data
            return event
        self.tokens = self._usable = Tokens(event.data) if event.has_tokens else None
        if self.tokens is None or self._ahead == self.tokens.access_token:
            self._ahead = None
        elif self._ahead is not None:
            # This event may be older than the answer or newer: the server knows.
            self._usable = None
        reason = event.data.get("reason") if event.kind == "reauthorize" else None
        self._reason = str(reason) if reason else None
        for waker in self._wakers:
            waker.set()
        self._note_link(event.has_tokens)
        return event

    def _note_link(self, is_linked: bool) -> None:
        linked = self._open().linked
        if is_linked:
            linked.set()
        else:
            linked.clear()

    # What comes.

    def subscribe(self, kind: str | None, handler: Handler) -> None:
        """What `on` does, plainly."""
        Subscription(kind, handler)  # raises where there is no such kind
        self._handlers.append((kind, handler))
        if self._session is not None:
            self._session.dispatcher.subscribe(kind, handler)

    def events(self) -> EventStream:
        """`async for event in link.events()`: one is acknowledged when the next is asked for."""
        return self._open().dispatcher.stream()

    @property
    def failed(self) -> CloudlinkError | None:
        """Why no events come any more, where only a person can put that right."""
        return self._session.failed if self._session is not None else self._failed

    def on_request(self, handler: F) -> F:
        """Has `handler(request)` answer what web services send: a `Response`, bytes, text, JSON, or nothing."""
        self._on_request = handler
        if self._session is not None:
            self._session.answering.on_request = handler
        return handler

    def on_command(self, handler: F) -> F:
        """Has `handler(command)` answer commands for the hub. They come to a link without a slot."""
        self._on_command = handler
        if self._session is not None:
            self._session.answering.on_command = handler
        return handler

    # What can be asked.

    async def access_token(self) -> str:
        """A token that is good now. Asks the server only where the one at hand is due."""
        async with self._open().asking:
            if self._usable is not None and not self._usable.is_due:
                return self._usable.access_token
            changes = self._changes
            try:
                fresh = await self._ask(self._slot_api().token)
            except (ServerUnavailable, ProviderUnavailable, TokensWithDevice):
                held = self._usable or self.tokens
                if held is not None and held.expires_in > 0:
                    return held.access_token
                raise
            return self._remember(fresh, changes)

    async def refresh(self) -> str:
        """A token that was refreshed just now, as after a 401 of the provider's."""
        async with self._open().asking:
            changes = self._changes
            return self._remember(await self._ask(self._slot_api().refresh), changes)

    def _remember(self, fresh: Tokens, changes: int) -> str:
        is_told = self.tokens is not None and self.tokens.access_token == fresh.access_token
        if is_told or changes == self._changes:
            self._usable, self._ahead = fresh, None if is_told else fresh.access_token
        else:
            # An event came meanwhile, with another one.
            self._usable = self._ahead = None
        return fresh.access_token

    async def status(self) -> dict[str, Any]:
        """The slot: `status` is `unlinked`, `linked` or `reauthorize`."""
        return await self._ask(self._slot_api().status)

    async def settings(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Changes the slot's overrides: nested members merge, `None` removes one. Answers the configuration."""
        return await self._ask(self._slot_api().settings, patch)

    async def import_tokens(self, tokens: Mapping[str, Any]) -> None:
        """Hands over tokens that the plugin had before there was a broker."""
        await self._ask(self._slot_api().import_tokens, tokens)

    async def unlink(self) -> None:
        """Ends the link: tokens are revoked where the provider can, and erased."""
        await self._ask(self._slot_api().unlink)
        self._changes += 1
        self.tokens = self._usable = self._ahead = None
        self._note_link(False)

    async def start_linking(self, return_url: str | None = None) -> Linking:
        """Begins to link: the answer has `connect_url`, `user_code` and `verification_uri`, and `wait()`."""
        attempt = await self._ask(self._slot_api().connect, return_url)
        return Linking(self._slot_api(), attempt, self._wakers)

    async def connect_url(self, return_url: str | None = None) -> str:
        """Where to send the user's browser. Each call begins anew."""
        return (await self.start_linking(return_url)).connect_url

    async def wait_until_linked(self, timeout: float | None = None) -> None:
        """Returns once the slot is linked, by whomever."""
        if (await self.status()).get("status") != "linked":
            await asyncio.wait_for(self._open().linked.wait(), timeout)

    async def _ask(self, call: Callable[..., T], *args: Any) -> T:
        try:
            return await in_thread(call, *args)
        except AuthorizationRequired as error:
            error.reason, error.start_linking = self._reason, self.start_linking
            raise

    def _slot_api(self) -> SlotApi:
        if self._api is None:
            raise ValueError("this link is for the whole device: connect with slot=… for what concerns one slot")
        return self._api


def _key(key: KeyLike) -> DeviceKey:
    return key if isinstance(key, DeviceKey) else DeviceKey.load(key)
