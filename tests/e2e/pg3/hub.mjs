// A hub in somebody's home: an MQTT broker, `cloudlink bridge`, and PG3 plugins as processes.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { ARTEFACTS, Program, forgetLog } from '../program.mjs';
import { Queue, within } from '../wait.mjs';
import { Mosquitto } from './mosquitto.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** The Python with udi_interface. */
export const PYTHON = join(here, '..', '.venv', 'bridge', 'bin', 'python');
const PROFILE = 3;

/** A Python program on the hub that tells what it sees, a JSON object a line. */
class Reporter {
  #child;
  #exited;

  told = new Queue('what the program tells');

  constructor(program, args, { environment, folder, log }) {
    if (!existsSync(PYTHON)) throw new Error('the Python packages are missing: docs/development.md, “Tests”, says how to install them');
    mkdirSync(folder, { recursive: true });
    mkdirSync(ARTEFACTS, { recursive: true });
    const file = createWriteStream(join(ARTEFACTS, `${log}.log`), { flags: 'a' });
    const options = { cwd: folder, env: { ...process.env, ...environment }, stdio: ['pipe', 'pipe', 'pipe'] };
    this.#child = spawn(PYTHON, [join(here, program), ...args], options);
    this.#child.stdout.pipe(file, { end: false });
    this.#child.stderr.pipe(file, { end: false });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.told.push(JSON.parse(line)));
    this.#exited = new Promise((resolve) => this.#child.on('close', (code) => {
      this.told.end(`exit ${code}`);
      file.end(() => resolve(code));
    }));
  }

  /** The next thing of that name, dropping what comes before it. */
  hears(what, wanted = () => true, limit = 30_000) {
    return this.told.next((told) => told.what === what && wanted(told), limit);
  }

  /** All that it tells until then, that included: events come in threads, in no order. */
  async tellsUntil(what, limit = 30_000) {
    const told = [];
    await this.told.next((next) => told.push(next) && next.what === what, limit);
    return told;
  }

  write(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Ends it as a hub does, and as a power cut would. */
  async stop() {
    this.#child.kill('SIGKILL');
    return within('the program to end', 10_000, this.#exited);
  }
}

export class Hub {
  #folder;
  #files = {};
  #plugin;
  #processes = [];
  #bridges = 0;

  /** A hub for the device and slot of `plugin`, with a broker that runs. `log` begins the names of its logs. */
  static async open({ plugin, cloudlink, canaries, log }) {
    const hub = new Hub();
    hub.#plugin = plugin;
    hub.log = log;
    hub.base = cloudlink.base;
    hub.canaries = canaries;
    hub.id = `${plugin.device}_${PROFILE}`;
    hub.#folder = mkdtempSync(join(tmpdir(), 'cloudlink-hub-'));
    const secret = () => randomBytes(18).toString('base64url');
    hub.users = { bridge: secret(), pg3: secret(), [hub.id]: secret() };
    for (const [user, password] of Object.entries(hub.users)) {
      canaries.add('MQTT password', password);
      hub.file(`password-${user}`, password);
    }
    hub.file('key.pem', plugin.keyPem);
    hub.broker = await Mosquitto.prepare({ folder: hub.#folder, users: hub.users, log: `${log}-mosquitto` });
    await hub.broker.start();
    return hub;
  }

  /** Writes a file on the hub; answers its path. */
  file(name, text) {
    this.#files[name] = join(this.#folder, name);
    writeFileSync(this.#files[name], text, { mode: 0o600 });
    return this.#files[name];
  }

  get #device() {
    return ['--url', this.base, '--device', this.#plugin.device, '--key', this.#files['key.pem']];
  }

  get #slot() {
    return ['--slot', `${this.#plugin.slot}=${PROFILE}`, '--mqtt', this.broker.address];
  }

  /** Starts `cloudlink bridge MODE…`, and waits until it stands between both. */
  async bridge(...mode) {
    const log = `${this.log}-bridge`;
    if (this.#bridges === 0) forgetLog(log);
    this.#bridges += 1;
    const place = [...this.#slot, '--state', join(this.#folder, 'state'), ...this.#device];
    const broker = ['--mqtt-user', 'bridge', '--mqtt-password-file', this.#files['password-bridge']];
    const bridge = Program.run(['bridge', ...mode, ...place, ...broker], { log });
    this.#processes.push(bridge);
    const up = [/connected to the MQTT broker/, /connected to the server/];
    await bridge.err.next((line) => {
      const seen = up.findIndex((part) => part.test(line));
      if (seen >= 0) up.splice(seen, 1);
      return up.length === 0;
    }, 20_000);
    return bridge;
  }

  /** What the plugin is started with. */
  async environment() {
    const password = ['--plugin-password-file', this.#files[`password-${this.id}`]];
    const init = Program.run(['bridge', 'init-env', ...this.#slot, ...password, ...this.#device], { log: `${this.log}-init` });
    const [, value] = (await init.out.next()).match(/^PG3INIT=(\S+)$/);
    await init.ended();
    return { PG3INIT: value };
  }

  /** Starts the plugin. */
  async plugin({ account, environment }) {
    const place = { environment: environment ?? (await this.environment()), folder: join(this.#folder, 'plugin'), log: `${this.log}-plugin` };
    return this.#started(new Reporter('plugin.py', [account], place));
  }

  /** Starts a program of this folder on the hub. */
  program(name, args, environment = {}) {
    return this.#started(new Reporter(name, args, { environment, folder: join(this.#folder, name), log: `${this.log}-${name}` }));
  }

  #started(reporter) {
    this.#processes.push(reporter);
    return reporter;
  }

  /** Ends all that runs on it. */
  async close() {
    await Promise.allSettled(this.#processes.map((program) => program.stop()));
    await this.broker.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The URL that the bridge shows next; one that a change of settings has ended already does not count. */
export async function shownUrl(bridge) {
  for (;;) {
    const line = await bridge.out.next((text) => /To link your account, open /.test(text), 30_000);
    const [, url] = line.match(/open (\S+) /);
    const page = await (await fetch(url)).text();
    if (page.includes('name="decision"')) return url;
  }
}
