"""Lets Home Assistant's own integrations link their accounts through a cloudlink.

    cloudlink:
      url: https://link.example.org

Each integration that the server lists then offers "cloudlink" among its OAuth implementations.
"""

from __future__ import annotations

import logging
from typing import Any

import voluptuous as vol
from awesomeversion import AwesomeVersion
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_URL, MAJOR_VERSION, MINOR_VERSION, PATCH_VERSION
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_entry_oauth2_flow as oauth2
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.typing import ConfigType

from .client import Attempt, LinkError, Services, refresh, server_url, services

DOMAIN = "cloudlink"


def _server(value: Any) -> str:
    try:
        return server_url(cv.url(value))
    except ValueError as error:
        # Of any other exception only that there is one is shown.
        raise vol.Invalid(str(error)) from error


CONFIG_SCHEMA = vol.Schema(
    {DOMAIN: vol.Schema({vol.Required(CONF_URL): _server})}, extra=vol.ALLOW_EXTRA
)

_LOGGER = logging.getLogger(__name__)
# Beta and development versions count as the version they become.
_RUNNING = AwesomeVersion(f"{MAJOR_VERSION}.{MINOR_VERSION}.{str(PATCH_VERSION).split('.')[0].split('b')[0]}")
# Newer versions retry a set-up that fails with this; older ones have no such class.
_Unavailable = getattr(oauth2, "ImplementationUnavailableError", None)


class CloudlinkImplementation(oauth2.AbstractOAuth2Implementation):
    """Links and refreshes one integration's accounts through the server."""

    def __init__(self, hass: HomeAssistant, server: str, service: str) -> None:
        self.hass = hass
        self.server = server
        self.service = service

    @property
    def name(self) -> str:
        """What people choose."""
        return "cloudlink"

    @property
    def domain(self) -> str:
        """What config entries remember."""
        return DOMAIN

    async def async_generate_authorize_url(self, flow_id: str) -> str:
        """Open an attempt; its tokens go to the flow when they come."""
        attempt = Attempt(async_get_clientsession(self.hass), self.server, self.service)
        try:
            url = await attempt.open()
        except LinkError as error:
            _LOGGER.error("%s can't link %s: %s", self.server, self.service, error.code)
            raise oauth2.NoURLAvailableError from error
        self.hass.async_create_background_task(self._wait(attempt, flow_id), f"cloudlink {self.service}")
        return url

    async def _wait(self, attempt: Attempt, flow_id: str) -> None:
        try:
            tokens = await attempt.tokens()
        except LinkError as error:
            # The flow shows every word that it is given, and ends.
            tokens = {"error": error.code}
        try:
            await self.hass.config_entries.flow.async_configure(flow_id=flow_id, user_input=tokens)
        except Exception:  # the person may have closed the flow long ago
            _LOGGER.debug("Nobody waits for the tokens of flow %s any more", flow_id, exc_info=True)

    async def async_resolve_external_data(self, external_data: Any) -> dict:
        """The tokens, which came by themselves."""
        return {**external_data, "service": self.service}

    async def _async_refresh_token(self, token: dict) -> dict:
        session = async_get_clientsession(self.hass)
        fresh = await refresh(session, self.server, self.service, token["refresh_token"])
        return {**token, **fresh}


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Offer the server to every integration that asks for implementations."""
    if DOMAIN not in config:
        return True
    server = config[DOMAIN][CONF_URL]
    offered = Services(lambda: services(async_get_clientsession(hass), server))

    def is_used(domain: str) -> bool:
        entries = hass.config_entries.async_entries(domain)
        return any(entry.data.get("auth_implementation") == DOMAIN for entry in entries)

    async def provide(hass: HomeAssistant, domain: str) -> list[oauth2.AbstractOAuth2Implementation]:
        try:
            listed = await offered.get()
        except LinkError as error:
            if _Unavailable is not None:
                raise _Unavailable from error
            return []
        for service in listed:
            if (
                service["service"] == domain
                and AwesomeVersion(service["min_version"]) <= _RUNNING
                and (service.get("accepts_new_authorizations", True) or is_used(domain))
            ):
                return [CloudlinkImplementation(hass, server, domain)]
        return []

    oauth2.async_add_implementation_provider(hass, DOMAIN, provide)

    # Integrations that were set up before this one found no implementation of this name.
    for entry in hass.config_entries.async_entries():
        failed = entry.state in (ConfigEntryState.SETUP_ERROR, ConfigEntryState.SETUP_RETRY)
        if failed and entry.data.get("auth_implementation") == DOMAIN:
            hass.async_create_task(hass.config_entries.async_reload(entry.entry_id))
    return True
