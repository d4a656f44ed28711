"""What is told, and what is not, whatever comes."""

from __future__ import annotations

import random
from typing import Any

from cloudlink.frames import Event
from cloudlink.slot_state import SlotState


def event(version: int, kind: str, **data: Any) -> Event:
    return Event("heating", version, kind, data)


def take_all(state: SlotState) -> list[tuple[str, int, bool]]:
    """What is told and acknowledged, with nobody failing."""
    found: list[tuple[str, int, bool]] = []
    while True:
        taken = state.take()
        if taken is None:
            return found
        if taken.is_news:
            state.taken(taken.event)
        found.append((taken.event.kind, taken.event.version, taken.is_news))


def acknowledged(state: SlotState) -> list[int]:
    """What is acknowledged of what waits, with nobody failing."""
    found: list[int] = []
    while True:
        taken = state.take()
        if taken is None:
            return found
        if taken.is_news:
            state.taken(taken.event)
        version = state.acknowledgeable(taken.event)
        if version is not None:
            found.append(version)


def told(state: SlotState, *events: Event) -> list[tuple[str, int]]:
    for one in events:
        state.offer(one)
    return [(kind, version) for kind, version, is_news in take_all(state) if is_news]


def test_the_first_state_is_told_whole() -> None:
    state = SlotState()
    assert told(state, event(0, "configuration"), event(7, "consent")) == [("configuration", 0), ("consent", 7)]


def test_the_same_state_on_a_new_connection_is_acknowledged_and_not_told() -> None:
    state = SlotState()
    told(state, event(0, "configuration", a=1), event(7, "consent"))
    state.offer(event(7, "configuration", a=1))
    state.offer(event(7, "consent"))
    assert take_all(state) == [("configuration", 7, False), ("consent", 7, False)]


def test_a_consent_that_comes_as_tokens_on_a_new_connection_is_not_told_again() -> None:
    state = SlotState()
    told(state, event(1, "configuration", a=1), event(2, "consent"))
    assert told(state, event(2, "configuration", a=1), event(2, "tokens")) == []
    assert told(state, event(3, "tokens")) == [("tokens", 3)]


def test_a_configuration_under_an_old_version_is_news_if_the_state_behind_it_is() -> None:
    state = SlotState()
    told(state, event(0, "configuration", a=1), event(7, "tokens"))
    state.offer(event(7, "configuration", a=2))
    assert take_all(state) == [], "it is not known yet"
    assert told(state, event(8, "tokens")) == [("configuration", 7), ("tokens", 8)]


def test_an_older_state_is_dropped_with_its_configuration() -> None:
    state = SlotState()
    told(state, event(0, "configuration", a=1), event(6, "tokens"))
    told(state, event(6, "configuration", a=2), event(8, "tokens"))
    assert told(state, event(3, "configuration", a=1), event(6, "tokens")) == []
    assert state.configuration is not None and state.configuration.data == {"a": 2}


def test_what_is_older_is_never_acknowledged_unseen() -> None:
    state = SlotState()
    told(state, event(0, "configuration", a=1), event(2, "tokens"), event(3, "unlinked"))
    state.offer(event(0, "configuration", a=2))
    state.offer(event(2, "consent"))
    assert acknowledged(state) == []


def test_a_newer_configuration_covers_no_tokens_that_wait() -> None:
    state = SlotState()
    told(state, event(1, "configuration", a=1), event(7, "tokens"))
    # The handler was slow: both came meanwhile.
    state.offer(event(8, "consent"))
    state.offer(event(9, "configuration", a=2))
    first, second = state.take(), None
    assert first is not None and (first.event.version, first.is_news) == (9, True)
    state.taken(first.event)
    assert state.acknowledgeable(first.event) is None, "nobody was told of the tokens"
    second = state.take()
    assert second is not None and (second.event.version, second.is_news) == (8, True)
    state.taken(second.event)
    assert state.acknowledgeable(second.event) == 9, "both"


def test_a_newer_configuration_covers_no_tokens_that_somebody_failed_on() -> None:
    state = SlotState()
    told(state, event(1, "configuration", a=1))
    state.offer(event(7, "consent"))
    taken = state.take()
    assert taken is not None
    state.failed(taken.event)
    state.offer(event(8, "configuration", a=2))
    assert acknowledged(state) == []
    state.offer(event(6, "configuration", a=2))
    state.offer(event(8, "consent"))
    assert acknowledged(state) == [8], "on the next connection"
    state.offer(event(9, "configuration", a=3))
    assert acknowledged(state) == [9]


def test_of_what_waits_the_newest_is_told_alone() -> None:
    state = SlotState()
    events = [event(version, "tokens") for version in (4, 5, 6)]
    assert told(state, event(3, "configuration"), *events) == [("configuration", 3), ("tokens", 6)]


def test_what_failed_is_told_again_and_covers_nothing() -> None:
    state = SlotState()
    for again in range(2):
        state.offer(event(0, "configuration", a=1))
        state.offer(event(7, "consent"))
        configuration = state.take()
        assert configuration is not None and configuration.is_news is (again == 0)
        if again == 0:
            state.taken(configuration.event)
        consent = state.take()
        assert consent is not None and consent.is_news
        state.failed(consent.event)
    state.offer(event(5, "configuration", a=2))
    state.offer(event(8, "tokens"))
    failing = state.take()
    assert failing is not None
    state.failed(failing.event)
    take_all(state)
    assert told(state, event(8, "configuration", a=2), event(8, "tokens")) == [("configuration", 8)]


def test_tokens_of_one_version_are_not_confused_with_its_configuration() -> None:
    state = SlotState()
    assert told(state, event(5, "configuration"), event(5, "tokens")) == [("configuration", 5), ("tokens", 5)]


def test_whatever_comes_in_whatever_order_nothing_older_is_told() -> None:
    for seed in range(300):
        draw = random.Random(seed)
        state, newest, newest_configuration = SlotState(), -1, -1
        for _ in range(60):
            kind = draw.choice(["configuration", "tokens", "consent", "unlinked", "reauthorize"])
            state.offer(event(draw.randrange(12), kind, a=draw.randrange(2)))
            while True:
                taken = state.take()
                if taken is None:
                    break
                if taken.is_news and draw.random() < 0.2:
                    state.failed(taken.event)
                    continue
                if taken.is_news:
                    if taken.event.kind == "configuration":
                        newest_configuration = max(newest_configuration, taken.event.version)
                    else:
                        assert taken.event.version > newest
                        newest = taken.event.version
                    state.taken(taken.event)
                version = state.acknowledgeable(taken.event)
                assert version is None or version <= max(newest, newest_configuration), "nothing unseen"
