// SPDX-License-Identifier: Apache-2.0
import { Counter, Gauge } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { lines, sign, walletSettings } from '@noderr/runtime/wallet.mjs';
import { leaf, proof, root, tree } from './merkle.mjs';

/** @typedef {{ batch: number, first: number, last: number, root: string, previous: string, signature: unknown }} Batch */

const BATCHES_KEPT = 500;
const GENESIS = `0x${'0'.repeat(64)}`;

await serve('on-chain-settlement', {
  settings: {
    ...peerSettings('execution'),
    ...walletSettings,
    SETTLEMENT_INTERVAL_MS: { default: '5000', parse: integer(20, 3_600_000) },
  },
  setup({ env, log, app, registry, signal }) {
    const wallet = env.WALLET_PRIVATE_KEY;
    /** @type {(Batch & { levels: string[][], ids: string[] })[]} */
    const batches = [];
    let settled = 0;
    const receipts = new Counter({
      name: 'noderr_settled_receipts_total', help: 'Receipts that are part of a batch', registers: [registry],
    });
    new Gauge({
      name: 'noderr_settlement_batch',
      help: 'Number of the last batch',
      registers: [registry],
      collect() {
        this.set(batches.at(-1)?.batch ?? 0);
      },
    });

    /** @param {{ sequence: number, digest: string, order: { id: string } }[]} fresh @returns {Promise<Batch>} */
    async function settle(fresh) {
      const levels = tree(fresh.map(({ digest }) => leaf(`0x${digest}`)));
      const before = batches.at(-1);
      const batch = {
        batch: (before?.batch ?? 0) + 1,
        first: fresh[0].sequence,
        last: fresh[fresh.length - 1].sequence,
        root: root(levels),
        previous: before?.root ?? GENESIS,
      };
      // The signature is what a contract would check before it takes the root.
      const message = lines('noderr-settlement-v1', { node: env.NODE_ID, ...batch });
      const done = { ...batch, signature: await sign(wallet, message) };
      batches.push({ ...done, levels, ids: fresh.map(({ order }) => order.id) });
      if (batches.length > BATCHES_KEPT) batches.shift();
      settled = batch.last;
      receipts.inc(fresh.length);
      log.info('batch settled', batch);
      return done;
    }

    const show = (/** @type {Batch} */ { batch, first, last, root: hash, previous, signature }) =>
      ({ batch, first, last, root: hash, previous, signature });
    app.get('/v1/batches', async () => ({ batches: batches.slice(-50).map(show) }));
    app.get('/v1/batches/:batch', async (request) => {
      const number = Number(/** @type {{ batch: string }} */ (request.params).batch);
      const found = batches.find(({ batch }) => batch === number);
      if (!found) throw httpError(404, 'unknown batch');
      return show(found);
    });
    app.get('/v1/proofs/:id', async (request) => {
      const { id } = /** @type {{ id: string }} */ (request.params);
      const found = batches.findLast(({ ids }) => ids.includes(id));
      if (!found) throw httpError(404, 'this order is in no batch');
      const index = found.ids.indexOf(id);
      return {
        id, batch: found.batch, root: found.root, leaf: found.levels[0][index], path: proof(found.levels, index),
      };
    });

    return () => repeat({
      what: 'settle receipts',
      everyMs: env.SETTLEMENT_INTERVAL_MS,
      signal,
      log,
      async task() {
        const { last, receipts: fresh } = await ask(env.EXECUTION_URL, `/v1/receipts?after=${settled}`);
        // execution keeps its ledger in memory; after its restart the sequence begins anew.
        if (last < settled) settled = 0;
        else if (fresh.length > 0) await settle(fresh);
      },
    });
  },
});
