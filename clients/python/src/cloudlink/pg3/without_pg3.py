"""What only PG3, or the controller behind it, can do. Plugins call it in passing, so it is here and says what happens
instead.
"""

from __future__ import annotations

from typing import Any, Callable

from .log import LOGGER


class WithoutPG3:
    """The part of `Interface` that has no PG3 to turn to."""

    SERVER_JSON_FILE_NAME = "server.json"

    def updateProfile(self) -> bool:
        LOGGER.debug("without PG3 there is no profile to update")
        return True

    installprofile = updateProfile

    def checkProfile(self, force: bool = False, build_profile: Callable[[], Any] | None = None) -> bool:
        return self.updateProfile()

    def getJsonProfile(self, options: dict[str, Any] | None = None) -> None:
        """None, as PG3 answers who does not wait."""
        LOGGER.info("without PG3 there is no profile: getJsonProfile gives none")

    def updateJsonProfile(self, profile: dict[str, Any], options: dict[str, Any] | None = None) -> None:
        """ValueError for what is no profile; None, as PG3 answers who does not wait."""
        if not isinstance(profile, dict):
            raise ValueError("a profile is a dictionary")
        LOGGER.info("without PG3 there is no profile to update: %s", ", ".join(profile) or "nothing was given")

    def pg3MinimumVersion(self, minimumVersion: str) -> bool:
        """False: whatever a newer PG3 could do, there is none."""
        return False

    def supports_feature(self, feature: str) -> bool:
        return False

    def setController(self, node_addr: str, driver: str) -> None:
        """PG3's icon of the connection."""

    def setLogList(self, levelMap: Any) -> None:
        """PG3's list of log levels."""

    def addLogLevel(self, name: str, lvl: int, str_name: str) -> None:
        """One more in that list."""

    def udm_alert(self, title: str, notice: str) -> None:
        LOGGER.warning("%s: %s", title, notice)

    def bonjour(self, type: str | None, subtypes: list[Any] | None, protocol: str | None) -> None:
        """TypeError and ValueError for a question that PG3 would not ask. BONJOUR never comes."""
        if type is not None and not isinstance(type, str):
            raise TypeError("type must be text")
        if subtypes is not None and not isinstance(subtypes, list):
            raise TypeError("subtypes must be a list")
        if protocol not in ("tcp", "udp", None):
            raise ValueError("protocol must be tcp or udp")
        LOGGER.warning("without PG3 nobody looks for %s in the network, and no BONJOUR comes", type or "devices")

    def customResponse(self, requestId: Any, body: Any) -> None:
        """PG3 alone sends CUSTOMREQUEST, so nobody waits for this."""
        LOGGER.info("without PG3 nobody waits for the response to request %s", requestId)

    def customResponseError(
        self,
        requestId: Any,
        errorMessage: str = "Plugin Error",
        status: int = 500,
        errorCode: Any = None,
        body: Any = None,
    ) -> None:
        LOGGER.warning("without PG3 nobody hears that request %s failed: %s (%s)", requestId, errorMessage, status)


class ISY:
    """The controller, whose address and password PG3 gives to plugins that may have them. Here nobody gives them, which
    is what a plugin sees that may not."""

    def __init__(self, poly: Any) -> None:
        self.poly = poly
        self.valid = False
        self.unauthorized = True
        LOGGER.warning("without PG3 there is no way to the controller: what is asked of ISY raises PermissionError")

    def cmd(self, command: str) -> str:
        raise PermissionError("without PG3 nobody gives the controller's address and password")

    def pyisy(self) -> Any:
        raise PermissionError("without PG3 nobody gives the controller's address and password")
