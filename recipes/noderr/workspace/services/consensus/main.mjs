// SPDX-License-Identifier: Apache-2.0
import { Counter, Gauge } from 'prom-client';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { startPeer } from './peer.mjs';
import { collect, isProven, quorumOf } from './quorum.mjs';

/** @import { Certificate } from './quorum.mjs' */

const CERTIFICATES_KEPT = 1_000;

const valueSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['value'],
  properties: { value: { type: 'string', pattern: '^[0-9a-f]{64}$' } },
};

await serve('consensus', {
  settings: {
    CONSENSUS_PEERS: { default: '4', parse: integer(1, 31) },
    CONSENSUS_TIMEOUT_MS: { default: '1000', parse: integer(10, 60_000) },
  },
  async setup({ env, log, app, registry }) {
    // A sample has no other nodes, so the peers live in this process. They talk over HTTP all the same.
    const peers = await Promise.all(
      Array.from({ length: env.CONSENSUS_PEERS }, (_, i) => startPeer(`peer-${i + 1}`)),
    );
    const members = peers.map(({ member }) => member);
    app.addHook('onClose', async () => {
      await Promise.all(peers.map((peer) => peer.close()));
    });

    /** @type {Map<number, Certificate>} */
    const certificates = new Map();
    let height = 0;
    const rounds = new Counter({
      name: 'noderr_consensus_rounds_total',
      help: 'Rounds by outcome: decided, no quorum',
      labelNames: ['outcome'],
      registers: [registry],
    });
    new Gauge({
      name: 'noderr_consensus_height',
      help: 'Height of the last decision',
      registers: [registry],
      collect() {
        this.set(height);
      },
    });

    /** @param {string} value @returns {Promise<Certificate>} */
    async function propose(value) {
      const proposal = { height: height + 1, value };
      const { certificate, refusals } = await collect(members, proposal, { timeoutMs: env.CONSENSUS_TIMEOUT_MS });
      rounds.inc({ outcome: certificate ? 'decided' : 'no quorum' });
      if (refusals.length > 0) log.warn('not all peers agree', { height: proposal.height, refusals });
      if (!certificate) throw httpError(503, `no quorum at height ${proposal.height}`);
      height = proposal.height;
      certificates.set(height, certificate);
      certificates.delete(height - CERTIFICATES_KEPT);
      return certificate;
    }

    // One proposal after the other: two at one height would split the vote.
    /** @type {Promise<unknown>} */
    let turn = Promise.resolve();
    app.post('/internal/decisions', { schema: { body: valueSchema } }, async (request) => {
      const { value } = /** @type {{ value: string }} */ (request.body);
      const mine = turn.then(() => propose(value));
      turn = mine.catch(() => {});
      return mine;
    });
    app.get('/v1/peers', async () => ({
      quorum: quorumOf(members.length),
      peers: members.map(({ name, publicKey }) => ({
        name, publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
      })),
    }));
    app.get('/v1/certificates/:height', async (request) => {
      const found = certificates.get(Number(/** @type {{ height: string }} */ (request.params).height));
      if (!found) throw httpError(404, 'no certificate of this height');
      return { ...found, proven: isProven(found, members) };
    });
  },
});
