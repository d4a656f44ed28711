// A service whose operators sign in with their accounts at a real OpenID provider, and a browser.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';

import { openBrowser } from './browser.mjs';
import { Cloudlink } from './cloudlink.mjs';
import { Provider } from './provider.mjs';
import { freePorts } from './wait.mjs';

/** Of all accounts at the provider `ada` alone is an operator. */
export class Operators {
  static async stage({ name, canaries }) {
    const [port] = await freePorts(1);
    const secret = randomBytes(24).toString('base64url');
    const cloudlink = await Cloudlink.prepare({
      name,
      canaries,
      settings: {
        'login.oidc.issuer': `http://localhost:${port}`,
        'login.oidc.client_id': 'cloudlink-operators',
        'login.oidc.client_secret': secret,
        'login.oidc.allowed_subjects': 'ada',
      },
    });
    const redirectUris = [`${cloudlink.base}/api/login/callback`];
    const client = { id: 'cloudlink-operators', redirectUris, secret, auth: 'client_secret_basic' };
    const [provider, browser] = await Promise.all([
      Provider.start({ clients: [client], canaries, port }),
      openBrowser(),
      cloudlink.start(),
    ]);
    return new Operators({ cloudlink, provider, browser, canaries });
  }

  constructor(parts) {
    Object.assign(this, parts);
  }

  /** Ends everything; whatever was a secret must not be in the log. */
  async end() {
    await Promise.allSettled([this.browser.close(), this.provider.stop(), this.cloudlink.stop()]);
    const leaked = this.canaries.foundIn(this.cloudlink.log);
    await this.cloudlink.remove();
    assert.deepEqual(leaked, [], 'j01: secrets in the log');
  }
}
