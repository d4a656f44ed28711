// A person links a thermostat account to the plugin on their hub.

import assert from 'node:assert/strict';

import { PAGE } from './browser.mjs';
import { call } from './http.mjs';
import { stage } from './stage.mjs';
import { until } from './wait.mjs';

const story = stage('linking');

/** What every delivered token object promises. */
function assertTokens(data, provider) {
  assert.ok(data.access_token, 'an access token');
  assert.ok(Number.isInteger(data.expires_in) && data.expires_in > 0, 'a positive integer of seconds');
  assert.ok(Date.parse(data.expiry) > Date.now(), 'an expiry in the future');
  assert.match(data.expiry, /(Z|\+00:00)$/);
  assert.ok(data.refresh_token, 'a refresh token');
  assert.ok(!provider.issued('refresh_token').includes(data.refresh_token), 'which is a handle, not the provider’s');
}

story('from the connect page to the acknowledged tokens', async ({ cloudlink, provider, install, person }) => {
  const plugin = await install();
  const relay = await plugin.relay();
  const configuration = await relay.event();
  assert.deepEqual([configuration.event, configuration.key], ['customns', 'oauth']);
  assert.equal(configuration.data.token_endpoint, `${cloudlink.base}/api/cloudlink/token`);
  assert.ok(!provider.clients.some((c) => c.client_secret === configuration.data.client_secret), 'the slot’s own secret');
  relay.acknowledge(configuration);

  const flow = await plugin.connect();
  assert.equal((await plugin.flow(flow)).status, 'pending');
  const ada = await person();
  const response = await ada.opens(flow.connect_url);
  assert.equal(response.status(), 200);
  const headers = response.headers();
  assert.match(headers['cache-control'], /no-store/);
  assert.equal(headers['referrer-policy'], 'no-referrer');
  assert.match(headers['content-security-policy'], /default-src 'none'/);
  const [cookie] = await ada.cookies(cloudlink.base);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, 'Lax']);
  const asked = await ada.reads();
  for (const part of ['Home hub', 'Acme Thermostats', new URL(provider.issuer).hostname, 'offline_access']) {
    assert.ok(asked.includes(part), `the page names ${part}`);
  }
  await ada.screenshot('01-connect-page');

  await ada.continues();
  await ada.sees('Sign in');
  assert.equal((await plugin.flow(flow)).status, 'authorizing');
  await ada.screenshot('02-provider-login');
  await ada.signsIn();
  await ada.sees('Allow access?');
  await ada.screenshot('03-provider-consent');
  await ada.allows();
  await ada.sees(PAGE.linked);
  await ada.screenshot('04-linked-not-yet-delivered');
  assert.equal(ada.address.origin, cloudlink.base);
  await ada.seesNoSecret({ except: ['connect handle'] });

  const linked = await relay.event();
  assert.deepEqual([linked.event, linked.slot], ['oauth', plugin.slot]);
  assert.ok(linked.version > configuration.version);
  assertTokens(linked.data, provider);
  assert.equal((await plugin.flow(flow)).status, 'linked');
  relay.acknowledge(linked);
  await ada.sees(PAGE.delivered);
  await ada.screenshot('05-delivered');

  assert.deepEqual([...ada.origins].sort(), [cloudlink.base, provider.issuer].sort(), 'nothing from elsewhere');
  const state = await plugin.state();
  assert.deepEqual([state.status, state.acked_version], ['linked', linked.version]);
  await relay.close();
});

story('without JavaScript the pages work and the last one reloads itself', async ({ provider, install, person }) => {
  const plugin = await install();
  const relay = await plugin.relay();
  const flow = await plugin.connect();
  const ada = await person({ javaScript: false });
  await ada.links(flow.connect_url);
  const linked = await relay.eventNamed('oauth');
  assertTokens(linked.data, provider);
  assert.doesNotMatch(await ada.reads(), /It worked/, 'not before the plugin has it');
  relay.acknowledge(linked);
  await ada.sees(PAGE.delivered);
  await ada.screenshot('06-delivered-without-javascript');
});
