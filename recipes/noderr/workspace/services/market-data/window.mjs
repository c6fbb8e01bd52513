// SPDX-License-Identifier: Apache-2.0

/** How far the clock of a source may be ahead of ours. */
export const MAX_AHEAD_MS = 5_000;

/** @typedef {{ price: bigint, observedAt: number }} Entry */
/** @typedef {Entry & { symbol: string, source: string }} Observation */
/** @typedef {'stored' | 'future' | 'stale' | 'older' | 'full'} Outcome */

/**
 * The latest observation per symbol and source. Both counts are bounded, so
 * that no sender can make the process grow without limit.
 */
export class PriceWindow {
  /** @type {Map<string, Map<string, Entry>>} */
  #symbols = new Map();

  /**
   * @param {object} options
   * @param {number} options.maxAgeMs an observation older than this is not fresh
   * @param {number} options.maxSymbols
   * @param {number} options.maxSources per symbol
   * @param {() => number} [options.now]
   */
  constructor({ maxAgeMs, maxSymbols, maxSources, now = Date.now }) {
    this.maxAgeMs = maxAgeMs;
    this.maxSymbols = maxSymbols;
    this.maxSources = maxSources;
    this.now = now;
  }

  /**
   * @param {Observation} observation
   * @returns {Outcome}
   */
  add({ symbol, source, price, observedAt }) {
    if (observedAt > this.now() + MAX_AHEAD_MS) return 'future';
    if (!this.#isFresh({ observedAt })) return 'stale';

    const known = this.#symbols.get(symbol);
    if (!known && this.#symbols.size >= this.maxSymbols && !this.#dropStaleSymbol()) return 'full';
    const sources = known ?? new Map();

    const previous = sources.get(source);
    if (previous && previous.observedAt > observedAt) return 'older';
    if (!previous && sources.size >= this.maxSources && !this.#dropStaleSource(sources)) return 'full';

    sources.set(source, { price, observedAt });
    this.#symbols.set(symbol, sources);
    return 'stored';
  }

  /**
   * @param {string} symbol
   * @returns {bigint[] | undefined} undefined when the symbol is unknown
   */
  freshPrices(symbol) {
    const sources = this.#symbols.get(symbol);
    return sources && [...sources.values()].filter((entry) => this.#isFresh(entry)).map((entry) => entry.price);
  }

  /**
   * @param {string} symbol
   * @returns {{ source: string, price: bigint }[]} what each source said last, fresh ones only
   */
  freshObservations(symbol) {
    const sources = this.#symbols.get(symbol) ?? new Map();
    return [...sources]
      .filter(([, entry]) => this.#isFresh(entry))
      .map(([source, { price }]) => ({ source, price }));
  }

  /** @returns {string[]} */
  symbols() {
    return [...this.#symbols.keys()].sort();
  }

  /**
   * @param {string} symbol a known one
   * @returns {number} time of its newest observation
   */
  newest(symbol) {
    const sources = this.#symbols.get(symbol) ?? new Map();
    return Math.max(...[...sources.values()].map((entry) => entry.observedAt));
  }

  /** @param {{ observedAt: number }} entry */
  #isFresh({ observedAt }) {
    return this.now() - observedAt <= this.maxAgeMs;
  }

  /** Stale data goes only when its place is needed: until then it shows in the age metric. */
  #dropStaleSymbol() {
    for (const symbol of this.#symbols.keys()) {
      if (this.freshPrices(symbol)?.length === 0) return this.#symbols.delete(symbol);
    }
    return false;
  }

  /** @param {Map<string, Entry>} sources */
  #dropStaleSource(sources) {
    for (const [source, entry] of sources) {
      if (!this.#isFresh(entry)) return sources.delete(source);
    }
    return false;
  }
}
