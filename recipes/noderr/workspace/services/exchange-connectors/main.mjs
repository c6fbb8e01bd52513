// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises';
import { Counter } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { venues } from './venues.mjs';

/** @import { Tick } from './venues.mjs' */

await serve('exchange-connectors', {
  settings: {
    ...peerSettings('market-data'),
    // There is no venue to connect to in a sample, so it plays back what venues once said.
    EXCHANGE_FEED: { default: 'recorded', pattern: /^(recorded|none)$/ },
    EXCHANGE_INTERVAL_MS: { default: '1000', parse: integer(20, 60_000) },
  },
  async setup({ env, log, app, registry, signal }) {
    const messages = new Counter({
      name: 'noderr_exchange_messages_total',
      help: 'Messages of venues by what became of them: forwarded, ignored, malformed, refused by market-data',
      labelNames: ['venue', 'outcome'],
      registers: [registry],
    });

    /**
     * @param {string} venue
     * @param {unknown} message
     * @param {(tick: Tick) => number} timeOf
     */
    async function take(venue, message, timeOf) {
      let tick;
      try {
        tick = venues[venue](message);
      } catch (error) {
        messages.inc({ venue, outcome: 'malformed' });
        throw httpError(400, `not a message of ${venue}: ${/** @type {Error} */ (error).message}`);
      }
      if (!tick) {
        messages.inc({ venue, outcome: 'ignored' });
        return { status: 'ignored' };
      }
      const { symbol, price } = tick;
      const observedAt = new Date(timeOf(tick)).toISOString();
      try {
        await ask(env.MARKET_DATA_URL, '/v1/observations', { body: { symbol, price, source: venue, observedAt } });
      } catch (error) {
        messages.inc({ venue, outcome: 'refused' });
        throw error;
      }
      messages.inc({ venue, outcome: 'forwarded' });
      return { status: 'forwarded', symbol, price };
    }

    app.get('/v1/venues', async () => ({ venues: Object.keys(venues) }));
    app.post('/v1/messages/:venue', async (request, reply) => {
      const { venue } = /** @type {{ venue: string }} */ (request.params);
      if (!Object.hasOwn(venues, venue)) throw httpError(404, 'unknown venue');
      return reply.code(202).send(await take(venue, request.body, (tick) => tick.observedAt));
    });
    if (env.EXCHANGE_FEED === 'none') return undefined;

    const recorded = (await readFile(new URL('recorded.jsonl', import.meta.url), 'utf8'))
      .trimEnd().split('\n').map((line) => /** @type {{ venue: string, message: unknown }} */ (JSON.parse(line)));
    let next = 0;
    log.info('playing back recorded messages', { count: recorded.length });
    return () => repeat({
      what: 'forward a recorded message',
      everyMs: env.EXCHANGE_INTERVAL_MS,
      signal,
      log,
      async task() {
        const { venue, message } = recorded[next % recorded.length];
        next += 1;
        await take(venue, message, Date.now); // said long ago, played back as if now
      },
    });
  },
});
