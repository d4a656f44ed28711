from authlib.integrations.requests_client import OAuth2Session


def session(configuration, tokens, saved, method="client_secret_post"):
    """A `requests` session that refreshes by itself, from the `data` of the two events."""
    return OAuth2Session(
        configuration["client_id"],
        configuration["client_secret"],
        token_endpoint=configuration["token_endpoint"],
        token_endpoint_auth_method=method,  # or client_secret_basic
        token=tokens,
        update_token=lambda token, **_: saved(token),
    )
