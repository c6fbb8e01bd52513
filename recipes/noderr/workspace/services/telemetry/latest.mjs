// SPDX-License-Identifier: Apache-2.0
import { Counter, Gauge } from 'prom-client';
import { openChannel } from '@noderr/runtime/channel.mjs';
import { readBounded, reasonOf } from '@noderr/runtime/peers.mjs';
import { compareVersions } from '@noderr/runtime/version.mjs';

/** @import { KeyObject } from 'node:crypto' */
/** @import { Registry } from 'prom-client' */
/** @import { Logger } from '@noderr/runtime/log.mjs' */

/** imgforge refuses larger documents too. */
const MAX_BYTES = 1024 * 1024;

/**
 * Looks at the project's channel and reports what is current. It never downloads a release and
 * never installs one: that is the operator's decision, and `imgforge fetch` verifies what it loads.
 *
 * @param {object} options
 * @param {string} options.engine address of the deployment engine; `latest` is below it
 * @param {KeyObject | undefined} options.key
 * @param {string} options.project
 * @param {string} options.channel
 * @param {string} options.running version of this image
 * @param {number} options.timeoutMs
 * @param {Logger} options.log
 * @param {Registry} options.registry
 * @param {{ value: number, keep: (sequence: number) => void }} options.seen highest sequence of any run
 * @param {() => number} [options.now]
 */
export function watchLatest({
  engine, key, project, channel, running, timeoutMs, log, registry, seen, now = Date.now,
}) {
  const registers = [registry];
  const checks = new Counter({
    name: 'noderr_channel_checks_total',
    help: 'Looks at the release channel by result: verified, unverified (no key is given), failed',
    labelNames: ['result'],
    registers,
  });
  const available = new Gauge({
    name: 'noderr_update_available',
    help: '1 when the channel names a newer version than the running one',
    registers,
  });
  for (const result of ['verified', 'unverified', 'failed']) checks.inc({ result }, 0);

  let sequence = seen.value;
  /** @type {Record<string, unknown>} */
  let state = { running, latest: null, trust: null, checkedAt: null, problem: 'not checked yet' };
  const url = new URL('latest', engine.endsWith('/') ? engine : `${engine}/`);

  return {
    state: () => state,
    async check() {
      const checkedAt = new Date(now()).toISOString();
      try {
        const text = await download(url, timeoutMs);
        const found = openChannel(text, key, { project, channel, now: now() });
        if (found.channel.sequence < sequence) {
          throw new Error(`it has sequence ${found.channel.sequence}, and ${sequence} was seen before`);
        }
        // Only a verified document may raise the bar: anybody could write an unverified one.
        if (found.trust === 'verified' && found.channel.sequence > sequence) {
          sequence = found.channel.sequence;
          seen.keep(sequence);
        }
        const latest = found.channel.version;
        const newer = compareVersions(latest, running) > 0;
        checks.inc({ result: found.trust });
        available.set(newer ? 1 : 0);
        if (newer && state.latest !== latest) {
          log.warn('a newer version is there; nothing is installed', { running, latest, trust: found.trust });
        }
        state = { running, latest, trust: found.trust, checkedAt, problem: null };
      } catch (error) {
        checks.inc({ result: 'failed' });
        const { message } = /** @type {Error} */ (error);
        state = { ...state, checkedAt, problem: message };
        throw new Error(`channel ${channel} at ${url.href}: ${message}`);
      }
    },
  };
}

/** @param {URL} url @param {number} timeoutMs */
async function download(url, timeoutMs) {
  let response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' });
    if (response.ok) return await readBounded(response, MAX_BYTES);
  } catch (error) {
    throw new Error(reasonOf(error));
  }
  await response.body?.cancel();
  throw new Error(`status ${response.status}`);
}
