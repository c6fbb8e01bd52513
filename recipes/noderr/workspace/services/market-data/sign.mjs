// SPDX-License-Identifier: Apache-2.0
import { Wallet } from 'ethers';

/**
 * @typedef {object} Quote
 * @property {string} nodeId
 * @property {string} symbol
 * @property {string} price canonical text, see formatPrice
 * @property {number} count number of fresh sources behind the price
 * @property {string} asOf ISO 8601 time in UTC with milliseconds
 */

/**
 * The text that is signed: six lines in this order, joined by a line feed,
 * without one at the end. No field can contain a line feed, so no two quotes
 * share a message. The first line keeps the signature from being taken for
 * one over something else.
 *
 * @param {Quote} quote
 * @returns {string}
 */
export function canonicalMessage({ nodeId, symbol, price, count, asOf }) {
  return [
    'noderr-price-v1',
    `node:${nodeId}`,
    `symbol:${symbol}`,
    `price:${price}`,
    `count:${count}`,
    `asOf:${asOf}`,
  ].join('\n');
}

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
 * EIP-191 signature ("personal_sign") over the canonical message.
 *
 * @param {Wallet} wallet
 * @param {Quote} quote
 */
export async function signQuote(wallet, quote) {
  const message = canonicalMessage(quote);
  return {
    scheme: 'EIP-191',
    signer: wallet.address,
    message,
    value: await wallet.signMessage(message),
  };
}
