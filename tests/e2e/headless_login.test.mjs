// `cloudlink login`: the terminal shows a code, a person types it on their phone and signs in with an account at a real
// OpenID provider; then the commands work.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { Person } from './browser.mjs';
import { Canaries } from './canaries.mjs';
import { Operators } from './operators.mjs';
import { Program, forgetLog } from './program.mjs';

const NAME = 'headless_login';
const LOG = 'login-command';
const LIMIT = 90_000;
const canaries = new Canaries();
let stage, cloudlink, provider, browser;

before(async () => {
  forgetLog(NAME);
  forgetLog(LOG);
  stage = await Operators.stage({ name: NAME, canaries });
  ({ cloudlink, provider, browser } = stage);
}, { timeout: LIMIT });

after(() => stage?.end(), { timeout: LIMIT });

/** A home folder of somebody's own, in which commands run; it is reached over SSH, so no browser opens there. */
class Desk {
  #home = mkdtempSync(join(tmpdir(), 'cloudlink-desk-'));

  run(...args) {
    const environment = { HOME: this.#home, XDG_CONFIG_HOME: join(this.#home, 'config'), SSH_CONNECTION: 'far away' };
    return Program.run(args, { environment, log: LOG });
  }

  /** Runs a command to its end; answers its lines. */
  async does(...args) {
    const program = this.run(...args);
    assert.deepEqual(await program.ended(), { code: 0, signal: null }, args.join(' '));
    return program.out;
  }

  get credentials() {
    return join(this.#home, 'config', 'cloudlink', 'credentials.json');
  }

  remove() {
    rmSync(this.#home, { recursive: true, force: true });
  }
}

/** What stands behind `label`. */
const behind = async (program, label) =>
  (await program.out.next((line) => line.startsWith(label), 20_000)).slice(label.length).trim();

test('an operator signs in with a phone and an account, looks around and signs out', { timeout: LIMIT }, async () => {
  const desk = new Desk();
  const ada = await Person.arrive(browser, { canaries });
  try {
    const login = desk.run('login', '--url', cloudlink.base);
    const page = await behind(login, 'Open this page in any browser:');
    const code = await behind(login, 'and type this code:');

    await ada.opens(page);
    await ada.typesCode(code);
    await ada.sees('Sign in for a terminal?');
    assert.ok((await ada.reads()).includes(code), 'the page shows the code to compare');
    await ada.screenshot('50-headless-login-question');
    await ada.page.click('button[value="oidc"]');
    await ada.signsIn();
    await ada.allows();
    await ada.sees('You can go back to the terminal');
    await ada.seesNoSecret();
    await ada.screenshot('51-headless-login-done');

    await login.err.next((line) => /Signed in as the owner until/.test(line), 20_000);
    assert.deepEqual(await login.ended(), { code: 0, signal: null });
    const { token } = JSON.parse(readFileSync(desk.credentials, 'utf8'));
    canaries.add('login token', token);
    assert.equal(statSync(desk.credentials).mode & 0o777, 0o600);
    await (await desk.does('permissions')).next((line) => /^who +owner$/.test(line), 5000);
    await (await desk.does('audit')).next((line) => /owner\.login/.test(line), 5000);
    await desk.does('signout');
    assert.equal((await desk.run('audit').ended()).code, 1);
    assert.deepEqual(canaries.foundIn(login.log), [], 'secrets on the terminal');
  } catch (error) {
    await ada.screenshot('failed-headless-login').catch(() => {});
    throw error;
  } finally {
    await ada.leave();
    desk.remove();
  }
});
