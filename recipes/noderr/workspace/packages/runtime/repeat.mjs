// SPDX-License-Identifier: Apache-2.0
import { setTimeout as pause } from 'node:timers/promises';

/** @import { Logger } from './log.mjs' */

/**
 * Do a task again and again until the signal aborts. The pause starts after the task, so that two
 * runs never overlap. A failure is logged when it begins and when it is over, not each time.
 *
 * @param {object} options
 * @param {string} options.what for the log, such as `sample prices`
 * @param {number} options.everyMs
 * @param {AbortSignal} options.signal
 * @param {Logger} options.log
 * @param {() => Promise<void>} options.task
 * @returns {Promise<void>} done after the first run, whatever came of it
 */
export async function repeat({ what, everyMs, signal, log, task }) {
  /** @type {string | undefined} */
  let failure;
  async function once() {
    try {
      await task();
      if (failure !== undefined) log.info(`${what}: works again`);
      failure = undefined;
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      if (!signal.aborted && failure !== message) log.warn(`${what}: failed`, { reason: message });
      failure = message;
    }
  }
  async function forever() {
    while (!signal.aborted) {
      try {
        await pause(everyMs, undefined, { signal, ref: false });
      } catch {
        return; // aborted
      }
      await once();
    }
  }
  await once();
  void forever();
}
