// Stock OAuth libraries on the plugin's side, pointed at the broker's token endpoint, unchanged.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { ClientSecretBasic, ClientSecretPost } from 'openid-client';

import { Session } from './library-openid-client.mjs';
import { stage } from './stage.mjs';
import { until, within } from './wait.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const python = join(here, '.venv', 'libraries', 'bin', 'python');
const story = stage('libraries');

/** What comes of a call of `api` in Python: `{status, kept}`. */
async function inPython(library, { method, ...given }) {
  assert.ok(existsSync(python), 'the Python packages are missing: docs/development.md, “Tests”, says how to install them');
  // Over http, which is for loopback only, oauthlib has to be told so.
  const env = { PATH: process.env.PATH, OAUTHLIB_INSECURE_TRANSPORT: '1' };
  const child = spawn(python, [join(here, 'library_call.py'), library, method], { env, stdio: ['pipe', 'pipe', 'pipe'], timeout: 30_000 });
  const [out, errors] = [child.stdout, child.stderr].map(async (stream) => {
    let text = '';
    for await (const chunk of stream) text += chunk;
    return text;
  });
  child.stdin.end(JSON.stringify(given));
  const code = await within(library, 40_000, new Promise((resolve) => child.on('close', resolve)));
  assert.equal(code, 0, await errors);
  return JSON.parse(await out);
}

/** The same with openid-client. */
async function inNode({ configuration, tokens, method, api }) {
  const kept = [];
  const way = { post: ClientSecretPost, basic: ClientSecretBasic }[method];
  const { status } = await new Session(configuration, tokens, (fresh) => kept.push(fresh), way).fetch(api);
  return { status, kept };
}

const LIBRARIES = [
  { name: 'authlib', call: (given) => inPython('authlib', given) },
  { name: 'requests-oauthlib', call: (given) => inPython('requests-oauthlib', given) },
  { name: 'openid-client', call: inNode },
];

/** Tokens as a plugin keeps them: with the moment at which they end. */
const kept = ({ data }) => ({ ...data, expires_at: Math.floor(Date.now() / 1000) + data.expires_in });

for (const { name, call } of LIBRARIES) {
  story(`${name} refreshes by itself at the broker, by post and by basic`, async ({ provider, canaries, install, person }) => {
    const plugin = await install();
    const relay = await plugin.relay();
    const { data: configuration } = await relay.event();
    const ada = await person();
    await ada.links((await plugin.connect()).connect_url);
    const linked = await relay.eventNamed('oauth');
    relay.acknowledge(linked);
    await plugin.acknowledged(linked);
    const api = `${provider.issuer}/me`;

    // While the token is good nobody is asked.
    const before = provider.tokenRequests.length;
    const unasked = await call({ configuration, tokens: kept(linked), method: 'post', api });
    assert.deepEqual(unasked, { status: 200, kept: [] });
    assert.equal(provider.tokenRequests.length, before);

    // Then one that has ended indeed.
    provider.accessTokenSeconds = 3;
    try {
      await plugin.call('POST', '/refresh', { expect: 200 });
      const tokens = kept(await relay.eventNamed('customns', 'oauthTokens'));
      await until('the access token to end', 20_000, async () => {
        const authorization = `Bearer ${tokens.access_token}`;
        return (await fetch(api, { headers: { authorization } })).status === 401;
      });
      for (const method of ['post', 'basic']) {
        const { status, kept: renewed } = await call({ configuration, tokens, method, api });
        canaries.add('access_token', renewed[0]?.access_token);
        assert.equal(status, 200, `${method}: the API took the new token`);
        assert.equal(renewed.length, 1, `${method}: it refreshed once`);
        assert.notEqual(renewed[0].access_token, tokens.access_token);
        assert.ok(provider.issued('access_token').includes(renewed[0].access_token), 'the provider’s own');
        assert.equal(renewed[0].refresh_token, tokens.refresh_token, 'the handle stays');
      }
    } finally {
      provider.accessTokenSeconds = 3600;
    }
    await relay.close();
  });
}

test('the page for authors shows the very programs that ran', () => {
  const page = readFileSync(join(here, '..', '..', 'docs', 'oauth-libraries.md'), 'utf8');
  for (const program of ['library_authlib.py', 'library_requests_oauthlib.py', 'library-openid-client.mjs']) {
    assert.ok(page.includes(readFileSync(join(here, program), 'utf8')), program);
  }
});
