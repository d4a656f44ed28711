"""Files for their owner's eyes alone: mode 0600 in a folder of mode 0700, whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from .errors import CloudlinkError

_LONGEST = 1024 * 1024


def read_private(path: Path) -> str | None:
    """The text of a file; none where there is none."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if hasattr(os, "geteuid"):
                if about.st_uid != os.geteuid():
                    raise CloudlinkError(
                        f"{path} belongs to somebody else and is not used: remove it, or work in another folder"
                    )
                if about.st_mode & 0o077:
                    raise CloudlinkError(
                        f"others on this machine can read {path}: run `chmod 600 {path}`, and sign in anew if they did"
                    )
            data = file.read(_LONGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        raise CloudlinkError(f"{path} can't be read: check who owns it") from None
    try:
        if len(data) > _LONGEST:
            raise ValueError
        return data.decode()
    except ValueError:
        raise CloudlinkError(f"{path} is no text file of ours: remove it") from None


def write_private(path: Path, text: str) -> None:
    """Writes beside the place and renames, so that a reader never sees half of it."""
    folder = path.parent
    beside = folder / f".{path.name}.{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if folder.name == ".cloudlink":
            # So that a credential in a working folder is not committed with the work.
            ignored = folder / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
        try:
            # A name that nobody can guess, and a link there is not followed.
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except OSError:
        raise CloudlinkError(f"{path} can't be written: check who owns its folder") from None


def remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        raise CloudlinkError(f"{path} can't be removed: remove it by hand") from None
