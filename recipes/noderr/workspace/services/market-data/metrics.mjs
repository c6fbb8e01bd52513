// SPDX-License-Identifier: Apache-2.0
import { Counter, Gauge } from 'prom-client';

/** @import { Registry } from 'prom-client' */
/** @import { PriceWindow } from './window.mjs' */

/** Pairs of symbol and source that get a counter of their own. */
export const MAX_COUNTED_PAIRS = 200;

/**
 * @param {Registry} registry
 * @param {PriceWindow} window
 * @returns {{ countObservation: (symbol: string, source: string) => void }}
 */
export function createMetrics(registry, window) {
  const registers = [registry];
  const observations = new Counter({
    name: 'noderr_observations_total',
    help: `Stored observations; after ${MAX_COUNTED_PAIRS} pairs new ones are counted as "other"`,
    labelNames: ['symbol', 'source'],
    registers,
  });
  new Gauge({
    name: 'noderr_price_age_seconds',
    help: 'Age of the newest observation of a symbol',
    labelNames: ['symbol'],
    registers,
    // Computed when scraped: an age that is set on arrival would always be 0.
    collect() {
      this.reset();
      for (const symbol of window.symbols()) {
        this.set({ symbol }, Math.max(0, window.now() - window.newest(symbol)) / 1000);
      }
    },
  });

  // The window forgets stale entries but a counter never forgets a label, so
  // the bound of the window does not bound the counter.
  /** @type {Set<string>} */
  const pairs = new Set();
  return {
    countObservation(symbol, source) {
      const pair = `${symbol} ${source}`;
      if (!pairs.has(pair) && pairs.size >= MAX_COUNTED_PAIRS) {
        observations.inc({ symbol: 'other', source: 'other' });
        return;
      }
      pairs.add(pair);
      observations.inc({ symbol, source });
    },
  };
}
