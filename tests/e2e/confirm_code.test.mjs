// consent.binding = code: tokens wait until the code on the page was typed where the flow was started.

import assert from 'node:assert/strict';

import { PAGE } from './browser.mjs';
import { stage } from './stage.mjs';

const story = stage('confirm_code', { settings: { 'consent.binding': 'code' } });

/** Consents, and answers the six digits of the page. */
async function consents(ada, connectUrl) {
  await ada.opens(connectUrl);
  await ada.continues();
  await ada.signsIn();
  await ada.allows();
  await ada.sees(PAGE.confirm);
  return (await ada.reads()).match(/\b\d{6}\b/)[0];
}

const another = (code) => String((Number(code) + 1) % 1_000_000).padStart(6, '0');

story('c02 nothing is delivered before the code is typed', async ({ install, person }) => {
  const plugin = await install();
  await plugin.acknowledge((await plugin.poll(0)).at(-1));
  const flow = await plugin.connect();
  const ada = await person();
  const code = await consents(ada, flow.connect_url);
  await ada.screenshot('30-confirm-code');
  await ada.seesNoSecret({ except: ['connect handle'] });
  assert.equal((await plugin.flow(flow)).status, 'confirm');
  assert.deepEqual(await plugin.poll(0), []);
  assert.equal((await plugin.call('GET', '/token')).status, 409);

  const wrong = await plugin.call('POST', `/flows/${flow.flow}/confirm`, { json: { code: another(code) } });
  assert.ok(wrong.status >= 400 && wrong.status < 500, `a wrong code answered ${wrong.status}`);
  assert.deepEqual(await plugin.poll(0), []);

  const waiting = plugin.poll(30);
  await plugin.call('POST', `/flows/${flow.flow}/confirm`, { json: { code }, expect: 204 });
  const linked = (await waiting).at(-1);
  assert.equal(linked.event, 'oauth');
  await plugin.acknowledge(linked);
  assert.equal((await plugin.flow(flow)).status, 'linked');
});

story('the fifth wrong code ends the flow', async ({ install, person }) => {
  const plugin = await install();
  const flow = await plugin.connect();
  const code = await consents(await person(), flow.connect_url);
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await plugin.call('POST', `/flows/${flow.flow}/confirm`, { json: { code: another(code) } });
  }
  const { status, error } = await plugin.flow(flow);
  assert.deepEqual([status, error], ['failed', 'wrong_code']);
  const late = await plugin.call('POST', `/flows/${flow.flow}/confirm`, { json: { code } });
  assert.ok(late.status >= 400, 'the right code comes too late');
  assert.equal((await plugin.state()).status, 'unlinked');
});
