// Debian's mosquitto on a free port of the loopback interface, for users with passwords.

import { spawn, spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';

import { ARTEFACTS } from '../program.mjs';
import { freePorts, until, within } from '../wait.mjs';

// Distributions put servers where not everybody looks.
const env = { ...process.env, PATH: [process.env.PATH, '/usr/sbin', '/usr/local/sbin'].join(delimiter) };

const ACCESS = `
user bridge
topic readwrite udi/pg3/#
user pg3
topic readwrite udi/pg3/#
pattern readwrite udi/pg3/ns/+/%u
pattern readwrite udi/pg3/connections/ns/%u
`;

export class Mosquitto {
  #child = null;
  #configuration;
  #log;

  /** Writes its files into `folder`; `users`: name → password. */
  static async prepare({ folder, users, log }) {
    const broker = new Mosquitto();
    [broker.port] = await freePorts(1);
    broker.#log = log;
    const [passwords, access] = [join(folder, 'mosquitto-passwords'), join(folder, 'mosquitto-access')];
    writeFileSync(passwords, Object.entries(users).map(([user, password]) => `${user}:${password}\n`).join(''), { mode: 0o600 });
    const hashed = spawnSync('mosquitto_passwd', ['-U', passwords], { env, encoding: 'utf8' });
    if (hashed.status !== 0) throw new Error(`mosquitto_passwd failed: ${hashed.error ?? hashed.stderr}`);
    writeFileSync(access, ACCESS, { mode: 0o600 });
    broker.#configuration = join(folder, 'mosquitto.conf');
    const lines = [
      `listener ${broker.port} 127.0.0.1`,
      'allow_anonymous false',
      `password_file ${passwords}`,
      `acl_file ${access}`,
      'message_size_limit 4194304',
      'persistence false',
      'log_dest stderr',
    ];
    // As root it would become a user who can't read these files.
    if (process.getuid() === 0) lines.push('user root');
    writeFileSync(broker.#configuration, `${lines.join('\n')}\n`);
    return broker;
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  async start() {
    mkdirSync(ARTEFACTS, { recursive: true });
    const file = createWriteStream(join(ARTEFACTS, `${this.#log}.log`), { flags: 'a' });
    const child = spawn('mosquitto', ['-c', this.#configuration], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.pipe(file);
    let ended = null;
    child.on('error', (error) => (ended = error));
    child.on('exit', (code) => (ended = new Error(`mosquitto ended with ${code}`)));
    this.#child = child;
    await until('mosquitto to listen', 10_000, () => {
      if (ended) throw ended;
      return new Promise((resolve) => {
        const socket = connect(this.port, '127.0.0.1', () => resolve(true));
        socket.on('error', () => resolve(false)).on('connect', () => socket.destroy());
      });
    });
  }

  async stop() {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const exited = new Promise((resolve) => child.on('exit', resolve));
    child.kill('SIGTERM');
    await within('mosquitto to end', 10_000, exited);
  }
}
