// One run at the finest log level, failures included: no secret in the log (the stage looks when the file is done),
// in the metrics, or readable in the database's files.

import assert from 'node:assert/strict';

import { bytesOf, filesBelow } from './canaries.mjs';
import { PAGE } from './browser.mjs';
import { basic, call } from './http.mjs';
import { stage } from './stage.mjs';

const story = stage('secrets', { settings: { 'log.filter': 'trace' } });

story('j01 g01 a life of linking, refusing and failing', async (world) => {
  const { cloudlink, provider, owner, canaries, install, person } = world;
  const plugin = await install();
  const relay = await plugin.relay();
  const [ada, eve] = [await person(), await person()];
  await ada.links((await plugin.connect()).connect_url);
  relay.acknowledge(await relay.eventNamed('oauth'));

  const denied = await plugin.connect();
  await ada.opens(denied.connect_url);
  await ada.continues();
  await ada.denies();
  await ada.sees(PAGE.denied);

  const failing = await plugin.connect();
  provider.parkNext = true;
  await ada.opens(failing.connect_url);
  await ada.continues();
  await ada.allows();
  const callback = await ada.page.getAttribute('#callback', 'href');
  assert.equal((await eve.opens(callback)).status(), 400);
  await provider.duringAnOutage(async () => {
    await ada.opens(callback);
    await ada.sees(PAGE.providerAway);
  });

  const wrong = await call('GET', `${cloudlink.base}/api/plugins`, { authorization: basic('owner', 'wrong password, quite long') });
  assert.equal(wrong.status, 401);
  canaries.add('wrong password', 'wrong password, quite long');
  await owner.call('GET', '/api/devices', { expect: 200 });

  const { user, password } = cloudlink.owner;
  const metrics = await call('GET', `${cloudlink.admin}/metrics`, { authorization: basic(user, password), expect: 200 });
  assert.deepEqual(canaries.foundIn(metrics.body), [], 'secrets in the metrics');

  await relay.close();
  await Promise.all([ada.leave(), eve.leave()]);
  await cloudlink.stop();
  assert.ok(canaries.size > 25, `only ${canaries.size} secrets were seen`);
  const found = filesBelow(cloudlink.dataFolder).flatMap((path) => canaries.foundEncodedIn(bytesOf(path)));
  assert.deepEqual([...new Set(found)], [], 'secrets in the database’s files');

  await cloudlink.start();
  assert.ok(await plugin.accessToken(), 'and it still has them, sealed');
});
