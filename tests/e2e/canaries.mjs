// Every secret a run has seen, to be looked for where none may ever stand: logs, pages, the database's files.

import { Buffer } from 'node:buffer';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

// Shorter values turn up by chance.
const SHORTEST = 9;

export class Canaries {
  #kinds = new Map();

  /** Remembers one secret; `kind` is what a failing test prints instead of it. */
  add(kind, value) {
    if (typeof value === 'string' && value.length >= SHORTEST) this.#kinds.set(value, kind);
  }

  /** Remembers the members of `source` that are secrets, by their names. */
  addMembers(source, names) {
    for (const name of names) this.add(name, source?.[name]);
  }

  /** Remembers the secrets in the query of a callback or an authorization request. */
  addUrl(url) {
    const query = new URL(url).searchParams;
    for (const name of ['code', 'state']) this.add(name, query.get(name));
  }

  get size() {
    return this.#kinds.size;
  }

  /** The kinds found in `text` (a string or bytes), as they are or percent-encoded. */
  foundIn(text, { except = [] } = {}) {
    return this.#search(Buffer.from(text), except, (value) => [value, encodeURIComponent(value)]);
  }

  /** The same for a file that must not hold them in any usual encoding either. */
  foundEncodedIn(bytes, { except = [] } = {}) {
    return this.#search(bytes, except, (value) => [value, Buffer.from(value).toString('hex'), ...base64Inside(value)]);
  }

  #search(bytes, except, spellings) {
    const found = new Set();
    for (const [value, kind] of this.#kinds) {
      if (!except.includes(kind) && spellings(value).some((s) => bytes.includes(s))) found.add(kind);
    }
    return [...found].sort();
  }
}

/** How `value` reads in the middle of base64, by where it begins in a group of three bytes. */
function base64Inside(value) {
  return [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(value)]);
    const whole = bytes.subarray(0, bytes.length - (bytes.length % 3));
    const from = Math.ceil((before * 4) / 3);
    return [whole.toString('base64').slice(from), whole.toString('base64url').slice(from)];
  });
}

/** Paths of all regular files below `folder`. */
export function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** The bytes of a file, none if it went away meanwhile. */
export function bytesOf(path) {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error.code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}
