// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';

/** @typedef {{ id: string, symbol: string, side: 'buy' | 'sell', notional: string }} Order */
/** @typedef {{ sequence: number, order: Order, height: number, previous: string, digest: string }} Receipt */

/** What the first receipt has as its previous one. */
export const GENESIS = '0'.repeat(64);

/**
 * Digest of an order: the same fields always in the same order.
 *
 * @param {Order} order
 */
export function orderDigest({ id, symbol, side, notional }) {
  return createHash('sha256').update(JSON.stringify(['noderr-order-v1', id, symbol, side, notional])).digest('hex');
}

/** Receipts, each holding the digest of the one before: none can be left out or changed unseen. */
export class Ledger {
  /** @type {Receipt[]} */
  #receipts = [];
  /** @type {Map<string, Receipt>} */
  #byId = new Map();

  /** @param {number} kept receipts that can still be asked for */
  constructor(kept) {
    this.kept = kept;
    this.last = { sequence: 0, digest: GENESIS };
  }

  /**
   * @param {Order} order
   * @param {number} height at which consensus decided for it
   * @returns {Receipt}
   */
  add(order, height) {
    const sequence = this.last.sequence + 1;
    const previous = this.last.digest;
    const receipt = { sequence, order, height, previous, digest: receiptDigest({ sequence, order, height, previous }) };
    this.#receipts.push(receipt);
    this.#byId.set(order.id, receipt);
    this.last = receipt;
    if (this.#receipts.length > this.kept) {
      const [gone] = this.#receipts.splice(0, 1);
      this.#byId.delete(gone.order.id);
    }
    return receipt;
  }

  /** @param {string} id */
  find(id) {
    return this.#byId.get(id);
  }

  /**
   * @param {number} sequence
   * @param {number} limit
   * @returns {Receipt[]} those after a sequence, the oldest first
   */
  after(sequence, limit) {
    return this.#receipts.filter((receipt) => receipt.sequence > sequence).slice(0, limit);
  }
}

/** @param {Omit<Receipt, 'digest'>} receipt */
export function receiptDigest({ sequence, order, height, previous }) {
  const content = ['noderr-receipt-v1', sequence, orderDigest(order), height, previous];
  return createHash('sha256').update(JSON.stringify(content)).digest('hex');
}
