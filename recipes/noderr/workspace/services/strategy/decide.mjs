// SPDX-License-Identifier: Apache-2.0

/** @typedef {'long' | 'flat' | 'short'} Stance */

/**
 * @typedef {object} Rules
 * @property {number} enter probability from which a stance is taken
 * @property {number} leave probability below which it is given up; lower than `enter`, so that a
 *   probability that hovers around one limit does not make the stance flap
 */

/** @type {Rules} */
export const RULES = { enter: 0.6, leave: 0.52 };

/**
 * @param {Stance} stance of before
 * @param {{ probabilityUp: number, regime: string, outliers: string[] }} signal
 * @param {Rules} [rules]
 * @returns {{ stance: Stance, reason: string }}
 */
export function decide(stance, { probabilityUp, regime, outliers }, rules = RULES) {
  if (regime === 'stressed') return { stance: 'flat', reason: 'the market is stressed' };
  if (outliers.length > 0) return { stance: 'flat', reason: 'the sources disagree' };
  const sides = /** @type {const} */ ([['long', probabilityUp], ['short', 1 - probabilityUp]]);
  for (const [side, probability] of sides) {
    if (probability >= rules.enter) return { stance: side, reason: `the model is ${percent(probability)} for it` };
    if (stance === side && probability >= rules.leave) return { stance, reason: 'not weak enough to leave' };
  }
  return { stance: 'flat', reason: 'no edge' };
}

/** @param {number} share */
function percent(share) {
  return `${Math.round(share * 100)} %`;
}
