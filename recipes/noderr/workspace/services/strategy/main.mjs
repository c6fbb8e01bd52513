// SPDX-License-Identifier: Apache-2.0
import { Counter } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { decide, RULES } from './decide.mjs';

/** @import { Stance } from './decide.mjs' */
/** @typedef {{ symbol: string, stance: Stance, reason: string, probabilityUp: number, volatility: number, since: string }} Decision */

await serve('strategy', {
  settings: {
    ...peerSettings('market-intelligence'),
    DECISION_INTERVAL_MS: { default: '2000', parse: integer(20, 600_000) },
  },
  setup({ env, log, app, registry, signal }) {
    /** @type {Map<string, Decision>} */
    let decisions = new Map();
    const changes = new Counter({
      name: 'noderr_stance_changes_total',
      help: 'Changes of stance by symbol and new stance',
      labelNames: ['symbol', 'stance'],
      registers: [registry],
    });

    app.get('/v1/rules', async () => RULES);
    app.get('/v1/decisions', async () => ({ decisions: [...decisions.values()] }));
    app.get('/v1/decisions/:symbol', async (request) => {
      const { symbol } = /** @type {{ symbol: string }} */ (request.params);
      const found = decisions.get(symbol);
      if (!found) throw httpError(404, 'no decision about this symbol');
      return found;
    });

    return () => repeat({
      what: 'decide',
      everyMs: env.DECISION_INTERVAL_MS,
      signal,
      log,
      async task() {
        const { signals } = await ask(env.MARKET_INTELLIGENCE_URL, '/v1/signals');
        /** @type {typeof decisions} */
        const next = new Map();
        for (const found of signals) {
          const { symbol, probabilityUp, volatility } = found;
          const before = decisions.get(symbol);
          const { stance, reason } = decide(before?.stance ?? 'flat', found);
          const changed = stance !== (before?.stance ?? 'flat');
          const since = before && !changed ? before.since : new Date().toISOString();
          if (changed) {
            changes.inc({ symbol, stance });
            log.info('stance changed', { symbol, stance, reason });
          }
          next.set(symbol, { symbol, stance, reason, probabilityUp, volatility, since });
        }
        decisions = next;
      },
    });
  },
});
