// SPDX-License-Identifier: Apache-2.0
import { setTimeout as pause } from 'node:timers/promises';
import { reasonOf } from '@noderr/runtime/peers.mjs';

/**
 * Post a report, and again when the engine does not answer, is overloaded (429) or is broken (5xx).
 * Another answer is final: the same report would get it again. The pauses double.
 *
 * @param {URL} url
 * @param {unknown} report
 * @param {object} options
 * @param {number} options.attempts
 * @param {number} options.pauseMs before the second attempt
 * @param {number} options.timeoutMs of one attempt
 * @param {AbortSignal} options.signal
 * @returns {Promise<{ status: number, attempts: number }>}
 */
export async function send(url, report, { attempts, pauseMs, timeoutMs, signal }) {
  for (let attempt = 1; ; attempt += 1) {
    let problem;
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(report),
        signal: AbortSignal.timeout(timeoutMs),
        redirect: 'error', // the report goes where the operator said, nowhere else
      });
      await response.body?.cancel(); // whatever the engine says, the node does not take orders here
      if (response.ok) return { status: response.status, attempts: attempt };
      problem = `status ${response.status}`;
      if (response.status !== 429 && response.status < 500) throw new FinalError(problem);
    } catch (error) {
      if (error instanceof FinalError) throw new Error(`the engine refuses the report: ${error.message}`);
      problem ??= reasonOf(error);
    }
    if (attempt >= attempts) throw new Error(`the engine does not take the report: ${problem}`);
    await pause(pauseMs * 2 ** (attempt - 1), undefined, { signal });
  }
}

class FinalError extends Error {}
