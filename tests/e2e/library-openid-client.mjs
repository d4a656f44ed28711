import * as oauth from 'openid-client';

/** Calls an API with a token that is good, from the `data` of the two events. */
export class Session {
  #client;
  #tokens;
  #saved;

  constructor(configuration, tokens, saved, method = oauth.ClientSecretPost) {
    const { client_id, client_secret, token_endpoint } = configuration;
    // There is nothing to discover: the token endpoint is all that is needed.
    const server = { issuer: new URL(token_endpoint).origin, token_endpoint };
    this.#client = new oauth.Configuration(server, client_id, undefined, method(client_secret));
    if (token_endpoint.startsWith('http:')) oauth.allowInsecureRequests(this.#client); // loopback only
    this.#tokens = tokens;
    this.#saved = saved;
  }

  async fetch(url) {
    if (this.#tokens.expires_at - 60 < Date.now() / 1000) {
      const fresh = await oauth.refreshTokenGrant(this.#client, this.#tokens.refresh_token);
      this.#tokens = { ...this.#tokens, ...fresh, expires_at: Date.now() / 1000 + fresh.expiresIn() };
      this.#saved(this.#tokens);
    }
    return fetch(url, { headers: { authorization: `Bearer ${this.#tokens.access_token}` } });
  }
}
