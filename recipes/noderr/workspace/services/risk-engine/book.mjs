// SPDX-License-Identifier: Apache-2.0

/** @typedef {{ id: string, symbol: string, side: 'buy' | 'sell', notional: bigint }} Order */
/** @typedef {{ perOrder: bigint, perSymbol: bigint, gross: bigint }} Limits in cents */

/** Orders that are held at one time. */
export const MAX_ORDERS = 10_000;

/** What is held, and what may still be. An order either fits below every limit or changes nothing. */
export class Book {
  /** @type {Map<string, Order>} */
  #orders = new Map();

  /** @param {Limits} limits */
  constructor(limits) {
    this.limits = limits;
  }

  /**
   * Why an order would be refused, if it would.
   *
   * @param {Order} order
   * @returns {string | undefined}
   */
  refusal({ symbol, side, notional }) {
    const { perOrder, perSymbol, gross } = this.limits;
    if (notional > perOrder) return `the order is above the limit of ${perOrder} for one order`;
    const now = this.net(symbol);
    const after = side === 'buy' ? now + notional : now - notional;
    // What brings an exposure down is allowed even above a limit that was lowered since.
    if (abs(after) > perSymbol && abs(after) > abs(now)) return `${symbol} would be above its limit of ${perSymbol}`;
    const all = this.gross() - abs(now) + abs(after);
    if (all > gross && all > this.gross()) return `the whole exposure would be above its limit of ${gross}`;
    return undefined;
  }

  /**
   * @param {Order} order
   * @returns {'held' | 'held before' | string} a reason where it is refused
   */
  hold(order) {
    const known = this.#orders.get(order.id);
    if (known) {
      const same = known.symbol === order.symbol && known.side === order.side && known.notional === order.notional;
      return same ? 'held before' : 'another order has this id';
    }
    if (this.#orders.size >= MAX_ORDERS) return 'too many orders are held';
    const refusal = this.refusal(order);
    if (refusal) return refusal;
    this.#orders.set(order.id, order);
    return 'held';
  }

  /** @param {string} id @returns {boolean} whether it was held */
  release(id) {
    return this.#orders.delete(id);
  }

  /** @param {string} symbol @returns {bigint} bought less sold */
  net(symbol) {
    let sum = 0n;
    for (const order of this.#orders.values()) {
      if (order.symbol === symbol) sum += order.side === 'buy' ? order.notional : -order.notional;
    }
    return sum;
  }

  /** @returns {bigint} sum over the symbols, long and short alike */
  gross() {
    return this.symbols().reduce((sum, symbol) => sum + abs(this.net(symbol)), 0n);
  }

  /** @returns {string[]} */
  symbols() {
    return [...new Set([...this.#orders.values()].map(({ symbol }) => symbol))].sort();
  }
}

/** @param {bigint} value */
const abs = (value) => (value < 0n ? -value : value);
