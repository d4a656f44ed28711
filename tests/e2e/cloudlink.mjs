// `cloudlink serve` with a PostgreSQL of its own in a temporary folder, on ports that stay the same over restarts.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Program } from './program.mjs';
import { freePorts, until } from './wait.mjs';

/** `consent.binding` → `CLOUDLINK__CONSENT__BINDING`. */
const variable = (setting) => `CLOUDLINK__${setting.replaceAll('.', '__').toUpperCase()}`;

export class Cloudlink {
  #name;
  #environment;
  #program = null;
  #folder;

  /** Chooses ports, folder, key and passwords; starts nothing. `settings` is written like the TOML: `{'log.filter': …}`. */
  static async prepare({ name, settings = {}, canaries }) {
    const cloudlink = new Cloudlink();
    const [port, adminPort] = await freePorts(2);
    cloudlink.#name = name;
    cloudlink.base = `http://127.0.0.1:${port}`;
    cloudlink.admin = `http://127.0.0.1:${adminPort}`;
    cloudlink.owner = { base: cloudlink.base, user: 'owner', password: randomBytes(18).toString('base64url') };
    cloudlink.#folder = mkdtempSync(join(tmpdir(), 'cloudlink-e2e-'));
    // PostgreSQL refuses to run as root: its user must be able to walk in.
    chmodSync(cloudlink.#folder, 0o755);
    const vaultKey = randomBytes(32).toString('base64');
    canaries.add('owner password', cloudlink.owner.password);
    canaries.add('vault key', vaultKey);
    const all = {
      'server.bind': `127.0.0.1:${port}`,
      'server.public_url': cloudlink.base,
      'admin.bind': `127.0.0.1:${adminPort}`,
      'admin.user': cloudlink.owner.user,
      'admin.password': cloudlink.owner.password,
      'vault.keys': `k1:${vaultKey}`,
      'egress.allow_private': 'true',
      'database.data_dir': cloudlink.dataFolder,
      ...settings,
    };
    cloudlink.#environment = Object.fromEntries(Object.entries(all).map(([key, value]) => [variable(key), value]));
    return cloudlink;
  }

  /** Where the database's files are. */
  get dataFolder() {
    return join(this.#folder, 'data');
  }

  /** All that it has logged, over all starts. */
  get log() {
    return this.#program.log;
  }

  /** Starts, and waits until it is ready. */
  async start() {
    this.#program = Program.run(['serve'], { environment: this.#environment, log: this.#name });
    await until('cloudlink to be ready', 30_000, async () => {
      if (this.#program.exit) throw new Error(`cloudlink ended while starting; its log is artefacts/e2e/${this.#name}.log`);
      const answer = await fetch(`${this.base}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(() => null);
      return answer?.status === 200;
    });
  }

  /** Ends it as an operator does, and insists on a clean end. */
  async stop() {
    const exit = await this.#program.stop('SIGTERM');
    assert.deepEqual(exit, { code: 0, signal: null }, 'SIGTERM is a clean end');
  }

  async restart() {
    await this.stop();
    await this.start();
  }

  /** Ends it as a power cut does. */
  async kill9() {
    await this.#program.stop('SIGKILL');
  }

  /** Ends it whatever its state, and removes its folder. */
  async remove() {
    await this.#program?.stop('SIGTERM').catch(() => this.#program.stop('SIGKILL'));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
