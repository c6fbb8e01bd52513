// SPDX-License-Identifier: Apache-2.0

/**
 * What is computed here are estimates, and floating point does for them. Money never is: market-data
 * and capital-ai count in whole units.
 *
 * @typedef {object} Statistics
 * @property {number} count returns, one fewer than prices
 * @property {number} last
 * @property {number} mean of the log returns
 * @property {number} volatility standard deviation of the log returns
 * @property {number} ewmaVolatility the same, weighted towards the latest (RiskMetrics, lambda 0.94)
 * @property {number} momentum log return over the whole series
 * @property {number} maxDrawdown largest fall from a peak, as a share of the peak
 * @property {number} zScore last price against the mean of all, in standard deviations
 */

const LAMBDA = 0.94;

/**
 * @param {number[]} prices at least three, the oldest first
 * @returns {Statistics}
 */
export function statistics(prices) {
  if (prices.length < 3) throw new RangeError('at least three prices are needed');
  if (!prices.every((price) => Number.isFinite(price) && price > 0)) throw new RangeError('a price is not above zero');
  const returns = prices.slice(1).map((price, i) => Math.log(price / prices[i]));
  const last = prices[prices.length - 1];

  let ewma = returns[0] ** 2;
  for (const value of returns.slice(1)) ewma = LAMBDA * ewma + (1 - LAMBDA) * value ** 2;

  let peak = prices[0];
  let maxDrawdown = 0;
  for (const price of prices) {
    peak = Math.max(peak, price);
    maxDrawdown = Math.max(maxDrawdown, (peak - price) / peak);
  }
  const spread = deviation(prices);
  return {
    count: returns.length,
    last,
    mean: mean(returns),
    volatility: deviation(returns),
    ewmaVolatility: Math.sqrt(ewma),
    momentum: Math.log(last / prices[0]),
    maxDrawdown,
    zScore: spread === 0 ? 0 : (last - mean(prices)) / spread,
  };
}

/**
 * Pearson's correlation of the log returns of two series, over as many as both have.
 *
 * @param {number[]} left
 * @param {number[]} right
 */
export function correlation(left, right) {
  const length = Math.min(left.length, right.length);
  if (length < 3) throw new RangeError('at least three prices are needed');
  const [a, b] = [left, right].map((prices) => {
    const tail = prices.slice(-length);
    return tail.slice(1).map((price, i) => Math.log(price / tail[i]));
  });
  const [ma, mb] = [mean(a), mean(b)];
  const covariance = a.reduce((sum, value, i) => sum + (value - ma) * (b[i] - mb), 0) / (a.length - 1);
  const product = deviation(a) * deviation(b);
  return product === 0 ? 0 : covariance / product;
}

/** @param {number[]} values */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation. @param {number[]} values */
export function deviation(values) {
  if (values.length < 2) return 0;
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
}
