// Home Assistant's side: the Python client behind `account_link.py`, and the TLS that it insists on.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createServer } from 'node:tls';
import { fileURLToPath } from 'node:url';

import { Queue } from './wait.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const PYTHON = join(here, '.venv', 'account_link', 'bin', 'python');
const DRIVER = join(here, 'account_link.py');
const SECRET = ['access_token', 'refresh_token', 'id_token'];

export class HomeAssistant {
  #client;
  #canaries;
  #folder = mkdtempSync(join(tmpdir(), 'cloudlink-account-link-'));
  #server;
  #sockets = new Set();

  /** Talks to `base` through a TLS end of its own. `client`: `nabucasa` or `contrib`. */
  static async arrive({ base, canaries, client = 'nabucasa' }) {
    assert.ok(existsSync(PYTHON), 'the Python packages are missing: docs/development.md, “Tests”, says how to install them');
    const home = new HomeAssistant();
    home.#client = client;
    home.#canaries = canaries;
    const made = spawnSync(PYTHON, [DRIVER, 'certificate', home.#folder], { encoding: 'utf8', timeout: 30_000 });
    assert.equal(made.status, 0, made.stderr);
    const { hostname, port } = new URL(base);
    const file = (name) => readFileSync(join(home.#folder, name));
    home.#server = createServer({ key: file('key.pem'), cert: file('cert.pem') }, (client) => {
      const upstream = connect({ host: hostname, port });
      for (const [socket, other] of [[client, upstream], [upstream, client]]) {
        home.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => home.#sockets.delete(socket) && other.destroy());
      }
      client.pipe(upstream).pipe(client);
    });
    await new Promise((resolve) => home.#server.listen(0, '127.0.0.1', resolve));
    home.server = `localhost:${home.#server.address().port}`;
    return home;
  }

  async leave() {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true });
  }

  /** What can be linked. */
  async services() {
    return (await this.#once(['services'])).services;
  }

  /** Refreshes: `{tokens}`, or `{status, retry_after}`. */
  async refresh(service, refreshToken) {
    const told = await this.#once(['refresh', service], refreshToken);
    this.#remember(told);
    return told;
  }

  /** Starts to link `service`. `appended` is what the integration adds to the authorize URL. */
  link(service, appended = {}) {
    const told = new Queue(`what the client tells of ${service}`);
    const driver = this.#run(['link', service, JSON.stringify(appended)]);
    driver.stdin.end();
    createInterface({ input: driver.stdout }).on('line', (line) => {
      const event = JSON.parse(line);
      this.#remember(event);
      told.push(event);
    });
    driver.on('close', (code) => told.end(`its process ended with ${code}: ${driver.said()}`));
    return {
      /** Where its person goes. */
      authorizeUrl: async () => {
        const { authorize_url: url } = await told.next((event) => event.authorize_url, 30_000);
        return url;
      },
      /** `{tokens}` or `{raised, code}`. */
      end: () => told.next((event) => event.tokens || event.raised, 60_000),
      /** Closes as a crash does. */
      dies: () => driver.kill('SIGKILL'),
    };
  }

  async #once(arguments_, input = '') {
    const driver = this.#run(arguments_);
    let output = '';
    driver.stdout.on('data', (chunk) => (output += chunk));
    driver.stdin.end(input);
    const code = await new Promise((resolve) => driver.on('close', resolve));
    assert.equal(code, 0, driver.said());
    return JSON.parse(output);
  }

  #run(arguments_) {
    const all = [DRIVER, this.#client, this.server, join(this.#folder, 'cert.pem'), ...arguments_];
    const driver = spawn(PYTHON, all, { timeout: 80_000, env: { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: '1' } });
    let said = '';
    driver.stderr.on('data', (chunk) => (said += chunk));
    driver.said = () => said;
    return driver;
  }

  #remember({ tokens }) {
    this.#canaries.addMembers(tokens, SECRET);
  }
}

const INTEGRATION = join(here, '..', '..', 'contrib', 'home-assistant');

function python(folder, arguments_, timeout) {
  const env = { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: '1' };
  return spawnSync(PYTHON, arguments_, { cwd: folder, encoding: 'utf8', timeout, env });
}

/** Whether all of the integration compiles. */
export function integrationCompiles() {
  const folder = join(INTEGRATION, 'custom_components', 'cloudlink');
  const program = 'import pathlib\nfor p in pathlib.Path().glob("*.py"): compile(p.read_bytes(), str(p), "exec")';
  return python(folder, ['-c', program], 30_000);
}

/** The integration's own tests, which need no cloudlink. */
export function integrationTests() {
  return python(INTEGRATION, ['-W', 'error', '-m', 'unittest', 'discover', '-s', 'tests'], 240_000);
}
