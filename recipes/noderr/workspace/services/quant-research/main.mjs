// SPDX-License-Identifier: Apache-2.0
import { Gauge } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { correlation, statistics } from './statistics.mjs';

const pricesSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['prices'],
  properties: {
    prices: { type: 'array', minItems: 3, maxItems: 2_000, items: { type: 'number', exclusiveMinimum: 0 } },
  },
};

await serve('quant-research', {
  settings: {
    ...peerSettings('market-data'),
    SAMPLE_INTERVAL_MS: { default: '2000', parse: integer(20, 600_000) },
    SAMPLES_KEPT: { default: '256', parse: integer(3, 10_000) },
  },
  setup({ env, log, app, registry, signal }) {
    /** Prices of each symbol, the oldest first. @type {Map<string, number[]>} */
    const series = new Map();
    new Gauge({
      name: 'noderr_volatility',
      help: 'Standard deviation of the log returns of the sampled prices',
      labelNames: ['symbol'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [symbol, prices] of series) {
          if (prices.length >= 3) this.set({ symbol }, statistics(prices).volatility);
        }
      },
    });

    /** @param {string} symbol */
    function known(symbol) {
      const prices = series.get(symbol);
      if (!prices) throw httpError(404, 'unknown symbol');
      return prices;
    }
    /** @template T @param {() => T} compute @returns {T} */
    function computed(compute) {
      try {
        return compute();
      } catch (error) {
        if (error instanceof RangeError) throw httpError(503, `${error.message}; there will be more soon`);
        throw error;
      }
    }

    app.get('/v1/symbols', async () => ({ symbols: [...series.keys()].sort() }));
    app.get('/v1/series/:symbol', async (request) => {
      const { symbol } = /** @type {{ symbol: string }} */ (request.params);
      return { symbol, prices: known(symbol) };
    });
    app.get('/v1/statistics/:symbol', async (request) => {
      const { symbol } = /** @type {{ symbol: string }} */ (request.params);
      return { symbol, ...computed(() => statistics(known(symbol))) };
    });
    app.get('/v1/correlations/:left/:right', async (request) => {
      const { left, right } = /** @type {Record<string, string>} */ (request.params);
      return { left, right, correlation: computed(() => correlation(known(left), known(right))) };
    });
    app.post('/v1/statistics', { schema: { body: pricesSchema } }, async (request) =>
      statistics(/** @type {{ prices: number[] }} */ (request.body).prices));

    return () => repeat({
      what: 'sample prices',
      everyMs: env.SAMPLE_INTERVAL_MS,
      signal,
      log,
      async task() {
        const { symbols } = await ask(env.MARKET_DATA_URL, '/v1/symbols');
        const fresh = symbols.filter((/** @type {{ count: number }} */ { count }) => count > 0);
        // market-data bounds its symbols; what it has forgotten is forgotten here too.
        const names = new Set(symbols.map((/** @type {{ symbol: string }} */ { symbol }) => symbol));
        for (const symbol of series.keys()) if (!names.has(symbol)) series.delete(symbol);
        for (const { symbol } of fresh) {
          const { price } = await ask(env.MARKET_DATA_URL, `/v1/prices/${symbol}`);
          series.set(symbol, [...(series.get(symbol) ?? []), Number(price)].slice(-env.SAMPLES_KEPT));
        }
      },
    });
  },
});
