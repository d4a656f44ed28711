"""`python -m cloudlink.pg3 SLOT [name=value …]`: shows or sets a plugin's custom parameters, as PG3's dashboard does.

`name=` removes one, and `name=-` asks for the value without showing it. A running plugin reads them again at SIGHUP.
"""

from __future__ import annotations

import argparse
import getpass
import sys

from ..errors import CloudlinkError
from .store import Store


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cloudlink.pg3", description=__doc__)
    parser.add_argument("slot")
    parser.add_argument("parameters", nargs="*", metavar="name=value")
    given = parser.parse_args()
    try:
        store = Store.of_slot(given.slot)
        parameters = dict(store.get("customparams") or {})
        for one in given.parameters:
            name, is_set, value = one.partition("=")
            if not is_set or not name:
                parser.error(f"{name or one!r} must look like name=value")
            if value == "-":
                value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
            parameters[name] = value
            if not value:
                del parameters[name]
        if given.parameters:
            store.set("customparams", parameters)
    except CloudlinkError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    for name in parameters:
        # Some are secrets.
        print(name)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
