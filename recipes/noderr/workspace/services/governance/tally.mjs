// SPDX-License-Identifier: Apache-2.0
import { lines } from '@noderr/runtime/wallet.mjs';

/** @typedef {'yes' | 'no'} Choice */
/** @typedef {'open' | 'passed' | 'rejected' | 'expired'} Status */

/** This share of the whole weight has to vote, and this share of what is cast has to say yes. */
export const QUORUM = [1n, 2n];
export const MAJORITY = [2n, 3n];

/**
 * The text that a voter signs.
 *
 * @param {{ proposal: string, digest: string, choice: Choice }} vote `digest` is of the proposal's
 *   content, so that nobody's vote counts for a text that was changed
 */
export function ballot({ proposal, digest, choice }) {
  return lines('noderr-ballot-v1', { proposal, digest, choice });
}

/**
 * Whole numbers only: a share that is exactly two thirds passes on every machine.
 *
 * @param {Map<string, bigint>} weights of all voters, by address
 * @param {Map<string, Choice>} votes by address
 * @param {'running' | 'over'} period
 * @returns {{ status: Status, yes: string, no: string, total: string }}
 */
export function tally(weights, votes, period) {
  const sum = (/** @type {bigint[]} */ values) => values.reduce((all, value) => all + value, 0n);
  const weigh = (/** @type {Choice} */ choice) =>
    sum([...votes].filter(([, cast]) => cast === choice).map(([voter]) => weights.get(voter) ?? 0n));
  const [yes, no, total] = [weigh('yes'), weigh('no'), sum([...weights.values()])];
  const counts = { yes: yes.toString(), no: no.toString(), total: total.toString() };

  // Decided early only when no vote that is still missing could change it.
  if (yes * MAJORITY[1] >= total * MAJORITY[0]) return { status: 'passed', ...counts };
  if (no * MAJORITY[1] > total * (MAJORITY[1] - MAJORITY[0])) return { status: 'rejected', ...counts };
  if (period === 'running') return { status: 'open', ...counts };
  const cast = yes + no;
  if (cast * QUORUM[1] < total * QUORUM[0]) return { status: 'expired', ...counts };
  return { status: yes * MAJORITY[1] >= cast * MAJORITY[0] ? 'passed' : 'rejected', ...counts };
}
