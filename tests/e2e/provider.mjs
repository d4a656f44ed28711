// A real OpenID provider (npm oidc-provider, certified) on loopback http. It runs on the host name `localhost`, so
// that for the browser it is another site than cloudlink on 127.0.0.1 and its redirects are cross-site ones.

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import Oidc from 'oidc-provider';

import { consentPage, parkedPage, signInPage } from './provider-pages.mjs';
import { freePorts } from './wait.mjs';

/** The one account there is. */
export const ACCOUNT = { user: 'ada', password: 'correct horse thermostat' };

// It warns at each start of what suits a test: keys and state in memory, and any Node that is not the newest.
for (const level of ['info', 'warn']) {
  const print = console[level];
  console[level] = (...args) => String(args[0]).includes('oidc-provider ') || print(...args);
}

const SECRET_BODY = ['client_secret', 'code', 'code_verifier', 'refresh_token', 'token'];
const SECRET_ANSWER = ['access_token', 'refresh_token', 'id_token'];

export class Provider {
  #oidc;
  #server;
  #canaries;
  #outage = false;
  #issued = [];

  /** Set to a true value, the next redirect back to a client is shown as a link instead. */
  parkNext = false;
  /** The queries of authorization requests, without their state. */
  authorizations = [];
  /** How often the revocation endpoint was called. */
  revocations = 0;
  /** How long the access tokens last that it issues from now on, in seconds. */
  accessTokenSeconds = 3600;
  /** What came to the token endpoint: `{grant, status}`, in order. */
  tokenRequests = [];

  /**
   * `clients`: a list of `{id, redirectUris}`; each gets a secret, unless it brings one, and authenticates by
   * client_secret_post, unless it names another `auth`. `port`: where it waits, if that must be known before.
   */
  static async start({ clients, canaries, port: chosen }) {
    const provider = new Provider();
    const port = chosen ?? (await freePorts(1))[0];
    provider.issuer = `http://localhost:${port}`;
    provider.#canaries = canaries;
    provider.clients = clients.map(({ id, redirectUris, secret, auth }) => ({
      client_id: id,
      client_secret: secret ?? randomBytes(24).toString('base64url'),
      client_name: 'cloudlink',
      redirect_uris: redirectUris,
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: auth ?? 'client_secret_post',
    }));
    provider.clients.forEach((client) => canaries.add('client_secret', client.client_secret));
    provider.#oidc = new Oidc(provider.issuer, provider.#configuration());
    provider.#oidc.use((ctx, next) => provider.#observe(ctx, next));
    provider.#oidc.use((ctx, next) => provider.#interact(ctx, next));
    provider.#server = createServer(provider.#oidc.callback());
    await new Promise((resolve) => provider.#server.listen(port, '127.0.0.1', resolve));
    return provider;
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The values of one member of all token answers given so far. */
  issued(member) {
    return this.#issued.map((answer) => answer[member]);
  }

  /** The configuration a plugin author writes for one of the clients. */
  oauthConfiguration(clientId, more = {}) {
    const { client_id, client_secret } = this.clients.find((client) => client.client_id === clientId);
    return {
      name: 'Acme Thermostats',
      client_id,
      client_secret,
      auth_endpoint: `${this.issuer}/auth`,
      token_endpoint: `${this.issuer}/token`,
      revocation_endpoint: `${this.issuer}/token/revocation`,
      issuer: this.issuer,
      iss_required: true,
      scope: 'openid offline_access',
      addRedirect: true,
      parameters: { prompt: 'consent' },
      ...more,
    };
  }

  /** Runs `work` while the token endpoint answers 503. */
  async duringAnOutage(work) {
    this.#outage = true;
    try {
      return await work();
    } finally {
      this.#outage = false;
    }
  }

  #configuration() {
    return {
      clients: this.clients,
      clockTolerance: 0,
      cookies: { keys: [randomBytes(24).toString('base64url')] },
      features: { devInteractions: { enabled: false }, revocation: { enabled: true, allowedPolicy: () => true } },
      findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
      interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
      pkce: { required: () => true },
      rotateRefreshToken: true,
      ttl: { AccessToken: () => this.accessTokenSeconds, AuthorizationCode: 60, Grant: 86400, IdToken: 3600, Interaction: 600, RefreshToken: 86400, Session: 86400 },
    };
  }

  // Remembers every secret that passes, and stages outages and parked redirects.
  async #observe(ctx, next) {
    const isToken = ctx.path === '/token';
    if (isToken && this.#outage) {
      ctx.status = 503;
      ctx.set('retry-after', '1');
    } else {
      await next();
    }
    this.#canaries.addMembers(ctx.oidc?.body, SECRET_BODY);
    if (isToken) {
      this.#canaries.addMembers(ctx.body, SECRET_ANSWER);
      if (ctx.status === 200) this.#issued.push(ctx.body);
      this.tokenRequests.push({ grant: ctx.oidc?.body?.grant_type, status: ctx.status });
    }
    if (ctx.path === '/token/revocation') this.revocations += 1;
    if (ctx.path === '/auth') {
      this.#canaries.add('state', ctx.query.state);
      this.authorizations.push({ ...ctx.query, state: undefined });
    }
    const location = ctx.response.get('location');
    if (location && !location.startsWith('/') && new URL(location).origin !== this.issuer) {
      this.#canaries.addUrl(location);
      if (this.parkNext) {
        this.parkNext = false;
        ctx.remove('location');
        ctx.status = 200;
        ctx.type = 'html';
        ctx.body = parkedPage(location);
      }
    }
  }

  // The sign-in and consent pages, and what their buttons do.
  async #interact(ctx, next) {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const details = await this.#oidc.interactionDetails(ctx.req, ctx.res);
    if (ctx.method === 'GET') {
      const { client_id: client, scope: scopes } = details.params;
      ctx.type = 'html';
      ctx.body = details.prompt.name === 'login' ? signInPage(ctx.path) : consentPage(ctx.path, { client, scopes });
      return undefined;
    }
    const form = await formOf(ctx.req);
    const result = await this.#decide(form, details);
    if (!result) {
      ctx.redirect(ctx.path);
      return undefined;
    }
    ctx.status = 303;
    ctx.set('location', await this.#oidc.interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission: true }));
    return undefined;
  }

  async #decide(form, { params, session, grantId, prompt }) {
    const action = form.get('action');
    if (action === 'sign-in') {
      const known = form.get('user') === ACCOUNT.user && form.get('password') === ACCOUNT.password;
      return known ? { login: { accountId: ACCOUNT.user } } : null;
    }
    if (action !== 'allow') return { error: 'access_denied', error_description: 'The user said no.' };
    const known = grantId && (await this.#oidc.Grant.find(grantId));
    const grant = known || new this.#oidc.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope((prompt.details.missingOIDCScope ?? params.scope.split(' ')).join(' '));
    return { consent: { grantId: await grant.save() } };
  }
}

async function formOf(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}
