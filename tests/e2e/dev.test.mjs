// `cloudlink dev`, the newcomer's one command: everything on one machine, nothing to configure.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Canaries } from './canaries.mjs';
import { Person, PAGE, openBrowser } from './browser.mjs';
import { Program, forgetLog } from './program.mjs';

const canaries = new Canaries();
let browser;
let folder;

before(async () => {
  forgetLog('dev');
  browser = await openBrowser();
  folder = mkdtempSync(join(tmpdir(), 'cloudlink-dev-'));
  chmodSync(folder, 0o755);
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

const dev = () => Program.run(['dev'], { environment: { CLOUDLINK_DATA_DIR: join(folder, 'data') }, log: 'dev' });
const ADDRESS = /https?:\/\/[^\s"'<>]+/;

test('the first run links the demo account and the second starts where it stopped', { timeout: 120_000 }, async () => {
  const first = dev();
  try {
    const [url] = (await first.out.next((line) => ADDRESS.test(line), 60_000)).match(ADDRESS);
    const ada = await Person.arrive(browser, { canaries });
    await ada.opens(url);
    await ada.screenshot('50-dev-connect-page');
    await ada.continues();
    await ada.page.getByRole('button', { name: /allow|agree|approve|accept|yes/i }).waitFor();
    await ada.screenshot('51-dev-consent');
    await ada.page.getByRole('button', { name: /allow|agree|approve|accept|yes/i }).click();
    await ada.sees(PAGE.delivered);
    await ada.screenshot('52-dev-linked');
    await first.out.next((line) => /\boauth\b/.test(line), 20_000);
    await first.out.next((line) => /ack/i.test(line), 20_000);
    await ada.leave();
  } finally {
    await first.stop('SIGINT');
  }

  const second = dev();
  try {
    await second.out.next((line) => /\boauthTokens\b/.test(line), 60_000);
  } finally {
    await second.stop('SIGINT');
  }
  assert.deepEqual(canaries.foundIn(second.log, { except: ['connect handle'] }), [], 'secrets in the terminal');
});
