// What a plugin gets after cloudlink was restarted, or killed.

import assert from 'node:assert/strict';

import { PAGE } from './browser.mjs';
import { stage } from './stage.mjs';

const story = stage('restart');

const named = ({ event, key }) => (key ? `${event}/${key}` : event);

story('after a restart an acknowledged plugin gets its configuration and tokens', async ({ cloudlink, install, person }) => {
  const plugin = await install();
  const relay = await plugin.relay();
  await (await person()).links((await plugin.connect()).connect_url);
  const linked = await relay.eventNamed('oauth');
  relay.acknowledge(linked);
  await plugin.acknowledged(linked);

  const goodbye = relay.frame('goodbye');
  await cloudlink.restart();
  assert.equal((await goodbye).reason, 'draining');
  assert.equal(await relay.closed(), 1012);

  const again = await plugin.relay();
  const [configuration, tokens] = [await again.event(), await again.event()];
  assert.deepEqual([named(configuration), named(tokens)], ['customns/oauth', 'customns/oauthTokens']);
  assert.equal(tokens.data.access_token, linked.data.access_token);
  assert.equal(tokens.data.refresh_token, linked.data.refresh_token);
  assert.ok(tokens.data.expires_in <= linked.data.expires_in, 'what remains');
});

story('tokens that were not acknowledged before a kill -9 come again as oauth', async ({ cloudlink, install, person }) => {
  const plugin = await install();
  const relay = await plugin.relay();
  await (await person()).links((await plugin.connect()).connect_url);
  const linked = await relay.eventNamed('oauth');
  await cloudlink.kill9();
  await relay.closed();
  await cloudlink.start();

  const again = await plugin.relay();
  const [configuration, repeated] = [await again.event(), await again.event()];
  assert.deepEqual([named(configuration), named(repeated)], ['customns/oauth', 'oauth']);
  assert.equal(repeated.version, linked.version);
  assert.equal(repeated.data.access_token, linked.data.access_token);
  again.acknowledge(repeated);
  await plugin.acknowledged(repeated);
});

story('a link that was begun before a restart ends after it', async ({ cloudlink, provider, install, person }) => {
  const plugin = await install();
  const ada = await person();
  const flow = await plugin.connect();
  const callback = await ada.getsCallback(provider, flow.connect_url);
  await cloudlink.kill9();
  await cloudlink.start();
  await ada.opens(callback);
  await ada.sees(PAGE.linked);
  assert.equal((await plugin.flow(flow)).status, 'linked');
});
