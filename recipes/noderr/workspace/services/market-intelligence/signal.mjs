// SPDX-License-Identifier: Apache-2.0

/**
 * @typedef {object} Signal
 * @property {string} symbol
 * @property {number} probabilityUp of the next move, from the model
 * @property {'calm' | 'trending' | 'stressed'} regime
 * @property {number} dispersion spread of the sources around their median, as a share of it
 * @property {string[]} outliers sources that are further off than the limit
 * @property {number} volatility
 * @property {number} momentum
 */

/** A source this far off the median, as a share of it, is named. */
export const OUTLIER_LIMIT = 0.01;

/**
 * @param {object} facts
 * @param {string} facts.symbol
 * @param {{ source: string, price: string }[]} facts.observations
 * @param {{ volatility: number, ewmaVolatility: number, momentum: number, count: number, maxDrawdown: number }} facts.statistics
 * @param {number} facts.probabilityUp
 * @returns {Signal}
 */
export function judge({ symbol, observations, statistics, probabilityUp }) {
  const prices = observations.map(({ price }) => Number(price)).sort((a, b) => a - b);
  const median = prices.length % 2
    ? prices[(prices.length - 1) / 2]
    : (prices[prices.length / 2 - 1] + prices[prices.length / 2]) / 2;
  const off = (/** @type {string} */ price) => Math.abs(Number(price) - median) / median;
  return {
    symbol,
    probabilityUp,
    regime: regime(statistics),
    dispersion: observations.reduce((most, { price }) => Math.max(most, off(price)), 0),
    outliers: observations.filter(({ price }) => off(price) > OUTLIER_LIMIT).map(({ source }) => source).sort(),
    volatility: statistics.volatility,
    momentum: statistics.momentum,
  };
}

/**
 * Stressed: lately twice as volatile as before, or a tenth below a peak. Trending: the way gone is
 * longer than chance would explain, which is two standard deviations of a random walk.
 *
 * @param {{ volatility: number, ewmaVolatility: number, momentum: number, count: number, maxDrawdown: number }} found
 * @returns {'calm' | 'trending' | 'stressed'}
 */
export function regime({ volatility, ewmaVolatility, momentum, count, maxDrawdown }) {
  if (maxDrawdown > 0.1 || ewmaVolatility > 2 * volatility) return 'stressed';
  return Math.abs(momentum) > 2 * volatility * Math.sqrt(count) ? 'trending' : 'calm';
}
