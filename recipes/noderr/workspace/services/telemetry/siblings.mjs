// SPDX-License-Identifier: Apache-2.0
import { httpUrl } from '@noderr/runtime/settings.mjs';

/** @import { Logger } from '@noderr/runtime/log.mjs' */
/** @typedef {{ name: string, url: string }} Sibling */

/**
 * Parse `name=url,name=url`.
 *
 * @param {string} text
 * @returns {Sibling[]}
 */
export function parseSiblings(text) {
  /** @type {Map<string, Sibling>} */
  const siblings = new Map();
  for (const item of text.split(',')) {
    const [, name, base] = /^\s*([a-z0-9][a-z0-9-]{0,62})=(\S+)\s*$/.exec(item) ?? [];
    if (!name) throw new Error('must be a list like market-data=http://127.0.0.1:3000');
    if (siblings.has(name)) throw new Error(`names ${name} twice`);
    try {
      siblings.set(name, { name, url: new URL('/health', httpUrl(base)).href });
    } catch (error) {
      throw new Error(`entry ${name} ${/** @type {Error} */ (error).message}`);
    }
  }
  return [...siblings.values()];
}

/**
 * Ask every sibling for its /health, again and again, until the signal aborts.
 * A request under way then is left to itself: the process is about to end.
 *
 * @param {object} options
 * @param {Sibling[]} options.siblings
 * @param {number} options.intervalMs pause between two passes
 * @param {number} options.timeoutMs time one sibling has to answer
 * @param {AbortSignal} options.signal
 * @param {Logger} options.log
 * @param {(name: string, up: boolean) => void} options.onState called after every check
 * @param {() => void} options.onPass called when all siblings were checked once more
 */
export function watchSiblings({ siblings, intervalMs, timeoutMs, signal, log, onState, onPass }) {
  /** @type {Map<string, boolean>} */
  const last = new Map();

  /** @param {Sibling} sibling */
  async function check({ name, url }) {
    const { up, detail } = await askHealth(url, timeoutMs);
    if (signal.aborted) return;
    // One line per change, not one per pass.
    if (last.get(name) !== up) {
      log[up ? 'info' : 'warn'](up ? 'sibling is up' : 'sibling is down', { sibling: name, detail });
    }
    last.set(name, up);
    onState(name, up);
  }

  async function pass() {
    await Promise.all(siblings.map(check));
    if (signal.aborted) return;
    onPass();
    // The pause starts after the pass, so that passes never overlap.
    setTimeout(pass, intervalMs).unref();
  }

  pass();
}

/**
 * The time limit is not joined with the stop signal by AbortSignal.any(): in
 * Node 20 the joined signal can be collected as garbage, and then a silent
 * sibling would hold the request, and with it all later passes, for ever.
 *
 * @param {string} url
 * @param {number} timeoutMs
 * @returns {Promise<{ up: boolean, detail: string }>}
 */
async function askHealth(url, timeoutMs) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'manual' });
    await response.body?.cancel();
    return { up: response.ok, detail: `status ${response.status}` };
  } catch (error) {
    const { message, cause } = /** @type {Error & { cause?: any }} */ (error);
    return { up: false, detail: cause?.code ?? message };
  }
}
