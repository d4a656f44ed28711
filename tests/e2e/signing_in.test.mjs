// A terminal asks somebody to sign in: with a code that is typed in a browser, or with a browser on the same machine;
// with the owner's password, or with an account at a real OpenID provider.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { Person } from './browser.mjs';
import { Canaries } from './canaries.mjs';
import { call } from './http.mjs';
import { Operators } from './operators.mjs';
import { forgetLog } from './program.mjs';

const NAME = 'signing_in';
const LIMIT = 90_000;
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
const canaries = new Canaries();
let stage, cloudlink, provider, browser;

before(async () => {
  forgetLog(NAME);
  stage = await Operators.stage({ name: NAME, canaries });
  ({ cloudlink, provider, browser } = stage);
}, { timeout: LIMIT });

after(() => stage?.end(), { timeout: LIMIT });

function story(title, body) {
  test(title, { timeout: LIMIT }, async () => {
    const person = await Person.arrive(browser, { canaries, javaScript: false });
    try {
      await body(person);
    } catch (error) {
      await person.screenshot(`failed-${title.replace(/\W+/g, '-').slice(0, 60)}`).catch(() => {});
      throw error;
    } finally {
      await person.leave();
    }
  });
}

const post = (path, form, expect) => call('POST', `${cloudlink.base}${path}`, { form, expect });

async function startHeadless() {
  const { body } = await post('/api/device_authorization', { client_id: 'cloudlink' }, 200);
  canaries.add('device code', body.device_code);
  return body;
}

const poll = (started, expect) =>
  post('/api/token', { grant_type: DEVICE_CODE, device_code: started.device_code, client_id: 'cloudlink' }, expect);

async function works(token) {
  canaries.add('access token', token);
  const authorization = `Bearer ${token}`;
  await call('GET', `${cloudlink.base}/api/devices`, { authorization, expect: 200 });
  await post('/api/revoke', { token }, 200);
  await call('GET', `${cloudlink.base}/api/devices`, { authorization, expect: 401 });
}

/** A terminal's own listener: the address, and what a browser brings there. */
async function listener() {
  let bring;
  const brought = new Promise((resolve) => (bring = resolve));
  const server = createServer((request, response) => {
    if (request.url.startsWith('/callback')) bring(new URL(request.url, 'http://127.0.0.1').searchParams);
    response.end('You can close this page.');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { uri: `http://127.0.0.1:${server.address().port}/callback`, brought, close: () => server.close() };
}

async function opensForATerminal(person, uri, verifier) {
  const url = new URL(`${cloudlink.base}/api/authorize`);
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const members = {
    response_type: 'code', client_id: 'cloudlink', redirect_uri: uri, state: 'a state of ours', scope: 'owner',
    code_challenge: challenge, code_challenge_method: 'S256',
  };
  Object.entries(members).forEach(([name, value]) => url.searchParams.set(name, value));
  await person.opens(url.href);
}

const asOwner = async (person) => {
  await person.page.fill('#user', cloudlink.owner.user);
  await person.page.fill('#owner-password', cloudlink.owner.password);
  await person.page.click('text=Sign in as the operator');
};

story('a code typed in a browser and the owner’s password sign a terminal in', async (ada) => {
  const started = await startHeadless();
  await ada.opens(started.verification_uri_complete);
  await ada.confirmsCode();
  await ada.sees('Sign in for a terminal?');
  assert.ok((await ada.reads()).includes(started.user_code), 'the code to compare');
  await ada.screenshot('40-sign-in-for-a-terminal');
  await ada.page.fill('#user', cloudlink.owner.user);
  await ada.page.fill('#owner-password', 'not the password');
  await ada.page.press('#owner-password', 'Enter');
  await ada.sees('The name, the device or the password is wrong');
  await ada.screenshot('41-sign-in-wrong-password');
  await asOwner(ada);
  await ada.sees('You can go back to the terminal');
  await ada.screenshot('42-signed-in');
  await ada.seesNoSecret();
  const { body } = await poll(started, 200);
  await works(body.access_token);
});

story('cancel is what the terminal is told', async (ada) => {
  const started = await startHeadless();
  await ada.opens(started.verification_uri);
  await ada.typesCode(started.user_code);
  await ada.cancels();
  await ada.sees('Nobody was signed in');
  assert.equal((await poll(started, 400)).body.error, 'access_denied');
});

story('an account at the provider signs a terminal in, and Chromium follows every redirect', async (ada) => {
  const started = await startHeadless();
  await ada.opens(started.verification_uri_complete);
  await ada.confirmsCode();
  await ada.page.click('button[value="oidc"]');
  await ada.signsIn();
  await ada.allows();
  await ada.sees('You can go back to the terminal');
  await ada.seesNoSecret();
  const { body } = await poll(started, 200);
  assert.equal(body.scope, 'owner');
  await works(body.access_token);
});

story('the browser brings the code to the terminal’s own port, with a password and with an account', async (ada) => {
  for (const way of ['password', 'account']) {
    const [terminal, verifier] = [await listener(), randomBytes(32).toString('base64url')];
    canaries.add('verifier', verifier);
    await opensForATerminal(ada, terminal.uri, verifier);
    if (way === 'password') {
      await asOwner(ada);
    } else {
      await ada.page.click('button[value="oidc"]');
      await ada.signsIn();
      await ada.allows();
    }
    const answer = await terminal.brought;
    terminal.close();
    assert.equal(answer.get('state'), 'a state of ours');
    assert.equal(answer.get('iss'), cloudlink.base);
    const form = {
      grant_type: 'authorization_code', code: answer.get('code'), redirect_uri: terminal.uri, client_id: 'cloudlink',
      code_verifier: verifier,
    };
    const { body } = await post('/api/token', form, 200);
    await works(body.access_token);
  }
});
