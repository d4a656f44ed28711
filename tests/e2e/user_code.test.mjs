// A hub without a browser shows a code; a person types it, or scans the address that holds it.

import assert from 'node:assert/strict';

import { PAGE } from './browser.mjs';
import { stage } from './stage.mjs';

const story = stage('user_code');

story('a code typed by hand leads to the connect page', async ({ cloudlink, install, person }) => {
  const plugin = await install({ name: 'Cellar hub' });
  const flow = await plugin.connect();
  assert.equal(new URL(flow.verification_uri).origin, cloudlink.base);
  const ada = await person();
  await ada.opens(flow.verification_uri);
  await ada.screenshot('10-link-page');
  // People type as they like: the code is the same in small letters and without dashes.
  await ada.typesCode(flow.user_code.toLowerCase().replaceAll('-', ''));
  await ada.sees('Cellar hub');
  await ada.screenshot('11-connect-page-by-code');
  await ada.continues();
  await ada.signsIn();
  await ada.allows();
  await ada.sees(PAGE.linked);
  assert.equal((await plugin.flow(flow)).status, 'linked');
});

story('the complete address brings the code with it', async ({ install, person }) => {
  const plugin = await install({ name: 'Attic hub' });
  const flow = await plugin.connect();
  const ada = await person();
  await ada.opens(flow.verification_uri_complete);
  if (await ada.isAskedForACode()) await ada.confirmsCode();
  await ada.sees('Attic hub');
  await ada.continues();
  await ada.signsIn();
  await ada.allows();
  await ada.sees(PAGE.linked);
  await plugin.pollFor((event) => event.event === 'oauth');
});

story('a wrong code says so and leads nowhere', async ({ cloudlink, install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const ada = await person();
  await ada.opens(flow.verification_uri);
  await ada.typesCode('BBBB-BBBB');
  await ada.page.waitForLoadState();
  assert.equal(ada.address.origin, cloudlink.base);
  assert.ok(!ada.address.pathname.startsWith('/connect/'), 'no connect page');
  assert.ok(await ada.isAskedForACode(), 'the form stands there again');
  await ada.screenshot('12-wrong-code');
});
