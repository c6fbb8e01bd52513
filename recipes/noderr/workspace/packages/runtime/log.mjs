// SPDX-License-Identifier: Apache-2.0

/** @typedef {'debug' | 'info' | 'warn' | 'error'} Level */
/** @typedef {(msg: string, fields?: Record<string, unknown>) => void} Write */
/** @typedef {Record<Level, Write>} Logger */

/** @type {Level[]} */
const LEVELS = ['debug', 'info', 'warn', 'error'];

/**
 * A logger that writes one JSON object per line.
 *
 * @param {{ service: string, level: Level, out?: { write(line: string): unknown } }} options
 * @returns {Logger}
 */
export function createLogger({ service, level, out = process.stdout }) {
  const lowest = LEVELS.indexOf(level);
  /** @param {Level} name @returns {Write} */
  const writer = (name) => (msg, fields = {}) => {
    if (LEVELS.indexOf(name) < lowest) return;
    const head = { time: new Date().toISOString(), level: name, service, msg };
    // The head comes first for the reader and last so that no field replaces it.
    out.write(JSON.stringify({ ...head, ...fields, ...head }, plain) + '\n');
  };
  return {
    debug: writer('debug'),
    info: writer('info'),
    warn: writer('warn'),
    error: writer('error'),
  };
}

/**
 * JSON.stringify drops the text of an Error and throws on a BigInt.
 *
 * @param {string} _key
 * @param {unknown} value
 */
function plain(_key, value) {
  if (value instanceof Error) return { name: value.name, message: value.message, stack: value.stack };
  return typeof value === 'bigint' ? value.toString() : value;
}
