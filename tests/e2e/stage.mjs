// The stage of one test file: cloudlink, the provider and a browser, started once; a new device, slot and person for
// each story. When the file is done, nothing secret that it saw may stand in cloudlink's log.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Canaries } from './canaries.mjs';
import { Cloudlink } from './cloudlink.mjs';
import { Person, openBrowser } from './browser.mjs';
import { Owner } from './owner.mjs';
import { Plugin } from './plugin.mjs';
import { forgetLog } from './program.mjs';
import { Provider } from './provider.mjs';

const LIMIT = 90_000;

/** Two entries of the plugin store: one with the shared redirect URI, one with its own. */
const PLUGINS = [
  { plugin: 'acme', client: 'acme-shared', redirect_uri: 'shared', path: '' },
  { plugin: 'acme-own', client: 'acme-own', redirect_uri: 'own', path: '/acme-own' },
];

/**
 * Prepares the stage of the file `name` and answers `story(title, body)`, which declares a test. The body gets
 * `cloudlink`, `provider`, `owner`, `canaries`, `install(options)` for a plugin on a new device, and
 * `person(options)` for a browser with no cookies. `homes`: ids of clients that homes have registered themselves.
 */
export function stage(name, { settings = {}, homes = [] } = {}) {
  const world = { canaries: new Canaries() };

  before(async () => {
    const { canaries } = world;
    forgetLog(name);
    world.cloudlink = await Cloudlink.prepare({ name, settings, canaries });
    const redirect = (path) => [`${world.cloudlink.base}/api/cloudlink/redirect${path}`];
    const registered = [...PLUGINS, ...homes.map((client) => ({ client, path: '' }))];
    const clients = registered.map(({ client, path }) => ({ id: client, redirectUris: redirect(path) }));
    // Each is put in its place as soon as it runs, so that it is ended even where another one fails to start.
    await Promise.all([
      Provider.start({ clients, canaries }).then((provider) => (world.provider = provider)),
      openBrowser().then((browser) => (world.browser = browser)),
      world.cloudlink.start(),
    ]);
    world.owner = new Owner(world.cloudlink.owner);
    for (const { plugin, client, redirect_uri } of PLUGINS) {
      await world.owner.putPlugin(plugin, world.provider.oauthConfiguration(client, { redirect_uri }));
    }
  }, { timeout: LIMIT });

  after(async () => {
    const { browser, provider, cloudlink, canaries } = world;
    const closing = await Promise.allSettled([browser?.close(), provider?.stop(), cloudlink?.stop()]);
    const leaked = cloudlink ? canaries.foundIn(cloudlink.log) : [];
    await cloudlink?.remove();
    assert.deepEqual(leaked, [], `j01: secrets in the log of ${name}`);
    assert.deepEqual(closing.filter((c) => c.status === 'rejected').map((c) => c.reason), []);
  }, { timeout: LIMIT });

  return (title, body, limit = LIMIT) => test(title, { timeout: limit }, () => tell(world, title, body));
}

async function tell({ browser, ...world }, title, body) {
  const { canaries, cloudlink, owner } = world;
  const people = [];
  const person = async (options) => {
    people.push(await Person.arrive(browser, { canaries, ...options }));
    return people.at(-1);
  };
  const install = (options) => Plugin.install({ base: cloudlink.base, owner, canaries, plugin: 'acme', ...options });
  try {
    await body({ ...world, person, install });
  } catch (error) {
    // What the browser shows is the first thing one wants to know.
    const name = `failed-${title.replace(/\W+/g, '-').slice(0, 60)}`;
    await Promise.allSettled(people.map((p, i) => p.screenshot(`${name}-${i}`)));
    throw error;
  } finally {
    await Promise.allSettled(people.map((p) => p.leave()));
  }
}
