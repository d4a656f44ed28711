"""A person with a browser that has cookies and no JavaScript."""

from __future__ import annotations

import re
import urllib.request
from html import unescape
from http.cookiejar import CookieJar
from urllib.parse import urlencode


class Person:
    def __init__(self) -> None:
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def opens(self, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """The page where they end up, and its address."""
        data = None if form is None else urlencode(form).encode()
        with self._browser.open(url, data, timeout=30) as answer:
            return answer.read().decode(), answer.geturl()

    def links(self, connect_url: str, decision: str = "continue") -> str:
        """From the connect page over the provider to cloudlink's last page, which is answered."""
        page, address = self.opens(connect_url)
        return self.opens(address, {"csrf": hidden(page, "csrf"), "decision": decision})[0]

    def links_by_code(self, verification_uri: str, user_code: str) -> str:
        page, address = self.opens(verification_uri)
        page, address = self.opens(address, {"csrf": hidden(page, "csrf"), "user_code": user_code})
        return self.opens(address, {"csrf": hidden(page, "csrf"), "decision": "continue"})[0]

    def signs_in(self, url: str, **credentials: str) -> str:
        """On the sign-in page, wherever it leads to."""
        page, address = self.opens(url)
        if 'name="user_code"' in page:
            code = re.search(r'name="user_code"[^>]*value="([^"]+)"', page)
            assert code, page
            form = {"csrf": hidden(page, "csrf"), "user_code": code.group(1)}
            page, address = self.opens(address.partition("?")[0], form)
        return self.opens(address, {"csrf": hidden(page, "csrf"), **credentials})[0]


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return unescape(found.group(1))
