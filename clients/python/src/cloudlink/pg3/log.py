"""The log that plugins write to: `LOGGER` goes to standard error, where a service manager keeps it.

`LOG_HANDLER` is there for plugins that set format or level through it.
"""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(threadName)-10s %(name)-12s %(levelname)-8s %(module)s:%(funcName)s: %(message)s"

LOGGER = logging.getLogger("cloudlink.pg3")


class LogHandler:
    def __init__(self) -> None:
        self.logger = LOGGER
        self.handler: logging.Handler = logging.StreamHandler()
        self.set_log_format(FORMAT)

    def install(self) -> None:
        """Once a plugin runs; whoever configured logging before keeps that."""
        package = logging.getLogger("cloudlink")
        if not package.hasHandlers():
            package.addHandler(self.handler)
            package.setLevel(logging.INFO)

    def uninstall(self) -> None:
        for logger in (logging.getLogger("cloudlink"), logging.getLogger()):
            logger.removeHandler(self.handler)

    def set_log_format(self, fmt_string: str) -> None:
        self.handler.setFormatter(logging.Formatter(fmt_string))

    def set_basic_config(self, enable: bool = True, level: int | None = None) -> None:
        """What other libraries log goes to the same place, from this level on."""
        root = logging.getLogger()
        if enable and self.handler not in root.handlers:
            logging.getLogger("cloudlink").removeHandler(self.handler)
            root.addHandler(self.handler)
        elif not enable:
            root.removeHandler(self.handler)
        root.setLevel(LOGGER.getEffectiveLevel() if level is None else level)

    @staticmethod
    def getLevelName(level: int) -> str:
        return logging.getLevelName(level)


LOG_HANDLER = LogHandler()


def unload_interface() -> None:
    """Ends what the interface logs. PG3's gives standard output and error back too, which this one never takes."""
    LOG_HANDLER.uninstall()
