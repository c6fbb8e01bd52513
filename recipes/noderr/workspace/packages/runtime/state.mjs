// SPDX-License-Identifier: Apache-2.0
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** @import { Spec } from './env.mjs' */

/**
 * Without a directory, what should outlive a restart does not; outside of an image that may do.
 *
 * @type {Spec}
 */
export const stateSettings = { STATE_DIR: {} };

/**
 * One small fact that outlives a restart, in a file of its own.
 *
 * @template T
 * @param {string | undefined} directory
 * @param {string} name
 * @param {(found: any) => T} parse throws when what is found is not what was written
 * @param {T} initial
 * @returns {{ value: T, keep: (value: T) => void }}
 */
export function openState(directory, name, parse, initial) {
  const path = directory && join(directory, `${name}.json`);
  return {
    value: path ? read(path, parse, initial) : initial,
    keep(value) {
      if (!path) return;
      // A crash leaves the old content or the new one, never half of either.
      const temporary = `${path}.new`;
      const file = openSync(temporary, 'w', 0o600);
      try {
        writeSync(file, JSON.stringify(value));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
    },
  };
}

/**
 * @template T
 * @param {string} path
 * @param {(found: any) => T} parse
 * @param {T} initial
 */
function read(path, parse, initial) {
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return initial;
    throw error;
  }
  try {
    return parse(JSON.parse(text));
  } catch (error) {
    // To begin anew would undo the very protection that the file is for.
    throw new Error(`${path} is damaged: ${/** @type {Error} */ (error).message}`);
  }
}

/** Parser of a state that is one number. @param {any} found @returns {number} */
export function wholeNumber(found) {
  if (Number.isSafeInteger(found)) return found;
  throw new Error('not a whole number');
}
