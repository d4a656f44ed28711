// The built binary as a child process: its lines as they come, its log in the artefacts folder, its end.

import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Queue, within } from './wait.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Where screenshots and logs are left. */
export const ARTEFACTS = join(ROOT, 'artefacts', 'e2e');

/** The binary under test. */
export const BINARY = resolve(process.env.CLOUDLINK_BIN ?? join(ROOT, 'target', 'debug', 'cloudlink'));

const logOf = (name) => join(ARTEFACTS, `${name}.log`);

/** Removes what an earlier run left in that log. */
export const forgetLog = (name) => rmSync(logOf(name), { force: true });

/** Says what to do where the binary is missing, nothing where it is there. */
export function missingBinary() {
  return existsSync(BINARY) ? null : `${BINARY} is missing: run \`cargo build\` first, or name the binary in CLOUDLINK_BIN.`;
}

// What the caller's shell sets must not reach the binary under test.
const inherited = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(CLOUDLINK|PG)/.test(name)));

export class Program {
  #child;
  #log;
  #exited;

  /** Lines of standard output and of standard error. */
  out = new Queue('standard output');
  err = new Queue('standard error');

  /** Runs `cloudlink ARGUMENTS`. What it prints is also appended to `LOG.log` among the artefacts. */
  static run(args, { environment = {}, log }) {
    const program = new Program();
    mkdirSync(ARTEFACTS, { recursive: true });
    program.#log = logOf(log);
    const file = createWriteStream(program.#log, { flags: 'a' });
    const child = spawn(BINARY, args, { env: { ...inherited(), ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    program.#child = child;
    for (const [stream, lines] of [[child.stdout, program.out], [child.stderr, program.err]]) {
      stream.pipe(file, { end: false });
      createInterface({ input: stream }).on('line', (line) => lines.push(line));
    }
    program.#exited = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        program.exit = { code, signal };
        const how = signal ? `killed by ${signal}` : `exit ${code}`;
        program.out.end(how);
        program.err.end(how);
        file.end(() => resolve(program.exit));
      });
    });
    program.#exited.catch((error) => (program.exit = { error }));
    return program;
  }

  /** Set once the process is gone: `{code, signal}`. */
  exit = null;

  /** All that this log file holds so far. */
  get log() {
    return readFileSync(this.#log);
  }

  /** Resolves with `{code, signal}` when the process has ended by itself. */
  ended(limit = 20_000) {
    return within('the program to end', limit, this.#exited);
  }

  /** Sends a signal and waits for the end. */
  async stop(signal = 'SIGTERM') {
    if (!this.exit) this.#child.kill(signal);
    return this.ended();
  }
}
