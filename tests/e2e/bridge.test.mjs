// `cloudlink bridge`: the real udi_interface, a plugin that inherits its OAuth class, mosquitto, the real provider and a
// browser.

import assert from 'node:assert/strict';

import { Hub, shownUrl } from './pg3/hub.mjs';
import { stage } from './stage.mjs';
import { until } from './wait.mjs';

const story = stage('bridge', { homes: ['home'] });

/** Gives `body` a hub, and ends what runs there. */
const onAHub = (log, body) => async (world) => {
  const plugin = await world.install();
  const hub = await Hub.open({ ...world, plugin, log: `bridge-${log}` });
  const account = `${world.provider.issuer}/me`;
  try {
    await body({ ...world, plugin, hub, account });
  } finally {
    world.provider.accessTokenSeconds = 3600;
    await hub.close();
  }
};

story('a plugin written for PG3 is linked, calls its service, and has its tokens after a restart', onAHub('standalone', async ({ hub, plugin, account, person, cloudlink, canaries }) => {
  const bridge = await hub.bridge('--standalone');
  const first = await hub.plugin({ account });
  const { data: configuration } = await first.hears('custom', ({ key }) => key === 'oauth');
  assert.equal(configuration.token_endpoint, `${cloudlink.base}/api/cloudlink/token`);
  assert.match(configuration.client_id, /^cl_/);
  await first.hears('configdone');
  await first.hears('unauthenticated');

  await (await person()).links(await shownUrl(bridge));
  const { data: tokens } = await first.hears('oauth');
  plugin.remember({ data: tokens });
  assert.match(tokens.refresh_token, /^clh_/);
  assert.ok(Number.isInteger(tokens.expires_in) && tokens.expires_in > 60);
  const { account: who } = await first.hears('account');
  assert.equal(who.sub, 'ada');
  const state = await until('the ack', 10_000, async () => {
    const now = await plugin.state();
    return now.acked_version === now.version && now;
  });
  assert.equal(state.status, 'linked');

  await first.stop();
  const again = await hub.plugin({ account });
  const told = await again.tellsUntil('account');
  const { data: kept } = told.find(({ key }) => key === 'oauthTokens');
  assert.equal(kept.access_token, tokens.access_token);
  assert.match(kept.expiry, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/, 'local, without a zone');
  assert.equal(told.find(({ what }) => what === 'customdata').data.visits, 1);
  assert.ok(told.some(({ what }) => what === 'configdone'));

  assert.deepEqual(await bridge.stop('SIGTERM'), { code: 0, signal: null });
  assert.deepEqual(canaries.foundIn(bridge.log, { except: ['connect handle'] }), [], 'secrets in what the bridge prints');
}));

story("the class's own timer refreshes at the broker before the tokens are over", onAHub('refresh', async ({ hub, plugin, account, person, provider }) => {
  // The class refreshes a minute before the end: a few seconds after they came.
  provider.accessTokenSeconds = 68;
  const bridge = await hub.bridge('--standalone');
  const running = await hub.plugin({ account });
  await running.hears('configdone');
  await (await person()).links(await shownUrl(bridge));
  const { data: first } = await running.hears('oauth');
  plugin.remember({ data: first });
  await running.hears('account');
  const refreshes = () => provider.tokenRequests.filter(({ grant }) => grant === 'refresh_token').length;
  const before = refreshes();
  await until('a refresh', 40_000, () => refreshes() > before);
  const { token } = await until('the plugin to use the new token', 30_000, async () => {
    running.write('use');
    const used = await running.hears('account');
    return used.token !== first.access_token && used;
  });
  assert.ok(provider.issued('access_token').includes(token));
  // Neither the timer nor the refresh made the plugin start over.
  assert.equal(running.told.waiting, 0);

  // A plugin that starts now has its tokens, too, though they are short.
  await running.stop();
  const again = await hub.plugin({ account });
  const told = await again.tellsUntil('account');
  assert.ok(told.some(({ key }) => key === 'oauthTokens') && told.every(({ what }) => what !== 'unauthenticated'));
}));

story("a home's own client and nested settings reach the provider", onAHub('settings', async ({ hub, plugin, account, person, provider }) => {
  const home = provider.clients.find(({ client_id }) => client_id === 'home');
  let bridge = await hub.bridge('--standalone');
  const running = await hub.plugin({ account });
  await running.hears('unauthenticated');
  await shownUrl(bridge);
  assert.deepEqual(await bridge.stop('SIGTERM'), { code: 0, signal: null });

  const parameters = { client_id: home.client_id, client_secret: home.client_secret, language: 'de' };
  const file = hub.file('parameters.json', JSON.stringify(parameters));
  bridge = await hub.bridge('--standalone', '--parameters', `${plugin.slot}=${file}`);
  await running.hears('customparams', ({ data }) => data?.client_id === home.client_id);
  const settings = await until('all settings to arrive', 30_000, async () => {
    const { body } = await plugin.call('GET', '/oauth', { expect: 200 });
    return body.parameters?.ui_locales === 'de' && body.token_parameters?.home === 'yes' && body;
  });
  assert.equal(settings.client_id, home.client_id);
  assert.equal(settings.token_endpoint, `${provider.issuer}/token`, "the broker's own endpoint is no override");
  const { settings: shown } = await running.hears('configdone', ({ settings: s }) => s.token_parameters?.home === 'yes');
  assert.deepEqual([shown.client_id, shown.parameters.ui_locales], [home.client_id, 'de']);

  const version = (await plugin.state()).version;
  await (await person()).links(await shownUrl(bridge));
  await running.hears('oauth');
  const { account: who } = await running.hears('account');
  assert.equal(who.sub, 'ada');
  const used = provider.authorizations.at(-1);
  assert.deepEqual([used.client_id, used.ui_locales], [home.client_id, 'de']);
  assert.ok((await plugin.state()).version <= version + 2, 'nothing goes round in circles');
}));

story('beside PG3 it brings configuration, tokens and the notice, and leaves the rest to PG3', onAHub('companion', async ({ hub, plugin, account, person, cloudlink }) => {
  const before = { notices: { battery: 'low' }, customparams: { place: 'attic' }, customdata: { visits: 7 } };
  const pg3 = hub.program('pg3.py', [hub.broker.port, hub.id, JSON.stringify(before)], { PG3_PASSWORD: hub.users.pg3 });
  await pg3.hears('ready');
  const first = await hub.plugin({ account });
  await first.hears('unauthenticated');

  const bridge = await hub.bridge('--companion', '--uuid', plugin.device);
  const { value: saved } = await pg3.hears('set', ({ key }) => key === 'oauth');
  assert.equal(saved.token_endpoint, `${cloudlink.base}/api/cloudlink/token`);
  const given = await first.tellsUntil('configdone');
  assert.deepEqual(given.find(({ what }) => what === 'customparams').data, before.customparams, 'all that PG3 has comes along');
  assert.equal(given.find(({ key }) => key === 'oauth').data.client_id, saved.client_id);

  const { value: notices } = await pg3.hears('set', ({ key, value }) => key === 'notices' && value.cloudlink);
  assert.match(notices.cloudlink, /\/connect\//);
  await (await person()).links(await shownUrl(bridge));
  const { data: tokens } = await first.hears('oauth');
  plugin.remember({ data: tokens });
  await first.hears('account');
  await pg3.hears('set', ({ key, value }) => key === 'notices' && !value.cloudlink);
  await until('the ack', 10_000, async () => {
    const now = await plugin.state();
    return now.acked_version === now.version;
  });

  await first.stop();
  const again = await hub.plugin({ account });
  const told = await again.tellsUntil('account');
  assert.equal(told.find(({ key }) => key === 'oauthTokens').data.access_token, tokens.access_token);
  assert.deepEqual(await bridge.stop('SIGTERM'), { code: 0, signal: null });
}));

story('whatever goes and comes back, in whatever order, a consent arrives', onAHub('losses', async ({ hub, plugin, account, person, cloudlink }) => {
  const bridge = await hub.bridge('--standalone');
  const running = await hub.plugin({ account });
  await running.hears('configdone');
  const linksAgain = async () => {
    await (await person()).links((await plugin.connect()).connect_url);
  };
  // The broker goes, a person consents, the broker comes back.
  await hub.broker.stop();
  await bridge.err.next((line) => /trying again/.test(line), 20_000);
  await linksAgain();
  await hub.broker.start();
  const { data: first } = await running.hears('oauth', () => true, 60_000);
  // The server goes and comes back; then both go, and the broker is back first.
  await cloudlink.restart();
  await linksAgain();
  const { data: second } = await running.hears('oauth', () => true, 60_000);
  assert.notEqual(second.access_token, first.access_token);
  await hub.broker.stop();
  await cloudlink.stop();
  await hub.broker.start();
  await cloudlink.start();
  await linksAgain();
  const { data: third } = await running.hears('oauth', () => true, 60_000);
  assert.notEqual(third.access_token, second.access_token);
  // Both go, and the server is back first.
  await cloudlink.stop();
  await hub.broker.stop();
  await cloudlink.start();
  await linksAgain();
  await hub.broker.start();
  const { data: fourth } = await running.hears('oauth', () => true, 60_000);
  for (const data of [first, second, third, fourth]) plugin.remember({ data });
  await until('the ack', 20_000, async () => {
    const now = await plugin.state();
    return now.acked_version === now.version;
  });
  assert.equal(bridge.exit, null, 'it is still the same process');
}), 240_000);
