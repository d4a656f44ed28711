"""The names of PG3's Python interface: a plugin that was written for its `OAuth` runs with this import changed.

from cloudlink.pg3 import LOGGER, Custom, Interface, Node, OAuth
"""

from __future__ import annotations

from .custom import Custom
from .interface import Interface
from .log import LOG_HANDLER, LOGGER, unload_interface
from .network import get_network_interface
from .node import Node
from .oauth import OAuth
from .without_pg3 import ISY

__all__ = [
    "ISY",
    "LOGGER",
    "LOG_HANDLER",
    "Custom",
    "Interface",
    "Node",
    "OAuth",
    "get_network_interface",
    "unload_interface",
]
