// SPDX-License-Identifier: Apache-2.0
/** @import { Spec } from './env.mjs' */

/** The image build writes the release version here. */
export const VERSION_FILE = '/app/VERSION';

/**
 * Parser for a whole number within bounds.
 *
 * @param {number} min
 * @param {number} max
 * @returns {(text: string) => number}
 */
export function integer(min, max) {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new Error(`must be a whole number from ${min} to ${max} (got ${JSON.stringify(text)})`);
  };
}

/** Port 0 asks the system for a free port; the "listening" log line names it. */
export const port = integer(0, 65535);

/**
 * Parser for an http or https URL. The URLs end up in log lines and answers,
 * hence no credentials in them, and the message does not repeat the text.
 *
 * @param {string} text
 * @returns {string}
 */
export function httpUrl(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw new Error('must be an http or https URL');
  }
  if (url.username || url.password) throw new Error('must not contain a user name or password');
  return url.href;
}

/** A version without `v` and without build data, as imgforge writes it. */
export const VERSION_PATTERN = /^\d{1,9}\.\d{1,9}\.\d{1,9}(-[0-9A-Za-z.-]{1,40})?$/;

/**
 * Settings that every service of the node takes.
 *
 * @type {Spec}
 */
export const nodeSettings = {
  NODE_ID: { required: true, pattern: /^[a-z0-9][a-z0-9-]{1,62}$/ },
  DEPLOYMENT_ENGINE_URL: { required: true, parse: httpUrl },
  NODE_VERSION: {
    required: true,
    fallbackFile: VERSION_FILE,
    pattern: VERSION_PATTERN,
  },
  LOG_LEVEL: { default: 'info', pattern: /^(debug|info|warn|error)$/ },
  STOP_TIMEOUT_MS: { default: '10000', parse: integer(1, 600_000) },
};
