// The operator: puts plugins into the store and enrols devices.

import { basic, call } from './http.mjs';

export class Owner {
  #base;
  #authorization;

  constructor({ base, user, password }) {
    this.#base = base;
    this.#authorization = basic(user, password);
  }

  call(method, path, options = {}) {
    return call(method, `${this.#base}${path}`, { authorization: this.#authorization, ...options });
  }

  /** Stores a plugin's OAuth configuration; answers its members, redacted, its redirect URIs and warnings. */
  async putPlugin(plugin, configuration) {
    const { body } = await this.call('PUT', `/api/plugins/${plugin}`, { json: configuration, expect: 201 });
    return body;
  }

  /** Enrols a device; answers its id. */
  async addDevice(name, password) {
    const { body } = await this.call('POST', '/api/devices', { json: { name, password }, expect: 201 });
    return body.device;
  }

  /** Trusts a device's public key (PEM). */
  async trustKey(device, label, publicKey) {
    const json = { label, public_key: publicKey };
    const { body } = await this.call('POST', `/api/devices/${device}/keys`, { json, expect: 201 });
    return body.key_hash;
  }
}
