// The provider's own two pages, plain as a small vendor's: sign in, and consent.

const escaped = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]);

const page = (title, body) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>
  body { font: 16px/1.5 sans-serif; max-width: 22rem; margin: 3rem auto; padding: 0 1rem; color: #223 }
  label, input { display: block; width: 100%; box-sizing: border-box; margin: .3rem 0 }
  input, button { font: inherit; padding: .5rem } button { margin: 1rem .5rem 0 0 }
</style>
<h1>${escaped(title)}</h1>
${body}</html>`;

export const signInPage = (action) =>
  page(
    'Acme Thermostats',
    `<form method="post" action="${escaped(action)}">
       <label>User <input name="user" autocomplete="username"></label>
       <label>Password <input name="password" type="password" autocomplete="current-password"></label>
       <button name="action" value="sign-in">Sign in</button>
     </form>`,
  );

export const consentPage = (action, { client, scopes }) =>
  page(
    'Allow access?',
    `<p><b>${escaped(client)}</b> wants to read and set your thermostats.</p>
     <p>Scope: ${escaped(scopes)}</p>
     <form method="post" action="${escaped(action)}">
       <button name="action" value="allow">Allow</button>
       <button name="action" value="deny">Deny</button>
     </form>`,
  );

/** Stands in place of the redirect to the client: shows where it would have led. */
export const parkedPage = (location) => page('Parked', `<a id="callback" href="${escaped(location)}">callback</a>`);
