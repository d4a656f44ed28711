"""`python -m pg3_plugin`: the entry point, as PG3 starts one."""

from __future__ import annotations

import sys

from cloudlink.pg3 import LOGGER, Interface

from .controller import Controller

VERSION = "1.0.0"


def main() -> int:
    try:
        polyglot = Interface([])
        polyglot.start({"version": VERSION, "requestId": True})
        Controller(polyglot, "controller", "Acme Thermostats")
        polyglot.setCustomParamsDoc()
        polyglot.updateProfile()
        polyglot.ready()
        polyglot.runForever()
    except Exception:
        LOGGER.exception("the plugin ends")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
