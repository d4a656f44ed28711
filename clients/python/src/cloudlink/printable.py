"""What somebody else said, as it may be shown: on a terminal control characters are orders."""

from __future__ import annotations


def printable(said: object, longest: int = 1000) -> str:
    """Its text on one line, without control and direction characters, at most so many characters long."""
    return "".join(c for c in str(said) if c.isprintable())[:longest]
