// SPDX-License-Identifier: Apache-2.0
import { Counter } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { Ledger, orderDigest } from './ledger.mjs';

/** @import { Order, Receipt } from './ledger.mjs' */

/** Orders that wait for their turn. */
const MAX_WAITING = 100;

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
const afterSchema = {
  type: 'object',
  additionalProperties: false,
  properties: { after: { type: 'string', pattern: '^[0-9]{1,15}$' } },
};

await serve('execution', {
  settings: {
    ...peerSettings('risk-engine', 'consensus'),
    RECEIPTS_KEPT: { default: '10000', parse: integer(1, 1_000_000) },
  },
  setup({ env, log, app, registry }) {
    const ledger = new Ledger(env.RECEIPTS_KEPT);
    const orders = new Counter({
      name: 'noderr_orders_total',
      help: 'Orders by outcome: executed, repeated, refused, failed',
      labelNames: ['outcome'],
      registers: [registry],
    });

    /**
     * Risk first, then consensus, then the receipt. An order that stops half way leaves nothing held.
     *
     * @param {Order} order
     * @returns {Promise<{ receipt: Receipt, outcome: string }>}
     */
    async function execute(order) {
      const known = ledger.find(order.id);
      if (known) {
        if (orderDigest(known.order) !== orderDigest(order)) throw httpError(409, 'another order has this id');
        return { receipt: known, outcome: 'repeated' };
      }
      const hold = await ask(env.RISK_ENGINE_URL, '/internal/holds', { body: order });
      if (!hold.held) throw httpError(422, hold.reason);
      try {
        const { height } = await ask(env.CONSENSUS_URL, '/internal/decisions', { body: { value: orderDigest(order) } });
        return { receipt: ledger.add(order, height), outcome: 'executed' };
      } catch (error) {
        await ask(env.RISK_ENGINE_URL, '/internal/releases', { body: { id: order.id } }).catch((/** @type {Error} */ failure) =>
          log.error('an order stays held', { id: order.id, reason: failure.message }));
        throw error;
      }
    }

    /** @type {Promise<unknown>} */
    let turn = Promise.resolve();
    let waiting = 0;
    app.post('/v1/orders', { schema: { body: orderSchema } }, async (request, reply) => {
      if (waiting >= MAX_WAITING) throw httpError(429, 'too many orders are waiting');
      waiting += 1;
      const mine = turn.then(() => execute(/** @type {Order} */ (request.body)));
      turn = mine.catch(() => {});
      try {
        const { receipt, outcome } = await mine;
        orders.inc({ outcome });
        return reply.code(outcome === 'executed' ? 201 : 200).send(receipt);
      } catch (error) {
        orders.inc({ outcome: /** @type {any} */ (error).statusCode < 500 ? 'refused' : 'failed' });
        throw error;
      } finally {
        waiting -= 1;
      }
    });
    app.get('/v1/orders/:id', async (request) => {
      const found = ledger.find(/** @type {{ id: string }} */ (request.params).id);
      if (!found) throw httpError(404, 'no receipt for this order');
      return found;
    });
    app.get('/v1/receipts', { schema: { querystring: afterSchema } }, async (request) => {
      const { after = '0' } = /** @type {{ after?: string }} */ (request.query);
      return { last: ledger.last.sequence, receipts: ledger.after(Number(after), 500) };
    });
  },
});
