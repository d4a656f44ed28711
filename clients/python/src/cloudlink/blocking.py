"""The same link for code without async: it lives in a thread of its own, and each call waits for its answer.

Handlers are called in other threads, one event at a time, and may call the link. One that calls `sys.exit()` ends the
plugin: the link closes, and the exit is raised where the plugin waits for the link, or else out of its `with`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from typing import Any, Callable, TypeVar

from .errors import AuthorizationRequired, CloudlinkError
from .frames import Event
from .handlers import F, Handler, Subscribable
from .link import Link
from .linking import Linking
from .loop_thread import LoopThread
from .tokens import Tokens

T = TypeVar("T")


class BlockingLinking:
    """`Linking`, blocking."""

    def __init__(self, loop: LoopThread, linking: Linking) -> None:
        self._loop = loop
        self._linking = linking
        self.connect_url = linking.connect_url
        self.user_code = linking.user_code
        self.verification_uri = linking.verification_uri
        self.verification_uri_complete = linking.verification_uri_complete
        self.expires_in = linking.expires_in

    def status(self) -> str:
        return self._loop.run(self._linking.status())

    def confirm(self, code: str) -> None:
        self._loop.run(self._linking.confirm(code))

    def wait(self, ask_for_code: Callable[[], Any] | None = None) -> None:
        self._loop.run(self._linking.watch(ask_for_code))

    def __repr__(self) -> str:
        return repr(self._linking)


class BlockingLink(Subscribable):
    """Made by `cloudlink.connect_blocking`; use it with `with`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop: LoopThread | None = None

    def open(self) -> None:
        self._loop = LoopThread()
        try:
            self._run(self._link.open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close(self._link.close())

    def __enter__(self) -> BlockingLink:
        self.open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        loop = self._loop
        try:
            self.close()
        except KeyboardInterrupt:
            if loop is None or loop.end is None:
                raise
        if loop is not None and loop.end is not None and isinstance(error, (KeyboardInterrupt, type(None))):
            # The interrupt was how it reached this thread.
            raise loop.end from None

    @property
    def slot(self) -> str | None:
        return self._link.slot

    @property
    def configuration(self) -> dict[str, Any]:
        return self._link.configuration

    @property
    def tokens(self) -> Tokens | None:
        return self._link.tokens

    @property
    def failed(self) -> CloudlinkError | None:
        return self._link.failed

    def subscribe(self, kind: str | None, handler: Handler) -> None:
        """What `on` does, plainly."""
        if self._loop is None:
            self._link.subscribe(kind, handler)
        else:
            self._run(_now(self._link.subscribe, kind, handler))

    def events(self) -> Iterator[Event]:
        """`for event in link.events()`: one is acknowledged when the next is asked for."""
        stream = self._run(_now(self._link.events)).__aiter__()
        try:
            while True:
                event = self._run(_next(stream))
                if event is None:
                    return
                yield event
        finally:
            if self._loop is not None:
                self._run(stream.aclose())

    def on_request(self, handler: F) -> F:
        """As `Link.on_request`."""
        return self._link.on_request(handler)

    def on_command(self, handler: F) -> F:
        """As `Link.on_command`."""
        return self._link.on_command(handler)

    def access_token(self) -> str:
        """A token that is good now. Asks the server only where the one at hand is due."""
        return self._run(self._link.access_token())

    def refresh(self) -> str:
        """A token that was refreshed just now."""
        return self._run(self._link.refresh())

    def status(self) -> dict[str, Any]:
        return self._run(self._link.status())

    def settings(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Changes the slot's overrides: nested members merge, `None` removes one."""
        return self._run(self._link.settings(patch))

    def import_tokens(self, tokens: Mapping[str, Any]) -> None:
        """Hands over tokens that the plugin had before there was a broker."""
        self._run(self._link.import_tokens(tokens))

    def unlink(self) -> None:
        self._run(self._link.unlink())

    def start_linking(self, return_url: str | None = None) -> BlockingLinking:
        """Begins to link: the answer has `connect_url`, `user_code` and `verification_uri`, and `wait()`."""
        linking = self._run(self._link.start_linking(return_url))
        return BlockingLinking(self._running(), linking)

    def connect_url(self, return_url: str | None = None) -> str:
        return self.start_linking(return_url).connect_url

    def wait_until_linked(self, timeout: float | None = None) -> None:
        self._run(self._link.wait_until_linked(timeout))

    def _running(self) -> LoopThread:
        if self._loop is None:
            raise CloudlinkError("this link is closed")
        return self._loop

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._running()
        except CloudlinkError:
            work.close()
            raise
        try:
            return loop.run(work)
        except AuthorizationRequired as error:
            error.start_linking = self.start_linking
            raise


async def _now(function: Callable[..., T], *args: Any) -> T:
    return function(*args)


async def _next(stream: AsyncGenerator[Event, None]) -> Event | None:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None
