// Calls to cloudlink's API, and what they must answer.

import assert from 'node:assert/strict';

/** The header of HTTP Basic. */
export const basic = (user, password) => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

/**
 * One call. `json` or `form` is the body. With `expect`, any other status fails the test.
 * Answers `{status, headers, body}`; the body is parsed where it is JSON.
 */
export async function call(method, url, { authorization, json, form, expect } = {}) {
  const headers = { accept: 'application/json' };
  if (authorization) headers.authorization = authorization;
  if (json !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(url, {
    method,
    headers,
    body: json === undefined ? form && new URLSearchParams(form) : JSON.stringify(json),
    redirect: 'manual',
    signal: AbortSignal.timeout(90_000),
  });
  const text = await answer.text();
  const isJson = /json/.test(answer.headers.get('content-type') ?? '');
  const body = isJson && text ? JSON.parse(text) : text;
  if (expect !== undefined) {
    assert.equal(answer.status, expect, `${method} ${new URL(url).pathname} answered ${answer.status}: ${text.slice(0, 500)}`);
  }
  return { status: answer.status, headers: answer.headers, body };
}
