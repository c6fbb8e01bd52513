// SPDX-License-Identifier: Apache-2.0
import { verify } from 'node:crypto';
import { lines } from '@noderr/runtime/wallet.mjs';

/** @import { KeyObject } from 'node:crypto' */
/** @typedef {{ validator: string, round: number, block: string, signature: string }} Attestation */
/** @typedef {{ stake: bigint, publicKey: KeyObject }} Validator */
/** @typedef {'counted' | 'repeated' | 'double' | 'unknown' | 'excluded' | 'forged' | 'old'} Outcome */

/** Rounds that are kept; a late attestation for an older one changes nothing any more. */
export const ROUNDS_KEPT = 64;

/** @param {{ validator: string, round: number, block: string }} attestation */
export function attestationMessage({ validator, round, block }) {
  return Buffer.from(lines('noderr-attestation-v1', { validator, round, block }));
}

/**
 * Counts which block the stake attests in each round. Whoever attests two blocks in one round is
 * excluded, and the two signed statements are kept: they prove it to everybody.
 */
export class Rounds {
  /** @type {Map<number, Map<string, Attestation>>} */
  #rounds = new Map();
  /** @type {Map<string, [Attestation, Attestation]>} */
  #evidence = new Map();

  /** @param {Map<string, Validator>} validators */
  constructor(validators) {
    this.validators = validators;
    this.total = [...validators.values()].reduce((sum, { stake }) => sum + stake, 0n);
    this.justified = 0;
  }

  /** @param {Attestation} attestation @returns {Outcome} */
  add(attestation) {
    const { validator, round, block, signature } = attestation;
    const known = this.validators.get(validator);
    if (!known) return 'unknown';
    const bytes = attestationMessage(attestation);
    if (!verify(null, bytes, known.publicKey, Buffer.from(signature, 'hex'))) return 'forged';
    if (this.#evidence.has(validator)) return 'excluded';
    if (round <= this.justified - ROUNDS_KEPT) return 'old';

    const votes = this.#rounds.get(round) ?? new Map();
    const before = votes.get(validator);
    if (before) {
      if (before.block === block) return 'repeated';
      this.#evidence.set(validator, [before, attestation]);
      for (const others of this.#rounds.values()) others.delete(validator);
      return 'double';
    }
    votes.set(validator, attestation);
    this.#rounds.set(round, votes);
    if (this.state(round).justified) this.justified = Math.max(this.justified, round);
    this.#forget();
    return 'counted';
  }

  /**
   * @param {number} round
   * @returns {{ round: number, blocks: { block: string, stake: string }[], justified: string | null }}
   */
  state(round) {
    /** @type {Map<string, bigint>} */
    const stakes = new Map();
    for (const { validator, block } of this.#rounds.get(round)?.values() ?? []) {
      stakes.set(block, (stakes.get(block) ?? 0n) + (this.validators.get(validator)?.stake ?? 0n));
    }
    // Of the whole stake, not of what has spoken: silence is no consent.
    const justified = [...stakes].find(([, stake]) => stake * 3n >= this.total * 2n);
    return {
      round,
      blocks: [...stakes].map(([block, stake]) => ({ block, stake: stake.toString() })),
      justified: justified?.[0] ?? null,
    };
  }

  evidence() {
    return [...this.#evidence].map(([validator, attestations]) => ({ validator, attestations }));
  }

  #forget() {
    const rounds = [...this.#rounds.keys()].sort((a, b) => a - b);
    for (const round of rounds.slice(0, Math.max(0, rounds.length - 2 * ROUNDS_KEPT))) this.#rounds.delete(round);
  }
}
