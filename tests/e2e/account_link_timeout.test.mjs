// Nobody comes: Home Assistant's client is told that the time is over.

import assert from 'node:assert/strict';

import { HomeAssistant } from './home_assistant.mjs';
import { stage } from './stage.mjs';

const story = stage('account_link_timeout', {
  settings: {
    'account_link.enabled': 'true',
    'account_link.services': 'acme_heat=acme',
    'flow.ttl_seconds': '1',
  },
});

for (const [client, raised] of [['nabucasa', { raised: 'TimeoutError' }], ['contrib', { raised: 'LinkError', code: 'timeout' }]]) {
  story(`${client}: a time that is over`, async ({ cloudlink, canaries, person }) => {
    const home = await HomeAssistant.arrive({ base: cloudlink.base, canaries, client });
    try {
      const attempt = home.link('acme_heat');
      const url = await attempt.authorizeUrl();
      assert.deepEqual(await attempt.end(), raised);
      const ada = await person();
      await ada.opens(url);
      await ada.sees(/start in Home Assistant once more/i);
    } finally {
      await home.leave();
    }
  });
}
