// SPDX-License-Identifier: Apache-2.0

/**
 * @typedef {object} Candidate
 * @property {string} symbol
 * @property {'long' | 'flat' | 'short'} stance
 * @property {number} probabilityUp
 * @property {number} volatility
 */

/** @typedef {{ symbol: string, side: 'long' | 'short', share: number, amount: string }} Position */

/**
 * Half of what Kelly's criterion says for an even bet: the full share is known to swing too much.
 */
const KELLY_FRACTION = 0.5;

/** No symbol gets more than this share of the capital. */
export const MAX_SHARE = 0.25;

/**
 * Share the capital out: half Kelly for each symbol, weighted down where the volatility is above the
 * average, none above MAX_SHARE, all together at most the whole. The rest stays in reserve.
 *
 * @param {bigint} capital in the smallest unit, such as cents
 * @param {Candidate[]} candidates
 * @returns {{ positions: Position[], reserve: string }}
 */
export function allocate(capital, candidates) {
  const active = candidates
    .filter(({ stance }) => stance !== 'flat')
    .sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
  const average = active.reduce((sum, { volatility }) => sum + volatility, 0) / (active.length || 1);
  const wanted = active.map(({ stance, probabilityUp, volatility }) => {
    const edge = 2 * (stance === 'long' ? probabilityUp : 1 - probabilityUp) - 1;
    const calm = volatility > average ? average / volatility : 1;
    return Math.min(MAX_SHARE, Math.max(0, edge) * KELLY_FRACTION * calm);
  });
  const total = wanted.reduce((sum, share) => sum + share, 0);
  const scale = total > 1 ? 1 / total : 1;

  let left = capital;
  const positions = active.map(({ symbol, stance }, i) => {
    // Whole millionths of the capital, rounded down: the positions never add up to more than there is.
    const millionths = BigInt(Math.floor(wanted[i] * scale * 1e6));
    const amount = (capital * millionths) / 1_000_000n;
    left -= amount;
    const side = /** @type {'long' | 'short'} */ (stance);
    return { symbol, side, share: Number(millionths) / 1e6, amount: amount.toString() };
  });
  return { positions: positions.filter(({ amount }) => amount !== '0'), reserve: left.toString() };
}
