// Sealed delivery, opened by two libraries that a plugin's author may have: npm `jose` and Python's `jwcrypto`.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { openSealed } from './open-sealed.mjs';
import { stage } from './stage.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const story = stage('sealed');

const KEYS = [
  { alg: 'RSA-OAEP-256', type: 'rsa', options: { modulusLength: 2048 } },
  { alg: 'ECDH-ES', type: 'ec', options: { namedCurve: 'P-256' } },
];

/** What `open_sealed.py` prints. */
function openInPython(data, keyFile) {
  const python = join(here, '.venv', 'sealed', 'bin', 'python');
  const options = { input: JSON.stringify(data), encoding: 'utf8', timeout: 30_000 };
  assert.ok(existsSync(python), 'the Python packages are missing: docs/development.md, “Tests”, says how to install them');
  const { status, stdout, stderr, error } = spawnSync(python, [join(here, 'open_sealed.py'), keyFile], options);
  assert.equal(status, 0, `${error ?? stderr}`);
  return JSON.parse(stdout);
}

story('the tokens of a real link are sealed, and both libraries open them', async ({ owner, canaries, install, person }) => {
  const folder = mkdtempSync(join(tmpdir(), 'cloudlink-sealed-'));
  try {
    const plugin = await install();
    await (await person()).links((await plugin.connect()).connect_url);
    const accessToken = await plugin.accessToken();
    const relay = await plugin.relay();
    await relay.eventNamed('oauth');
    for (const { alg, type, options } of KEYS) {
      const { privateKey, publicKey } = generateKeyPairSync(type, options);
      const keyFile = join(folder, `${type}.pem`);
      writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
      const key = await owner.trustKey(plugin.device, alg, publicKey.export({ type: 'spki', format: 'pem' }));
      await plugin.call('PATCH', '/oauth', { json: { seal_to: key }, expect: 200 });

      const sealed = await relay.eventNamed('oauth');
      assert.deepEqual(Object.keys(sealed.data), ['jwe']);
      assert.deepEqual(canaries.foundIn(JSON.stringify(sealed)), [], 'secrets in the frame');
      const header = JSON.parse(Buffer.from(sealed.data.jwe.split('.')[0], 'base64url'));
      assert.deepEqual([header.alg, header.enc, header.kid], [alg, 'A256GCM', key]);

      const tokens = await openSealed(sealed.data, keyFile);
      plugin.remember({ data: tokens });
      assert.equal(tokens.access_token, accessToken);
      assert.ok(tokens.refresh_token && tokens.expires_in > 0);
      assert.deepEqual(openInPython(sealed.data, keyFile), tokens);
    }
    await relay.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the page for authors shows the very programs that ran', () => {
  const page = readFileSync(join(here, '..', '..', 'docs', 'sealed-delivery.md'), 'utf8');
  assert.ok(page.includes(readFileSync(join(here, 'open-sealed.mjs'), 'utf8')));
  assert.ok(page.includes(readFileSync(join(here, 'open_sealed.py'), 'utf8')));
});
