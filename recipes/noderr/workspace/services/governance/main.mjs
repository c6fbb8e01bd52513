// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { isAddress, getAddress, verifyMessage } from 'ethers';
import { Gauge } from 'prom-client';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { ballot, tally } from './tally.mjs';

/** @import { Choice } from './tally.mjs' */
/** @typedef {{ id: string, title: string, digest: string, endsAt: number, votes: Map<string, Choice> }} Proposal */

const MAX_PROPOSALS = 1_000;

/** Addresses of the keys 11.., 22.. and 33.. (64 digits each), which everybody knows: a sample. */
const SAMPLE_VOTERS = [
  '0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A=40',
  '0x1563915e194D8CfBA1943570603F7606A3115508=35',
  '0x5CbDd86a2FA8Dc4bDdd8a8f69dBa48572EeC07FB=25',
].join(',');

const proposalSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['id', 'title'],
  properties: {
    id: { type: 'string', pattern: '^[a-z0-9][a-z0-9-]{0,62}$' },
    title: { type: 'string', minLength: 1, maxLength: 500 },
  },
};
const voteSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['choice', 'signature'],
  properties: {
    choice: { enum: ['yes', 'no'] },
    signature: { type: 'string', pattern: '^0x[0-9a-f]{130}$' },
  },
};

/** @param {string} text @returns {Map<string, bigint>} */
function parseVoters(text) {
  const voters = new Map();
  for (const item of text.split(',')) {
    const [, address, weight] = /^(0x[0-9a-fA-F]{40})=([1-9]\d{0,17})$/.exec(item.trim()) ?? [];
    if (!address || !isAddress(address)) throw new Error('must be a list like 0xADDRESS=WEIGHT,0xADDRESS=WEIGHT');
    if (voters.has(getAddress(address))) throw new Error(`names ${address} twice`);
    voters.set(getAddress(address), BigInt(weight));
  }
  return voters;
}

await serve('governance', {
  settings: {
    GOVERNANCE_VOTERS: { default: SAMPLE_VOTERS, parse: parseVoters },
    GOVERNANCE_PERIOD_MS: { default: '86400000', parse: integer(100, 2_592_000_000) },
  },
  setup({ env, log, app, registry }) {
    const weights = env.GOVERNANCE_VOTERS;
    /** @type {Map<string, Proposal>} */
    const proposals = new Map();
    const show = (/** @type {Proposal} */ { id, title, digest, endsAt, votes }) => ({
      id, title, digest, endsAt: new Date(endsAt).toISOString(),
      ...tally(weights, votes, Date.now() < endsAt ? 'running' : 'over'),
    });
    new Gauge({
      name: 'noderr_proposals',
      help: 'Proposals by status',
      labelNames: ['status'],
      registers: [registry],
      collect() {
        this.reset();
        for (const proposal of proposals.values()) this.inc({ status: show(proposal).status });
      },
    });

    /** @param {unknown} params */
    function known(params) {
      const found = proposals.get(/** @type {{ id: string }} */ (params).id);
      if (!found) throw httpError(404, 'unknown proposal');
      return found;
    }

    app.get('/v1/proposals', async () => ({ proposals: [...proposals.values()].map(show) }));
    app.get('/v1/proposals/:id', async (request) => show(known(request.params)));
    app.post('/v1/proposals', { schema: { body: proposalSchema } }, async (request, reply) => {
      const { id, title } = /** @type {{ id: string, title: string }} */ (request.body);
      if (proposals.has(id)) throw httpError(409, 'there is a proposal of this name');
      if (proposals.size >= MAX_PROPOSALS) throw httpError(429, 'there are too many proposals');
      const digest = createHash('sha256').update(JSON.stringify([id, title])).digest('hex');
      const proposal = { id, title, digest, endsAt: Date.now() + env.GOVERNANCE_PERIOD_MS, votes: new Map() };
      proposals.set(id, proposal);
      return reply.code(201).send(show(proposal));
    });
    app.post('/v1/proposals/:id/votes', { schema: { body: voteSchema } }, async (request) => {
      const proposal = known(request.params);
      const { choice, signature } = /** @type {{ choice: Choice, signature: string }} */ (request.body);
      if (show(proposal).status !== 'open') throw httpError(409, 'the vote is over');
      let voter;
      try {
        voter = verifyMessage(ballot({ proposal: proposal.id, digest: proposal.digest, choice }), signature);
      } catch {
        throw httpError(400, 'not a signature');
      }
      // A signature over something else yields some address too, but no voter's.
      if (!weights.has(voter)) throw httpError(403, 'not the signature of a voter over this vote');
      if (proposal.votes.has(voter)) throw httpError(409, 'this voter has voted');
      proposal.votes.set(voter, choice);
      log.info('vote', { proposal: proposal.id, voter, choice });
      return show(proposal);
    });
  },
});
