// SPDX-License-Identifier: Apache-2.0
import { Wallet } from 'ethers';

/** @import { Spec } from './env.mjs' */

/** @type {Spec} */
export const walletSettings = {
  WALLET_PRIVATE_KEY: { secret: true, pattern: /^(0x)?[0-9a-fA-F]{64}$/, parse: parseWallet },
};

/**
 * Parser of the private key setting. The error says nothing about the key.
 *
 * @param {string} text 64 hex digits, with or without 0x
 * @returns {Wallet}
 */
export function parseWallet(text) {
  try {
    return new Wallet(text.startsWith('0x') ? text : `0x${text}`);
  } catch {
    throw new Error('is not a valid secp256k1 private key');
  }
}

/**
 * A message whose lines are `key:value` below a first line that says what it is about, so that a
 * signature over one kind of message is never taken for one over another. No value may hold a line
 * feed, so no two lists of fields share a message.
 *
 * @param {string} kind such as `noderr-price-v1`
 * @param {Record<string, string | number>} fields in the order in which they are signed
 * @returns {string}
 */
export function lines(kind, fields) {
  const all = Object.entries(fields).map(([key, value]) => `${key}:${value}`);
  if (all.some((line) => line.includes('\n'))) throw new Error('a signed field holds a line feed');
  return [kind, ...all].join('\n');
}

/**
 * EIP-191 signature ("personal_sign"), or null without a wallet.
 *
 * @param {Wallet | undefined} wallet
 * @param {string} message
 */
export async function sign(wallet, message) {
  if (!wallet) return null;
  return { scheme: 'EIP-191', signer: wallet.address, message, value: await wallet.signMessage(message) };
}
