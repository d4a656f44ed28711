// `cloudlink login --headless`: the terminal shows a code, a person types it on their phone, the terminal is signed in.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Program, forgetLog } from './program.mjs';
import { stage } from './stage.mjs';

const LOG = 'login-command';
const story = stage('headless-login');

/** A home folder of somebody's own, in which commands run. */
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

story('the operator signs in with a phone, looks around and signs out', async ({ cloudlink, canaries, person }) => {
  forgetLog(LOG);
  const desk = new Desk();
  try {
    const login = desk.run('login', '--url', cloudlink.base);
    const page = await behind(login, 'Open this page in any browser:');
    const code = await behind(login, 'and type this code:');

    const ada = await person();
    await ada.opens(page);
    await ada.typesCode(code);
    await ada.sees(/^Sign in for a terminal\?$/);
    assert.ok((await ada.reads()).includes(code), 'the page shows the code to compare');
    await ada.screenshot('headless-login-1-question');
    await ada.page.fill('#user', cloudlink.owner.user);
    await ada.page.fill('#owner-password', cloudlink.owner.password);
    await ada.page.click('text=Sign in as the operator');
    await ada.sees(/go back to the terminal/i);
    await ada.seesNoSecret();
    await ada.screenshot('headless-login-2-done');

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
  } finally {
    desk.remove();
  }
});
