"""What can go wrong. Each text says what to do, and none holds a token, a key or a password."""

from __future__ import annotations

from typing import Any, Callable

from .printable import printable


class CloudlinkError(Exception):
    """Anything that this package raises on purpose."""


class NotSignedIn(CloudlinkError):
    """There is no credential, it has expired, or the server does not believe it."""


class ServerUnavailable(CloudlinkError):
    """The server can't be reached, or asks to be left alone for now. Trying again later may go well."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        #: Seconds that the server asked for.
        self.retry_after = retry_after


class ApiError(CloudlinkError):
    """The server refused a call."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[tuple[str, str], ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        #: A stable word, like `invalid`.
        self.code = code
        self.detail = detail
        #: Of `invalid`: the members that don't fit, as JSON pointers, and why.
        self.errors = errors
        self.retry_after = retry_after
        members = "".join(f"; {field}: {why}" for field, why in errors)
        super().__init__(f"{detail} ({status} {code}){members}")


class NotFound(ApiError):
    """It does not exist, or the token is not good for it: the server tells nobody which."""


class Forbidden(ApiError):
    """The right caller with the wrong kind of credential."""


class Invalid(ApiError):
    """Members that don't fit: see `errors`. Nothing was stored."""


class TooManyRequests(ApiError):
    """Wait `retry_after` seconds."""


class ProviderUnavailable(ApiError):
    """The token has expired and the provider does not answer. The link stands: try again after `retry_after`."""


class TokensWithDevice(ApiError):
    """With `custody: "device"` the broker keeps no tokens: the plugin has them from its last event."""


class TokensWithheld(ApiError):
    """The key that the tokens are sealed to is not trusted any more: name another in `seal_to`."""


class AuthorizationRequired(ApiError):
    """Nobody has linked this slot, or its user must link it again.

    `start_linking()` begins: it answers a `Linking` with `connect_url` and `user_code`. Where the error came
    from an async link it must be awaited.
    """

    def __init__(self, slot: str, detail: str, reason: str | None = None) -> None:
        super().__init__(409, "authorization_required", detail)
        self.slot = slot
        #: Of a link that ended: `invalid_grant`, `expired`, `another_user` or `custody_changed`.
        self.reason = reason
        self.start_linking: Callable[[], Any] | None = None
        self.args = (
            f"slot {slot} must be linked by its user: call start_linking(), or run `cloudlink slot connect {slot}`",
        )


class LinkingFailed(CloudlinkError):
    """The user did not link the slot. Tokens from before stay in use."""

    def __init__(self, status: str, error: str | None) -> None:
        #: `denied`, `failed` or `expired`.
        self.status = status
        #: Why, like `access_denied` or `exchange_failed`.
        self.error = error
        super().__init__(f"the account was not linked: {status}" + (f" ({error})" if error else ""))


class CannotOpen(CloudlinkError):
    """Sealed tokens that none of the keys here opens."""


def refused(status: int, body: Any, retry_after: float | None) -> CloudlinkError:
    """The exception of an answer that is a problem (RFC 9457)."""
    problem = body if isinstance(body, dict) else {}
    code, detail = (
        printable(problem.get("code") or f"http_{status}", 64),
        printable(problem.get("detail") or problem.get("title") or ""),
    )
    listed = problem.get("errors")
    errors = tuple(
        (printable(one.get("field", "")), printable(one.get("detail", "")))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    )
    if status == 401:
        return NotSignedIn(f"the server does not believe the credential: {detail or 'sign in again'}")
    if (status == 503 and code != "provider_unavailable") or status in (500, 502, 504):
        return ServerUnavailable(detail or f"the server is in trouble (status {status})", retry_after)
    if not problem:
        detail = "no cloudlink server answered: check the URL, which is the server's public URL without a path"
    by_code: dict[str, type[ApiError]] = {
        "provider_unavailable": ProviderUnavailable,
        "tokens_with_device": TokensWithDevice,
        "tokens_withheld": TokensWithheld,
    }
    by_status: dict[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 422: Invalid, 429: TooManyRequests}
    kind = by_code.get(code) or by_status.get(status) or ApiError
    return kind(status, code, detail, errors=errors, retry_after=retry_after)
