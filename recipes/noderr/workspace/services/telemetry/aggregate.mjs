// SPDX-License-Identifier: Apache-2.0
import { readBounded } from '@noderr/runtime/peers.mjs';

/** @import { Sibling } from './siblings.mjs' */

/** One sibling cannot make the answer grow without limit. */
const MAX_BYTES = 512 * 1024;

/** @typedef {{ head: string[], samples: string[] }} Family */

/**
 * Join Prometheus texts into one. The format wants all samples of a metric below a single HELP and
 * TYPE, and each service has metrics of the same name, told apart by the label `service`.
 *
 * @param {string[]} texts
 * @returns {string}
 */
export function mergeMetrics(texts) {
  /** @type {Map<string, Family>} */
  const families = new Map();
  for (const text of texts) {
    /** Metrics that this text is the first to have: it says what they are. @type {Set<string>} */
    const introduced = new Set();
    /** @type {Family | undefined} */
    let current;
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const [, comment, name] = /^# (HELP|TYPE) (\S+)/.exec(line) ?? [];
      if (!comment) {
        current?.samples.push(line);
        continue;
      }
      current = families.get(name);
      if (!current) {
        current = { head: [], samples: [] };
        families.set(name, current);
        introduced.add(name);
      }
      if (introduced.has(name)) current.head.push(line);
    }
  }
  return [...families.values()].flatMap(({ head, samples }) => [...head, ...samples]).join('\n') + '\n';
}

/**
 * The metrics of every sibling that answers in time; `noderr_service_up` tells which do not.
 *
 * @param {Sibling[]} siblings
 * @param {number} timeoutMs
 * @returns {Promise<string[]>}
 */
export async function siblingMetrics(siblings, timeoutMs) {
  const answers = await Promise.allSettled(siblings.map(async ({ url }) => {
    const response = await fetch(new URL('/metrics', url), {
      signal: AbortSignal.timeout(timeoutMs),
      redirect: 'error',
    });
    const text = await readBounded(response, MAX_BYTES);
    return response.ok ? text : '';
  }));
  return answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : ''));
}
