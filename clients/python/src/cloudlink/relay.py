"""One connection to the relay, from the handshake to its end."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from .errors import CloudlinkError
from .frames import Frame, ack, read

_log = logging.getLogger("cloudlink")

_PROTOCOL = Subprotocol("cloudlink.v1")
_HANDSHAKE = 15.0
#: The longest frame that clients accept, in bytes.
_LONGEST_FRAME = 512 * 1024
#: A connection that answers no ping for so long is given up, in seconds.
_SILENCE = 30.0
#: What a close code means, where there is something to say.
_CODES = {
    4403: "the token is not good for these slots",
    4408: "events were taken too slowly",
    4429: "the device has too many connections; stop others",
    1012: "the server restarts",
}


class TokenRefused(CloudlinkError):
    """The access token is not valid any more: ask for a new one."""


class Unreachable(CloudlinkError):
    """It may go well the next time."""


class NoRelay(CloudlinkError):
    """It will not go well before a person changes something."""


class _Connect(connect):
    """Follows no redirect: the token goes to the server that was named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Relay:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._acknowledged: dict[str, int] = {}

    @classmethod
    async def open(cls, url: str, token: str) -> Relay:
        try:
            socket = await _Connect(
                url,
                additional_headers={"Authorization": f"Bearer {token}"},
                subprotocols=[_PROTOCOL],
                compression=None,
                proxy=None,
                open_timeout=_HANDSHAKE,
                close_timeout=1,
                ping_interval=_SILENCE / 2,
                ping_timeout=_SILENCE / 2,
                max_size=_LONGEST_FRAME,
                # Its debug log has the handshake's headers, the token among them.
                logger=_QUIET,
            )
        except InvalidStatus as error:
            raise _refused(error.response.status_code) from None
        except (OSError, EOFError, WebSocketException) as error:
            raise Unreachable(f"the relay can't be reached ({type(error).__name__})") from None
        if socket.subprotocol != _PROTOCOL:
            await socket.close()
            raise NoRelay("the server does not speak cloudlink.v1: install versions that fit")
        return cls(socket)

    async def frames(self) -> AsyncIterator[Frame | None]:
        """Each message, none for what is no frame, until the connection ends; then raises why."""
        try:
            async for message in self._socket:
                yield read(message)
        except ConnectionClosed:
            pass
        code = self._socket.close_code
        if code == 4401:
            raise TokenRefused("the access token is not valid any more")
        raise Unreachable(_CODES.get(code or 0, f"the connection ended ({code or 'it broke'})"))

    async def acknowledge(self, slot: str, version: int) -> None:
        """Acknowledges all versions up to this one; the same again needs no frame on the same connection."""
        if version != self._acknowledged.get(slot, 0):
            await self.send(ack(slot, version))
            self._acknowledged[slot] = version

    async def send(self, text: str) -> None:
        """Sends a frame. On a connection that has ended nothing happens: its end is told to whoever reads."""
        try:
            await self._socket.send(text)
        except ConnectionClosed:
            _log.debug("a frame was not sent: the connection has ended")

    async def close(self) -> None:
        await self._socket.close()


def _refused(status: int) -> CloudlinkError:
    if status == 401:
        return TokenRefused("the server refused the access token")
    if status == 400:
        return NoRelay("the server does not speak cloudlink.v1: install versions that fit")
    if status == 404:
        return NoRelay("there is no relay at this URL: check that it is a cloudlink server")
    if status == 429:
        return Unreachable("the device has too many connections; stop others")
    return Unreachable(f"the relay answered with status {status}")


_QUIET = logging.getLogger("cloudlink.websocket")
_QUIET.setLevel(logging.ERROR)
