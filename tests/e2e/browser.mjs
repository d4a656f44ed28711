// A person with a phone: Debian's Chromium driven by playwright-core, one clean cookie jar each.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

import { chromium } from 'playwright-core';

import { ARTEFACTS } from './program.mjs';
import { ACCOUNT } from './provider.mjs';

const QUIET = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** The browser that `CHROMIUM` names, or the first one on the path. */
function executable() {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const onPath = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
  const found = process.env.CHROMIUM ?? onPath.find((path) => existsSync(path));
  if (!found) throw new Error('No browser was found: install Chromium, or name its binary in CHROMIUM.');
  return found;
}

export function openBrowser() {
  return chromium.launch({ executablePath: executable(), args: QUIET });
}

export class Person {
  #context;
  #canaries;

  /** Origins the browser asked for anything. */
  origins = new Set();

  /** `login`: `{origin, user, password}`, what this browser answers to HTTP Basic there. */
  static async arrive(browser, { canaries, javaScript = true, login }) {
    const person = new Person();
    person.#canaries = canaries;
    const credentials = login && { origin: login.origin, username: login.user, password: login.password };
    const options = { ...PHONE, javaScriptEnabled: javaScript, httpCredentials: credentials };
    person.#context = await browser.newContext(options);
    person.#context.setDefaultTimeout(15_000);
    person.#context.on('request', (request) => {
      const url = new URL(request.url());
      if (!url.protocol.startsWith('http')) return;
      person.origins.add(url.origin);
      canaries.addUrl(url);
    });
    person.page = await person.#context.newPage();
    return person;
  }

  /** Does what opens a new tab, and goes on there; answers the tab from before. */
  async goesOnInNewTab(action) {
    const before = this.page;
    [this.page] = await Promise.all([this.#context.waitForEvent('page'), action()]);
    return before;
  }

  /** Closes the tab and goes back to `before`. */
  async returnsTo(before) {
    await this.page.close();
    this.page = before;
  }

  /** Closes the browser window; the cookies it had are canaries too. */
  async leave() {
    for (const { name, value } of await this.#context.cookies()) this.#canaries.add(`cookie ${name}`, value);
    await this.#context.close();
  }

  /** Where the address bar stands. */
  get address() {
    return new URL(this.page.url());
  }

  /** The cookies that `origin` has set. */
  cookies(origin) {
    return this.#context.cookies(origin);
  }

  /** Calls with this browser's cookies, redirects not followed. */
  get(url) {
    return this.#context.request.get(url, { maxRedirects: 0 });
  }

  async opens(url) {
    return this.page.goto(url);
  }

  /** On cloudlink's page: go on to the provider. */
  async continues() {
    await this.page.click('button[name="decision"][value="continue"]');
  }

  /** On cloudlink's page: no. */
  async cancels() {
    await this.page.click('button[name="decision"][value="cancel"]');
  }

  /** On cloudlink's `/link` page: the code that the plugin showed. */
  async typesCode(code) {
    await this.page.fill('input[name="user_code"]', code);
    await this.page.press('input[name="user_code"]', 'Enter');
  }

  /** Whether cloudlink's page asks for a user code. */
  isAskedForACode() {
    return this.page.locator('input[name="user_code"]').isVisible();
  }

  /** On cloudlink's `/link` page: the code stands there already. */
  async confirmsCode() {
    await this.page.press('input[name="user_code"]', 'Enter');
  }

  /** On the provider's page: user and password. */
  async signsIn() {
    await this.page.fill('input[name="user"]', ACCOUNT.user);
    await this.page.fill('input[name="password"]', ACCOUNT.password);
    await this.page.click('button[value="sign-in"]');
  }

  /** On the provider's consent page: yes. */
  async allows() {
    await this.page.click('button[value="allow"]');
  }

  /** On the provider's consent page: no. */
  async denies() {
    await this.page.click('button[value="deny"]');
  }

  /** The whole way from the connect page to the result page. */
  async links(url) {
    await this.opens(url);
    await this.continues();
    await this.signsIn();
    await this.allows();
    await this.sees(PAGE.linked);
  }

  /** From the connect page to the callback, which is caught before cloudlink gets it; answers its URL. */
  async getsCallback(provider, url) {
    provider.parkNext = true;
    await this.opens(url);
    await this.continues();
    await this.signsIn();
    await this.allows();
    return this.page.getAttribute('#callback', 'href');
  }

  /** Waits until the page says it. */
  async sees(text) {
    await this.page.getByText(text).first().waitFor();
  }

  /** Text of the page as a person reads it. */
  async reads() {
    return this.page.innerText('body');
  }

  /** The address bar shows no secret, and neither does the page. */
  async seesNoSecret({ except = [] } = {}) {
    assert.deepEqual([...this.address.searchParams.keys()].filter((k) => ['code', 'state', 'iss'].includes(k)), []);
    assert.deepEqual(this.#canaries.foundIn(await this.page.content(), { except }), [], 'secrets in the page');
  }

  async screenshot(name) {
    mkdirSync(ARTEFACTS, { recursive: true });
    await this.page.screenshot({ path: join(ARTEFACTS, `${name}.png`), fullPage: true });
  }

  /** The page as it is on a phone and on a desk. */
  async screenshots(name) {
    await this.screenshot(`${name}-phone`);
    await this.page.setViewportSize({ width: 1280, height: 800 });
    await this.screenshot(`${name}-desk`);
    await this.page.setViewportSize(PHONE.viewport);
  }
}

/** Headings of cloudlink's pages, by how a flow stands. */
export const PAGE = {
  linked: /^(Your account is linked|It worked)$/,
  delivered: /^It worked$/,
  confirm: /^One more step$/,
  denied: /^Not allowed$/,
  cancelled: /^Cancelled$/,
  providerAway: /^The provider does not answer$/,
};
