"""The service in the cloud, as the plugin sees it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from cloudlink.pg3 import LOGGER, OAuth

TIMEOUT = 15


class AcmeThermostats(OAuth):
    """Calls the API with the access token that `OAuth` keeps fresh."""

    def __init__(self, polyglot: Any) -> None:
        super().__init__(polyglot)
        self.api = "https://api.acme.example"

    def thermostats(self) -> list[str]:
        """The names of the home's thermostats. ValueError where nobody has authenticated."""
        return [str(one["name"]) for one in self._get("/thermostats")]

    def _get(self, path: str) -> Any:
        # Asked for with every call: it may have been refreshed meanwhile.
        headers = {"Authorization": f"Bearer {self.getAccessToken()}"}
        request = urllib.request.Request(self.api + path, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                LOGGER.error("%s answered %s", path, error.code)
            raise
