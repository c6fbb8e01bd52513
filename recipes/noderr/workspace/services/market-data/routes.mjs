// SPDX-License-Identifier: Apache-2.0
import { httpError } from '@noderr/runtime/serve.mjs';
import { sign } from '@noderr/runtime/wallet.mjs';
import { formatPrice, median, parsePrice, PRICE_PATTERN } from './decimal.mjs';
import { canonicalMessage } from './sign.mjs';

/** @import { FastifyInstance } from 'fastify' */
/** @import { Wallet } from 'ethers' */
/** @import { Outcome, PriceWindow } from './window.mjs' */

const observationSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['symbol', 'price', 'source', 'observedAt'],
  properties: {
    symbol: { type: 'string', pattern: '^[A-Z0-9]{1,12}(-[A-Z0-9]{1,12})?$' },
    price: { type: 'string', pattern: PRICE_PATTERN },
    source: { type: 'string', pattern: '^[a-z0-9][a-z0-9.-]{0,31}$' },
    observedAt: { type: 'string', format: 'date-time' },
  },
};

/** @type {Record<Exclude<Outcome, 'stored'>, [number, string]>} */
const refusals = {
  future: [422, 'observedAt is in the future'],
  stale: [422, 'observedAt is too old'],
  older: [409, 'a newer observation of this source is stored'],
  full: [429, 'the window is full of fresh symbols or sources'],
};

/**
 * @param {FastifyInstance} app
 * @param {object} options
 * @param {string} options.nodeId
 * @param {PriceWindow} options.window
 * @param {Wallet | undefined} options.wallet
 * @param {(symbol: string, source: string) => void} options.countObservation
 */
export function addRoutes(app, { nodeId, window, wallet, countObservation }) {
  app.post('/v1/observations', { schema: { body: observationSchema } }, async (request, reply) => {
    const body = /** @type {Record<string, string>} */ (request.body);
    const { symbol, source } = body;
    const price = parsePrice(body.price);
    if (price === 0n) throw httpError(400, 'price must be greater than zero');
    const observedAt = Date.parse(body.observedAt);
    // A leap second passes the schema but JavaScript has no such time.
    if (Number.isNaN(observedAt)) throw httpError(400, 'observedAt is not a time');

    const outcome = window.add({ symbol, source, price, observedAt });
    if (outcome !== 'stored') throw httpError(...refusals[outcome]);
    countObservation(symbol, source);
    return reply.code(202).send({ status: 'stored', symbol, source });
  });

  app.get('/v1/prices/:symbol', async (request) => {
    const { symbol } = /** @type {{ symbol: string }} */ (request.params);
    const prices = window.freshPrices(symbol);
    if (!prices) throw httpError(404, 'unknown symbol');
    if (prices.length === 0) throw httpError(503, 'no fresh observation of this symbol');
    const quote = {
      nodeId,
      symbol,
      price: formatPrice(median(prices)),
      count: prices.length,
      asOf: new Date(window.now()).toISOString(),
    };
    return { ...quote, signature: await sign(wallet, canonicalMessage(quote)) };
  });

  app.get('/v1/observations/:symbol', async (request) => {
    const { symbol } = /** @type {{ symbol: string }} */ (request.params);
    const observations = window.freshObservations(symbol);
    return { symbol, observations: observations.map(({ source, price }) => ({ source, price: formatPrice(price) })) };
  });

  app.get('/v1/symbols', async () => ({
    symbols: window.symbols().map((symbol) => ({ symbol, count: window.freshPrices(symbol)?.length ?? 0 })),
  }));
}
