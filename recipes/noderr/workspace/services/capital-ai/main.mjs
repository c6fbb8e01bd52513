// SPDX-License-Identifier: Apache-2.0
import { Gauge } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { serve } from '@noderr/runtime/serve.mjs';
import { allocate } from './allocate.mjs';

/** @import { Candidate } from './allocate.mjs' */

const amount = { type: 'string', pattern: '^(0|[1-9][0-9]{0,29})$' };
const candidate = {
  type: 'object',
  additionalProperties: false,
  required: ['symbol', 'stance', 'probabilityUp', 'volatility'],
  properties: {
    symbol: { type: 'string', pattern: '^[A-Z0-9]{1,12}(-[A-Z0-9]{1,12})?$' },
    stance: { enum: ['long', 'flat', 'short'] },
    probabilityUp: { type: 'number', minimum: 0, maximum: 1 },
    volatility: { type: 'number', minimum: 0 },
  },
};
const bodySchema = {
  type: 'object',
  additionalProperties: false,
  required: ['capital', 'candidates'],
  properties: { capital: amount, candidates: { type: 'array', maxItems: 500, items: candidate } },
};

await serve('capital-ai', {
  settings: {
    ...peerSettings('strategy'),
    CAPITAL: { default: '100000000', pattern: new RegExp(amount.pattern) },
  },
  setup({ env, app, registry }) {
    const reserve = new Gauge({
      name: 'noderr_capital_reserve_share',
      help: 'Share of the capital that the last allocation left in reserve',
      registers: [registry],
    });

    /** @param {string} capital @param {Candidate[]} candidates */
    function answer(capital, candidates) {
      const found = allocate(BigInt(capital), candidates);
      reserve.set(capital === '0' ? 1 : Number(BigInt(found.reserve) * 10_000n / BigInt(capital)) / 10_000);
      return { capital, ...found };
    }

    // What to do with the node's capital now, and what would be done with another's.
    app.get('/v1/allocation', async () => {
      const { decisions } = await ask(env.STRATEGY_URL, '/v1/decisions');
      return answer(env.CAPITAL, decisions);
    });
    app.post('/v1/allocations', { schema: { body: bodySchema } }, async (request) => {
      const { capital, candidates } = /** @type {{ capital: string, candidates: Candidate[] }} */ (request.body);
      return answer(capital, candidates);
    });
  },
});
