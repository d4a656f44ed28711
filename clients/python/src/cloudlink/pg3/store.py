"""Where a plugin's own data are kept: one JSON file for each slot, mode 0600.

`.cloudlink/pg3-SLOT.json` where the working folder has a `.cloudlink`, else `pg3/SLOT.json` beside the user's
credentials.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from ..credentials import Places
from ..errors import CloudlinkError
from ..private_files import read_private, write_private


class Store:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @classmethod
    def of_slot(cls, slot: str, places: Places | None = None) -> Store:
        places = places or Places()
        if places.here.is_dir():
            return cls(places.here / f"pg3-{slot}.json")
        if places.user is None:
            raise CloudlinkError("there is no folder to keep the plugin's data in: set HOME or XDG_CONFIG_HOME")
        return cls(places.user / "pg3" / f"{slot}.json")

    def all(self) -> dict[str, Any]:
        text = read_private(self.path)
        if text is None:
            return {}
        try:
            kept = json.loads(text)
        except ValueError:
            kept = None
        if not isinstance(kept, dict):
            raise CloudlinkError(f"{self.path} is no JSON object any more: mend it, or remove it to begin anew")
        return kept

    def get(self, key: str) -> Any:
        return self.all().get(key)

    def set(self, key: str, value: Any) -> None:
        with self._lock:
            kept = self.all()
            kept[key] = value
            write_private(self.path, json.dumps(kept, indent=2) + "\n")
