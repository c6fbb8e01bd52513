// SPDX-License-Identifier: Apache-2.0
import { createPublicKey } from 'node:crypto';

/** @import { Validator } from './rounds.mjs' */

/**
 * Parse `name=stake:key,name=stake:key`; a key is an Ed25519 public key, 64 hex digits.
 *
 * @param {string} text
 * @returns {Map<string, Validator>}
 */
export function parseValidators(text) {
  /** @type {Map<string, Validator>} */
  const validators = new Map();
  for (const item of text.split(',')) {
    const [, name, stake, key] = /^([a-z0-9][a-z0-9-]{1,62})=([1-9]\d{0,17}):([0-9a-f]{64})$/.exec(item.trim()) ?? [];
    if (!name) throw new Error('must be a list like validator-2=32:<64 hex digits>');
    if (validators.has(name)) throw new Error(`names ${name} twice`);
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key, 'hex').toString('base64url') };
    validators.set(name, { stake: BigInt(stake), publicKey: createPublicKey({ key: jwk, format: 'jwk' }) });
  }
  return validators;
}
