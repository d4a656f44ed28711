"""`OAuth`: the class that a plugin's service inherits. The broker has and refreshes the tokens; this class asks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ..errors import AuthorizationRequired, ProviderUnavailable, ServerUnavailable, TokensWithDevice
from .custom import Custom, merge
from .log import LOGGER
from .times import with_local_expiry

if TYPE_CHECKING:
    from .interface import Interface


class OAuth:
    def __init__(self, polyglot: Interface) -> None:
        self._polyglot = polyglot
        self._oauthTokens = Custom(polyglot, "oauthTokens")
        self._oauthConfig = Custom(polyglot, "oauth")
        self._oauthConfigOverride: dict[str, Any] = {}
        polyglot.upstream.join(self)

    def customNsHandler(self, key: str | None, data: Any) -> None:
        """For CUSTOMNS: `oauth` brings the configuration, `oauthTokens` the tokens of before."""
        if key == "oauth":
            self._oauthConfig.load(data)
        elif key == "oauthTokens":
            self._oauthTokens.load(data)

    def oauthHandler(self, token: Mapping[str, Any]) -> None:
        """For OAUTH: somebody has authenticated just now."""
        LOGGER.info("the account was linked")
        self._oauthTokens.load(with_local_expiry(token))

    # As the documentation of PG3's interface calls them.
    _customNsHandler = customNsHandler
    _oauthHandler = oauthHandler

    def getAccessToken(self) -> str:
        """A token that is good now. ValueError where nobody has authenticated."""
        try:
            return self._polyglot.upstream.access_token()
        except (AuthorizationRequired, TokensWithDevice):
            raise ValueError("Access token is not available") from None
        except (ServerUnavailable, ProviderUnavailable) as error:
            held = self._oauthTokens.get("access_token")
            if not held:
                raise
            LOGGER.warning("the access token could not be refreshed, the old one is used: %s", error)
            return str(held)

    def updateOauthSettings(self, update: Mapping[str, Any]) -> None:
        """Changes the settings: only what differs needs to be given, and nested members merge, each for itself.

        May be called at any time; what comes before the plugin has started is sent then.
        """
        if not update:
            return
        merge(self._oauthConfigOverride, deepcopy(dict(update)))
        self._polyglot.upstream.update_settings(update)

    def getOauthSettings(self) -> dict[str, Any]:
        """The settings as they are here: the configuration, and over it what was updated."""
        settings = deepcopy(dict(self._oauthConfig))
        merge(settings, deepcopy(self._oauthConfigOverride))
        return settings

    def _brokerHasTokens(self, tokens: Mapping[str, Any] | None) -> None:
        """The broker refreshed the tokens, or has none any more. No handler of the plugin's is called for that."""
        self._oauthTokens.load({} if tokens is None else dict(tokens))
