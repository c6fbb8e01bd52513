// SPDX-License-Identifier: Apache-2.0
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** @import { KeyObject } from 'node:crypto' */

const MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const CHANNEL_TYPE = 'https://imgforge.dev/channel/v1';

/** What a clock may be off, as for imgforge itself. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

/**
 * @typedef {object} Channel the document that says which release is current
 * @property {string} project
 * @property {string} channel
 * @property {number} sequence
 * @property {string} issued
 * @property {string} expires
 * @property {string} version
 */

/**
 * Read a channel as `imgforge release` seals it. With a key, the signature is checked over the very
 * bytes that are parsed afterwards, and a wrong one is an error. Without a key nothing is known
 * about who wrote it, and the answer says so.
 *
 * @param {string} text
 * @param {KeyObject | undefined} key
 * @param {{ project: string, channel: string, now: number }} expected
 * @returns {{ channel: Channel, trust: 'verified' | 'unverified' }}
 */
export function openChannel(text, key, expected) {
  const bundle = JSON.parse(text);
  if (bundle?.mediaType !== MEDIA_TYPE) throw new Error('it is no Sigstore bundle v0.3');
  const { payload, payloadType, signatures } = bundle.dsseEnvelope ?? {};
  if (payloadType !== PAYLOAD_TYPE || typeof payload !== 'string') throw new Error('it holds no in-toto statement');
  if (!Array.isArray(signatures) || signatures.length !== 1) throw new Error('it has not exactly one signature');

  const bytes = Buffer.from(payload, 'base64');
  if (key) {
    const head = Buffer.from(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${bytes.length} `);
    const signature = Buffer.from(String(signatures[0]?.sig), 'base64');
    if (!verify('sha256', Buffer.concat([head, bytes]), key, signature)) throw new Error('its signature is wrong');
  }
  const statement = JSON.parse(bytes.toString('utf8'));
  if (statement?.predicateType !== CHANNEL_TYPE) throw new Error('it is no channel');
  return { channel: checked(statement.predicate, expected), trust: key ? 'verified' : 'unverified' };
}

/**
 * @param {any} found
 * @param {{ project: string, channel: string, now: number }} expected
 * @returns {Channel}
 */
function checked(found, { project, channel, now }) {
  if (found?.project !== project || found.channel !== channel) {
    throw new Error(`it is channel ${found?.channel} of ${found?.project}, not ${channel} of ${project}`);
  }
  if (!Number.isSafeInteger(found.sequence) || found.sequence < 1) throw new Error('its sequence is no number');
  if (typeof found.version !== 'string') throw new Error('it names no version');
  const [issued, expires] = [Date.parse(found.issued), Date.parse(found.expires)];
  if (!(issued <= now + MAX_AHEAD_MS)) throw new Error('it is dated ahead of this clock');
  if (!(now < expires)) throw new Error(`it expired at ${found.expires}`);
  return found;
}

/**
 * Parser of the setting that names the file with the release key. The image may hold one at the
 * default place; it does not have to.
 *
 * @param {string} path
 * @returns {KeyObject | undefined}
 */
export function readKey(path) {
  let pem;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'ENOENT') return undefined;
    throw new Error(`cannot be read: ${path}: ${code}`);
  }
  try {
    return createPublicKey(pem);
  } catch {
    throw new Error(`names ${path}, which holds no public key in PEM form`);
  }
}
