// Links and callbacks in a browser that did not begin the flow, and callbacks that come more than once.

import assert from 'node:assert/strict';

import { PAGE } from './browser.mjs';
import { stage } from './stage.mjs';

const story = stage('other_browser');

const codeRequests = (provider) => provider.tokenRequests.filter(({ grant }) => grant === 'authorization_code').length;

story('c01 a callback in another browser is refused and burns nothing', async ({ provider, install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const [ada, eve] = [await person(), await person()];
  const callback = await ada.getsCallback(provider, flow.connect_url);
  const before = codeRequests(provider);

  const refused = await eve.opens(callback);
  assert.equal(refused.status(), 400);
  await eve.screenshot('40-callback-in-another-browser');
  assert.equal(codeRequests(provider), before, 'no token request');

  await ada.opens(callback);
  await ada.sees(PAGE.linked);
  assert.equal(codeRequests(provider), before + 1);
});

story('a flow that goes on in one browser is gone for any other', async ({ install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const [ada, eve] = [await person(), await person()];
  // A link that was only looked at binds nobody: messengers preview links.
  await eve.opens(flow.connect_url);
  await ada.opens(flow.connect_url);
  await ada.continues();
  await ada.sees('Sign in');

  const [late] = await Promise.all([eve.page.waitForResponse((r) => r.request().method() === 'POST'), eve.continues()]);
  assert.equal(late.status(), 410);
  assert.equal((await eve.opens(flow.connect_url)).status(), 410);
  await eve.screenshot('41-connect-in-another-browser');

  await ada.signsIn();
  await ada.allows();
  await ada.sees(PAGE.linked);
});

story('a02 of many equal callbacks one makes the only token request', async ({ provider, install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const [ada, eve] = [await person(), await person()];
  const callback = await ada.getsCallback(provider, flow.connect_url);
  const before = codeRequests(provider);

  const answers = await Promise.all(Array.from({ length: 20 }, () => ada.get(callback)));
  assert.deepEqual([...new Set(answers.map((a) => a.status()))], [303]);
  assert.equal(new Set(answers.map((a) => a.headers().location)).size, 1, 'all to the result page');
  assert.equal(codeRequests(provider), before + 1);

  await ada.opens(callback);
  await ada.sees(PAGE.linked);
  assert.equal((await eve.opens(callback)).status(), 400);
  assert.equal(codeRequests(provider), before + 1);
});

story('continuing again in the same browser voids the first state', async ({ provider, install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const ada = await person();
  const first = await ada.getsCallback(provider, flow.connect_url);
  await ada.opens(flow.connect_url);
  provider.parkNext = true;
  await ada.continues();
  await ada.allows();
  const second = await ada.page.getAttribute('#callback', 'href');
  const before = codeRequests(provider);

  assert.equal((await ada.get(first)).status(), 400);
  assert.equal(codeRequests(provider), before);
  await ada.opens(second);
  await ada.sees(PAGE.linked);
});
