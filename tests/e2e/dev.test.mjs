// `cloudlink dev`, the newcomer's one command: everything on one machine, nothing to configure.

import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Canaries } from './canaries.mjs';
import { Person, PAGE, openBrowser } from './browser.mjs';
import { Program, forgetLog } from './program.mjs';

const LINK = /https?:\/\/\S+\/connect\/\S+/;
const CLEAN_END = { code: 0, signal: null };

const canaries = new Canaries();
let browser;
let folder;

before(async () => {
  forgetLog('dev');
  browser = await openBrowser();
  folder = mkdtempSync(join(tmpdir(), 'cloudlink-dev-'));
  // PostgreSQL refuses to run as root: its user must be able to walk in.
  chmodSync(folder, 0o755);
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

const dev = () => Program.run(['dev'], { environment: { CLOUDLINK_DATA_DIR: join(folder, 'data') }, log: 'dev' });

/** The next link that the terminal offers. */
const link = async ({ out }) => (await out.next((line) => LINK.test(line), 60_000)).match(LINK)[0];

test('the first run links the demo account and the second starts where it stopped', { timeout: 180_000 }, async () => {
  const first = dev();
  try {
    const ada = await Person.arrive(browser, { canaries });

    // She refuses, and is offered another link.
    await ada.opens(await link(first));
    await ada.screenshot('50-dev-connect-page');
    await ada.continues();
    await ada.page.getByRole('button', { name: 'Deny' }).click();
    await ada.sees(PAGE.denied);

    await ada.opens(await link(first));
    await ada.continues();
    await ada.page.getByRole('button', { name: 'Allow' }).waitFor();
    await ada.screenshot('51-dev-consent');
    await ada.page.getByRole('button', { name: 'Allow' }).click();
    await ada.sees(PAGE.delivered);
    await ada.screenshot('52-dev-linked');

    const event = await first.out.next((line) => /\boauth\b.*access_token=/.test(line), 20_000);
    assert.match(event, /access_token=.{1,4}…\(43 chars\) .*expires in (59|60) min, version \d+$/);
    await first.out.next((line) => /acknowledged version/.test(line), 20_000);
    await first.out.next((line) => /The page in your browser says so too/.test(line), 20_000);
    await ada.leave();
  } finally {
    assert.deepEqual(await first.stop('SIGINT'), CLEAN_END);
  }

  const second = dev();
  try {
    await second.out.next((line) => /\boauthTokens\b.*access_token=/.test(line), 60_000);
    assert.ok(await link(second), 'it can be linked anew');
  } finally {
    assert.deepEqual(await second.stop('SIGTERM'), CLEAN_END);
  }
  assert.deepEqual(canaries.foundIn(second.log, { except: ['connect handle'] }), [], 'secrets in the terminal');
});

test('a second one on the same folder says what to do', { timeout: 120_000 }, async () => {
  const first = dev();
  try {
    await link(first);
    const second = dev();
    await second.err.next((line) => /in use by another cloudlink.*CLOUDLINK_DATA_DIR/.test(line), 60_000);
    assert.equal((await second.ended()).code, 1);
  } finally {
    assert.deepEqual(await first.stop('SIGINT'), CLEAN_END);
  }
});
