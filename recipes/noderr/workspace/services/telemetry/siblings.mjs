// SPDX-License-Identifier: Apache-2.0
import { LOOPBACK, portOf, reasonOf } from '@noderr/runtime/peers.mjs';
import { httpUrl } from '@noderr/runtime/settings.mjs';

/** @import { Logger } from '@noderr/runtime/log.mjs' */
/** @typedef {{ name: string, url: string }} Sibling */

/**
 * Parse `name,name=url`. A name alone stands for that service on this machine.
 *
 * @param {string} text
 * @returns {Sibling[]}
 */
export function parseSiblings(text) {
  /** @type {Map<string, Sibling>} */
  const siblings = new Map();
  for (const item of text.split(',')) {
    const [, name, base] = /^\s*([a-z0-9][a-z0-9-]{0,62})(?:=(\S+))?\s*$/.exec(item) ?? [];
    if (!name) throw new Error('must be a list like market-data,strategy=http://127.0.0.1:4016');
    if (siblings.has(name)) throw new Error(`names ${name} twice`);
    try {
      siblings.set(name, { name, url: httpUrl(base ?? `http://${LOOPBACK}:${portOf(name)}`) });
    } catch (error) {
      throw new Error(`entry ${name}: ${/** @type {Error} */ (error).message}`);
    }
  }
  return [...siblings.values()];
}

/**
 * Ask every sibling for its /health, once.
 *
 * @param {object} options
 * @param {Sibling[]} options.siblings
 * @param {number} options.timeoutMs time one sibling has to answer
 * @param {Map<string, boolean>} options.last what the pass before found; updated
 * @param {Logger} options.log
 * @param {(name: string, up: boolean) => void} options.onState called after every check
 */
export async function checkSiblings({ siblings, timeoutMs, last, log, onState }) {
  await Promise.all(siblings.map(async ({ name, url }) => {
    const { up, detail } = await askHealth(new URL('/health', url), timeoutMs);
    // One line per change, not one per pass.
    if (last.get(name) !== up) {
      log[up ? 'info' : 'warn'](up ? 'sibling is up' : 'sibling is down', { sibling: name, detail });
    }
    last.set(name, up);
    onState(name, up);
  }));
}

/**
 * @param {URL} url
 * @param {number} timeoutMs
 * @returns {Promise<{ up: boolean, detail: string }>}
 */
async function askHealth(url, timeoutMs) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'manual' });
    await response.body?.cancel();
    return { up: response.ok, detail: `status ${response.status}` };
  } catch (error) {
    return { up: false, detail: reasonOf(error) };
  }
}
