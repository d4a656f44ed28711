"""Asks the plugin's user to link the account: in the log and as a notice, until it is done."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..errors import ApiError, CloudlinkError, LinkingFailed
from .log import LOGGER

if TYPE_CHECKING:
    from .custom import Custom
    from .upstream import Upstream

#: The notice's key.
NOTICE = "cloudlink"


class Asking:
    def __init__(self, upstream: Upstream, notices: Custom) -> None:
        self._upstream = upstream
        self._notices = notices
        self._lock = threading.Lock()
        self._attempt = 0

    def begin(self) -> None:
        """Asks anew; a question from before is dropped."""
        with self._lock:
            self._attempt += 1
            threading.Thread(target=self._ask, args=(self._attempt,), daemon=True, name="linking").start()

    def _ask(self, attempt: int) -> None:
        slot = "SLOT"
        try:
            link = self._upstream.link
            slot = link.slot or slot
            start = link.start_linking()
            self._notice(
                attempt,
                f"Please authenticate: open {start.connect_url} or type {start.user_code} at {start.verification_uri}",
            )
            start.wait()
        except LinkingFailed as failure:
            self._notice(attempt, f"{_sentence(failure)}. To try again, run `cloudlink slot connect {slot}`.")
        except ApiError as error:
            self._notice(attempt, f"The account can't be linked yet: {error.detail}")
        except CloudlinkError as error:
            LOGGER.warning("the user could not be asked to link the account: %s", error)
        else:
            self.done(attempt)

    def done(self, attempt: int | None = None) -> None:
        """It is linked."""
        with self._lock:
            if attempt in (None, self._attempt) and NOTICE in self._notices:
                self._notices.delete(NOTICE)

    def _notice(self, attempt: int, text: str) -> None:
        with self._lock:
            if attempt == self._attempt:
                self._notices[NOTICE] = text


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
