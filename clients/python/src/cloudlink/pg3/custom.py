"""`Custom`: a plugin's own data under a key. What is changed is saved at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Sender(Protocol):
    def send(self, message: dict[str, Any], type: str) -> Any: ...


class Custom(dict[str, Any]):
    """A dictionary whose missing members read None, also as attributes. `poly` and `custom` name the owner and key."""

    poly: Sender
    custom: str

    def __init__(self, poly: Sender, custom: str) -> None:
        super().__init__()
        self.__dict__.update(poly=poly, custom=custom, _list=None, _changed=set(), _new=set())

    def load(self, new_data: Any, save: bool = False) -> None:
        """Replaces what is here. Typed parameters and data are lists."""
        changed: set[str] = set()
        new: set[str] = set()
        if isinstance(new_data, Mapping):
            new = {key for key in new_data if key not in self}
            changed = {key for key in new_data if key in self and self[key] != new_data[key]}
        self.__dict__.update(_list=None, _changed=changed, _new=new)
        members = dict(new_data) if isinstance(new_data, Mapping) else {}
        super().clear()
        super().update(members)
        if isinstance(new_data, list):
            self.__dict__["_list"] = new_data
        if save:
            self._save()

    def update(self, update: Any = None, save: bool = False, **more: Any) -> None:  # type: ignore[override]
        """Merges, nested members too, and saves where anything changed."""
        wanted = {**(update or {}), **more}
        if merge(self, wanted) or save:
            self._save()

    def dump(self) -> dict[str, Any]:
        listed = self.__dict__["_list"]
        return {**self.__dict__, "_rawdata": dict(self) if listed is None else listed}

    def delete(self, key: str) -> None:
        if key in self:
            super().__delitem__(key)
            self._save()

    def clear(self) -> None:
        super().clear()
        self._save()

    def isChanged(self, key: str) -> bool:
        """Whether the last `load` changed it."""
        return key in self.__dict__["_changed"]

    def isNew(self, key: str) -> bool:
        """Whether the last `load` brought it."""
        return key in self.__dict__["_new"]

    def _save(self) -> None:
        listed = self.__dict__["_list"]
        value = dict(self) if listed is None else listed
        self.__dict__["poly"].send({"set": [{"key": self.__dict__["custom"], "value": value}]}, "custom")

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._save()

    def __delitem__(self, key: str) -> None:
        self.delete(key)

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __getattr__(self, key: str) -> Any:
        return self.get(key)

    def __missing__(self, key: str) -> None:
        return None


def merge(into: dict[str, Any], update: Mapping[str, Any]) -> bool:
    """Merges nested members into a dictionary; says whether anything changed."""
    changed = False
    for key, value in update.items():
        if isinstance(value, Mapping):
            inner = dict.get(into, key)
            if not isinstance(inner, dict):
                inner, changed = {}, True
                dict.__setitem__(into, key, inner)
            # Each member is merged, whatever came before it.
            changed = merge(inner, value) or changed
        elif key not in into or dict.get(into, key) != value:
            dict.__setitem__(into, key, value)
            changed = True
    return changed


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What to merge into the old to have what the new says; what it leaves out stays."""
    found: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = difference(before, value)
            if inner:
                found[key] = inner
        elif key not in old or before != value:
            found[key] = value
    return found
