// A plugin that can't hold a websocket open asks for its events.

import assert from 'node:assert/strict';

import { stage } from './stage.mjs';

const story = stage('polling');

story('a waiting poll gets the tokens, and nothing more once acknowledged', async ({ install, person }) => {
  const plugin = await install();
  const [configuration] = await plugin.poll(0);
  assert.deepEqual([configuration.event, configuration.key], ['customns', 'oauth']);
  await plugin.acknowledge(configuration);
  assert.deepEqual(await plugin.poll(0), []);

  const waiting = plugin.poll(30);
  await (await person()).links((await plugin.connect()).connect_url);
  const events = await waiting;
  const linked = events.at(-1);
  assert.equal(linked.event, 'oauth');
  assert.ok(linked.data.access_token);
  assert.deepEqual((await plugin.poll(0)).at(-1).version, linked.version, 'until acknowledged it comes again');

  await plugin.acknowledge(linked);
  await plugin.acknowledge(linked);
  assert.deepEqual(await plugin.poll(0), []);
  const all = await plugin.poll(0, '&state=all');
  assert.deepEqual(all.map(({ event, key }) => `${event}/${key}`), ['customns/oauth', 'customns/oauthTokens']);
});
