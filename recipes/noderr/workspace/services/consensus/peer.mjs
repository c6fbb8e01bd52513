// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import fastify from 'fastify';
import { LOOPBACK } from '@noderr/runtime/peers.mjs';
import { httpError } from '@noderr/runtime/serve.mjs';
import { lines } from '@noderr/runtime/wallet.mjs';

/** @import { KeyObject } from 'node:crypto' */
/** @typedef {{ name: string, url: string, publicKey: KeyObject }} Member how others know a peer */
/** @typedef {{ peer: string, height: number, value: string, signature: string }} Vote */

/** Votes that a peer remembers; those long decided cannot be asked for again. */
const HEIGHTS_KEPT = 1_000;

const proposalSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['height', 'value'],
  properties: {
    height: { type: 'integer', minimum: 1, maximum: 2 ** 48 },
    value: { type: 'string', pattern: '^[0-9a-f]{64}$' },
  },
};

/** @param {{ peer: string, height: number, value: string }} vote */
function message({ peer, height, value }) {
  return Buffer.from(lines('noderr-vote-v1', { peer, height, value }));
}

/**
 * A peer with a key of its own. It votes once for each height: asked again for the same value it
 * gives the same vote, asked for another value it refuses. That is what makes a quorum final.
 *
 * @param {string} name
 * @returns {Promise<{ member: Member, close: () => Promise<void> }>}
 */
export async function startPeer(name) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  /** @type {Map<number, Vote>} */
  const votes = new Map();
  let oldest = 1;

  const app = fastify({ bodyLimit: 4096, forceCloseConnections: true });
  app.post('/votes', { schema: { body: proposalSchema } }, async (request) => {
    const { height, value } = /** @type {{ height: number, value: string }} */ (request.body);
    if (height < oldest) throw httpError(409, `height ${height} was decided long ago`);
    const before = votes.get(height);
    if (before && before.value !== value) throw httpError(409, `${name} has voted for another value at ${height}`);
    const vote = before ?? {
      peer: name, height, value,
      signature: sign(null, message({ peer: name, height, value }), privateKey).toString('hex'),
    };
    votes.set(height, vote);
    if (votes.size > HEIGHTS_KEPT) {
      oldest = Math.min(...votes.keys()) + 1;
      votes.delete(oldest - 1);
    }
    return vote;
  });
  const url = await app.listen({ host: LOOPBACK, port: 0 });
  return { member: { name, url, publicKey }, close: async () => app.close() };
}

/**
 * Is this vote by that peer, for this very proposal?
 *
 * @param {Vote} vote
 * @param {Member} member
 * @param {{ height: number, value: string }} proposal
 */
export function isVoteFor(vote, member, { height, value }) {
  const expected = message({ peer: member.name, height, value });
  if (vote?.peer !== member.name || vote.height !== height || vote.value !== value) return false;
  return verify(null, expected, member.publicKey, Buffer.from(String(vote.signature), 'hex'));
}
