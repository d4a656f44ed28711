// Where the browser ends: back at the plugin's own page, by the plugin's own redirect URI or the shared one.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';

import { PAGE } from './browser.mjs';
import { stage } from './stage.mjs';

const story = stage('return');

/** Runs `body` with the address of a hub's dashboard. */
async function withDashboard(body) {
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<h1>My plugins</h1>'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  try {
    await body(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** What the dashboard learns, once the browser stands there. */
async function outcome(ada) {
  await ada.sees('My plugins');
  const { pathname, searchParams, hash } = ada.address;
  return { pathname, hash, query: Object.fromEntries(searchParams) };
}

story('return_url is told linked, with its own query and fragment kept', ({ install, person }) =>
  withDashboard(async (dashboard) => {
    const plugin = await install();
    const { connect_url } = await plugin.connect({ return_url: `${dashboard}/plugins?tab=1&q=a%20b#slot-3` });
    const ada = await person();
    await ada.opens(connect_url);
    await ada.continues();
    await ada.signsIn();
    await ada.allows();
    const expected = { pathname: '/plugins', hash: '#slot-3', query: { tab: '1', q: 'a b', cloudlink: 'linked' } };
    assert.deepEqual(await outcome(ada), expected);
    await plugin.pollFor((event) => event.event === 'oauth');
  }));

story('return_url is told cancelled and denied', ({ install, person }) =>
  withDashboard(async (dashboard) => {
    const plugin = await install();
    const ada = await person();
    await ada.opens((await plugin.connect({ return_url: `${dashboard}/a` })).connect_url);
    await ada.cancels();
    assert.deepEqual((await outcome(ada)).query, { cloudlink: 'cancelled' });

    await ada.opens((await plugin.connect({ return_url: `${dashboard}/b` })).connect_url);
    await ada.continues();
    await ada.signsIn();
    await ada.denies();
    await ada.page.waitForURL(`${dashboard}/b*`);
    assert.deepEqual((await outcome(ada)).query, { cloudlink: 'denied' });
  }));

story('a plugin links by its own redirect URI', async ({ cloudlink, provider, install, person }) => {
  const plugin = await install({ plugin: 'acme-own' });
  const ada = await person();
  const callback = await ada.getsCallback(provider, (await plugin.connect()).connect_url);
  assert.equal(new URL(callback).pathname, '/api/cloudlink/redirect/acme-own');
  await ada.opens(callback);
  await ada.sees(PAGE.linked);
  const linked = await plugin.pollFor((event) => event.event === 'oauth');
  assert.ok(linked.data.access_token);
  assert.equal(ada.address.origin, cloudlink.base);
});

story('b02 a callback on the other path burns the flow and sends nothing', async ({ cloudlink, provider, install, person }) => {
  const plugin = await install({ plugin: 'acme-own' });
  const flow = await plugin.connect();
  const ada = await person();
  const callback = new URL(await ada.getsCallback(provider, flow.connect_url));
  const before = provider.tokenRequests.length;
  const misled = await ada.get(`${cloudlink.base}/api/cloudlink/redirect${callback.search}`);
  assert.ok(misled.status() >= 300, `answered ${misled.status()}`);
  await ada.get(callback.href);
  assert.equal(provider.tokenRequests.length, before, 'no token request');
  assert.equal((await plugin.flow(flow)).status, 'failed');
  assert.equal((await plugin.state()).status, 'unlinked');
});
