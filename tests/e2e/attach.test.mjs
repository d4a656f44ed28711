// `cloudlink attach`: the binary itself as the plugin.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Program, forgetLog } from './program.mjs';
import { stage } from './stage.mjs';

const story = stage('attach');

story('it prints one JSON line an event and acknowledges it', async ({ cloudlink, canaries, install, person }) => {
  const plugin = await install();
  const folder = mkdtempSync(join(tmpdir(), 'cloudlink-attach-'));
  const key = join(folder, 'key.pem');
  writeFileSync(key, plugin.keyPem, { mode: 0o600 });
  const where = ['--url', cloudlink.base, '--device', plugin.device, '--key', key, '--slot', plugin.slot];
  forgetLog('attach-command');
  const attach = Program.run(['attach', ...where, '--json'], { log: 'attach-command' });
  const nextEvent = async (wanted) => {
    const event = JSON.parse(await attach.out.next((line) => wanted(JSON.parse(line)), 20_000));
    plugin.remember(event);
    return event;
  };
  try {
    const configuration = await nextEvent(({ event }) => event === 'customns');
    assert.equal(configuration.slot, plugin.slot);
    await plugin.acknowledged(configuration);

    const ada = await person();
    await ada.links((await plugin.connect()).connect_url);
    const linked = await nextEvent(({ event }) => event === 'oauth');
    assert.ok(linked.data.access_token);
    await plugin.acknowledged(linked);
    assert.deepEqual(await attach.stop('SIGTERM'), { code: 0, signal: null });
  } finally {
    await attach.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

story('a device that the server does not know is told what to check', async ({ cloudlink, install }) => {
  const plugin = await install();
  const folder = mkdtempSync(join(tmpdir(), 'cloudlink-attach-'));
  const key = join(folder, 'key.pem');
  writeFileSync(key, plugin.keyPem, { mode: 0o644 });
  const stranger = ['--url', cloudlink.base, '--device', randomUUID(), '--key', key];
  const attach = Program.run(['attach', ...stranger], { log: 'attach-stranger' });
  try {
    await attach.err.next((line) => /chmod 600/.test(line), 20_000);
    await attach.err.next((line) => /refused this device.*trusted keys/.test(line), 20_000);
    assert.equal((await attach.ended()).code, 1);
  } finally {
    await attach.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
