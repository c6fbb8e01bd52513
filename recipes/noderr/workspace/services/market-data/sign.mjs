// SPDX-License-Identifier: Apache-2.0
import { lines } from '@noderr/runtime/wallet.mjs';

/**
 * @typedef {object} Quote
 * @property {string} nodeId
 * @property {string} symbol
 * @property {string} price canonical text, see formatPrice
 * @property {number} count number of fresh sources behind the price
 * @property {string} asOf ISO 8601 time in UTC with milliseconds
 */

/**
 * The text that is signed: six lines in this order, without a line feed at the end.
 *
 * @param {Quote} quote
 * @returns {string}
 */
export function canonicalMessage({ nodeId, symbol, price, count, asOf }) {
  return lines('noderr-price-v1', { node: nodeId, symbol, price, count, asOf });
}
