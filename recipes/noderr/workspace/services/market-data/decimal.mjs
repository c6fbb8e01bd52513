// SPDX-License-Identifier: Apache-2.0
import { formatUnits, parseUnits } from 'ethers';

/**
 * Prices are BigInt counts of 10^-18. No price ever passes through a JavaScript
 * number, which cannot hold 0.1 exactly.
 */
export const DECIMALS = 18;

/** What a price looks like in JSON: no sign, no exponent, no leading zeros. */
export const PRICE_PATTERN = '^(0|[1-9][0-9]{0,17})(\\.[0-9]{1,18})?$';

/**
 * @param {string} text matches PRICE_PATTERN
 * @returns {bigint}
 */
export function parsePrice(text) {
  return parseUnits(text, DECIMALS);
}

/**
 * The one text for a price: no trailing zeros, no bare point. The text is
 * signed, so two spellings of one price would be two messages.
 *
 * @param {bigint} price
 * @returns {string}
 */
export function formatPrice(price) {
  return formatUnits(price, DECIMALS).replace(/\.0$/, '');
}

/**
 * Middle value; for an even count the mean of the two middle ones, rounded
 * down to the last of the 18 decimals.
 *
 * @param {bigint[]} prices at least one
 * @returns {bigint}
 */
export function median(prices) {
  if (prices.length === 0) throw new RangeError('median of no prices');
  const sorted = [...prices].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length % 2 === 1) return sorted[middle];
  return (sorted[middle - 1] + sorted[middle]) / 2n;
}
