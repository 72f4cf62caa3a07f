'use strict';

// The signature of a webhook's body, as Meta makes it.

// Browsers give crypto.subtle only to pages from https:, localhost or disk.
const CAN_SIGN = globalThis.crypto?.subtle !== undefined;

// Resolves with the value of X-Hub-Signature-256: HMAC-SHA256 of the body's bytes, in hex.
// `secret` must not be empty.
async function signatureOf(body, secret) {
  const bytes = (text) => new TextEncoder().encode(text);
  const method = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', bytes(secret), method, false, ['sign']);
  const code = new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes(body)));
  return `sha256=${[...code].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}
