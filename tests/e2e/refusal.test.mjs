// The person says no, here or at the provider, or the provider is away: nothing that worked before is lost.

import assert from 'node:assert/strict';

import { PAGE } from './browser.mjs';
import { stage } from './stage.mjs';

const story = stage('refusal');

story('c09 saying no at the provider leaves the earlier tokens working', async ({ install, person }) => {
  const plugin = await install();
  const ada = await person();
  await ada.links((await plugin.connect()).connect_url);
  const linked = await plugin.pollFor((event) => event.event === 'oauth');
  await plugin.acknowledge(linked);

  const flow = await plugin.connect();
  await ada.opens(flow.connect_url);
  await ada.continues();
  await ada.denies();
  await ada.sees(PAGE.denied);
  await ada.seesNoSecret({ except: ['connect handle'] });
  await ada.screenshot('20-denied-at-the-provider');
  const { status, error } = await plugin.flow(flow);
  assert.deepEqual([status, error], ['denied', 'access_denied']);
  assert.equal(await plugin.accessToken(), linked.data.access_token);
  assert.equal((await plugin.state()).status, 'linked');
  assert.deepEqual(await plugin.poll(0), []);
});

story('cancel on our own page never reaches the provider', async ({ provider, install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const ada = await person();
  await ada.opens(flow.connect_url);
  await ada.cancels();
  await ada.sees(PAGE.cancelled);
  await ada.screenshot('21-cancelled');
  const { status, error } = await plugin.flow(flow);
  assert.deepEqual([status, error], ['denied', 'cancelled']);
  assert.ok(!ada.origins.has(provider.issuer), 'the provider was not asked');
});

story('a provider that is away ends the flow with advice', async ({ provider, install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const ada = await person();
  const callback = await ada.getsCallback(provider, flow.connect_url);
  await provider.duringAnOutage(async () => {
    await ada.opens(callback);
    await ada.sees(PAGE.providerAway);
  });
  await ada.screenshot('22-provider-away');
  const { status, error } = await plugin.flow(flow);
  assert.deepEqual([status, error], ['failed', 'provider_unavailable']);
  assert.equal((await plugin.state()).status, 'unlinked');
});
