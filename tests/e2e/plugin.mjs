// A plugin on its device: signs in with the device's key and speaks the API, by polling or over the relay.

import { generateKeyPairSync, randomBytes, randomUUID, sign } from 'node:crypto';

import { call } from './http.mjs';
import { Relay } from './relay.mjs';
import { until } from './wait.mjs';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_MEMBERS = ['access_token', 'refresh_token', 'id_token'];

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export class Plugin {
  #key;
  #base;
  #canaries;
  #token;

  /** Enrols a fresh device with one trusted key, and installs `plugin` in the slot of that name. */
  static async install({ base, owner, canaries, plugin, slot = 'heating', name = 'Home hub' }) {
    const installed = new Plugin();
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const password = randomBytes(18).toString('base64url');
    installed.#key = privateKey;
    installed.#base = base;
    installed.#canaries = canaries;
    installed.slot = slot;
    installed.device = await owner.addDevice(name, password);
    await owner.trustKey(installed.device, 'hub', publicKey.export({ type: 'spki', format: 'pem' }));
    canaries.add('device password', password);
    await installed.call('PUT', '', { json: { plugin }, expect: 201 });
    return installed;
  }

  /** The private key as `cloudlink attach --key` reads it (PKCS#8, PEM). */
  get keyPem() {
    return this.#key.export({ type: 'pkcs8', format: 'pem' });
  }

  /** A fresh assertion, RFC 7523. */
  #assertion() {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: this.device,
      sub: this.device,
      aud: `${this.#base}/api/token`,
      iat: now,
      exp: now + 120,
      jti: randomUUID(),
    };
    const input = `${encoded({ alg: 'EdDSA', typ: 'JWT' })}.${encoded(claims)}`;
    const assertion = `${input}.${sign(null, Buffer.from(input), this.#key).toString('base64url')}`;
    this.#canaries.add('assertion', assertion);
    return assertion;
  }

  /** The device's access token, asked for once. */
  async #accessToken() {
    if (!this.#token) {
      const form = { grant_type: JWT_BEARER, assertion: this.#assertion() };
      const { body } = await call('POST', `${this.#base}/api/token`, { form, expect: 200 });
      this.#token = body.access_token;
      this.#canaries.add('device access token', this.#token);
    }
    return this.#token;
  }

  /** A call below the slot's own path. */
  call(method, path, options) {
    return this.callApi(method, `/api/devices/${this.device}/slots/${this.slot}${path}`, options);
  }

  async callApi(method, path, options = {}) {
    return call(method, `${this.#base}${path}`, { authorization: `Bearer ${await this.#accessToken()}`, ...options });
  }

  /** Starts a flow: the answer of `connect`. */
  async connect(json = {}) {
    const { body } = await this.call('POST', '/connect', { json, expect: 201 });
    this.#canaries.add('connect handle', new URL(body.connect_url).pathname.split('/').at(-1));
    this.#canaries.add('user code', body.user_code);
    return body;
  }

  /** The `{status, error}` of a flow. */
  async flow({ flow }) {
    return (await this.call('GET', `/flows/${flow}`, { expect: 200 })).body;
  }

  /** The state of the slot: `status`, `version`, `acked_version` and more. */
  async state() {
    return (await this.call('GET', '', { expect: 200 })).body;
  }

  /** The answer of `GET …/token`. */
  async accessToken() {
    const { body } = await this.call('GET', '/token', { expect: 200 });
    this.#canaries.add('access_token', body.access_token);
    return body.access_token;
  }

  /** Long poll: the events, none for a 204. */
  async poll(wait, query = '') {
    const { status, body } = await this.callApi('GET', `/api/cloudlink/events?wait=${wait}${query}`);
    if (status === 204) return [];
    if (status !== 200) throw new Error(`polling answered ${status}`);
    body.events.forEach((event) => this.remember(event));
    return body.events;
  }

  /** Polls until the event comes that `wanted` accepts, acknowledging those before it. */
  async pollFor(wanted, wait = 30) {
    for (;;) {
      const events = await this.poll(wait);
      if (events.length === 0) throw new Error('no event came within the wait');
      const found = events.find(wanted);
      if (found) return found;
      await this.acknowledge(events.at(-1));
    }
  }

  acknowledge({ slot, version }) {
    return this.callApi('POST', '/api/ack', { json: { slot, version }, expect: 204 });
  }

  /** Waits until an ack that was sent for this event has arrived. */
  acknowledged({ version }) {
    return until(`the ack of version ${version}`, 10_000, async () => (await this.state()).acked_version >= version);
  }

  /** Opens the relay; the frames that come are remembered as canaries. */
  async relay() {
    return Relay.open(this.#base, await this.#accessToken(), (event) => this.remember(event));
  }

  /** Remembers the secrets of an event. */
  remember({ data }) {
    this.#canaries.addMembers(data, [...TOKEN_MEMBERS, 'client_secret']);
  }
}
