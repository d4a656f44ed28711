"""What a plugin was told of a slot, what is to be told next, and what may be acknowledged.

Events tell state, not history, so of what waits only the newest configuration and the newest other event are kept:
nothing grows while a handler is slow. A configuration comes first. Nothing older is told after something newer:

* an event that is older than the last one of its kind is dropped, and not acknowledged: nobody was told of it;
* the same version comes again when its ack was lost, and on each new connection, where what was a consent is tokens; it
  is acknowledged again and not told again;
* a configuration leads each state under the version that was acknowledged before, whatever it says. Where its content
  is not what was told last, it waits for the event behind it, whose version shows whether the state is a newer one.

An ack covers every version up to its own. So a configuration is not acknowledged while an older event waits or has
failed: whatever is told instead of that one acknowledges both.
"""

from __future__ import annotations

from typing import NamedTuple

from .frames import Event


class Taken(NamedTuple):
    event: Event
    #: Whether it is to be told; else it was told before.
    is_news: bool


class SlotState:
    def __init__(self) -> None:
        self.configuration: Event | None = None
        self.latest: Event | None = None
        self._highest = -1
        self._missed_configuration = True
        self._waiting_configuration: Event | None = None
        self._waiting: Event | None = None
        #: Of the event that somebody failed on, until a newer one, or the same again, is told.
        self._failed: int | None = None
        #: Of configurations that were told and could not be acknowledged yet.
        self._held = -1

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
        if self.latest is not None and latest.version < self.latest.version:
            return None
        return Taken(latest, self._is_news(latest))

    def _is_news(self, event: Event) -> bool:
        return self.latest is None or event.version > self.latest.version

    def taken(self, event: Event) -> None:
        """It was told, and nobody failed."""
        self._highest = max(self._highest, event.version)
        if event.kind == "configuration":
            self.configuration, self._missed_configuration = event, False
        else:
            self.latest, self._failed = event, None

    def failed(self, event: Event) -> None:
        """Whoever was told failed: it comes again on the next connection, and is told again then."""
        if event.kind == "configuration":
            self._missed_configuration = True
        else:
            self._failed = event.version

    def acknowledgeable(self, event: Event) -> int | None:
        """The version to acknowledge now that `event` was told, or was before; none while an older one is owed."""
        version = max(event.version, self._held)
        waiting = self._waiting.version if self._waiting is not None and self._is_news(self._waiting) else None
        if any(owed is not None and owed <= version for owed in (self._failed, waiting)):
            self._held = version
            return None
        self._held = -1
        return version

    def told(self) -> list[Event]:
        """The state that was taken, in order."""
        return [event for event in (self.configuration, self.latest) if event is not None]
