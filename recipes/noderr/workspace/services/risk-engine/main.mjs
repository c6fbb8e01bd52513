// SPDX-License-Identifier: Apache-2.0
import { Counter, Gauge } from 'prom-client';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { Book } from './book.mjs';

/** @import { Order } from './book.mjs' */

const orderSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['id', 'symbol', 'side', 'notional'],
  properties: {
    id: { type: 'string', pattern: '^[a-zA-Z0-9-]{1,64}$' },
    symbol: { type: 'string', pattern: '^[A-Z0-9]{1,12}(-[A-Z0-9]{1,12})?$' },
    side: { enum: ['buy', 'sell'] },
    notional: { type: 'string', pattern: '^[1-9][0-9]{0,17}$' },
  },
};
const releaseSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['id'],
  properties: { id: orderSchema.properties.id },
};

const cents = { pattern: /^[1-9]\d{0,17}$/, parse: BigInt };

await serve('risk-engine', {
  settings: {
    RISK_LIMIT_ORDER: { default: '10000000', ...cents },
    RISK_LIMIT_SYMBOL: { default: '50000000', ...cents },
    RISK_LIMIT_GROSS: { default: '100000000', ...cents },
  },
  setup({ env, log, app, registry }) {
    const book = new Book({
      perOrder: env.RISK_LIMIT_ORDER, perSymbol: env.RISK_LIMIT_SYMBOL, gross: env.RISK_LIMIT_GROSS,
    });
    const checks = new Counter({
      name: 'noderr_risk_orders_total',
      help: 'Orders by outcome: held, refused, released',
      labelNames: ['outcome'],
      registers: [registry],
    });
    new Gauge({
      name: 'noderr_exposure_cents',
      help: 'Bought less sold, by symbol',
      labelNames: ['symbol'],
      registers: [registry],
      collect() {
        this.reset();
        for (const symbol of book.symbols()) this.set({ symbol }, Number(book.net(symbol)));
      },
    });

    /** @param {any} body @returns {Order} */
    const order = (body) => ({ ...body, notional: BigInt(body.notional) });

    app.get('/v1/exposure', async () => ({
      limits: Object.fromEntries(Object.entries(book.limits).map(([name, limit]) => [name, limit.toString()])),
      gross: book.gross().toString(),
      symbols: book.symbols().map((symbol) => ({ symbol, net: book.net(symbol).toString() })),
    }));
    // What would happen; nothing is held.
    app.post('/v1/checks', { schema: { body: orderSchema } }, async (request) => {
      const refusal = book.refusal(order(request.body));
      return { allowed: refusal === undefined, refusal: refusal ?? null };
    });
    app.post('/internal/holds', { schema: { body: orderSchema } }, async (request) => {
      const wanted = order(request.body);
      const outcome = book.hold(wanted);
      const held = outcome === 'held' || outcome === 'held before';
      checks.inc({ outcome: held ? 'held' : 'refused' });
      if (!held) log.warn('order refused', { id: wanted.id, reason: outcome });
      return held ? { held: true } : { held: false, reason: outcome };
    });
    app.post('/internal/releases', { schema: { body: releaseSchema } }, async (request) => {
      const { id } = /** @type {{ id: string }} */ (request.body);
      if (!book.release(id)) throw httpError(404, 'no such order is held');
      checks.inc({ outcome: 'released' });
      return { released: true };
    });
  },
});
