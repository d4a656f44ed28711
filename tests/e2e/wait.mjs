// Waiting for a state with a limit: nothing in these tests sleeps for a guessed time.

import { createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** Asks `probe` again and again until it answers something truthy, which is returned; fails after `limit` ms. */
export async function until(what, limit, probe) {
  const end = Date.now() + limit;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${limit} ms in vain for: ${what}`);
    await pause(25);
  }
}

/** Settles as `promise` does, or fails after `limit` ms. */
export async function within(what, limit, promise) {
  const stop = new AbortController();
  const late = pause(limit, null, { signal: stop.signal, ref: true }).then(() => {
    throw new Error(`waited ${limit} ms in vain for: ${what}`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
    late.catch(() => {});
  }
}

/** Things that come one after the other (frames, lines) and somebody who waits for one of them. */
export class Queue {
  #items = [];
  #wake = () => {};
  #ended = null;
  #name;

  constructor(name) {
    this.#name = name;
  }

  push(item) {
    this.#items.push(item);
    this.#wake();
  }

  /** Nothing more will come; who waits is told why. */
  end(reason) {
    this.#ended ??= reason;
    this.#wake();
  }

  /** Whether something waits to be taken. */
  get waiting() {
    return this.#items.length;
  }

  /** Takes the next item that `wanted` accepts, dropping those before it. */
  async next(wanted = () => true, limit = 10_000) {
    const take = async () => {
      for (;;) {
        while (this.#items.length > 0) {
          const item = this.#items.shift();
          if (wanted(item)) return item;
        }
        if (this.#ended) throw new Error(`${this.#name} ended: ${this.#ended}`);
        await new Promise((resolve) => (this.#wake = resolve));
      }
    };
    return within(`the next of ${this.#name}`, limit, take());
  }
}

/** `count` ports of the loopback interface that nobody listens on. */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((s) => new Promise((resolve) => s.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((s) => s.address().port);
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))));
  return ports;
}
