from requests_oauthlib import OAuth2Session


class Session(OAuth2Session):
    """A `requests` session that refreshes by itself, from the `data` of the two events."""

    def __init__(self, configuration, tokens, saved, method="post"):
        self._client_keys = {key: configuration[key] for key in ("client_id", "client_secret")}
        self._by_basic = method == "basic"
        super().__init__(
            configuration["client_id"],
            token=tokens,
            auto_refresh_url=configuration["token_endpoint"],
            auto_refresh_kwargs={} if self._by_basic else self._client_keys,
            token_updater=saved,
        )

    def request(self, method, url, **more):
        # With the client's keys in the call, and only then, the library authenticates by Basic.
        return super().request(method, url, **(self._client_keys if self._by_basic else {}), **more)
