// Home Assistant links accounts here: its own cloud client (PyPI hass-nabucasa), untouched, and this repository's
// integration, which speaks the same.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HomeAssistant, integrationCompiles, integrationTests } from './home_assistant.mjs';
import { stage } from './stage.mjs';
import { until } from './wait.mjs';

const story = stage('account_link', {
  settings: {
    'account_link.enabled': 'true',
    'account_link.services': 'acme_heat=acme@2022.9.0,acme_own=acme-own',
    'account_link.services.old.plugin': 'acme',
    'account_link.services.old.accepts_new_authorizations': 'false',
  },
});

const LINKED = /^It worked$/;
const START_AGAIN = /start in Home Assistant once more/i;

/** The whole way of a person who says yes. */
async function consents(someone, url) {
  await someone.opens(url);
  await someone.sees(/Let Home Assistant use your/);
  await someone.continues();
  await someone.signsIn();
  await someone.allows();
  await someone.sees(LINKED);
}

/** Runs `body` with a Home Assistant. */
async function withHome({ cloudlink, canaries }, client, body) {
  const home = await HomeAssistant.arrive({ base: cloudlink.base, canaries, client });
  try {
    return await body(home);
  } finally {
    await home.leave();
  }
}

for (const client of ['nabucasa', 'contrib']) {
  story(`${client}: links, and refreshes, with the real provider`, async (world) => {
    await withHome(world, client, async (home) => {
      const offered = await home.services();
      assert.deepEqual(
        offered.map(({ service, min_version, accepts_new_authorizations }) => [service, min_version, accepts_new_authorizations]),
        [['acme_heat', '2022.9.0', true], ['acme_own', '2021.1.0', true], ['old', '2021.1.0', false]],
      );
      for (const service of ['acme_heat', 'acme_own']) {
        const attempt = home.link(service, { prompt: 'login consent', scope: 'openid offline_access' });
        const ada = await world.person();
        await consents(ada, await attempt.authorizeUrl());
        await ada.seesNoSecret();
        await ada.screenshot(`60-linked-for-home-assistant-${client}`);
        const { tokens } = await attempt.end();
        assert.equal(typeof tokens.expires_in, 'number');
        assert.ok(tokens.access_token && tokens.refresh_token && tokens.id_token, 'the whole set');

        const { tokens: fresh } = await home.refresh(service, tokens.refresh_token);
        assert.notEqual(fresh.access_token, tokens.access_token);
        assert.notEqual(fresh.refresh_token, tokens.refresh_token, 'the provider replaced it');
        const before = world.provider.tokenRequests.length;
        assert.deepEqual((await home.refresh(service, tokens.refresh_token)).tokens, fresh, 'the same, asked for twice');
        assert.equal(world.provider.tokenRequests.length, before);
        if (client === 'nabucasa') assert.equal(tokens.service, service);
      }
    });
  });

  story(`${client}: an unknown service, a person who says no, and one who cancels`, async (world) => {
    await withHome(world, client, async (home) => {
      const { raised, code } = await home.link('sonos').end();
      assert.deepEqual([raised, code], [client === 'nabucasa' ? 'AccountLinkException' : 'LinkError', 'unsupported']);

      const refused = home.link('acme_heat');
      const ada = await world.person();
      await ada.opens(await refused.authorizeUrl());
      await ada.continues();
      await ada.signsIn();
      await ada.denies();
      await ada.sees(/^Not allowed$/);
      await ada.sees(START_AGAIN);
      assert.equal((await refused.end()).tokens.error, 'access_denied');

      const cancelled = home.link('acme_heat');
      const bob = await world.person();
      await bob.opens(await cancelled.authorizeUrl());
      await bob.cancels();
      await bob.sees(START_AGAIN);
      assert.equal((await cancelled.end()).tokens.error, 'cancelled');
    });
  });

  story(`${client}: a dead grant is a 400, an outage a 503`, async (world) => {
    await withHome(world, client, async (home) => {
      assert.deepEqual((await home.refresh('acme_heat', `nobodys-refresh-token-of-${client}`)).status, 400);
      assert.equal((await home.refresh('sonos', 'whatever')).status, 404);
      const away = await world.provider.duringAnOutage(() => home.refresh('acme_heat', `another-token-of-${client}`));
      assert.deepEqual([away.status, away.retry_after], [503, '1']);
    });
  });
}

story('query members that Home Assistant appends reach the provider', async (world) => {
  await withHome(world, 'nabucasa', async (home) => {
    const appended = { access_type: 'offline', prompt: 'consent', login_hint: 'ada@acme.example', state: 'evil', redirect_uri: 'https://evil.example/' };
    const attempt = home.link('acme_heat', appended);
    const ada = await world.person();
    const asked = [];
    ada.page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.origin === world.provider.issuer && url.pathname === '/auth') asked.push(Object.fromEntries(url.searchParams));
    });
    await consents(ada, await attempt.authorizeUrl());
    assert.ok((await attempt.end()).tokens.access_token);
    const { access_type, prompt, login_hint, redirect_uri, state } = asked[0];
    assert.deepEqual([access_type, prompt, login_hint], ['offline', 'consent', 'ada@acme.example']);
    assert.equal(redirect_uri, `${world.cloudlink.base}/api/cloudlink/redirect`);
    assert.notEqual(state, 'evil');
  });
});

story('a Home Assistant that dies while its person is away is told of on the page', async (world) => {
  await withHome(world, 'nabucasa', async (home) => {
    const attempt = home.link('acme_heat');
    const ada = await world.person();
    await ada.opens(await attempt.authorizeUrl());
    await ada.continues();
    attempt.dies();
    await until('the end of the attempt', 15_000, async () => {
      const { body } = await world.owner.call('GET', '/api/audit', { expect: 200 });
      return body.some(({ action, detail }) => action === 'account_link.ended' && detail === 'client_gone');
    });
    await ada.signsIn();
    await ada.allows();
    await ada.sees(/does not wait any more/);
    await ada.sees(START_AGAIN);
  });
});

test('the integration compiles', () => {
  const { status, stderr } = integrationCompiles();
  assert.equal(status, 0, stderr);
});

test("the integration's own tests", () => {
  const { status, stderr } = integrationTests();
  assert.equal(status, 0, stderr);
});
