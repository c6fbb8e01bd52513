// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { verifyMessage, Wallet } from 'ethers';
import { send } from '../services/heartbeat/send.mjs';
import { Chain } from '../services/on-chain-service/chain.mjs';
import { blockHash } from '../services/on-chain-service/header.mjs';
import { attestationMessage, Rounds } from '../services/validator-consensus/rounds.mjs';
import { parseValidators } from '../services/validator-consensus/validators.mjs';
import { json, startService, startServices, startStub, until } from './helpers.mjs';

const genesis = JSON.parse(readFileSync(new URL('../services/on-chain-service/genesis.json', import.meta.url), 'utf8'));
const GENESIS_HASH = '0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3';

/** A header on top of another. @param {Record<string, string>} parent @param {string} [extraData] */
function next(parent, extraData = '0x') {
  const number = Number(parent.number) + 1;
  return { ...genesis, parentHash: blockHash(parent), number: `0x${number.toString(16)}`, timestamp: `0x${(number * 12).toString(16)}`, extraData };
}

test('on-chain-service: the hash of Ethereum\'s first block', () => {
  assert.equal(blockHash(genesis), GENESIS_HASH);
  assert.notEqual(blockHash({ ...genesis, nonce: '0x0000000000000043' }), GENESIS_HASH);
  assert.notEqual(blockHash({ ...genesis, baseFeePerGas: '0x7' }), GENESIS_HASH);
  assert.throws(() => blockHash({ ...genesis, withdrawalsRoot: genesis.stateRoot }), /earlier fork is missing/);
  assert.throws(() => blockHash({ ...genesis, miner: '0x00' }), /miner has a wrong length/);
  assert.throws(() => blockHash({ ...genesis, extraData: `0x${'00'.repeat(33)}` }), /extraData has a wrong length/);
  assert.throws(() => blockHash({ ...genesis, number: 1 }), /number is not hex/);
});

test('on-chain-service: the longest branch is the chain', () => {
  const chain = new Chain(genesis, { depth: 3 });
  const [a1, b1] = [next(genesis, '0xaa'), next(genesis, '0xbb')];
  assert.equal(chain.add(a1).outcome, 'head');
  assert.equal(chain.add(a1).outcome, 'known');
  assert.equal(chain.add(b1).outcome, 'branch');
  assert.equal(chain.add(next(b1)).outcome, 'head');
  assert.equal(chain.reorganisations, 1);
  assert.throws(() => chain.add(next(next(a1))), /parent is not known/);
  assert.throws(() => chain.add({ ...next(b1), number: '0x7' }), /number does not follow/);
  assert.throws(() => chain.add({ ...next(b1), timestamp: '0xc' }), /time does not follow/);
  let tip = next(next(b1));
  for (let i = 0; i < 4; i += 1, tip = next(tip)) chain.add(tip);
  assert.throws(() => chain.add(next(b1, '0xcc')), /parent is not known|too far behind/);
});

test('a validator follows the chain and attests its head', { timeout: 30_000 }, async (t) => {
  const node = await startServices(t, ['on-chain-service', 'validator-consensus'], {
    ATTEST_INTERVAL_MS: '50', WALLET_PRIVATE_KEY: '5'.repeat(64),
  });
  const { url } = node['on-chain-service'];
  assert.equal((await json(`${url}/v1/head`)).body.hash, GENESIS_HASH);
  const header = next(genesis, '0xaa');
  assert.equal((await json(`${url}/v1/headers`, header)).status, 201);
  assert.equal((await json(`${url}/v1/headers`, header)).status, 200);
  assert.equal((await json(`${url}/v1/headers`, { ...header, number: '0x5' })).status, 422);
  assert.equal((await json(`${url}/v1/headers/${GENESIS_HASH}`)).body.confirmations, 1);

  const rounds = `${node['validator-consensus'].url}/v1/rounds/1`;
  await until(rounds, (_response, text) => JSON.parse(text).justified === blockHash(header));
  const { body } = await json(`${node['validator-consensus'].url}/v1/validators`);
  assert.equal(body.validators[0].name, 'test-node');
  // The key follows from the wallet, so a restarted validator is the same one.
  const again = await startService(t, 'validator-consensus', { WALLET_PRIVATE_KEY: '5'.repeat(64) });
  assert.deepEqual((await json(`${again.url}/v1/validators`)).body, body);
});

test('a validator says nothing twice, also after a restart', { timeout: 30_000 }, async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'noderr-test-'));
  t.after(() => rmSync(place, { recursive: true }));
  const chain = await startService(t, 'on-chain-service');
  const settings = { ON_CHAIN_SERVICE_URL: chain.url, ATTEST_INTERVAL_MS: '50', STATE_DIR: place };
  const first = await startService(t, 'validator-consensus', settings);
  await first.logged('attested');
  first.child.kill('SIGKILL');
  await first.closed;
  const second = await startService(t, 'validator-consensus', settings);
  await until(`${second.url}/ready`, (response) => response.status === 200);
  assert.deepEqual((await json(`${second.url}/v1/rounds/0`)).body.blocks, []);
  second.child.kill('SIGTERM');
  await second.closed;
  writeFileSync(join(place, 'attested.json'), 'x');
  await assert.rejects(startService(t, 'validator-consensus', settings), /ended with 1/);
});

test('on-chain-service follows an RPC node', { timeout: 30_000 }, async (t) => {
  const first = next(genesis, '0xaa');
  const answer = (/** @type {unknown} */ result) => ({ body: JSON.stringify({ jsonrpc: '2.0', id: 1, result }) });
  const rpc = await startStub(t, [answer(first), answer(next(first)), answer(null)]);
  const { url } = await startService(t, 'on-chain-service', { CHAIN_RPC_URL: rpc.url, CHAIN_INTERVAL_MS: '100' });
  await until(`${url}/v1/head`, (_response, text) => JSON.parse(text).number === 2);
  assert.equal(rpc.requests[0].body.params[0], '0x1');
});

test('validator-consensus: two thirds of the stake, and double votes exclude', () => {
  const keys = new Map(['a', 'b', 'c'].map((name) => [name, generateKeyPairSync('ed25519')]));
  const rounds = new Rounds(new Map([...keys].map(([name, { publicKey }]) => [name, { stake: 32n, publicKey }])));
  /** @param {string} validator @param {number} round @param {string} digit */
  const attest = (validator, round, digit, signer = validator) => {
    const attestation = { validator, round, block: `0x${digit.repeat(64)}` };
    const { privateKey } = /** @type {import('node:crypto').KeyPairKeyObjectResult} */ (keys.get(signer));
    return rounds.add({ ...attestation, signature: sign(null, attestationMessage(attestation), privateKey).toString('hex') });
  };
  assert.equal(attest('a', 1, '1'), 'counted');
  assert.equal(attest('a', 1, '1'), 'repeated');
  assert.equal(rounds.state(1).justified, null);
  assert.equal(attest('b', 1, '1', 'a'), 'forged');
  assert.equal(attest('b', 1, '1'), 'counted');
  assert.equal(rounds.justified, 1); // 64 of 96 is exactly two thirds
  assert.equal(attest('c', 2, '2'), 'counted');
  assert.equal(attest('c', 2, '3'), 'double');
  assert.equal(attest('c', 3, '3'), 'excluded');
  assert.equal(rounds.state(2).blocks.length, 0);
  assert.equal(rounds.evidence()[0].validator, 'c');
  assert.equal(attest('a', 200, '1'), 'counted');
  assert.equal(attest('b', 200, '1'), 'counted');
  assert.equal(attest('a', 100, '1'), 'old');
  assert.throws(() => parseValidators('v2=32:zz'), /must be a list/);
  assert.equal(parseValidators(`v2=32:${'ab'.repeat(32)}`).get('v2')?.stake, 32n);
});

test('heartbeat tries again, and gives up where it makes no sense', { timeout: 30_000 }, async (t) => {
  const options = { attempts: 3, pauseMs: 5, timeoutMs: 1000, signal: new AbortController().signal };
  const weak = await startStub(t, [{ status: 503 }, { status: 429 }, { status: 202 }]);
  assert.deepEqual(await send(new URL(weak.url), { a: 1 }, options), { status: 202, attempts: 3 });
  assert.deepEqual(weak.requests.map(({ body }) => body), [{ a: 1 }, { a: 1 }, { a: 1 }]);
  const strict = await startStub(t, [{ status: 403 }]);
  await assert.rejects(send(new URL(strict.url), {}, options), /refuses the report: status 403/);
  assert.equal(strict.requests.length, 1);
  const broken = await startStub(t, [{ status: 500 }]);
  await assert.rejects(send(new URL(broken.url), {}, options), /does not take the report: status 500/);
  assert.equal(broken.requests.length, 3);
});

test('heartbeat reports, signed, and a node whose engine is away goes on', { timeout: 30_000 }, async (t) => {
  const engine = await startStub(t, [{ status: 202 }]);
  const chain = await startService(t, 'on-chain-service');
  const key = '6'.repeat(64);
  const { url } = await startService(t, 'heartbeat', {
    DEPLOYMENT_ENGINE_URL: `${engine.url}/base`, WALLET_PRIVATE_KEY: key, NFT_TOKEN_ID: '42',
    HEARTBEAT_SERVICES: `on-chain-service=${chain.url},market-data=http://127.0.0.1:9`, HEARTBEAT_INTERVAL_MS: '50',
  });
  await until(`${url}/v1/status`, (_response, text) => JSON.parse(text).sequence >= 2);
  const [{ path, body }] = engine.requests;
  assert.equal(path, '/base/v1/heartbeats');
  assert.deepEqual([body.nodeId, body.version, body.nftTokenId, body.sequence], ['test-node', '1.2.3', '42', 1]);
  assert.deepEqual(body.services, { 'on-chain-service': true, 'market-data': false });
  assert.equal(verifyMessage(body.signature.message, body.signature.value), new Wallet(`0x${key}`).address);

  const alone = await startService(t, 'heartbeat', {
    DEPLOYMENT_ENGINE_URL: 'http://127.0.0.1:9', HEARTBEAT_PAUSE_MS: '1', HEARTBEAT_SERVICES: 'market-data',
  });
  assert.equal((await fetch(`${alone.url}/ready`)).status, 200);
  await alone.logged('report to the engine: failed');
  assert.match(await (await fetch(`${alone.url}/metrics`)).text(), /^noderr_heartbeats_total\{outcome="failed",service="heartbeat"\} [1-9]/m);
});
