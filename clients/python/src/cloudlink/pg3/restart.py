"""Starting the program again in place of itself, as PG3 does for a plugin that asks for it."""

from __future__ import annotations

import os
import sys

from .log import LOGGER


def start_again() -> None:
    """Does not return where it can. Before Python 3.10 a program does not know how it was started."""
    given = getattr(sys, "orig_argv", None)
    if not given or not sys.executable:
        LOGGER.error("the plugin can't start itself again: start it, or have a service manager do so")
        sys.exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *given[1:]])  # noqa: S606 (the very command that started it)
