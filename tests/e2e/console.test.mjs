// The owner runs a home from the console, in a browser without JavaScript: from the first plugin to the audit record.

import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';

import { PAGE } from './browser.mjs';
import { call } from './http.mjs';
import { stage } from './stage.mjs';

const story = stage('console', { settings: { 'consent.binding': 'page' } });
const strict = stage('console-code', { settings: { 'consent.binding': 'code' } });

const login = (cloudlink) => ({ origin: cloudlink.admin, user: cloudlink.owner.user, password: cloudlink.owner.password });
const pem = () => generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' });

/** The page fits, and says nothing secret. */
async function isInOrder(owner, { except = [] } = {}) {
  const { wide, visible } = await measured(owner);
  assert.ok(wide <= visible, `the page is ${wide} wide on a screen of ${visible}`);
  await owner.seesNoSecret({ except });
}

async function measured({ page }) {
  const box = await page.locator('main').boundingBox();
  return { wide: Math.ceil(box.x + box.width), visible: page.viewportSize().width };
}

/** Links the slot that the page shows; the browser is back at the console afterwards. */
async function authenticates(owner, { signIn = true, end = PAGE.linked } = {}) {
  const console = await owner.goesOnInNewTab(() => owner.page.click('button:has-text("Authenticate")'));
  await owner.page.waitForURL(/\/connect\//);
  await owner.continues();
  if (signIn) await owner.signsIn();
  await owner.allows();
  await owner.sees(end);
  const said = await owner.reads();
  await owner.returnsTo(console);
  return said;
}

story('from an empty store to a plugin in it, and one that waits for approval', async ({ cloudlink, provider, owner: api, person }) => {
  for (const plugin of ['acme', 'acme-own']) await api.call('DELETE', `/api/plugins/${plugin}`, { expect: 204 });
  const owner = await person({ javaScript: false, login: login(cloudlink) });
  const { page } = owner;
  await owner.opens(`${cloudlink.admin}/admin`);
  await owner.sees('First steps');
  await owner.screenshots('80-console-empty');

  // A plugin, wrong at first.
  await page.click('text=Add a plugin >> nth=0');
  await page.fill('#plugin', 'acme-own');
  await page.fill('#configuration', '{"name": "Acme", "typed": "by hand"}');
  await page.click('text=Add to the store');
  await owner.sees('/auth_endpoint');
  assert.match(await page.inputValue('#configuration'), /by hand/, 'what was typed stays');
  await owner.screenshot('81-console-plugin-refused');
  const configuration = provider.oauthConfiguration('acme-own', { redirect_uri: 'own' });
  await page.fill('#configuration', JSON.stringify(configuration, null, 2));
  await page.click('text=Add to the store');
  await owner.sees('The plugin is in the store');
  const stored = await page.inputValue('#configuration');
  assert.match(stored, /"client_secret": "\*{8}"/);
  assert.ok((await owner.reads()).includes(`${cloudlink.base}/api/cloudlink/redirect/acme-own`));
  await isInOrder(owner);
  await owner.screenshots('82-console-plugin');
  await page.fill('#configuration', stored.replace('"name": "', '"name": "The '));
  await page.click('button:has-text("Store")');
  await owner.sees('The configuration is stored');

  // Another that claims the same server waits for approval.
  const twin = provider.oauthConfiguration('acme-shared', { redirect_uri: 'shared', token_endpoint: 'http://localhost:1/token' });
  await api.putPlugin('twin', twin);
  await owner.opens(`${cloudlink.admin}/admin`);
  await owner.sees('waits for approval');
  await owner.screenshot('83-console-overview-attention');
  await page.click('text=twin');
  await owner.screenshots('84-console-quarantine');
  await page.click('button:has-text("Approve")');
  await owner.sees('Approved');
  await page.click('text=Delete …');
  await owner.screenshot('85-console-sure');
  await page.click('button:has-text("Delete")');
  await owner.sees('out of the store');
  await owner.screenshot('86-console-plugins');
});

story('from a code for a hub to a linked slot, and back', async ({ cloudlink, provider, owner: api, person, canaries }) => {
  await api.call('PUT', '/api/plugins/acme-own', { json: provider.oauthConfiguration('acme-own', { redirect_uri: 'own' }) });
  const owner = await person({ javaScript: false, login: login(cloudlink) });
  const { page } = owner;
  await owner.opens(`${cloudlink.admin}/admin/enrolment`);
  await owner.screenshot('87-console-enrolment');
  await page.click('text=Make a code');
  const code = (await page.textContent('.bigcode')).trim();
  await owner.screenshots('88-console-code');
  canaries.add('enrolment code', code);
  const password = randomBytes(18).toString('base64url');
  canaries.add('device password', password);
  const json = { name: 'Ada’s <b>hub</b>', password, enrolment_code: code };
  await call('POST', `${cloudlink.base}/api/devices`, { json, expect: 201 });
  await page.click('nav >> text=Devices');
  await owner.screenshot('89-console-devices');
  await page.click('text=Ada’s <b>hub</b>');
  await page.fill('#name', 'Living room');
  await page.click('text=Rename');
  await owner.sees('new name');
  await page.fill('#label', 'hub');
  await page.fill('#public_key', pem());
  await page.click('text=Trust this key');
  await owner.sees('The key is trusted');
  await owner.screenshot('90-console-device-new');

  // The plugin in a slot of it, linked.
  await page.selectOption('#which', 'acme-own');
  await page.click('text=Next');
  await page.fill('#slot', 'heating');
  await owner.screenshot('91-console-install');
  await page.click('button:has-text("Install")');
  await owner.sees('The plugin is installed');
  await owner.screenshot('92-console-slot-new');
  await authenticates(owner);
  await page.click('text=Look again');
  assert.equal(await page.textContent('.badge'), 'linked');
  await owner.sees('Linked');
  await isInOrder(owner);
  await owner.screenshots('93-console-slot-linked');
  await page.click('.trail >> text=Living room');
  await isInOrder(owner);
  await owner.screenshots('94-console-device');
  await page.emulateMedia({ colorScheme: 'dark' });
  await owner.screenshot('94-console-device-dark');
  await page.emulateMedia({ colorScheme: null });

  // And unlinked.
  await page.click('text=Unlink …');
  await page.click('button:has-text("Unlink")');
  await owner.sees('Unlinked. The tokens are erased here');
  assert.equal(await page.textContent('.badge'), 'not linked');
  await page.click('nav >> text=Audit');
  const record = await owner.reads();
  for (const entry of ['Unlinked', 'Linked', 'Plugin installed', 'Key trusted', 'Enrolment code made', 'Plugin stored']) {
    assert.ok(record.includes(entry), `${entry} in the record`);
  }
  await isInOrder(owner);
  await owner.screenshots('95-console-audit');
  await owner.opens(`${cloudlink.admin}/admin`);
  await owner.screenshot('96-console-overview');
  await page.click('nav >> text=Devices');
  await page.click('text=Living room');
  await page.click('text=Remove the device …');
  await page.click('button:has-text("Remove")');
  await owner.sees('The device is gone');
});

story('nobody comes in without the password, and the page says what it wants', async ({ cloudlink, person }) => {
  const stranger = await person({ javaScript: false });
  const answer = await call('GET', `${cloudlink.admin}/admin`);
  assert.equal(answer.status, 401);
  assert.equal(answer.headers.get('www-authenticate'), 'Basic realm="cloudlink", charset="UTF-8"');
  await stranger.page.setContent(answer.body.replace('href="/assets', `href="${cloudlink.admin}/assets`));
  await stranger.sees('Log in as the owner');
  const somebody = await person({ login: { ...login(cloudlink), password: 'a wrong one' } });
  await somebody.opens(`${cloudlink.admin}/admin`).catch(() => {});
  assert.equal((await call('GET', `${cloudlink.base}/admin`, { authorization: 'Basic x' })).status, 404);
});

strict('where a code is asked for, the console has a field for it', async ({ cloudlink, install, person }) => {
  const plugin = await install({ plugin: 'acme-own', name: 'Cellar' });
  const owner = await person({ javaScript: false, login: login(cloudlink) });
  await owner.opens(`${cloudlink.admin}/admin/devices/${plugin.device}/slots/${plugin.slot}`);
  const said = await authenticates(owner, { end: PAGE.confirm });
  const digits = said.match(/\b\d{6}\b/)[0];
  await owner.page.click('text=Look again');
  await owner.page.fill('input[name="code"]', '000000' === digits ? '000001' : '000000');
  await owner.page.click('text=Confirm');
  await owner.sees('4 tries are left');
  await owner.screenshot('97-console-confirm');
  await owner.page.fill('input[name="code"]', digits);
  await owner.page.click('text=Confirm');
  await owner.sees('The code is right');
  assert.equal((await plugin.state()).status, 'linked');
});
