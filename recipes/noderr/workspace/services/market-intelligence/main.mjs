// SPDX-License-Identifier: Apache-2.0
import { Gauge } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { judge } from './signal.mjs';

/** @import { Signal } from './signal.mjs' */

/** As many prices as the model looks at. */
const MODEL_PRICES = 8;

await serve('market-intelligence', {
  settings: {
    ...peerSettings('market-data', 'ml-inference', 'quant-research'),
    SIGNAL_INTERVAL_MS: { default: '2000', parse: integer(20, 600_000) },
  },
  setup({ env, log, app, registry, signal }) {
    /** @type {Map<string, Signal & { asOf: string }>} */
    let signals = new Map();
    const probability = new Gauge({
      name: 'noderr_probability_up',
      help: 'What the model says about the next move of a symbol',
      labelNames: ['symbol'],
      registers: [registry],
    });

    /** @param {string} symbol @returns {Promise<Signal & { asOf: string } | undefined>} */
    async function look(symbol) {
      const { prices } = await ask(env.QUANT_RESEARCH_URL, `/v1/series/${symbol}`);
      if (prices.length < MODEL_PRICES) return undefined; // too young to be judged
      const [statistics, { observations }, prediction] = await Promise.all([
        ask(env.QUANT_RESEARCH_URL, `/v1/statistics/${symbol}`),
        ask(env.MARKET_DATA_URL, `/v1/observations/${symbol}`),
        ask(env.ML_INFERENCE_URL, '/v1/predictions', { body: { prices: prices.slice(-MODEL_PRICES) } }),
      ]);
      if (observations.length === 0) return undefined; // all sources are silent
      const judged = judge({ symbol, observations, statistics, probabilityUp: prediction.probabilityUp });
      return { ...judged, asOf: new Date().toISOString() };
    }

    app.get('/v1/signals', async () => ({ signals: [...signals.values()] }));
    app.get('/v1/signals/:symbol', async (request) => {
      const { symbol } = /** @type {{ symbol: string }} */ (request.params);
      const found = signals.get(symbol);
      if (!found) throw httpError(404, 'no signal for this symbol');
      return found;
    });

    return () => repeat({
      what: 'judge the market',
      everyMs: env.SIGNAL_INTERVAL_MS,
      signal,
      log,
      async task() {
        const { symbols } = await ask(env.QUANT_RESEARCH_URL, '/v1/symbols');
        const found = await Promise.all(symbols.map(look));
        /** @type {typeof signals} */
        const next = new Map();
        for (const item of found) if (item) next.set(item.symbol, item);
        for (const [symbol, { outliers }] of next) {
          const before = signals.get(symbol)?.outliers ?? [];
          const fresh = outliers.filter((source) => !before.includes(source));
          if (fresh.length > 0) log.warn('sources are far off the median', { symbol, sources: fresh });
        }
        signals = next;
        probability.reset();
        for (const { symbol, probabilityUp } of next.values()) probability.set({ symbol }, probabilityUp);
      },
    });
  },
});
