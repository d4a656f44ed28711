// The relay's websocket as a plugin uses it: subprotocol cloudlink.v1, events in, acks out.

import WebSocket from 'ws';

import { Queue, within } from './wait.mjs';

export class Relay {
  #socket;
  #frames = new Queue('the relay');
  #closed;

  static async open(base, accessToken, onEvent = () => {}) {
    const relay = new Relay();
    const url = `${base.replace(/^http/, 'ws')}/api/cloudlink/relay`;
    const headers = { authorization: `Bearer ${accessToken}` };
    const socket = new WebSocket(url, 'cloudlink.v1', { headers, perMessageDeflate: false, maxPayload: 512 * 1024 });
    relay.#socket = socket;
    relay.#closed = new Promise((resolve) => {
      socket.on('close', (code) => {
        relay.#frames.end(`closed with ${code}`);
        resolve(code);
      });
    });
    socket.on('message', (text) => {
      const frame = JSON.parse(text);
      if (frame.type === 'event') onEvent(frame);
      relay.#frames.push(frame);
    });
    await within('the relay to open', 10_000, new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject)));
    relay.hello = await relay.#frames.next();
    if (relay.hello.type !== 'hello') throw new Error(`the first frame is ${relay.hello.type}, not hello`);
    return relay;
  }

  /** The next event frame, whatever it is. */
  event(limit) {
    return this.#frames.next((frame) => frame.type === 'event', limit);
  }

  /** The next event of that name (and key), dropping what comes before it. */
  eventNamed(event, key, limit) {
    return this.#frames.next((f) => f.type === 'event' && f.event === event && f.key === key, limit);
  }

  /** The next frame of that type, for instance `goodbye`. */
  frame(type, limit) {
    return this.#frames.next((frame) => frame.type === type, limit);
  }

  acknowledge({ slot, version }) {
    this.#socket.send(JSON.stringify({ type: 'ack', slot, version }));
  }

  /** The close code, once the other side has closed. */
  closed(limit = 15_000) {
    return within('the relay to close', limit, this.#closed);
  }

  async close() {
    this.#socket.close(1000);
    return this.closed();
  }
}
