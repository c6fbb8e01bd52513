// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { toQuantity } from 'ethers';
import { Counter, Gauge } from 'prom-client';
import { ask } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { httpUrl, integer } from '@noderr/runtime/settings.mjs';
import { Chain } from './chain.mjs';

/** @import { Header } from './header.mjs' */

/** Headers that one look at the chain fetches at most. */
const MAX_STEPS = 64;

/** @param {string} path @returns {Header} */
function readAnchor(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`names no header that can be read: ${/** @type {Error} */ (error).message}`);
  }
}

await serve('on-chain-service', {
  settings: {
    // A header that the operator trusts; the sample has the first one of Ethereum.
    CHAIN_ANCHOR: { default: new URL('genesis.json', import.meta.url).pathname, parse: readAnchor },
    CHAIN_DEPTH: { default: '256', parse: integer(1, 5_000) },
    CHAIN_RPC_URL: { parse: httpUrl },
    CHAIN_INTERVAL_MS: { default: '12000', parse: integer(100, 600_000) },
  },
  setup({ env, log, app, registry, signal }) {
    const chain = new Chain(env.CHAIN_ANCHOR, { depth: env.CHAIN_DEPTH });
    const headers = new Counter({
      name: 'noderr_headers_total',
      help: 'Headers by outcome: head, branch, known, refused',
      labelNames: ['outcome'],
      registers: [registry],
    });
    new Gauge({
      name: 'noderr_chain_head',
      help: 'Number of the head',
      registers: [registry],
      collect() {
        this.set(chain.head.number);
      },
    });
    new Gauge({
      name: 'noderr_chain_reorganisations',
      help: 'How often the head moved to another branch',
      registers: [registry],
      collect() {
        this.set(chain.reorganisations);
      },
    });
    log.info('the chain begins', chain.head);

    /** @param {Header} header */
    function add(header) {
      try {
        const added = chain.add(header);
        headers.inc({ outcome: added.outcome });
        return added;
      } catch (error) {
        headers.inc({ outcome: 'refused' });
        throw httpError(422, /** @type {Error} */ (error).message);
      }
    }

    app.get('/v1/head', async () => chain.head);
    app.get('/v1/headers/:hash', async (request) => {
      const found = chain.find(/** @type {{ hash: string }} */ (request.params).hash);
      if (!found) throw httpError(404, 'unknown or forgotten');
      return { ...found, confirmations: chain.head.number - found.number };
    });
    // Anybody may bring a header: what counts is that its hash links up.
    app.post('/v1/headers', { schema: { body: { type: 'object', maxProperties: 60 } } }, async (request, reply) => {
      const added = add(/** @type {Header} */ (request.body));
      return reply.code(added.outcome === 'known' ? 200 : 201).send(added);
    });
    if (!env.CHAIN_RPC_URL) return undefined;

    return () => repeat({
      what: 'follow the chain',
      everyMs: env.CHAIN_INTERVAL_MS,
      signal,
      log,
      async task() {
        // One behind the head as well: if it was replaced, the new one has another parent there.
        for (let step = 0; step < MAX_STEPS && !signal.aborted; step += 1) {
          const wanted = toQuantity(Math.max(chain.head.number + step - (step === 0 ? 1 : 0), 1));
          const body = { jsonrpc: '2.0', id: 1, method: 'eth_getBlockByNumber', params: [wanted, false] };
          const { result, error } = await ask(env.CHAIN_RPC_URL, '', { body, timeoutMs: 10_000 });
          if (error) throw new Error(`the node says: ${error.message}`);
          if (!result) return;
          add(result);
        }
      },
    });
  },
});
