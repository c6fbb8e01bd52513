// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifyMessage, Wallet } from 'ethers';
import { lines } from '@noderr/runtime/wallet.mjs';
import { isVoteFor, startPeer } from '../services/consensus/peer.mjs';
import { collect, isProven, quorumOf } from '../services/consensus/quorum.mjs';
import { GENESIS, Ledger, receiptDigest } from '../services/execution/ledger.mjs';
import { ballot, tally } from '../services/governance/tally.mjs';
import { isProven as isInTree, leaf, proof, root, tree } from '../services/on-chain-settlement/merkle.mjs';
import { Book } from '../services/risk-engine/book.mjs';
import { json, startService, startServices, until } from './helpers.mjs';

const key = '4'.repeat(64);

test('an order goes through risk and consensus into a settled batch', { timeout: 60_000 }, async (t) => {
  const node = await startServices(t, ['consensus', 'risk-engine', 'execution', 'on-chain-settlement'], {
    SETTLEMENT_INTERVAL_MS: '100', WALLET_PRIVATE_KEY: key, RISK_LIMIT_ORDER: '1000', RISK_LIMIT_SYMBOL: '1500',
  });
  const { url } = node.execution;
  const order = { id: 'o-1', symbol: 'ETH-USD', side: 'buy', notional: '900' };
  const first = await json(`${url}/v1/orders`, order);
  assert.equal(first.status, 201);
  assert.deepEqual([first.body.sequence, first.body.height, first.body.previous], [1, 1, GENESIS]);
  assert.equal(first.body.digest, receiptDigest(first.body));

  await t.test('the same order again is the same receipt, another one of its name is refused', async () => {
    assert.deepEqual(await json(`${url}/v1/orders`, order), { status: 200, body: first.body });
    assert.equal((await json(`${url}/v1/orders`, { ...order, side: 'sell' })).status, 409);
  });
  await t.test('limits', async () => {
    const over = await json(`${url}/v1/orders`, { ...order, id: 'o-2' });
    assert.deepEqual([over.status, over.body.message], [422, 'ETH-USD would be above its limit of 1500']);
    assert.equal((await json(`${url}/v1/orders`, { ...order, id: 'o-3', notional: '1001' })).status, 422);
    assert.equal((await json(`${url}/v1/orders`, { ...order, id: 'o-4', side: 'sell' })).status, 201);
    const { body } = await json(`${node['risk-engine'].url}/v1/exposure`);
    assert.deepEqual([body.gross, body.symbols], ['0', [{ symbol: 'ETH-USD', net: '0' }]]);
  });
  await t.test('the certificate is proven', async () => {
    const { body } = await json(`${node.consensus.url}/v1/certificates/${first.body.height}`);
    assert.equal(body.proven, true);
    assert.equal(body.votes.length, 4);
  });
  await t.test('the batch is signed, and proves each receipt', async () => {
    const { url: settlement } = node['on-chain-settlement'];
    await until(`${settlement}/v1/proofs/o-4`, (response) => response.status === 200);
    const { body } = await json(`${settlement}/v1/proofs/o-1`);
    assert.equal(body.leaf, leaf(`0x${first.body.digest}`));
    assert.ok(isInTree(body.leaf, body.path, body.root));
    const { signature, ...batch } = (await json(`${settlement}/v1/batches/${body.batch}`)).body;
    const message = lines('noderr-settlement-v1', { node: 'test-node', ...batch });
    assert.equal(verifyMessage(message, signature.value), new Wallet(`0x${key}`).address);
  });
  await t.test('without consensus nothing is executed and nothing stays held', async () => {
    node.consensus.child.kill('SIGKILL');
    await node.consensus.closed;
    assert.equal((await json(`${url}/v1/orders`, { ...order, id: 'o-5', symbol: 'BTC-USD' })).status, 503);
    const { body } = await json(`${node['risk-engine'].url}/v1/exposure`);
    assert.ok(!body.symbols.some((/** @type {any} */ { symbol }) => symbol === 'BTC-USD'));
  });
});

test('consensus: a quorum bears a silent and a lying peer, not two', { timeout: 30_000 }, async (t) => {
  assert.deepEqual([1, 3, 4, 7, 10].map(quorumOf), [1, 3, 3, 5, 7]);
  const peers = await Promise.all(['p1', 'p2', 'p3', 'p4'].map(startPeer));
  t.after(() => Promise.all(peers.map(({ close }) => close())));
  const members = peers.map(({ member }) => member);
  const options = { timeoutMs: 1000 };
  const value = 'a'.repeat(64);

  const { certificate } = await collect(members, { height: 1, value }, options);
  assert.ok(certificate && isProven(certificate, members));
  assert.ok(!isProven({ ...certificate, value: 'b'.repeat(64) }, members));
  assert.ok(!isProven({ ...certificate, votes: Array(4).fill(certificate.votes[0]) }, members), 'one voice, four times');
  assert.ok(!isVoteFor(certificate.votes[0], members[1], { height: 1, value }));

  // Nobody votes twice for one height, so a second value finds no quorum.
  const second = await collect(members, { height: 1, value: 'b'.repeat(64) }, options);
  assert.equal(second.certificate, undefined);
  assert.match(second.refusals[0], /has voted for another value at 1/);

  // A peer whose key is not the known one counts as a liar.
  const stranger = await startPeer('p4');
  t.after(stranger.close);
  const lying = [...members.slice(0, 3), { ...members[3], url: stranger.member.url }];
  const third = await collect(lying, { height: 2, value }, options);
  assert.equal(third.certificate?.votes.length, 3);
  assert.deepEqual(third.refusals, ['p4: the signature is wrong']);
  await peers[0].close();
  assert.equal((await collect(lying, { height: 3, value }, options)).certificate, undefined);
});

test('governance: shares are exact, and an early result is final', () => {
  const weights = new Map([['a', 40n], ['b', 35n], ['c', 25n]]);
  /** @param {Record<string, 'yes' | 'no'>} votes @param {'running' | 'over'} period */
  const status = (votes, period = 'running') => tally(weights, new Map(Object.entries(votes)), period).status;
  assert.equal(status({}), 'open');
  assert.equal(status({ a: 'yes' }), 'open');
  assert.equal(status({ a: 'yes', b: 'yes' }), 'passed');
  assert.equal(status({ a: 'no' }), 'rejected'); // 60 of 100 are left, two thirds are out of reach
  assert.equal(status({ b: 'no' }), 'rejected');
  assert.equal(status({ c: 'no' }), 'open');
  assert.equal(status({ a: 'yes' }, 'over'), 'expired'); // below half
  assert.equal(status({ a: 'yes', c: 'no' }, 'over'), 'rejected');
  const thirds = new Map([['a', 1n], ['b', 1n], ['c', 1n]]);
  assert.equal(tally(thirds, new Map([['a', 'yes'], ['b', 'yes']]), 'running').status, 'passed');
});

test('governance takes votes of voters only, each once', { timeout: 30_000 }, async (t) => {
  const { url } = await startService(t, 'governance');
  const { body: proposal } = await json(`${url}/v1/proposals`, { id: 'raise-limit', title: 'Raise the limit of ETH-USD' });
  assert.equal(proposal.status, 'open');
  /** @param {string} digit @param {'yes' | 'no'} choice */
  const vote = async (digit, choice, digest = proposal.digest) => {
    const signature = await new Wallet(`0x${digit.repeat(64)}`).signMessage(ballot({ proposal: 'raise-limit', digest, choice }));
    return json(`${url}/v1/proposals/raise-limit/votes`, { choice, signature });
  };
  assert.equal((await vote('1', 'yes')).body.status, 'open');
  assert.equal((await vote('1', 'no')).status, 409);
  assert.equal((await vote('9', 'yes')).status, 403);
  assert.equal((await vote('2', 'yes', 'f'.repeat(64))).status, 403, 'a vote for another text');
  assert.equal((await vote('2', 'yes')).body.status, 'passed');
  assert.equal((await vote('3', 'no')).body.message, 'the vote is over');
  assert.equal((await json(`${url}/v1/proposals`, { id: 'raise-limit', title: 'x' })).status, 409);
});

test('risk-engine: what reduces an exposure is allowed, what raises it beyond a limit is not', () => {
  const book = new Book({ perOrder: 100n, perSymbol: 150n, gross: 200n });
  /** @param {string} id @param {string} symbol @param {'buy' | 'sell'} side @param {bigint} notional */
  const hold = (id, symbol, side, notional) => book.hold({ id, symbol, side, notional });
  assert.equal(hold('1', 'A', 'buy', 100n), 'held');
  assert.equal(hold('1', 'A', 'buy', 100n), 'held before');
  assert.equal(hold('1', 'A', 'buy', 99n), 'another order has this id');
  assert.match(hold('2', 'A', 'buy', 51n), /above its limit of 150/);
  assert.equal(hold('3', 'B', 'sell', 100n), 'held');
  assert.match(hold('4', 'C', 'buy', 1n), /whole exposure/);
  assert.equal(hold('5', 'A', 'sell', 60n), 'held');
  assert.equal(book.gross(), 140n);
  assert.ok(book.release('3'));
  assert.ok(!book.release('3'));
  assert.equal(book.gross(), 40n);
});

test('execution: receipts are chained', () => {
  const ledger = new Ledger(2);
  const order = (/** @type {string} */ id) => ({ id, symbol: 'A', side: /** @type {const} */ ('buy'), notional: '1' });
  const receipts = ['a', 'b', 'c'].map((id, i) => ledger.add(order(id), i + 1));
  assert.equal(receipts[2].previous, receipts[1].digest);
  assert.notEqual(receiptDigest({ ...receipts[1], height: 9 }), receipts[1].digest);
  assert.equal(ledger.find('a'), undefined, 'only the last two are kept');
  assert.deepEqual(ledger.after(2, 10), [receipts[2]]);
});

test('settlement: every leaf of every size of tree is proven, and nothing else', () => {
  for (let size = 1; size <= 9; size += 1) {
    const leaves = Array.from({ length: size }, (_, i) => leaf(`0x${(i + 1).toString(16).padStart(64, '0')}`));
    const levels = tree(leaves);
    for (const [i, one] of leaves.entries()) {
      assert.ok(isInTree(one, proof(levels, i), root(levels)), `${i} of ${size}`);
      assert.ok(!isInTree(leaf(`0x${'f'.repeat(64)}`), proof(levels, i), root(levels)));
    }
  }
});
