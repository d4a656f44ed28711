"""Names and addresses that the controller behind PG3 accepts."""

from __future__ import annotations

import re

_NOT_IN_NAMES = re.compile(r"[<>`~!@#$%^&*(){}\[\]?/\\;:\"']+")
_LONGEST_ADDRESS = 14


def getValidName(name: str) -> str:
    return _NOT_IN_NAMES.sub("", name)


def getValidAddress(name: str) -> str:
    return _NOT_IN_NAMES.sub("", name.lower()).replace("-", "")[:_LONGEST_ADDRESS]


def isNameValid(name: str) -> bool:
    return getValidName(name) == name


def isAddressValid(address: str) -> bool:
    return getValidAddress(address) == address
