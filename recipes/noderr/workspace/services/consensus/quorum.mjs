// SPDX-License-Identifier: Apache-2.0
import { ask } from '@noderr/runtime/peers.mjs';
import { isVoteFor } from './peer.mjs';

/** @import { Member, Vote } from './peer.mjs' */
/** @typedef {{ height: number, value: string, votes: Vote[] }} Certificate */

/**
 * Of n = 3f + 1 peers, f may lie or be silent. Two quorums of 2f + 1 share an honest peer, and an
 * honest peer votes once for a height, so two values never both get a quorum.
 *
 * @param {number} peers
 */
export function quorumOf(peers) {
  return peers - Math.floor((peers - 1) / 3);
}

/**
 * Ask all peers for their vote and count only votes whose signature holds.
 *
 * @param {Member[]} members
 * @param {{ height: number, value: string }} proposal
 * @param {{ timeoutMs: number }} options
 * @returns {Promise<{ certificate?: Certificate, refusals: string[] }>}
 */
export async function collect(members, proposal, { timeoutMs }) {
  /** @type {string[]} */
  const refusals = [];
  const votes = await Promise.all(members.map(async (member) => {
    try {
      const vote = await ask(member.url, '/votes', { body: proposal, timeoutMs });
      if (isVoteFor(vote, member, proposal)) return vote;
      refusals.push(`${member.name}: the signature is wrong`);
    } catch (error) {
      refusals.push(`${member.name}: ${/** @type {Error} */ (error).message}`);
    }
    return undefined;
  }));
  const valid = votes.filter((vote) => vote !== undefined);
  if (valid.length < quorumOf(members.length)) return { refusals };
  return { certificate: { ...proposal, votes: valid }, refusals };
}

/**
 * Does a certificate prove what it says? For those who keep one and meet it again.
 *
 * @param {Certificate} certificate
 * @param {Member[]} members
 */
export function isProven({ height, value, votes }, members) {
  const valid = members.filter((member) =>
    votes.some((vote) => vote.peer === member.name && isVoteFor(vote, member, { height, value })));
  return valid.length >= quorumOf(members.length);
}
