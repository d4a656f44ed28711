"""What a plugin was told of a slot, and what is to be told next.

Events tell state, not history, so of what waits only the newest configuration and the newest other event are kept:
nothing grows while a handler is slow. Nothing older is told after something newer:

* an event of a version below the highest that was taken is dropped;
* the same version comes again when its ack was lost, and on each new connection, where what was a consent is tokens; it
  is acknowledged again and not told again;
* a configuration leads each state under the version that was acknowledged before, whatever it says. Where its content
  is not what was told last, it waits for the event behind it, whose version shows whether the state is a newer one.
"""

from __future__ import annotations

from typing import NamedTuple

from .frames import Event


class Taken(NamedTuple):
    event: Event
    #: Whether it is to be told; it is to be acknowledged in any case.
    is_news: bool


class SlotState:
    def __init__(self) -> None:
        self.configuration: Event | None = None
        self.latest: Event | None = None
        self._highest = -1
        self._missed_configuration = True
        self._waiting_configuration: Event | None = None
        self._waiting: Event | None = None

    def offer(self, event: Event) -> None:
        """An event came from the server."""
        if event.kind == "configuration":
            self._waiting_configuration = event
        elif self._waiting is None or event.version >= self._waiting.version:
            self._waiting = event

    def take(self) -> Taken | None:
        """What is next, if anything can be decided."""
        configuration, latest = self._waiting_configuration, self._waiting
        if configuration is not None:
            if configuration.version > self._highest or self._missed_configuration:
                self._waiting_configuration = None
                return Taken(configuration, True)
            if self.configuration is not None and configuration.data == self.configuration.data:
                self._waiting_configuration = None
                return Taken(configuration, False)
        if latest is None:
            return None
        if configuration is not None:
            self._waiting_configuration = None
            if latest.version > self._highest:
                return Taken(configuration, True)
        self._waiting = None
        return Taken(latest, self._is_news(latest))

    def _is_news(self, event: Event) -> bool:
        known = self.latest
        if event.version == self._highest:
            return known is None or known.version != event.version
        return event.version > self._highest

    def taken(self, event: Event) -> None:
        """It was told, and nobody failed."""
        self._highest = max(self._highest, event.version)
        if event.kind == "configuration":
            self.configuration, self._missed_configuration = event, False
        else:
            self.latest = event

    def failed(self, event: Event) -> None:
        """Whoever was told failed: it comes again on the next connection, and is told again then."""
        if event.kind == "configuration":
            self._missed_configuration = True

    def told(self) -> list[Event]:
        """The state that was taken, in order."""
        return [event for event in (self.configuration, self.latest) if event is not None]
